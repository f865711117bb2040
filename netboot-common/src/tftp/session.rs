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
    /// An OACK answered the request.
    pub(super) const OPTIONS: u8 = 16;
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
        self.flags = if has_options { flag::OPTIONS } else { flag::STARTED };
        self.resent = [0; 4];
        self.patience = PATIENCE_LEAST.to_be_bytes();
        self.time = now.to_be_bytes();
        self.began = now.to_be_bytes();
        match has_options {
            true => Step { done: Done::Oack, send: Send::Oack },
            false => Step { done: Done::First, send: Send::Window },
        }
    }

    /// It comes after another one with the same client that was agreed on as this one. If that one's answer to its request may have
    /// been lost, it is the same transfer, and what is known of the path stays known.
    #[inline(always)]
    pub const fn succeed(&mut self, before: &Self) {
        if !before.is(flag::ANSWERED | flag::ENDED) {
            self.flags |= flag::REPEATED;
            self.patience = doubled(before.patience()).to_be_bytes();
            self.began = before.began;
        }
    }

    /// The port for a transfer to a client that had this one: another, unless it asks for `the_same` and has not got the answer to
    /// its request.
    #[inline(always)]
    pub const fn next_port(&self, the_same: bool) -> u16 {
        let port = self.port();
        if !the_same || self.is(flag::ANSWERED | flag::ENDED) {
            port & !(TIDS - 1) | (port + 1) & (TIDS - 1)
        } else {
            port
        }
    }

    /// Whether it is what would be agreed on now, but for the port. A client that asks for something else is through with it.
    #[inline(always)]
    pub fn is_of(&self, agreed: &Agreed) -> bool {
        self.file == agreed.file
            && self.block_size() == agreed.block_size
            && self.window == agreed.window
            && self.is(flag::OPTIONS) == agreed.has_options
    }

    /// Whether a request for the same that comes now is an echo of the one that was answered.
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

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    const MS: u64 = 1_000_000;
    const START: u64 = 10_000 * MS;

    fn agreed(blocks: u16, window: u8, has_options: bool) -> Agreed {
        Agreed { file: FileRef::new(1, 1), port: 0xf000, block_size: 512, blocks, window, has_options }
    }

    /// A transfer that was asked for at [`START`].
    fn begun(blocks: u16, window: u8, has_options: bool) -> Session {
        let mut session = Session::NONE;
        session.begin(agreed(blocks, window, has_options), START);
        session
    }

    /// The blocks that an ACK is answered with; `None`: nothing is sent.
    fn sends(session: &mut Session, block: u16, now: u64) -> Option<(u16, u16)> {
        match session.ack(block, now).send {
            Send::Window => Some((session.acked() + 1, session.sent())),
            Send::Nothing => None,
            Send::Oack => panic!("an OACK for an ACK"),
        }
    }

    #[test]
    fn rfc1350_2_each_ack_is_answered_by_the_next_block() {
        let mut session = begun(3, 1, false);
        assert_eq!((session.acked(), session.sent()), (0, 1), "DATA 1 answers the request");
        assert_eq!(sends(&mut session, 1, START + MS), Some((2, 2)));
        assert_eq!(sends(&mut session, 2, START + 2 * MS), Some((3, 3)));
        assert_eq!(session.ack(3, START + 3 * MS).done, Done::Finished);
        assert!(session.ended());
        assert_eq!(sends(&mut session, 3, START + 9_000 * MS), None, "its last ACK, once more");
    }

    #[test]
    fn rfc2347_3_an_oack_is_answered_by_ack_0_and_by_nothing_else() {
        let mut session = begun(9, 4, true);
        assert_eq!(sends(&mut session, 1, START + MS), None);
        assert_eq!(sends(&mut session, 0, START + MS), Some((1, 4)));
        let mut without = begun(9, 1, false);
        assert_eq!(sends(&mut without, 0, START + 500 * MS), None, "there was no OACK");
    }

    #[test]
    fn rfc7440_2_an_ack_inside_the_window_restarts_behind_it() {
        let mut session = begun(20, 8, true);
        assert_eq!(sends(&mut session, 0, START + MS), Some((1, 8)));
        assert_eq!(sends(&mut session, 3, START + 2 * MS), Some((4, 11)));
        assert_eq!(session.resent(), 5);
        assert_eq!(sends(&mut session, 2, START + 3 * MS), None, "a past one");
        assert_eq!(sends(&mut session, 12, START + 3 * MS), None, "a future one");
        assert_eq!(sends(&mut session, 11, START + 4 * MS), Some((12, 19)));
        assert_eq!(sends(&mut session, 19, START + 5 * MS), Some((20, 20)), "7440-5: a short last window");
    }

    #[test]
    fn rfc1123_1_a_duplicate_ack_sends_nothing_and_a_late_one_the_window_again() {
        let mut session = begun(100, 1, false);
        let mut now = START + MS;
        assert_eq!(sends(&mut session, 1, now), Some((2, 2)));
        for _ in 0..50 {
            now += MS;
            assert_eq!(sends(&mut session, 1, now), None, "an echo");
        }
        now += 50 * MS;
        assert_eq!(sends(&mut session, 1, now), Some((2, 2)), "the client has waited");
        now += 150 * MS;
        assert_eq!(sends(&mut session, 1, now), None, "twice as long after a repetition");
        now += 50 * MS;
        assert_eq!(sends(&mut session, 1, now), Some((2, 2)));
        assert_eq!(session.resent(), 2);
    }

    /// Both ends repeat after `patience`, and each datagram takes `delay`; how many blocks were sent, once.
    fn transfer(blocks: u16, delay: u64, patience: u64) -> u64 {
        let mut session = begun(blocks, 1, false);
        let mut wire: std::vec::Vec<(u64, u16)> = std::vec![(START + delay, 1)]; // DATA, to the client
        let mut acks: std::vec::Vec<(u64, u16)> = std::vec![];
        let (mut sent, mut got, mut again) = (1, 0, START + patience);
        for _ in 0..100_000 {
            let next = wire.iter().chain(&acks).map(|(at, _)| *at).chain([again]).min().unwrap();
            if let Some(i) = wire.iter().position(|(at, _)| *at == next) {
                let (at, block) = wire.remove(i);
                // RFC 1350: what comes twice is acknowledged twice.
                got = got.max(block);
                acks.push((at + delay, block));
                again = at + patience;
                if got == blocks {
                    return sent;
                }
            } else if let Some(i) = acks.iter().position(|(at, _)| *at == next) {
                let (at, block) = acks.remove(i);
                if let Some((_, block)) = sends(&mut session, block, at) {
                    sent += 1;
                    wire.push((at + delay, block));
                }
            } else {
                acks.push((next + delay, got));
                again = next + patience;
            }
        }
        panic!("it does not end");
    }

    #[test]
    fn rfc1123_1_no_sorcerers_apprentice_where_the_path_is_slower_than_the_client_is_patient() {
        assert_eq!(transfer(1000, 40 * MS, 1000 * MS), 1000);
        // Each of the client's repetitions is an echo here. Unchecked, each block would be sent several times, for ever.
        for (delay, patience) in [(600, 1000), (1500, 1000), (400, 250)] {
            let sent = transfer(1000, delay * MS, patience * MS);
            assert!(sent < 1000 + 20, "{sent} blocks of 1000 with a delay of {delay} ms");
        }
    }

    #[test]
    fn a_repeated_request_is_an_echo_or_the_same_transfer_or_another_one() {
        let first = begun(9, 4, true);
        assert!(first.is_echo(START + 50 * MS) && !first.is_echo(START + 150 * MS));
        assert_eq!(first.next_port(true), 0xf000, "its answer was lost: the client knows no other port");
        let mut again = begun(9, 4, true);
        again.succeed(&first);
        assert!(!again.is_echo(START + 200 * MS - 1 + MS) && again.is_echo(START + 199 * MS));
        assert_eq!(sends(&mut again, 0, START + 9_000 * MS), Some((1, 4)));
        assert_eq!(again.patience(), 2 * PATIENCE_LEAST, "Karn: a repetition's answer measures nothing");

        let mut answered = begun(9, 4, true);
        answered.ack(0, START + MS);
        assert_eq!((answered.next_port(true), first.next_port(false)), (0xf001, 0xf001));
        answered.port = (0xf000 + TIDS - 1).to_be_bytes();
        assert_eq!(answered.next_port(true), 0xf000);
    }

    #[test]
    fn rfc2349_3_an_error_before_the_first_ack_is_harmless_and_later_a_failure() {
        let mut session = begun(9, 4, true);
        assert_eq!(session.error().done, Done::Aborted);
        assert_eq!((session.error(), session.ack(0, START)), (Step::IGNORED, Step::IGNORED), "1350-4");
        let mut session = begun(9, 4, true);
        session.ack(0, START + MS);
        assert_eq!(session.error().done, Done::Failed);
    }
}
