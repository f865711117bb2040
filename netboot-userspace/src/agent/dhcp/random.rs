//! Numbers that differ from machine to machine, so that machines don't act in step. Not for secrets.

use std::time::Duration;

/// Marsaglia's xorshift generator of 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        // Zero is the one state that it never leaves.
        Self(seed.max(1))
    }

    pub(super) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// From nothing up to, but not, `limit`.
    pub(super) fn below(&mut self, limit: Duration) -> Duration {
        let part = f64::from(self.next()) / (f64::from(u32::MAX) + 1.0);
        limit.mul_f64(part)
    }
}
