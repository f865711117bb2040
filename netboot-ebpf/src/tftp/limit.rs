//! Of requests that their clients have not acknowledged, so many: of each address, and of all together. What is over it is userspace's.

use netboot_common::limit::{Budget, RateKey};
use netboot_common::tftp::maps::Serving;
use netboot_common::tftp::stats::Leave;

use crate::maps;

/// One more request from this address. The client first: one that is over its own budget takes nothing from all.
#[inline(always)]
pub fn charge(serving: &Serving, address: [u8; 4], now: u64) -> Result<(), Leave> {
    let own = RateKey::requests(address);
    if !admit(&serving.requests, &own, now) {
        return Err(Leave::RateLimited);
    }
    if !admit(&serving.all_requests, &RateKey::all_requests(), now) {
        even_out(&serving.requests, &own);
        return Err(Leave::RateLimited);
    }
    Ok(())
}

/// It has acknowledged one.
#[inline(always)]
pub fn give_back(serving: &Serving, address: [u8; 4]) {
    even_out(&serving.requests, &RateKey::requests(address));
    even_out(&serving.all_requests, &RateKey::all_requests());
}

#[inline(always)]
fn admit(budget: &Budget, key: &RateKey, now: u64) -> bool {
    if budget.is_unlimited() {
        return true;
    }
    let remembered = maps::rate(key);
    let even = match &remembered {
        Some(even) => **even,
        None => 0,
    };
    let Some(next) = budget.admit(even, now) else { return false };
    match remembered {
        Some(even) => *even = next,
        None => maps::remember(key, next),
    }
    true
}

#[inline(always)]
fn even_out(budget: &Budget, key: &RateKey) {
    if let Some(even) = maps::rate(key) {
        *even = budget.give_back(*even);
    }
}
