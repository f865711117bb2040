//! The clock on the wall.

use std::time::{SystemTime, UNIX_EPOCH};

/// A clock that shows an earlier time was never set (2020-01-01).
const SET: i64 = 1_577_836_800;

/// Whether a clock that shows this Unix time, in seconds, was ever set: until then nothing is dated by it (RFC 9110 section 6.6.1).
pub fn is_set(seconds: i64) -> bool {
    seconds >= SET
}

/// Unix time, seconds; `None` while the clock was never set.
pub fn known() -> Option<i64> {
    i64::try_from(now()).ok().filter(|seconds| is_set(*seconds))
}

/// Unix time, seconds; 0 while the clock stands before 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same, milliseconds.
pub fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
