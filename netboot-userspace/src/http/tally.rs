//! How many of something each has, of those who have any.

use std::collections::HashMap;
use std::hash::Hash;

/// Counts by key. Nothing is kept of who has none.
#[derive(Debug)]
pub(super) struct Tally<K>(HashMap<K, u32>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// How many `key` has.
    pub(super) fn of(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, |count| *count as usize)
    }

    /// One more.
    pub(super) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// One less.
    pub(super) fn take(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }

    /// Whether nobody has any.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
