//! What userspace, which has a clock, sends again where the program, which has none, would wait for ever: a client that never repeats what
//! it said (GRUB) waits for a DATA that was lost, or has sent an ACK that was.

use super::{Send, Session, flag};
use crate::tftp::reply::Granted;
use crate::tftp::times::{DOUBLED_MOST, FIRST_REPETITIONS, REPETITIONS, VAIN, WAIT};

/// Most clients have repeated what they said before this is over: the program answers them. Microseconds.
const WAIT_LEAST: u32 = 500_000;
/// A wait grows no further: on a path that loses much, clients get what they wait for before they give up. Microseconds.
const WAIT_GROWN: u32 = 2_000_000;

/// What the OACK grants; of each number, 0: not asked for.
// VERIFIER (6.18, 2026-11): numbers as they are. A flag of each is a branch for each, and all that follows is walked for each way through them:
// 127,977 instructions.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    block_size: [u8; 2],
    window_size: u8,
    /// Seconds.
    timeout: u8,
    /// It says the file's size.
    has_size: u8,
}

impl Options {
    /// Nothing.
    pub(super) const NONE: Self = Self { block_size: [0; 2], window_size: 0, timeout: 0, has_size: 0 };

    #[inline(always)]
    pub(super) const fn of(granted: &Granted) -> Self {
        Self {
            block_size: granted.block_size.to_be_bytes(),
            window_size: granted.window_size as u8,
            timeout: granted.timeout,
            has_size: granted.transfer_size.is_some() as u8,
        }
    }
}

impl Session {
    /// What the client was sent last, and has not acknowledged.
    #[inline(always)]
    pub const fn outstanding(&self) -> Send {
        match (self.is(flag::ENDED), self.is(flag::STARTED), self.sent() == self.acked()) {
            (true, ..) | (_, true, true) => Send::Nothing,
            (_, false, _) => Send::Oack,
            (_, true, false) => Send::Window,
        }
    }

    /// What its OACK says of a file of this size.
    pub fn granted(&self, size: u32) -> Granted {
        let Options { block_size, window_size, timeout, has_size } = self.options;
        Granted {
            block_size: u16::from_be_bytes(block_size),
            timeout,
            transfer_size: (has_size != 0).then_some(size),
            window_size: window_size.into(),
        }
    }

    /// Whether it is to be sent again at `now`, after userspace did so `tries` times, at `sent` last (0: never). Both of the program's clock,
    /// nanoseconds.
    pub fn is_due(&self, tries: u8, sent: u64, now: u64) -> bool {
        let last = sent.max(self.time());
        let is_over = match self.answered() {
            false => tries >= FIRST_REPETITIONS,
            true => tries >= REPETITIONS && now.saturating_sub(self.first()) >= u64::from(VAIN) * 1000,
        };
        let is_out = !matches!(self.outstanding(), Send::Nothing);
        is_out && !is_over && now.saturating_sub(last) / 1000 >= self.wait(tries)
    }

    /// How long an answer may take, twice as long after each repetition at first. Microseconds.
    fn wait(&self, tries: u8) -> u64 {
        let first = match (self.options.timeout, self.answered()) {
            (0, false) => WAIT,
            (0, true) => self.patience().max(WAIT_LEAST),
            (seconds, _) => u32::from(seconds) * 1_000_000,
        };
        (u64::from(first) << tries.min(DOUBLED_MOST)).min(first.max(WAIT_GROWN).into())
    }
}
