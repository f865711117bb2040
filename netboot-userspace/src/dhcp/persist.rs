//! Leases between the book and the store.

use std::net::Ipv4Addr;

use super::leases::{Entry, Key, State};
use super::tables::Plan;
use crate::store::{Lease, LeaseState};

/// The link of leases whose network is no longer configured: nobody's client is on it.
const NO_LINK: u16 = u16::MAX;

pub(super) fn from_lease(plan: &Plan, lease: Lease) -> (Key, Entry) {
    let state = match lease.state {
        LeaseState::Bound => State::Bound,
        LeaseState::Released => State::Released,
        LeaseState::Declined => State::Declined,
    };
    let Lease { ip, client, mac, expires: until, hostname, .. } = lease;
    (Key { link: link_of(plan, ip), client }, Entry { ip, mac, until, hostname, state })
}

/// Whose a lease is when `plan` comes into force.
pub(super) fn relinked(plan: &Plan, key: Key, entry: &Entry) -> Key {
    Key { link: link_of(plan, entry.ip), ..key }
}

fn link_of(plan: &Plan, ip: Ipv4Addr) -> u16 {
    plan.network_of(ip).map_or(NO_LINK, |network| plan.network(network).link)
}

pub(super) fn to_lease(key: &Key, entry: &Entry) -> Lease {
    let state = match entry.state {
        State::Offered | State::Bound => LeaseState::Bound,
        State::Released => LeaseState::Released,
        State::Declined => LeaseState::Declined,
    };
    let Entry { ip, mac, until: expires, hostname, .. } = entry.clone();
    Lease { ip, client: key.client.clone(), mac, expires, hostname, state }
}
