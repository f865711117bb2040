//! One transfer, as the kernel remembers it: a datagram and the time in, what to send out.
//!
//! There is no timer. What the client does not get, it asks for again: by its request, or by repeating its last ACK. A repeated
//! ACK may as well be an echo, of a duplicated datagram or of a DATA that came twice; answering each would send every block
//! twice from then on (RFC 1123 section 4.2.3.1). So, as in userspace's machine:
//!
//! - With a window of more than one block, an ACK is repeated at once by a client that misses the first block of a window
//!   (RFC 7440 section 4). An echo is younger than a round trip: what comes later is answered by the window again.
//! - With a window of one block there is no gap to report. What comes within four round trips, at least [`PATIENCE_LEAST`], is an echo;
//!   clients that miss something wait longer.
//!
//! The round trip is that of answers to what was sent once. What was repeated took, as far as we know, as long as since it was sent
//! first: that is waited for from then on, or a path that has become slower would be repeated to always.

use super::maps::{FileRef, TIDS};
use super::stats::Done;

/// Clients wait longer than this before they repeat: iPXE 250 ms, others a second or more. Microseconds.
pub const PATIENCE_LEAST: u32 = 100_000;
/// Longer than this no repeated ACK is taken for an echo. Microseconds.
pub const PATIENCE_MOST: u32 = 4_000_000;
/// No answer takes less than this. Microseconds.
pub const ROUND_TRIP_LEAST: u32 = 50;

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
    /// How long an answer takes, by the fastest of late. Microseconds.
    round_trip: [u8; 4],
    /// From when what was sent last was sent first to when it was sent again. Microseconds.
    again: [u8; 4],
    /// When it was sent first: `CLOCK_BOOTTIME`, nanoseconds.
    first: [u8; 8],
    /// Of the request.
    began: [u8; 8],
}

const _: () = assert!(size_of::<Session>() == 46 && align_of::<Session>() == 1);

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
        round_trip: [0; 4],
        again: [0; 4],
        first: [0; 8],
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
        self.round_trip = (PATIENCE_LEAST / 4).to_be_bytes();
        self.again = [0; 4];
        self.first = now.to_be_bytes();
        self.began = now.to_be_bytes();
        match has_options {
            true => Step { done: Done::Oack, send: Send::Oack },
            false => Step { done: Done::First, send: Send::Window },
        }
    }

    /// It comes after another one with the same client that was agreed on as this one. If that one's answer to its request may have
    /// been lost a moment ago, it is the same transfer, and what is known of the path stays known.
    #[inline(always)]
    pub fn succeed(&mut self, before: &Self) {
        let now = self.first();
        if !before.is(flag::ANSWERED | flag::ENDED) && before.since_sent(now) < PATIENCE_MOST as u64 {
            self.round_trip = doubled(before.round_trip()).to_be_bytes();
            self.first = before.first;
            self.began = before.began;
            self.sent_again(now);
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

    /// Whether both are of one transfer, and not of two that follow each other.
    #[inline(always)]
    pub fn is_that(&self, other: &Self) -> bool {
        self.port == other.port && self.began == other.began
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
        !self.is(flag::ENDED) && self.since_sent(now) < self.patience() as u64
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
        if !self.is(flag::ANSWERED) || self.since_sent(now) < self.echoes() as u64 {
            return Step::IGNORED;
        }
        self.sent_again(now);
        self.count_resent(self.sent().wrapping_sub(self.acked()));
        Step { done: Done::Repeated, send: Send::Window }
    }

    /// The next window after what was acknowledged.
    #[inline(always)]
    fn window(&mut self, now: u64) -> Step {
        let sent = self.acked() as u32 + self.window as u32;
        let sent = if sent > self.blocks() as u32 { self.blocks() } else { sent as u16 };
        self.sent = sent.to_be_bytes();
        self.first = now.to_be_bytes();
        self.again = [0; 4];
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
    pub const fn blocks(&self) -> u16 {
        u16::from_be_bytes(self.blocks)
    }

    /// Whether the client has all of it.
    #[inline(always)]
    pub const fn is_whole(&self) -> bool {
        self.acked() == self.blocks()
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

    /// Bytes of all blocks that the client has; of a whole file, the last one may be shorter.
    #[inline(always)]
    pub const fn bytes(&self) -> u32 {
        self.acked() as u32 * self.block_size() as u32
    }

    /// Blocks that were sent more than once.
    #[inline(always)]
    pub const fn resent(&self) -> u32 {
        u32::from_be_bytes(self.resent)
    }

    /// When what was sent last was sent first: `CLOCK_BOOTTIME`, nanoseconds.
    #[inline(always)]
    const fn first(&self) -> u64 {
        u64::from_be_bytes(self.first)
    }

    /// When something was sent last: `CLOCK_BOOTTIME`, nanoseconds.
    #[inline(always)]
    pub const fn time(&self) -> u64 {
        self.first() + self.again() as u64 * 1000
    }

    /// When it was asked for.
    #[inline(always)]
    pub const fn began(&self) -> u64 {
        u64::from_be_bytes(self.began)
    }

    /// Microseconds.
    #[inline(always)]
    const fn round_trip(&self) -> u32 {
        u32::from_be_bytes(self.round_trip)
    }

    /// Microseconds.
    #[inline(always)]
    const fn again(&self) -> u32 {
        u32::from_be_bytes(self.again)
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
        now += 99 * MS;
        assert_eq!(sends(&mut session, 1, now), None, "an echo of the repetition");
        now += MS;
        assert_eq!(sends(&mut session, 1, now), Some((2, 2)));
        assert_eq!(session.resent(), 2);
    }

    #[test]
    fn a_clock_that_is_behind_another_cpu_s_makes_no_ack_late() {
        let mut session = begun(9, 1, false);
        assert_eq!(sends(&mut session, 1, START + MS), Some((2, 2)));
        assert_eq!(sends(&mut session, 1, START), None, "heard before what it repeats was answered");
        assert_eq!(sends(&mut session, 2, START), Some((3, 3)));
        assert_eq!(session.round_trip(), 0);
        assert!(session.is_echo(START - MS));
    }

    #[test]
    fn rfc7440_4_a_client_that_misses_the_first_block_of_a_window_gets_it_a_round_trip_later() {
        let mut session = begun(100, 8, true);
        assert_eq!(sends(&mut session, 0, START + MS), Some((1, 8)));
        let mut now = START + 3 * MS;
        assert_eq!(sends(&mut session, 8, now), Some((9, 16)));
        // Of a round trip of 1 ms, and one of 2 ms: 1.5 ms.
        assert_eq!(sends(&mut session, 8, now + MS), None, "an echo is younger than a round trip");
        now += 2 * MS;
        assert_eq!(sends(&mut session, 8, now), Some((9, 16)), "block 10 came, and 9 had not");
        assert_eq!(sends(&mut session, 8, now + MS), None);
        assert_eq!(sends(&mut session, 8, now + 2 * MS), Some((9, 16)), "lost once more");
        assert_eq!(session.resent(), 16);
    }

    /// The client repeats after `patience`, and each datagram takes `delay` once `slow_from` blocks have come; how many blocks were
    /// sent. The client acknowledges each copy of the last block of a window, as RFC 1350 has it.
    fn transfer(window: u8, delay: u64, slow_from: u16, patience: u64) -> u64 {
        const BLOCKS: u16 = 1000;
        type Link = std::vec::Vec<(u64, u16)>;
        let mut session = begun(BLOCKS, window, window > 1);
        let (mut down, mut up) = (Link::new(), Link::new());
        let (mut now, mut got, mut sent, mut again) = (START, 0, 1, START + patience);
        // The OACK is block 0.
        down.push((now + MS, u16::from(window == 1)));
        let first = |link: &Link| link.iter().map(|mail| mail.0).min().unwrap_or(u64::MAX);
        while got < BLOCKS {
            assert!(sent < 20_000, "it does not end");
            let takes = if got >= slow_from { delay } else { MS };
            now = first(&down).min(first(&up)).min(again);
            if let Some(i) = down.iter().position(|mail| mail.0 == now) {
                let (_, block) = down.remove(i);
                got = if block == got + 1 { block } else { got };
                again = now + patience;
                if block == got && (block % u16::from(window) == 0 || block == BLOCKS) {
                    up.push((now + takes, block));
                }
            } else if let Some(i) = up.iter().position(|mail| mail.0 == now) {
                let (_, block) = up.remove(i);
                if let Some((from, to)) = sends(&mut session, block, now) {
                    sent += u64::from(to - from) + 1;
                    down.extend((from..=to).map(|block| (now + takes, block)));
                }
            } else {
                up.push((now + takes, got));
                again = now + patience;
            }
        }
        sent
    }

    #[test]
    fn rfc1123_1_no_sorcerers_apprentice_where_the_path_is_or_becomes_slower_than_the_client_is_patient() {
        assert_eq!(transfer(1, 40 * MS, 0, 1000 * MS), 1000);
        // Each of the client's repetitions is an echo here. Unchecked, each block would be sent several times, for ever.
        for window in [1, 4, 16] {
            for (delay, patience) in [(40, 1000), (600, 1000), (1500, 1000), (400, 250), (30, 1000)] {
                for slow_from in [0, 100] {
                    let sent = transfer(window, delay * MS, slow_from, patience * MS);
                    let most = 1000 + 20 * u64::from(window);
                    assert!(sent <= most, "window {window}, {delay} ms from {slow_from} on: {sent} of 1000");
                }
            }
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
        assert_eq!(again.round_trip(), PATIENCE_MOST, "Karn: it may be the answer to the first of them");
        let mut later = Session::NONE;
        later.begin(agreed(9, 4, true), START + 3_600_000 * MS);
        later.succeed(&first);
        assert!(!later.is(flag::REPEATED), "it was over long ago");

        let mut answered = begun(9, 4, true);
        answered.ack(0, START + MS);
        assert!(answered.is_that(&first) && again.is_that(&first) && !later.is_that(&first));
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
