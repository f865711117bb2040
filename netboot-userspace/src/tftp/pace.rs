//! How a window leaves: whole, or in parts. Pure.
//!
//! A client with few receive buffers, or a slow line with a short queue before it, loses the end of what comes at once, window after window.
//! Most blocks leave more than once then, and a timeout passes now and then. Such a client gets its windows in halves, then in quarters,
//! further apart: with 16 blocks of 1468 bytes some 47 Mbit/s at most, then 12.

use std::time::Duration;

/// So many windows of which blocks were lost, with none that came whole between them, make a client slower. With windows of 16, one block
/// in a hundred that is lost at random does not.
const LOST: u8 = 8;
/// So many that came whole, with none between them of which blocks were lost, make it faster again; each time twice as many.
const WHOLE: u8 = 64;
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
    was_slower: bool,
}

impl Pace {
    pub(super) const FULL: Self = Self { slower: 0, lost: 0, whole: 0, enough: WHOLE, was_slower: false };

    /// How many blocks of a window leave at once.
    pub(super) fn part(self, window: u16) -> u16 {
        window.div_ceil(1 << self.slower)
    }

    /// How long after them the next ones do.
    pub(super) fn gap(self) -> Duration {
        GAP * (1 << self.slower) / 2
    }

    /// How long it is from the first part of a window to its last.
    pub(super) fn of_a_window(self) -> Duration {
        self.gap() * ((1 << self.slower) - 1)
    }

    /// Whether the last window came at once, and whole.
    pub(super) fn came_whole(self) -> bool {
        self.whole > 0
    }

    /// A part of a window was acknowledged, or it had to be repeated.
    pub(super) fn lost(&mut self) {
        (self.lost, self.whole) = (self.lost + 1, 0);
        if self.lost == LOST && self.slower < SLOWEST {
            self.slower += 1;
            self.was_slower = true;
        }
        self.lost %= LOST;
    }

    /// All of one came at once.
    pub(super) fn whole(&mut self) {
        (self.lost, self.whole) = (0, self.whole + 1);
        if self.whole == self.enough {
            self.whole = 0;
            if self.slower > 0 {
                self.slower -= 1;
                self.enough = self.enough.saturating_mul(2);
            }
        }
    }

    /// Whether any window left in parts.
    pub(super) fn was_ever_slower(self) -> bool {
        self.was_slower
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
        let parts = [1, 2, 3, 5, 7, 15, u16::MAX].map(|window| pace.part(window));
        assert_eq!(parts, [1, 1, 1, 2, 2, 4, 16_384], "four at most");
        for (times, part) in [(63, 4), (1, 8), (127, 8), (1, 16), (255, 16)] {
            (0..times).for_each(|_| pace.whole());
            assert_eq!(pace.part(16), part);
        }
        assert!(pace.was_ever_slower());
        // It is tried more and more seldom.
        for enough in [255, 255] {
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
