//! One transfer as a state machine: a datagram or the time in, what to send out. No clock, no socket, no file.
//!
//! Blocks are counted from 1 without end; the wire's 16 bits are made from that count, so a wrap is no special case.
//! A datagram makes us send when it acknowledges something new. A duplicate ACK never does with windows of one block (RFC 1123
//! 4.2.3.1): what is lost the timer repeats. With larger ones it reports that a window's first block is missing (RFC 7440 section 4),
//! where it comes so late that no echo of what we sent can be it. A spoofed request yields at most one packet and
//! [`Limits::first_retries`] repetitions of it.

use std::ops::RangeInclusive;
use std::time::Duration;

use netboot_common::tftp::maps::BLOCK_MOST;
use netboot_common::tftp::times;
use netboot_common::wire::tftp::{BLOCK_SIZE, ErrorCode, Granted, Packet, Request};

use super::pace::Pace;

/// What a transfer may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest block size that is granted.
    pub block_size: u16,
    /// Largest window that is granted, in blocks.
    pub window_size: u16,
    /// Repetitions of the first packet, before the client has shown that it exists.
    pub first_retries: u8,
    /// Repetitions of any later packet, at least.
    pub retries: u8,
    /// A client that has answered once is not given up before it has said nothing new for so long. Firmware waits up to 15 seconds.
    pub silence: Duration,
    /// First wait for an answer, until the round trip is known.
    pub timeout: Duration,
    /// The block number after 65535: 0, or 1 for clients that count so.
    pub after_wrap: u16,
    /// Whether windows leave in parts to clients that lose their ends. Of what is read.
    pub paced: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_size: 1468,
            window_size: 16,
            first_retries: times::FIRST_REPETITIONS,
            retries: times::REPETITIONS,
            silence: micros(times::VAIN),
            timeout: micros(times::WAIT),
            after_wrap: 0,
            paced: true,
        }
    }
}

impl Limits {
    /// The same, with blocks that leave an interface of this MTU in one piece behind so many bytes of headers, and are no larger than
    /// those of the kernel: both grant the same (RFC 2348).
    pub fn within(self, mtu: u16, headers: u16) -> Self {
        let fits = mtu.saturating_sub(headers).min(BLOCK_MOST);
        Self { block_size: self.block_size.min(fits), ..self }
    }
}

/// What to send now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Send {
    /// Nothing.
    Nothing,
    /// The OACK ([`Transfer::granted`]).
    Oack,
    /// These blocks, counted from 1.
    Blocks(RangeInclusive<u64>),
    /// An ERROR to the client, which ends the transfer.
    Error(ErrorCode, &'static str),
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The last block was acknowledged.
    Done,
    /// All blocks were sent, the last ACK never came (RFC 1350 section 6): most likely the client is done.
    Unconfirmed,
    /// The client only wanted to know the size, or asked again from another port (RFC 2349), or has read as much as it wanted: harmless.
    Aborted,
    /// It failed, for this reason.
    Failed(String),
}

/// What to send, and whether that was the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What to send.
    pub send: Send,
    /// Set when the transfer is over.
    pub end: Option<End>,
}

impl Step {
    const NOTHING: Self = Self { send: Send::Nothing, end: None };

    fn send(send: Send) -> Self {
        Self { send, end: None }
    }

    fn end(outcome: End) -> Self {
        Self { send: Send::Nothing, end: Some(outcome) }
    }
}

/// A transfer under way.
#[derive(Debug)]
pub struct Transfer {
    granted: Granted,
    limits: Limits,
    blocks: u64,
    block_size: u16,
    /// Bytes of the last block: fewer than of the others, down to none.
    rest: u16,
    window: u16,
    /// Blocks that the client has got; meaningless before `started`.
    acked: u64,
    /// The last block that was sent, since what is repeated was begun anew.
    sent: u64,
    /// The last block that ever was.
    reached: u64,
    /// The OACK was acknowledged, or there was none.
    started: bool,
    /// When the client spoke last, if it ever did.
    heard: Option<Duration>,
    tries: u8,
    pace: Pace,
    sent_at: Duration,
    /// When what was sent last was sent first.
    first_at: Duration,
    /// The wait before the first repetition of what was sent last.
    patience: Duration,
    /// How long an answer takes, by the fastest of late; `patience` until it is known.
    round_trip: Duration,
    resent: u64,
}

impl Transfer {
    /// Answers a read request for `size` bytes.
    pub fn new(request: &Request<'_>, size: u64, limits: Limits, now: Duration) -> (Self, Step) {
        // No larger than that the number of the block before it is none of its own.
        let most = limits.window_size.clamp(1, u16::MAX - limits.after_wrap.min(1));
        let granted = Granted {
            block_size: request.block_size.map(|asked| asked.min(limits.block_size)),
            timeout: request.timeout.filter(|&seconds| Duration::from_secs(seconds.into()) <= MOST_PATIENCE),
            transfer_size: request.transfer_size.then_some(size),
            window_size: request.window_size.map(|asked| asked.min(most)),
        };
        let block_size = granted.block_size.unwrap_or(BLOCK_SIZE);
        let patience = granted.timeout.map_or(limits.timeout, |s| Duration::from_secs(s.into()));
        let mut this = Self {
            granted,
            limits,
            blocks: size / u64::from(block_size) + 1,
            block_size,
            rest: (size % u64::from(block_size)) as u16,
            window: granted.window_size.unwrap_or(1),
            acked: 0,
            sent: 0,
            reached: 0,
            started: granted.is_empty(),
            heard: None,
            tries: 0,
            pace: Pace::FULL,
            sent_at: now,
            first_at: now,
            patience,
            round_trip: patience,
            resent: 0,
        };
        let step = Step::send(if this.started { this.window(now) } else { Send::Oack });
        (this, step)
    }

    /// The options to put into the OACK.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// Blocks that were sent more than once.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Whether windows leave in parts now.
    pub fn is_paced(&self) -> bool {
        self.pace.part(self.window) < self.window
    }

    /// Whether any window left in parts, because its client lost the ends of those before.
    pub fn was_paced(&self) -> bool {
        self.pace.was_ever_slower()
    }

    /// Bytes that the client has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        (self.acked * u64::from(self.block_size)).min(self.size())
    }

    /// Whether the client has shown that it exists and listens.
    pub fn answered(&self) -> bool {
        self.heard.is_some()
    }

    /// Whether the request that this transfer answers, when it comes once more, is a late copy: its client is in the middle of the
    /// transfer, or has not heard of it yet. One that begins anew repeats its request, until the transfer is silent.
    pub fn is_echo(&self, now: Duration) -> bool {
        self.heard.is_none_or(|heard| now.saturating_sub(heard) < FRESH)
    }

    /// What was sent and not acknowledged yet: nothing before the OACK was.
    pub fn outstanding(&self) -> Option<RangeInclusive<u64>> {
        (self.started && self.sent > self.acked).then_some(self.acked + 1..=self.sent)
    }

    /// The bytes of every block but the last, without its header.
    pub fn block_size(&self) -> u16 {
        self.block_size
    }

    /// Whether a block is the last one.
    pub fn is_last(&self, block: u64) -> bool {
        block == self.blocks
    }

    /// The wire's number of a block.
    pub fn wire_number(&self, block: u64) -> u16 {
        match self.limits.after_wrap {
            0 => block as u16,
            _ => ((block - 1) % 65535 + 1) as u16,
        }
    }

    /// Where a block lies in the file, and how long it is: shorter than the others only at the end, down to 0.
    pub fn place(&self, block: u64) -> (u64, usize) {
        let offset = (block - 1) * u64::from(self.block_size);
        let len = if self.is_last(block) { self.rest } else { self.block_size };
        (offset, len.into())
    }

    /// When [`Transfer::timer`] wants to be called.
    pub fn deadline(&self) -> Duration {
        if self.is_in_parts() { self.next_part_at() } else { self.sent_at + self.wait() }
    }

    /// A datagram came from the client. Those of others are not the transfer's (RFC 1350 section 4).
    pub fn datagram(&mut self, datagram: &[u8], now: Duration) -> Step {
        match Packet::parse(datagram) {
            Ok(Packet::Ack(block)) => self.ack(block, now),
            Ok(Packet::Error(code, text)) => Step::end(self.client_error(code, text)),
            Ok(Packet::Read(_) | Packet::Write(..) | Packet::Data(..) | Packet::NotForServers) | Err(_) => {
                Step {
                    send: Send::Error(ErrorCode::IllegalOperation, "illegal operation"),
                    end: Some(End::Failed("the client sent something that isn't an ACK".to_owned())),
                }
            }
        }
    }

    /// The deadline has come: send the next part of a window, repeat what wasn't answered, or give up.
    pub fn timer(&mut self, now: Duration) -> Step {
        if now < self.deadline() {
            return Step::NOTHING;
        }
        if self.is_in_parts() {
            return Step::send(self.part(self.sent, now));
        }
        if self.is_in_vain(now) {
            return Step::end(self.no_answer());
        }
        self.repeat(now)
    }

    /// Whether what was sent last was repeated often enough, and for long enough.
    fn is_in_vain(&self, now: Duration) -> bool {
        match self.answered() {
            false => self.tries >= self.limits.first_retries,
            true => {
                self.tries >= self.limits.retries && now.saturating_sub(self.first_at) >= self.limits.silence
            }
        }
    }

    /// Sends once more what was sent last.
    fn repeat(&mut self, now: Duration) -> Step {
        self.tries = self.tries.saturating_add(1);
        self.sent_at = now;
        Step::send(if self.started { self.part(self.acked, now) } else { Send::Oack })
    }

    fn ack(&mut self, block: u16, now: Duration) -> Step {
        if !self.started {
            if block != 0 {
                return Step::NOTHING;
            }
            self.started = true;
            self.learn(now, true);
            return Step::send(self.window(now));
        }
        let Some(acked) = (self.acked + 1..=self.reached).find(|&b| self.wire_number(b) == block) else {
            let newest = if self.acked == 0 { 0 } else { self.wire_number(self.acked) };
            return if block == newest { self.ack_again(now) } else { Step::NOTHING };
        };
        let is_whole = acked == self.window_end();
        if self.window > 1 && self.limits.paced {
            match (is_whole, self.tries) {
                (true, 0) => self.pace.whole(),
                // What had to be repeated may have waited for its ACK, or for our disk.
                (true, _) => {}
                (false, _) => self.pace.lost(),
            }
        }
        self.acked = acked;
        self.learn(now, is_whole);
        if self.acked == self.blocks {
            return Step::end(End::Done);
        }
        // An ACK inside the window says that the rest was lost: go on after it (RFC 7440 section 4).
        Step::send(self.window(now))
    }

    /// What was acknowledged already is so once more: an echo, of a datagram that came twice, or the client misses what was sent
    /// since. It says so when the first block of a window is lost (RFC 7440 section 4). Answering each would send every block twice from
    /// then on (RFC 1123 4.2.3.1): an echo is younger than a round trip. With a window of one block there is no gap to report.
    fn ack_again(&mut self, now: Duration) -> Step {
        let echoes = self.round_trip.max(LEAST_ROUND_TRIP).max(self.pace.of_a_window());
        if self.window == 1 || !self.answered() || now.saturating_sub(self.began()) < echoes {
            return Step::NOTHING;
        }
        // It is heard, and goes nowhere: its blocks don't get through (RFC 2348 section 5 knows such paths).
        if self.is_in_vain(now) {
            return Step::end(self.no_answer());
        }
        self.heard = Some(now);
        self.repeat(now)
    }

    /// The next window after what was acknowledged. One that is paced waits for its turn, too.
    fn window(&mut self, now: Duration) -> Send {
        self.first_at = now;
        self.tries = 0;
        self.sent = self.acked;
        if self.is_paced() && now < self.next_part_at() {
            return Send::Nothing;
        }
        self.part(self.acked, now)
    }

    /// Bytes of the file.
    fn size(&self) -> u64 {
        (self.blocks - 1) * u64::from(self.block_size) + u64::from(self.rest)
    }

    /// Its last block.
    fn window_end(&self) -> u64 {
        (self.acked + u64::from(self.window)).min(self.blocks)
    }

    /// When the window began to leave, for the last time.
    fn began(&self) -> Duration {
        let parts = (self.sent - self.acked).div_ceil(u64::from(self.pace.part(self.window))).max(1);
        self.sent_at.saturating_sub(self.pace.gap() * (parts - 1) as u32)
    }

    /// Whether the window has not left to its end.
    fn is_in_parts(&self) -> bool {
        self.started && self.sent < self.window_end()
    }

    /// When more of it leaves. Where a client has missed something, what was sent behind that is still on its way, and goes first.
    fn next_part_at(&self) -> Duration {
        match self.sent > self.acked || self.pace.came_whole() {
            true => self.sent_at + self.pace.gap(),
            false => self.first_at + self.pace.of_a_window() + self.pace.gap(),
        }
    }

    /// What leaves at once of the window, behind a block of it.
    fn part(&mut self, behind: u64, now: Duration) -> Send {
        self.sent_at = now;
        self.sent = (behind + u64::from(self.pace.part(self.window))).min(self.window_end());
        self.resent += self.sent.min(self.reached).saturating_sub(behind);
        self.reached = self.reached.max(self.sent);
        Send::Blocks(behind + 1..=self.sent)
    }

    /// An answer came: the client exists, and unless it set the timeout, the round trip says how long to wait (RFC 1123
    /// 4.2.3.2). After a repetition the answer may belong to either packet (Karn's algorithm): it took at most as long as since the
    /// first of them. That is waited for from then on, or a path that has become slower would be repeated to always; but each such answer
    /// doubles the wait at most: a slower path is learnt in some windows, and losses in a row don't make it longer than clients are
    /// patient. Where a part of a window is acknowledged after a repetition, the wait stays as it is: that is about the repetition, of
    /// which the client has had the beginning before.
    fn learn(&mut self, now: Duration, is_whole: bool) {
        self.heard = Some(now);
        let took = now.saturating_sub(self.first_at);
        self.round_trip = match self.tries {
            0 if took < self.round_trip => took,
            0 => (self.round_trip + took) / 2,
            _ => self.round_trip.max(took),
        };
        if self.granted.timeout.is_some() || self.tries > 0 && !is_whole {
            return;
        }
        self.patience = if self.tries > 0 {
            (took + took / 4).clamp(self.patience, self.patience * 2).min(MOST_PATIENCE)
        } else {
            self.patience / 2 + (took * 4).clamp(LEAST_PATIENCE, MOST_PATIENCE) / 2
        };
    }

    /// How long an answer may take now: twice as long after each repetition.
    fn wait(&self) -> Duration {
        self.patience.saturating_mul(1 << self.tries.min(times::DOUBLED_MOST)).min(MOST_PATIENCE)
    }

    /// Before the first ACK the client has seen nothing but the OACK: it wanted the size, or other options, and asks again
    /// (RFC 2347, 2349; OVMF and iPXE do so). Later it means it, unless it names no error: GRUB closes so what it has read enough of.
    fn client_error(&self, code: u16, text: &[u8]) -> End {
        match self.answered() && code != ErrorCode::Undefined as u16 {
            true => End::Failed(describe(code, text)),
            false => End::Aborted,
        }
    }

    fn no_answer(&self) -> End {
        if self.answered() && self.sent == self.blocks {
            return End::Unconfirmed;
        }
        End::Failed(match self.answered() {
            true => format!("the client fell silent after block {} of {}", self.acked, self.blocks),
            false => "the client never answered".to_owned(),
        })
    }
}

/// Shorter waits would repeat blocks that a busy client is about to acknowledge.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);
/// No answer takes less than this.
const LEAST_ROUND_TRIP: Duration = micros(times::ROUND_TRIP_LEAST);
/// A client that was heard this short ago is in the middle of its transfer.
pub(super) const FRESH: Duration = micros(times::FRESH);
/// Longer waits help nobody. A longer `timeout` option is left out of the OACK (RFC 2349).
pub(super) const MOST_PATIENCE: Duration = Duration::from_secs(times::WAIT_MOST as u64);

const fn micros(micros: u32) -> Duration {
    Duration::from_micros(micros as u64)
}

pub(super) fn describe(code: u16, text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(128).collect();
    format!("the client sent error {code}: {text}")
}

#[cfg(test)]
mod tests;
