//! One transfer, as the kernel remembers it: a datagram and the time in, what to send out.
//!
//! There is no timer. What the client does not get, it asks for again: by its request, or by repeating its last ACK. A repeated
//! ACK may as well be an echo, of a duplicated datagram or of a DATA that came twice; answering each would send every block
//! twice from then on (RFC 1123 section 4.2.3.1). So a window is sent again only when it was sent longer ago than `patience`: four
//! round trips, at least [`PATIENCE_LEAST`], and twice as long after each repetition. Echoes come sooner; clients that miss
//! something wait longer. Where the round trip is longer than the client's patience, repetitions stop once ours is longer than
//! the client's.

use super::maps::{FileRef, SessionKey, TIDS};
use super::stats::Done;

/// Clients wait longer than this before they repeat: iPXE 250 ms, others a second or more. Microseconds.
pub const PATIENCE_LEAST: u32 = 100_000;
/// Longer than this no repeated ACK is taken for an echo. Microseconds.
pub const PATIENCE_MOST: u32 = 4_000_000;

/// A transfer under way, or one that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub file: FileRef,
    port: [u8; 2],
    block_size: [u8; 2],
    blocks: [u8; 2],
    acked: [u8; 2],
    sent: [u8; 2],
    window: u8,
    flags: u8,
    resent: [u8; 4],
    /// Microseconds.
    patience: [u8; 4],
    /// Of what was sent last: `CLOCK_BOOTTIME`, nanoseconds.
    time: [u8; 8],
    /// Of the request.
    began: [u8; 8],
}

const _: () = assert!(size_of::<Session>() == 42 && align_of::<Session>() == 1);
const _: () = assert!(size_of::<SessionKey>() + size_of::<Session>() <= 64, "one cache line");

mod flag {
    /// The OACK was acknowledged, or there was none.
    pub(super) const STARTED: u8 = 1;
    /// The client has acknowledged something: it exists.
    pub(super) const ANSWERED: u8 = 2;
    /// What was sent last was a repetition: its answer measures nothing (Karn's algorithm).
    pub(super) const REPEATED: u8 = 4;
    pub(super) const ENDED: u8 = 8;
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub file: FileRef,
    /// Our TID.
    pub port: u16,
    pub block_size: u16,
    pub blocks: u16,
    pub window: u8,
    /// An OACK says so.
    pub has_options: bool,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    Nothing,
    /// The OACK.
    Oack,
    /// The blocks after [`Session::acked`], up to [`Session::sent`].
    Window,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub done: Done,
    pub send: Send,
}

impl Step {
    /// Nothing is sent, and nothing changes.
    pub const IGNORED: Self = Self { done: Done::Ignored, send: Send::Nothing };
}

impl Session {
    /// No transfer.
    pub const NONE: Self = Self {
        file: FileRef::new(0, 0),
        port: [0; 2],
        block_size: [0; 2],
        blocks: [0; 2],
        acked: [0; 2],
        sent: [0; 2],
        window: 0,
        flags: flag::ENDED,
        resent: [0; 4],
        patience: [0; 4],
        time: [0; 8],
        began: [0; 8],
    };

    /// A request is answered.
    #[inline(always)]
    pub const fn begin(&mut self, agreed: Agreed, now: u64) -> Step {
        let Agreed { file, port, block_size, blocks, window, has_options } = agreed;
        self.file = file;
        self.port = port.to_be_bytes();
        self.block_size = block_size.to_be_bytes();
        self.blocks = blocks.to_be_bytes();
        self.acked = [0; 2];
        self.sent = (!has_options as u16).to_be_bytes();
        self.window = window;
        self.flags = if has_options { 0 } else { flag::STARTED };
        self.resent = [0; 4];
        self.patience = PATIENCE_LEAST.to_be_bytes();
        self.time = now.to_be_bytes();
        self.began = now.to_be_bytes();
        match has_options {
            true => Step { done: Done::Oack, send: Send::Oack },
            false => Step { done: Done::First, send: Send::Window },
        }
    }

    /// It comes after another one with the same client. If that one's answer to its request may have been lost, it is the same
    /// transfer, and what is known of the path stays known.
    #[inline(always)]
    pub const fn succeed(&mut self, before: &Self) {
        if !before.is(flag::ANSWERED | flag::ENDED) {
            self.flags |= flag::REPEATED;
            self.patience = doubled(before.patience()).to_be_bytes();
            self.began = before.began;
        }
    }

    /// The port for a transfer to a client that had this one: another, unless it has not got the answer to its request.
    #[inline(always)]
    pub const fn next_port(&self) -> u16 {
        let port = self.port();
        if self.is(flag::ANSWERED | flag::ENDED) {
            port & !(TIDS - 1) | (port + 1) & (TIDS - 1)
        } else {
            port
        }
    }

    /// Whether a request that comes now is an echo of the one that was answered.
    #[inline(always)]
    pub const fn is_echo(&self, now: u64) -> bool {
        !self.is(flag::ENDED) && !self.is_late(now)
    }

    /// The client has all blocks up to this.
    #[inline(always)]
    pub fn ack(&mut self, block: u16, now: u64) -> Step {
        if self.is(flag::ENDED) {
            return Step::IGNORED;
        }
        let (acked, sent) = (self.acked(), self.sent());
        let more = block.wrapping_sub(acked);
        if !self.is(flag::STARTED) {
            return if block == 0 { self.start(now) } else { Step::IGNORED };
        }
        if more == 0 {
            return self.repeat(now);
        }
        if more > sent.wrapping_sub(acked) {
            return Step::IGNORED;
        }
        self.acked = block.to_be_bytes();
        self.learn(now);
        if block == self.blocks() {
            self.flags |= flag::ENDED;
            return Step { done: Done::Finished, send: Send::Nothing };
        }
        // An ACK inside the window says that the rest was lost: go on after it (RFC 7440 section 4).
        self.count_resent(sent.wrapping_sub(block));
        self.window(now)
    }

    /// The client gives up.
    #[inline(always)]
    pub fn error(&mut self) -> Step {
        if self.is(flag::ENDED) {
            return Step::IGNORED;
        }
        self.flags |= flag::ENDED;
        let done = if self.is(flag::ANSWERED) { Done::Failed } else { Done::Aborted };
        Step { done, send: Send::Nothing }
    }

    #[inline(always)]
    fn start(&mut self, now: u64) -> Step {
        self.flags |= flag::STARTED;
        self.learn(now);
        self.window(now)
    }

    #[inline(always)]
    fn repeat(&mut self, now: u64) -> Step {
        if !self.is(flag::ANSWERED) || !self.is_late(now) {
            return Step::IGNORED;
        }
        self.time = now.to_be_bytes();
        self.flags |= flag::REPEATED;
        self.patience = doubled(self.patience()).to_be_bytes();
        self.count_resent(self.sent().wrapping_sub(self.acked()));
        Step { done: Done::Repeated, send: Send::Window }
    }

    /// The next window after what was acknowledged.
    #[inline(always)]
    fn window(&mut self, now: u64) -> Step {
        let sent = self.acked() as u32 + self.window as u32;
        let sent = if sent > self.blocks() as u32 { self.blocks() } else { sent as u16 };
        self.sent = sent.to_be_bytes();
        self.time = now.to_be_bytes();
        self.flags &= !flag::REPEATED;
        Step { done: Done::Window, send: Send::Window }
    }

    /// An answer came: the client exists, and the round trip says how long to wait.
    #[inline(always)]
    fn learn(&mut self, now: u64) {
        self.flags |= flag::ANSWERED;
        if self.is(flag::REPEATED) {
            return;
        }
        let measured = now.wrapping_sub(self.time()) / 1000 * 4;
        let measured = match measured {
            short if short < PATIENCE_LEAST as u64 => PATIENCE_LEAST,
            long if long > PATIENCE_MOST as u64 => PATIENCE_MOST,
            between => between as u32,
        };
        self.patience = (self.patience() / 2 + measured / 2).to_be_bytes();
    }

    #[inline(always)]
    const fn is_late(&self, now: u64) -> bool {
        now.wrapping_sub(self.time()) >= self.patience() as u64 * 1000
    }

    #[inline(always)]
    fn count_resent(&mut self, blocks: u16) {
        self.resent = self.resent().wrapping_add(blocks as u32).to_be_bytes();
    }

    #[inline(always)]
    const fn is(&self, any: u8) -> bool {
        self.flags & any != 0
    }

    /// Whether this ACK was the client's first.
    #[inline(always)]
    pub const fn answered(&self) -> bool {
        self.is(flag::ANSWERED)
    }

    /// Whether nothing more will be sent.
    #[inline(always)]
    pub const fn ended(&self) -> bool {
        self.is(flag::ENDED)
    }

    /// Our TID.
    #[inline(always)]
    pub const fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    #[inline(always)]
    pub const fn block_size(&self) -> u16 {
        u16::from_be_bytes(self.block_size)
    }

    #[inline(always)]
    const fn blocks(&self) -> u16 {
        u16::from_be_bytes(self.blocks)
    }

    /// The last block that the client has.
    #[inline(always)]
    pub const fn acked(&self) -> u16 {
        u16::from_be_bytes(self.acked)
    }

    /// The last block that was sent.
    #[inline(always)]
    pub const fn sent(&self) -> u16 {
        u16::from_be_bytes(self.sent)
    }

    /// Blocks that were sent more than once.
    #[inline(always)]
    pub const fn resent(&self) -> u32 {
        u32::from_be_bytes(self.resent)
    }

    /// When something was sent last: `CLOCK_BOOTTIME`, nanoseconds.
    #[inline(always)]
    pub const fn time(&self) -> u64 {
        u64::from_be_bytes(self.time)
    }

    /// When it was asked for.
    #[inline(always)]
    pub const fn began(&self) -> u64 {
        u64::from_be_bytes(self.began)
    }

    /// Microseconds.
    #[inline(always)]
    const fn patience(&self) -> u32 {
        u32::from_be_bytes(self.patience)
    }
}

#[inline(always)]
const fn doubled(patience: u32) -> u32 {
    let doubled = patience * 2;
    if doubled > PATIENCE_MOST { PATIENCE_MOST } else { doubled }
}
