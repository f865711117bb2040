//! One question: may this sender ask once more?

use netboot_common::limit::{Budget, RateKey};
use netboot_common::request::Request;
use netboot_common::stats::{Lane, Leave};

use crate::maps;

/// Charges the client, and the relay agent that speaks for it.
#[inline(always)]
pub fn charge(request: &Request, lane: Lane, now: u64) -> Result<(), Leave> {
    let limits = maps::limits().ok_or(Leave::NoRoom)?;
    if request.relayed() {
        admit(&limits.relay, &RateKey::relay(request.giaddr, lane), now)?;
    }
    admit(&limits.client, &RateKey::client(request.chaddr, lane), now)
}

#[inline(always)]
fn admit(budget: &Budget, key: &RateKey, now: u64) -> Result<(), Leave> {
    if budget.is_unlimited() {
        return Ok(());
    }
    let remembered = maps::rate(key);
    let even = match &remembered {
        Some(even) => **even,
        None => 0,
    };
    let next = budget.admit(even, now).ok_or(Leave::RateLimited)?;
    match remembered {
        Some(even) => *even = next,
        None => maps::remember(key, next),
    }
    Ok(())
}
