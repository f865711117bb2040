//! How a window leaves: whole, or in parts. Pure.
//!
//! A client with few receive buffers, or a slow line with a short queue before it, loses the end of what comes at once, window after window.
//! Most blocks leave more than once then, and a timeout passes now and then. Such a client gets its windows in halves, then in quarters,
//! further apart: with 16 blocks of 1468 bytes some 47 Mbit/s at most, then 12.

use std::time::Duration;

/// So many windows of which blocks were lost, with none that came whole between them, make a client slower. One block in a hundred that is
/// lost at random does not.
const LOST: u8 = 8;
/// So many that came whole, with none between them of which blocks were lost, make it faster again; twice as many each time that was in vain.
const WHOLE: u8 = 16;
const MOST_WHOLE: u8 = 128;
/// Quarters at the least.
const SLOWEST: u8 = 2;
/// Between halves; twice as long between quarters.
const GAP: Duration = Duration::from_millis(2);

/// The pace of one transfer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How often its windows are halved.
    slower: u8,
    lost: u8,
    whole: u8,
    /// Of `whole`, to be faster.
    enough: u8,
}

impl Pace {
    pub(super) const FULL: Self = Self { slower: 0, lost: 0, whole: 0, enough: WHOLE };

    /// How many blocks of a window leave at once.
    pub(super) fn part(self, window: u16) -> u16 {
        (window >> self.slower).max(1)
    }

    /// How long after them the next ones do.
    pub(super) fn gap(self) -> Duration {
        GAP * (1 << self.slower) / 2
    }

    /// How long a window takes to leave.
    pub(super) fn whole_window(self) -> Duration {
        if self.slower == 0 { Duration::ZERO } else { self.gap() * (1 << self.slower) }
    }

    /// A part of a window was acknowledged, or it had to be repeated.
    pub(super) fn lost(&mut self) {
        (self.lost, self.whole) = (self.lost + 1, 0);
        if self.lost == LOST && self.slower < SLOWEST {
            self.slower += 1;
            self.enough = self.enough.saturating_mul(2).min(MOST_WHOLE);
        }
        self.lost %= LOST;
    }

    /// All of one came at once.
    pub(super) fn whole(&mut self) {
        (self.lost, self.whole) = (0, self.whole + 1);
        if self.whole == self.enough {
            self.whole = 0;
            self.slower = self.slower.saturating_sub(1);
        }
    }

    /// Whether any window left in parts.
    pub(super) fn was_ever_slower(self) -> bool {
        self.enough > WHOLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_lose_blocks_slow_a_client_and_those_that_come_whole_make_it_faster() {
        let mut pace = Pace::FULL;
        let mut parts = Vec::new();
        for _ in 0..5 {
            (0..LOST - 1).for_each(|_| pace.lost());
            parts.push(pace.part(16));
            pace.lost();
        }
        assert_eq!(parts, [16, 8, 4, 4, 4]);
        assert_eq!((pace.part(2), pace.part(1)), (1, 1));
        for (times, part) in [(63, 4), (1, 8), (63, 8), (1, 16), (255, 16)] {
            (0..times).for_each(|_| pace.whole());
            assert_eq!(pace.part(16), part);
        }
        assert!(pace.was_ever_slower());
        // Faster was in vain each time: that is tried more and more seldom.
        for enough in [128, 128] {
            (0..LOST).for_each(|_| pace.lost());
            (0..enough - 1).for_each(|_| pace.whole());
            assert_eq!(pace.part(16), 8);
            pace.whole();
            assert_eq!(pace.part(16), 16);
        }
    }

    #[test]
    fn who_gets_whole_windows_in_between_is_slowed_by_none_that_loses_blocks() {
        let mut pace = Pace::FULL;
        for _ in 0..100 {
            (1..LOST).for_each(|_| pace.lost());
            pace.whole();
        }
        assert_eq!((pace.part(16), pace.was_ever_slower()), (16, false));
    }
}
