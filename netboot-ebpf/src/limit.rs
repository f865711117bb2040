//! One question: may this sender ask once more?
//!
//! A host that is answered here has its budget in its own entry. What goes up to userspace is charged to the sender, and to the
//! relay agent that speaks for it, among those that were heard last: strangers cost reservations nothing.

use netboot_common::limit::{Budget, Limits, RateKey};
use netboot_common::request::Request;
use netboot_common::stats::{Lane, Leave};

use crate::maps::{self, Host};

/// Charges a host for its answer, and the relay agent that speaks for it.
#[inline(always)]
pub fn charge(host: &mut Host, request: &Request, lane: Lane, ifindex: u32) -> Result<(), Leave> {
    let Some(limits) = maps::limits() else { return Ok(()) };
    if !limits.client.is_unlimited() {
        match limits.client.admit(host.even(), maps::now()) {
            Some(even) => host.set_even(even),
            None => return Err(over(lane, ifindex)),
        }
    }
    if request.relayed() && netboot_charge(lane as u32, 0) != 0 {
        return Err(over(lane, ifindex));
    }
    Ok(())
}

/// Charges a request that is left to userspace for `leave`.
#[inline(always)]
pub fn pass_up(lane: Lane, ifindex: u32, leave: Leave) -> Leave {
    if netboot_charge(lane as u32, 1) == 0 { leave } else { over(lane, ifindex) }
}

/// Drops what is over its budget; userspace hears of some of it.
#[inline(always)]
fn over(lane: Lane, ifindex: u32) -> Leave {
    netboot_drop(lane as u32, ifindex);
    Leave::RateLimited
}

/// 0: the relay agent that sent the request that this CPU works on is within its budget, and with `client` its client is, too.
// VERIFIER (6.18, 2026-11): as a part of the caller its branches multiply with all those behind it: "Processed 1000001 insn". A
// global function is verified by itself, and what it returns is one number. Without it no program loads: every test of
// tests/kernel.
#[unsafe(no_mangle)]
#[inline(never)]
#[allow(unsafe_code, reason = "its name must stay, for the kernel to take it for a global function")]
pub extern "C" fn netboot_charge(lane: u32, client: u32) -> u32 {
    let Some(lane) = Lane::from_byte(lane as u8) else { return 0 };
    let (Some(limits), Some(work)) = (maps::limits(), maps::work(lane)) else { return 0 };
    let (request, now) = (&work.request, maps::now());
    // The client first: one that is over its own budget takes nothing from those behind the same relay agent.
    if client != 0 && admit(&limits.client, &RateKey::client(request.chaddr, lane), now).is_err() {
        return 1;
    }
    let relay = RateKey::relay(request.giaddr, lane);
    u32::from(request.relayed() && admit(&limits.relay, &relay, now).is_err())
}

/// Tells userspace of the request that this CPU works on, unless it has heard of many.
#[unsafe(no_mangle)]
#[inline(never)]
#[allow(unsafe_code, reason = "as for netboot_charge")]
pub extern "C" fn netboot_drop(lane: u32, ifindex: u32) -> u32 {
    let Some(lane) = Lane::from_byte(lane as u8) else { return 0 };
    let Some(work) = maps::work(lane) else { return 0 };
    if admit(&Limits::DROPS, &RateKey::drops(lane), maps::now()).is_ok() {
        maps::tell_dropped(lane, ifindex, &work.request);
    }
    0
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
