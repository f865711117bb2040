//! Log lines that would repeat: the first is written, and then how many there were, at growing intervals and when it is over.
//! Time is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seconds until the first sum; each further one waits twice as long.
const FIRST: u64 = 60;
/// The longest that a sum waits, in seconds.
const LONGEST: u64 = 3600;
/// Seconds of silence after which it is over.
const OVER: u64 = 600;
/// How many different things are told apart. Of more at a time, only their number is written: anybody on the wire can invent a MAC.
const DIFFERENT: usize = 4096;

/// What was written of each, and when. Several threads note it.
#[derive(Debug)]
pub(super) struct Repeats<K>(Mutex<Known<K>>);

#[derive(Debug)]
struct Known<K> {
    known: HashMap<K, Run>,
    others: u64,
}

#[derive(Debug)]
struct Run {
    /// When the last line was written.
    said: u64,
    wait: u64,
    last: u64,
    unsaid: u64,
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The thing itself.
    First,
    Again(Sum),
}

/// How often it was since the last line, in how many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) seconds: u64,
}

/// What is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over<K> {
    pub(super) sums: Vec<(K, Sum)>,
    /// Of those that were not told apart.
    pub(super) others: u64,
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self(Mutex::new(Known { known: HashMap::new(), others: 0 }))
    }
}

impl<K: Eq + Hash> Repeats<K> {
    /// It happened, once more. `now`: seconds of any clock that goes forward.
    pub(super) fn note(&self, key: K, now: u64) -> Option<Line> {
        let Known { known, others } = &mut *self.known();
        if let Some(run) = known.get_mut(&key) {
            // Of two threads the one that has looked at the clock first may be here last.
            let now = now.max(run.last);
            (run.last, run.unsaid) = (now, run.unsaid + 1);
            return (now - run.said >= run.wait).then(|| Line::Again(run.say(now)));
        }
        if known.len() >= DIFFERENT {
            *others += 1;
            return None;
        }
        known.insert(key, Run { said: now, wait: FIRST, last: now, unsaid: 0 });
        Some(Line::First)
    }

    /// What is to be written where nothing happens any more. To be asked now and then.
    pub(super) fn over(&self, now: u64) -> Over<K> {
        let Known { known, others } = &mut *self.known();
        let over = known.extract_if(|_, run| now.saturating_sub(run.last) >= OVER);
        let unsaid = over.filter(|(_, run)| run.unsaid > 0);
        let sums = unsaid.map(|(key, mut run)| {
            let last = run.last;
            (key, run.say(last))
        });
        Over { sums: sums.collect(), others: std::mem::take(others) }
    }

    fn known(&self) -> MutexGuard<'_, Known<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn say(&mut self, now: u64) -> Sum {
        let sum = Sum { count: self.unsaid, seconds: now - self.said };
        *self = Self { said: now, wait: (2 * self.wait).min(LONGEST), last: now, unsaid: 0 };
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(count: u64, seconds: u64) -> Line {
        Line::Again(Sum { count, seconds })
    }

    #[test]
    fn the_first_is_written_and_then_sums_at_growing_intervals() {
        let repeats = Repeats::default();
        let lines: Vec<(u64, Line)> =
            (0..20_000).filter_map(|second| Some((second, repeats.note("a", second)?))).collect();
        let want = [
            (0, Line::First),
            (60, again(60, 60)),
            (180, again(120, 120)),
            (420, again(240, 240)),
            (900, again(480, 480)),
            (1860, again(960, 960)),
            (3780, again(1920, 1920)),
            (7380, again(3600, 3600)),
            (10_980, again(3600, 3600)),
            (14_580, again(3600, 3600)),
            (18_180, again(3600, 3600)),
        ];
        assert_eq!(lines, want);
    }

    #[test]
    fn what_is_over_is_summed_up_once_and_begins_anew() {
        let repeats = Repeats::default();
        for (second, key) in [(0, "a"), (1, "b"), (2, "a"), (30, "a")] {
            let first = second < 2;
            assert_eq!(repeats.note(key, second), first.then_some(Line::First));
        }
        assert_eq!(repeats.over(600), Over { sums: vec![], others: 0 }, "b was once, which was written");
        let sum = Sum { count: 2, seconds: 30 };
        assert_eq!(repeats.over(630), Over { sums: vec![("a", sum)], others: 0 });
        assert_eq!(repeats.over(700), Over { sums: vec![], others: 0 });
        assert_eq!(repeats.note("a", 700), Some(Line::First));
    }

    #[test]
    fn threads_need_not_come_in_the_order_of_their_clocks() {
        let repeats = Repeats::default();
        assert_eq!(repeats.note("a", 10), Some(Line::First));
        assert_eq!(repeats.note("a", 9), None);
        assert_eq!(repeats.over(9), Over { sums: vec![], others: 0 });
        assert_eq!(repeats.note("a", 70), Some(again(2, 60)));
    }

    #[test]
    fn a_flood_of_invented_machines_is_one_number() {
        let repeats = Repeats::default();
        let lines = (0..100_000).filter(|key| repeats.note(*key, 5).is_some()).count();
        assert_eq!(lines, DIFFERENT);
        assert_eq!(repeats.note(7, 100), Some(again(1, 95)), "who was known before still is");
        assert_eq!(repeats.over(200), Over { sums: vec![], others: 100_000 - DIFFERENT as u64 });
        repeats.over(700);
        assert_eq!(repeats.note(99_999, 701), Some(Line::First), "there is room again");
    }
}
