//! The clock that leases live by: it goes on evenly, whatever becomes of the wall clock.
//!
//! While a machine runs, `CLOCK_BOOTTIME` is the judge: the wall clock is asked once in each boot, by the first netboot, and
//! what it said is kept, so that those that follow count on from there. Only over a reboot nothing but the wall clock is left,
//! and it may be wrong by years: then [`carry_over`] ends no lease that somebody may still rely on.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What tells one boot of this machine from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Seconds since 1970, by the wall clock of the first start in this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Unix time when `CLOCK_BOOTTIME` was 0.
    origin: i64,
    /// The leases that the store has are by this clock.
    pub resumed: bool,
}

/// A clock as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    boot: String,
    origin: i64,
}

impl Clock {
    /// Goes on with `kept`, where that is of this boot; else begins anew, with what is to be kept then.
    pub(super) fn resume(kept: Option<Kept>) -> (Self, Option<Kept>) {
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        match kept {
            Some(kept) if !boot.is_empty() && kept.boot == boot => {
                (Self { origin: kept.origin, resumed: true }, None)
            }
            _ => {
                let origin = wall().saturating_sub_unsigned(since_boot());
                (Self { origin, resumed: false }, Some(Kept { boot, origin }))
            }
        }
    }

    /// A clock that says `unix` now.
    #[cfg(test)]
    pub(crate) fn starting_at(unix: u64) -> Self {
        Self { origin: (unix - since_boot()) as i64, resumed: true }
    }

    /// Unix time, seconds.
    pub fn now(&self) -> u64 {
        self.at(since_boot())
    }

    /// Unix time when `CLOCK_BOOTTIME` is so many seconds.
    pub fn at(&self, since_boot: u64) -> u64 {
        u64::try_from(self.origin.saturating_add_unsigned(since_boot)).unwrap_or(0)
    }
}

/// Seconds of `CLOCK_BOOTTIME`.
pub fn since_boot() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0)
}

fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A record of the store whose end the clock tells.
pub trait Dated: Sized {
    /// Unix time, seconds: when it was put down; 0: nobody knows.
    fn written(&self) -> u64;
    /// Unix time, seconds; `None`: it is over whatever the clock says.
    fn ends(&self) -> Option<u64>;
    fn with_dates(&self, written: u64, ends: u64) -> Self;
}

/// Brings leases of an earlier boot to the clock of this one, where it is `now`. Those that changed.
///
/// `seconds`: for how long a client is promised this address.
pub fn carry_over<L: Dated + Clone>(leases: &mut [L], now: u64, seconds: impl Fn(&L) -> u64) -> Vec<L> {
    let last = leases.iter().map(L::written).filter(|written| *written <= now).max().unwrap_or(0);
    let mut changed = Vec::new();
    for lease in leases {
        let Some(ends) = lease.ends() else { continue };
        let carried = ends_after(lease.written(), ends, last, now, seconds(lease));
        if carried != ends {
            *lease = lease.with_dates(now, carried);
            changed.push(lease.clone());
        }
    }
    changed
}

/// When a lease is over that was written at `written` by the clock of an earlier boot, and was to be over at `expires`.
///
/// `last`: the latest time in the store's records that is not after `now`: what was over then is over. `lease`: for how long
/// clients are promised an address, seconds: nobody was promised more than that when the machine went down.
fn ends_after(written: u64, expires: u64, last: u64, now: u64, lease: u64) -> u64 {
    if written > now {
        // The clock went back: as much is left as was left when it was written.
        return now.saturating_add(expires.saturating_sub(written));
    }
    // The machine was off for as long as the clock says, or for a moment, and the clock leapt.
    if expires > last { expires.max(now.saturating_add(lease)) } else { expires }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_within_a_boot_and_begins_anew_in_another() {
        let (first, kept) = Clock::resume(None);
        assert!(!first.resumed && kept.is_some());
        assert!(first.now().abs_diff(wall().unsigned_abs()) <= 1);
        // Whatever the wall clock says now: it is not asked.
        let kept = kept.map(|kept| Kept { origin: kept.origin - 3600, ..kept });
        let (next, rest) = Clock::resume(kept.clone());
        assert!(next.resumed && rest.is_none());
        assert!((first.now() - next.now()).abs_diff(3600) <= 1);
        let other = kept.map(|kept| Kept { boot: "another".into(), ..kept });
        assert!(!Clock::resume(other).0.resumed);
        assert_eq!(Clock { origin: -5, resumed: true }.at(3), 0, "before 1970");
    }

    #[test]
    fn no_clock_of_a_new_boot_ends_a_lease_that_somebody_relies_on() {
        const DAY: u64 = 86_400;
        const HOUR: u64 = 3600;
        let last = 1_800_000_000;
        // Written five minutes before the power went, for two hours.
        let (written, expires) = (last - 300, last - 300 + 2 * HOUR);
        for years in [0, 1, 10] {
            for leap in [1, 60, HOUR, DAY, 365 * DAY * years] {
                let later = ends_after(written, expires, last, last + leap, HOUR);
                assert!(later >= last + leap + HOUR, "{leap} s later: {later}");
                let Some(before) = written.checked_sub(leap) else { continue };
                assert_eq!(ends_after(written, expires, last.min(before), before, HOUR), before + 2 * HOUR);
            }
        }
        assert_eq!(ends_after(written, last - 1, last, last + DAY, HOUR), last - 1, "it was over before");
        assert_eq!(ends_after(written, expires, last, last, HOUR), expires, "no time has passed");
    }
}
