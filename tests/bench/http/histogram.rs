//! How long things took: counts by duration, in steps of 1/64 of it, so that millions take no room and hardly any time.

use std::time::Duration;

/// Steps in each doubling, as a power of two.
const FINE: u32 = 6;
/// Durations up to 2^42 ns, more than an hour.
const DOUBLINGS: u32 = 42;

#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    largest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; place(1 << DOUBLINGS) + 1], largest: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, taken: Duration) {
        let nanoseconds = u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX);
        self.counts[place(nanoseconds.min(1 << DOUBLINGS))] += 1;
        self.largest = self.largest.max(nanoseconds);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.largest = self.largest.max(other.largest);
    }

    /// The duration that this share of all did not exceed, in microseconds; nothing if there are none.
    pub(crate) fn microseconds(&self, share: f64) -> Option<f64> {
        let all: u64 = self.counts.iter().sum();
        let rank = ((all as f64 * share).ceil() as u64).clamp(1, all.max(1));
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(last(place).min(self.largest) as f64 / 1000.0)
    }

    pub(crate) fn largest_microseconds(&self) -> f64 {
        self.largest as f64 / 1000.0
    }
}

/// Where a duration is counted: exact below 64, then in 64 steps a doubling.
fn place(value: u64) -> usize {
    let doubling = (u64::BITS - 1 - (value | 1).leading_zeros()).saturating_sub(FINE);
    let step = value >> doubling;
    ((u64::from(doubling) << FINE) + step) as usize
}

/// The longest duration that is counted there.
fn last(place: usize) -> u64 {
    let place = place as u64;
    let doubling = (place >> FINE).saturating_sub(1);
    let step = place - (doubling << FINE);
    ((step + 1) << doubling) - 1
}
