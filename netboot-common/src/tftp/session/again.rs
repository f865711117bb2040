//! What userspace, which has a clock, sends again where the program, which has none, would wait for ever: a client that never repeats what
//! it said (GRUB) waits for a DATA that was lost, or has sent an ACK that was.

use super::{Send, Session, flag};
use crate::tftp::reply::Granted;
use crate::tftp::times::{DOUBLED_MOST, FIRST_REPETITIONS, REPETITIONS, VAIN, WAIT};

/// Most clients have repeated what they said before this is over: the program answers them. Microseconds.
const WAIT_LEAST: u32 = 500_000;
/// A wait grows no further: on a path that loses much, clients get what they wait for before they give up. Microseconds.
const WAIT_GROWN: u32 = 2_000_000;

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
    #[inline(always)]
    pub fn granted(&self, size: u32) -> Granted {
        let number = |flag, number| if self.is(flag) { number } else { 0 };
        Granted {
            block_size: number(flag::BLOCK_SIZE, self.block_size()),
            timeout: self.timeout,
            transfer_size: if self.is(flag::TRANSFER_SIZE) { Some(size) } else { None },
            window_size: number(flag::WINDOW_SIZE, self.window.into()),
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
        let first = match (self.timeout, self.answered()) {
            (0, false) => WAIT,
            (0, true) => self.patience().max(WAIT_LEAST),
            (seconds, _) => u32::from(seconds) * 1_000_000,
        };
        (u64::from(first) << tries.min(DOUBLED_MOST)).min(first.max(WAIT_GROWN).into())
    }
}
