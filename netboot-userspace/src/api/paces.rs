//! How fast the holder of a token may change things: each change is a record that is synced, and pushes an older one out of the audit in
//! the end. Pure: the time is an argument, in nanoseconds of any clock that does not step back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use netboot_common::limit::Budget;

/// A thousand at once, and then so many in a second; a batch (`POST /changes`) is one.
const CHANGES: Budget = Budget::new(20, 1000);
/// When somebody who is over it may ask again, in seconds.
pub(super) const WAIT: u64 = 1;
/// Holders that are remembered.
const HOLDERS: usize = 1024;

/// Those of all holders.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<HashMap<String, u64>>);

impl Paces {
    /// Whether `who` may make one more change.
    pub(super) fn admit(&self, who: &str, now: u64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let even = all.get(who).copied().unwrap_or_default();
        let Some(next) = CHANGES.admit(even, now) else { return false };
        if all.len() >= HOLDERS {
            all.retain(|_, even| *even > now);
        }
        all.insert(who.to_owned(), next);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_changes_of_a_holder_pass_at_once_and_then_twenty_in_a_second() {
        let (paces, second) = (Paces::default(), 1_000_000_000);
        let passed = |who: &str, now| (0..5000).take_while(|_| paces.admit(who, now)).count();
        assert_eq!((passed("token a", second), passed("token b", second)), (1000, 1000));
        assert_eq!((passed("token a", second), passed("token a", 2 * second)), (0, 20));
        assert_eq!(passed("token a", 3600 * second), 1000);
        (0..3000).for_each(|number| assert!(paces.admit(&format!("token {number}"), 7200 * second)));
        assert_eq!(passed("token b", 7200 * second), 1000);
    }
}
