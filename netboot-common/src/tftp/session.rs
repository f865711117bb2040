//! One transfer, as the kernel remembers it: a datagram and the time in, what to send out.
//!
//! There is no timer. Most clients ask again for what they do not get: by their request, or by repeating their last ACK. To those that
//! never do userspace sends it again, which looks at the sessions ([`Session::is_due`]). A repeated ACK may as well be an echo, of a
//! duplicated datagram or of a DATA that came twice; answering each would send every block twice from then on (RFC 1123 section 4.2.3.1).
//! So, as in userspace's machine:
//!
//! - With a window of more than one block, an ACK is repeated at once by a client that misses the first block of a window
//!   (RFC 7440 section 4). An echo is younger than a round trip: what comes later is answered by the window again.
//! - With a window of one block there is no gap to report. What comes within four round trips, at least
//!   [`PATIENCE_LEAST`](super::times::PATIENCE_LEAST), is an echo; clients that miss something wait longer.
//!
//! The round trip is that of answers to what was sent once. What was repeated took, as far as we know, as long as since it was sent
//! first: that is waited for from then on, or a path that has become slower would be repeated to always.
//!
//! Our port is the only thing that the client proves to know: whoever forges its requests has not seen it. So a transfer that has just
//! begun stands one guess ([`Session::astray`]).

mod again;
mod earlier;
mod parts;

use core::mem::offset_of;

use super::maps::FileRef;
use super::reply::Terms;
use super::stats::Done;
use super::times::{FRESH, PATIENCE_LEAST, PATIENCE_MOST, REPETITIONS, ROUND_TRIP_LEAST, VAIN};
use again::Options;
use earlier::Earlier;

/// A transfer under way, or one that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub file: FileRef,
    /// The client's. Another one's datagrams are not of this transfer, or a neighbour could go on with it, or end it, in its name.
    mac: [u8; 6],
    port: [u8; 2],
    block_size: [u8; 2],
    // From here to `flags`: see `Session::progress`.
    blocks: [u8; 2],
    acked: [u8; 2],
    sent: [u8; 2],
    window: u8,
    flags: u8,
    /// How often what was sent last was sent again.
    tries: u8,
    options: Options,
    /// Our address: that was asked.
    own: [u8; 4],
    earlier: Earlier,
    resent: [u8; 4],
    /// How long an answer takes, by the fastest of late. Microseconds.
    round_trip: [u8; 4],
    /// From when what was sent last was sent first to when it was sent again. Microseconds.
    again: [u8; 4],
    /// When it was sent first: `CLOCK_BOOTTIME`, nanoseconds.
    first: [u8; 8],
    /// Of the request.
    began: [u8; 8],
}

const _: () = assert!(size_of::<Session>() == 74 && align_of::<Session>() == 1);
const _: () =
    assert!(Session::PROGRESS.is_multiple_of(8) && offset_of!(Session, flags) + 1 == Session::BEHIND);

mod flag {
    /// The OACK was acknowledged, or there was none.
    pub(super) const STARTED: u8 = 1;
    /// The client has acknowledged something: it exists.
    pub(super) const ANSWERED: u8 = 2;
    /// What was sent last was a repetition: its answer may belong to either (Karn's algorithm).
    pub(super) const REPEATED: u8 = 4;
    pub(super) const ENDED: u8 = 8;
    /// An OACK answered the request.
    pub(super) const OPTIONS: u8 = 16;
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub file: FileRef,
    /// With whom.
    pub mac: [u8; 6],
    /// Our address.
    pub own: [u8; 4],
    /// Our TID.
    pub port: u16,
    pub blocks: u16,
    pub terms: Terms,
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
        mac: [0; 6],
        port: [0; 2],
        block_size: [0; 2],
        blocks: [0; 2],
        acked: [0; 2],
        sent: [0; 2],
        window: 0,
        flags: flag::ENDED,
        tries: 0,
        options: Options::NONE,
        own: [0; 4],
        earlier: Earlier::NONE,
        resent: [0; 4],
        round_trip: [0; 4],
        again: [0; 4],
        first: [0; 8],
        began: [0; 8],
    };

    /// A request is answered.
    #[inline(always)]
    pub const fn begin(&mut self, agreed: Agreed, now: u64) -> Step {
        let Agreed { file, mac, own, port, blocks, terms } = agreed;
        let Terms { granted, block_size, window, has_options } = terms;
        self.file = file;
        self.mac = mac;
        self.port = port.to_be_bytes();
        self.block_size = block_size.to_be_bytes();
        self.blocks = blocks.to_be_bytes();
        self.acked = [0; 2];
        self.sent = (!has_options as u16).to_be_bytes();
        self.window = window;
        self.flags = if has_options { flag::OPTIONS } else { flag::STARTED };
        self.tries = 0;
        self.options = Options::of(&granted);
        self.own = own;
        self.earlier = Earlier::NONE;
        self.resent = [0; 4];
        self.round_trip = (PATIENCE_LEAST / 4).to_be_bytes();
        self.again = [0; 4];
        self.first = now.to_be_bytes();
        self.began = now.to_be_bytes();
        match has_options {
            true => Step { done: Done::Oack, send: Send::Oack },
            false => Step { done: Done::First, send: Send::Window },
        }
    }

    /// It comes after another one with the same client. If `the_same` was agreed on, and the answer to the request may have been lost a
    /// moment ago, it is the same transfer, and what is known of the path stays known.
    #[inline(always)]
    pub fn succeed(&mut self, before: &Self, the_same: bool) {
        let now = self.first();
        self.earlier = Earlier::of(before);
        if before.is(flag::ENDED) && !before.is(flag::ANSWERED) {
            self.earlier.keep_port(&before.earlier);
        }
        let is_unanswered = the_same && !before.is(flag::ANSWERED | flag::ENDED);
        if is_unanswered && before.since_sent(now) < PATIENCE_MOST as u64 {
            self.earlier = before.earlier;
            self.round_trip = doubled(before.round_trip()).to_be_bytes();
            self.first = before.first;
            self.began = before.began;
            self.sent_again(now);
        }
    }

    /// The port for a transfer to a client that had this one: another, which nobody can foretell, unless it asks for `the_same` and has
    /// not got the answer to its request. `random`: any of our ports.
    #[inline(always)]
    pub const fn next_port(&self, the_same: bool, random: u16) -> u16 {
        match (the_same && !self.is(flag::ANSWERED | flag::ENDED), random == self.port()) {
            (true, _) => self.port(),
            (false, true) => random ^ 1,
            (false, false) => random,
        }
    }

    /// Whether both are of one transfer, and not of two that follow each other.
    #[inline(always)]
    pub fn is_that(&self, other: &Self) -> bool {
        self.port == other.port && self.began == other.began
    }

    /// Whether this is what it has become meanwhile: one transfer, which nobody else has ended.
    #[inline(always)]
    pub fn may_become(&self, other: &Self) -> bool {
        self.is_that(other) && !self.ended()
    }

    /// How far it is: blocks, acknowledged, sent, window, flags. In memory this is one word of eight bytes, at [`Self::PROGRESS`], aligned as
    /// the session is: no CPU sees of it what no other one wrote.
    #[inline(always)]
    pub const fn progress(&self) -> [u8; 8] {
        let ([a, b], [c, d], [e, f]) = (self.blocks, self.acked, self.sent);
        [a, b, c, d, e, f, self.window, self.flags]
    }

    /// Where [`Self::progress`] is.
    pub const PROGRESS: usize = offset_of!(Self, blocks);
    /// Where what is behind it begins. What is before it never changes.
    pub const BEHIND: usize = Self::PROGRESS + 8;

    /// Whether both are the same, but for when it was: two clocks need not agree on that.
    pub fn is_as(&self, other: &Self) -> bool {
        let Self { round_trip, again, first, began, .. } = *other;
        Self { round_trip, again, first, began, ..*self } == *other
    }

    /// Whether it is what would be agreed on now, but for the port. A client that asks for something else is through with it.
    #[inline(always)]
    pub fn is_of(&self, agreed: &Agreed) -> bool {
        self.file == agreed.file
            && self.block_size() == agreed.terms.block_size
            && self.window == agreed.terms.window
            && self.is(flag::OPTIONS) == agreed.terms.has_options
    }

    /// Whether a request for the same that comes now is an echo of the one that was answered. Who begins anew repeats it.
    #[inline(always)]
    pub const fn is_echo(&self, now: u64) -> bool {
        let patience = self.patience();
        let is_long = self.is(flag::ANSWERED) && patience < FRESH;
        !self.is(flag::ENDED) && self.since_sent(now) < if is_long { FRESH } else { patience } as u64
    }

    /// Whether a request that comes now is a late copy of the one before this transfer's: that has just been asked for, or its client is in
    /// the middle of it.
    #[inline(always)]
    pub fn is_after(&self, agreed: &Agreed, now: u64) -> bool {
        let is_young = now.saturating_sub(self.began()) < FRESH as u64 * 1000
            || self.is(flag::ANSWERED) && self.since_sent(now) < FRESH as u64;
        !self.is(flag::ENDED) && is_young && self.earlier.is_of(agreed)
    }

    /// Whether it is that of another machine, which has the same address and port, and is in the middle of it.
    #[inline(always)]
    pub fn is_held(&self, mac: [u8; 6], now: u64) -> bool {
        let held = if self.is(flag::ANSWERED) { VAIN } else { self.patience() };
        !self.is_with(mac) && !self.is(flag::ENDED) && self.since_sent(now) < held as u64
    }

    /// Whether this is the client's MAC.
    #[inline(always)]
    pub fn is_with(&self, mac: [u8; 6]) -> bool {
        self.mac == mac
    }

    /// An ACK of the client's came to a port of ours that is not the transfer's. One that is late for the transfer before means nothing.
    /// Otherwise somebody forges requests, has not seen their answers, and tries our ports one by one: a transfer of which no block was
    /// acknowledged yet is over. So who hits the port is sent a window, and the next guess ends it.
    #[inline(always)]
    pub fn astray(&mut self, port: u16) -> Step {
        if self.acked() != 0 || self.is(flag::ENDED) || port == self.earlier.port() {
            return Step::IGNORED;
        }
        self.flags |= flag::ENDED;
        Step { done: Done::Guessed, send: Send::Nothing }
    }

    /// The client has all blocks up to this.
    #[inline(always)]
    pub fn ack(&mut self, block: u16, now: u64) -> Step {
        if self.is(flag::ENDED) {
            return Step::IGNORED;
        }
        let (acked, sent) = (self.acked(), self.sent());
        let (more, out) = (block.wrapping_sub(acked), sent.wrapping_sub(acked));
        // Of no transfer: a loop over its window would have no end.
        if out > self.window as u16 {
            return Step::IGNORED;
        }
        if !self.is(flag::STARTED) {
            return if block == 0 { self.start(now) } else { Step::IGNORED };
        }
        if more == 0 {
            return self.repeat(now);
        }
        if more > out {
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
        if !self.is(flag::ANSWERED) || self.since_sent(now) < self.echoes() as u64 {
            return Step::IGNORED;
        }
        if self.is_in_vain(now) {
            self.flags |= flag::ENDED;
            return Step { done: Done::InVain, send: Send::Nothing };
        }
        self.tries = self.tries.saturating_add(1);
        self.sent_again(now);
        self.count_resent(self.sent().wrapping_sub(self.acked()));
        Step { done: Done::Repeated, send: Send::Window }
    }

    /// Whether what was sent last was repeated often enough, and for long enough: the client is heard, and its blocks don't get through
    /// (RFC 2348 section 5 knows such paths).
    #[inline(always)]
    const fn is_in_vain(&self, now: u64) -> bool {
        self.tries >= REPETITIONS && now.saturating_sub(self.first()) >= VAIN as u64 * 1000
    }

    /// The next window after what was acknowledged.
    #[inline(always)]
    fn window(&mut self, now: u64) -> Step {
        let sent = self.acked() as u32 + self.window as u32;
        let sent = if sent > self.blocks() as u32 { self.blocks() } else { sent as u16 };
        self.sent = sent.to_be_bytes();
        self.first = now.to_be_bytes();
        self.again = [0; 4];
        self.tries = 0;
        self.flags &= !flag::REPEATED;
        Step { done: Done::Window, send: Send::Window }
    }

    /// An answer came: the client exists, and that is how long it took.
    #[inline(always)]
    fn learn(&mut self, now: u64) {
        let is_first = !self.is(flag::ANSWERED);
        self.flags |= flag::ANSWERED;
        let (known, took) = (self.round_trip(), micros(self.first(), now, PATIENCE_MOST));
        let round_trip = match self.is(flag::REPEATED) {
            true if took > known => took,
            true => known,
            false if is_first || took < known => took,
            false => (known + took) / 2,
        };
        self.round_trip = round_trip.to_be_bytes();
    }

    /// What was sent last is sent once more.
    #[inline(always)]
    fn sent_again(&mut self, now: u64) {
        self.flags |= flag::REPEATED;
        self.again = micros(self.first(), now, u32::MAX).to_be_bytes();
    }

    /// Microseconds since something was sent last.
    #[inline(always)]
    const fn since_sent(&self, now: u64) -> u64 {
        (now.saturating_sub(self.first()) / 1000).saturating_sub(self.again() as u64)
    }

    /// How long after a window left an ACK of the one before is an echo. Microseconds.
    #[inline(always)]
    const fn echoes(&self) -> u32 {
        let round_trip = self.round_trip();
        match self.window {
            1 => self.patience(),
            _ if round_trip < ROUND_TRIP_LEAST => ROUND_TRIP_LEAST,
            _ => round_trip,
        }
    }

    /// How long after something was sent no client repeats what it sent. Microseconds.
    #[inline(always)]
    const fn patience(&self) -> u32 {
        match self.round_trip() * 4 {
            short if short < PATIENCE_LEAST => PATIENCE_LEAST,
            long if long > PATIENCE_MOST => PATIENCE_MOST,
            between => between,
        }
    }

    #[inline(always)]
    fn count_resent(&mut self, blocks: u16) {
        self.resent = self.resent().wrapping_add(blocks as u32).to_be_bytes();
    }

    #[inline(always)]
    const fn is(&self, any: u8) -> bool {
        self.flags & any != 0
    }
}

#[inline(always)]
const fn doubled(round_trip: u32) -> u32 {
    let doubled = round_trip * 2;
    if doubled > PATIENCE_MOST / 4 { PATIENCE_MOST / 4 } else { doubled }
}

/// Microseconds from `then` to `now`, both in nanoseconds; at most `most`. Clocks of two CPUs: `now` may be a little before.
#[inline(always)]
const fn micros(then: u64, now: u64, most: u32) -> u32 {
    let micros = now.saturating_sub(then) / 1000;
    if micros > most as u64 { most } else { micros as u32 }
}

#[cfg(test)]
mod tests;
