//! One direction of a bad network: it loses datagrams and holds others up, by a seed and by nothing else.
//!
//! The kernel's netem does the same, but not every kernel has it; here it is the same on each, and for each server.

use std::collections::VecDeque;
use std::time::Duration;

/// How long a datagram that is overtaken is held up.
pub(crate) const HELD: Duration = Duration::from_millis(2);

/// How bad it is: shares between 0 and 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quality {
    /// Of datagrams that never arrive.
    pub(crate) loss: f64,
    /// Of those that later ones overtake.
    pub(crate) reorder: f64,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Passes,
    IsLost,
    /// Give it to [`Link::hold`].
    IsHeld,
}

/// One direction, with what it holds up.
#[derive(Debug)]
pub(crate) struct Link<T> {
    quality: Quality,
    state: u64,
    held: VecDeque<(Duration, T)>,
    lost: u64,
}

impl<T> Link<T> {
    pub(crate) fn new(quality: Quality, seed: u64) -> Self {
        Self { quality, state: seed, held: VecDeque::new(), lost: 0 }
    }

    pub(crate) fn fate(&mut self) -> Fate {
        let Quality { loss, reorder } = self.quality;
        if loss == 0.0 && reorder == 0.0 {
            return Fate::Passes;
        }
        let drawn = self.draw();
        if drawn < loss {
            self.lost += 1;
            Fate::IsLost
        } else if drawn < loss + reorder {
            Fate::IsHeld
        } else {
            Fate::Passes
        }
    }

    pub(crate) fn hold(&mut self, datagram: T, now: Duration) {
        self.held.push_back((now + HELD, datagram));
    }

    /// One that was held long enough.
    pub(crate) fn due(&mut self, now: Duration) -> Option<T> {
        self.held.front().filter(|(at, _)| *at <= now)?;
        self.held.pop_front().map(|(_, datagram)| datagram)
    }

    /// How many were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// The next of the numbers that the seed stands for, from 0 up to 1 (Steele, Lea, Flood: splitmix64).
    fn draw(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
