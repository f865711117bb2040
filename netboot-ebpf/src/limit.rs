//! One question: may this sender ask once more?

use netboot_common::limit::{Budget, Limits, RateKey};
use netboot_common::request::Request;
use netboot_common::stats::{Lane, Leave};

use crate::maps;

/// Charges the client, and the relay agent that speaks for it.
#[inline(always)]
pub fn charge(lane: Lane, now: u64, ifindex: u32) -> Result<(), Leave> {
    if netboot_charge(lane as u32, now, ifindex) == 0 { Ok(()) } else { Err(Leave::RateLimited) }
}

/// 0: within the budgets. Looks at the request that this CPU works on. Userspace hears of those that are over them.
// VERIFIER (6.18, 2026-11): as a part of the caller its branches multiply with all those behind it: "Processed 1000001 insn". A
// global function is verified by itself, and what it returns is one number. Without it no program loads: every test of
// tests/kernel.
#[unsafe(no_mangle)]
#[inline(never)]
#[allow(unsafe_code, reason = "its name must stay, for the kernel to take it for a global function")]
pub extern "C" fn netboot_charge(lane: u32, now: u64, ifindex: u32) -> u32 {
    let Some(lane) = Lane::from_byte(lane as u8) else { return 0 };
    let (Some(limits), Some(work)) = (maps::limits(), maps::work(lane)) else { return 0 };
    let request = &work.request;
    if limits.client.is_unlimited() && limits.relay.is_unlimited() {
        return 0;
    }
    if both(limits, request, lane, now).is_ok() {
        return 0;
    }
    if admit(&Limits::DROPS, &RateKey::drops(lane), now).is_ok() {
        maps::tell_dropped(now, lane, ifindex, request);
    }
    1
}

#[inline(always)]
fn both(limits: &Limits, request: &Request, lane: Lane, now: u64) -> Result<(), Leave> {
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
