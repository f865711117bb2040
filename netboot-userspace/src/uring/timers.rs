//! Deadlines of many owners, one entry each: a deadline that moves later costs nothing until its old time comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Deadlines by token. Time is counted from the worker's start.
#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<(Duration, u64)>>);

impl Timers {
    /// Asks for `token` to be looked at when `at` comes.
    pub fn add(&mut self, at: Duration, token: u64) {
        self.0.push(Reverse((at, token)));
    }

    /// When the next entry is due.
    pub fn next(&self) -> Option<Duration> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes an entry that is due: its time and token. Its owner may find that its deadline has moved, and adds itself
    /// again.
    pub fn due(&mut self, now: Duration) -> Option<(Duration, u64)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_entries_come_in_order_of_time() {
        let mut timers = Timers::default();
        let second = Duration::from_secs(1);
        timers.add(second * 3, 30);
        timers.add(second, 10);
        assert_eq!(timers.next(), Some(second));
        assert_eq!(timers.due(Duration::ZERO), None);
        assert_eq!(timers.due(second * 5), Some((second, 10)));
        assert_eq!(timers.due(second * 5), Some((second * 3, 30)));
        assert_eq!(timers.due(second * 5), None);
    }
}
