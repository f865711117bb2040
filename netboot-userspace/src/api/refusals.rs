//! Changes that come to nothing are recorded within bounds, so that nobody can turn the audit over with them, or push what happens out of
//! the events that are kept. Pure: the time is an argument, in seconds of any clock that does not step back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// So many of each caller in a minute.
const MOST: u64 = 10;
/// Callers that are remembered.
const CALLERS: usize = 1024;

/// Those of all callers.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<String, Minute>>);

#[derive(Debug, Default)]
struct Minute {
    number: u64,
    count: u64,
    untold: u64,
}

impl Refusals {
    /// One more of `who`: how many were not told since the last that was, if this one is to be.
    pub(super) fn one_more(&self, who: &str, now: u64) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= CALLERS {
            all.retain(|_, minute| minute.number == now / 60);
        }
        let minute = all.entry(who.to_owned()).or_default();
        if minute.number != now / 60 {
            (minute.number, minute.count) = (now / 60, 0);
        }
        if minute.count >= MOST {
            minute.untold += 1;
            return None;
        }
        minute.count += 1;
        Some(std::mem::take(&mut minute.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_each_caller_are_told_in_a_minute_and_the_others_counted() {
        let refusals = Refusals::default();
        (0..MOST).for_each(|_| assert_eq!(refusals.one_more("a", 70), Some(0)));
        (0..500).for_each(|_| assert_eq!(refusals.one_more("a", 119), None));
        assert_eq!(refusals.one_more("b", 119), Some(0));
        assert_eq!(refusals.one_more("a", 120), Some(500));
        assert_eq!(refusals.one_more("a", 120), Some(0));
    }
}
