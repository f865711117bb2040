//! Leases between the book and the store.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::leases::{Entry, Key, State};
use super::tables::Plan;
use crate::store::{self, Lease, LeaseState, Store};

/// The link of leases whose network is no longer configured: nobody's client is on it.
const NO_LINK: u16 = u16::MAX;

/// What the store kept, as it holds now. What holds for longer after a reboot is written anew.
pub(super) fn restore(plan: &Plan, store: &Store) -> Result<Vec<(Key, Entry)>, store::Error> {
    let (mut leases, clock) = (store.leases()?, store.clock());
    let longer = if clock.resumed {
        Vec::new()
    } else {
        store::carry_over(&mut leases, clock.now(), |lease| plan.lease_seconds(lease.ip))
    };
    let mut entries: Vec<(Key, Entry)> = leases.into_iter().map(|lease| from_lease(plan, lease)).collect();
    if let Err(error) = store.put_leases(&longer) {
        tracing::error!(%error, "DHCP: leases of before the reboot hold for longer, but not durably so");
        let unwritten: HashSet<Ipv4Addr> = longer.iter().map(|lease| lease.ip).collect();
        entries.iter_mut().filter(|(_, e)| unwritten.contains(&e.ip)).for_each(|(_, e)| e.durable = 0);
    }
    Ok(entries)
}

pub(super) fn from_lease(plan: &Plan, lease: Lease) -> (Key, Entry) {
    let state = match lease.state {
        LeaseState::Bound => State::Bound,
        LeaseState::Released => State::Released,
        LeaseState::Declined => State::Declined,
    };
    let Lease { ip, client, mac, expires: until, hostname, .. } = lease;
    let durable = if state == State::Bound { until } else { 0 };
    (Key { link: link_of(plan, ip), client }, Entry { ip, mac, until, durable, hostname, state })
}

/// Whose a lease is when `plan` comes into force.
pub(super) fn relinked(plan: &Plan, key: Key, entry: &Entry) -> Key {
    Key { link: link_of(plan, entry.ip), ..key }
}

fn link_of(plan: &Plan, ip: Ipv4Addr) -> u16 {
    plan.network_of(ip).map_or(NO_LINK, |network| plan.network(network).link)
}

/// `now`: Unix time, seconds.
pub(super) fn to_lease(key: &Key, entry: Entry, now: u64) -> Lease {
    let state = match entry.state {
        State::Offered | State::Bound => LeaseState::Bound,
        State::Released => LeaseState::Released,
        State::Declined => LeaseState::Declined,
    };
    let Entry { ip, mac, until: expires, hostname, .. } = entry;
    Lease { ip, client: key.client.clone(), mac, written: now, expires, hostname, state }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netboot_common::Mac;

    fn lease(last: u8, written: u64, expires: u64, state: LeaseState) -> Lease {
        let mac = Mac([2, 0, 0, 0, 0, last]);
        Lease {
            ip: [10, 0, 0, last].into(),
            client: vec![last],
            mac,
            written,
            expires,
            hostname: "n".into(),
            state,
        }
    }

    #[test]
    fn after_a_reboot_what_was_held_is_held_for_one_more_lease_and_what_was_over_is_over() {
        use LeaseState::{Bound, Declined, Released};
        let before = [
            lease(1, 1000, 8200, Bound),
            lease(2, 500, 900, Bound),
            lease(3, 900, 4500, Declined),
            lease(4, 1000, 1000, Released),
        ];
        let expiries = |now| {
            let mut leases = before.to_vec();
            let changed = store::carry_over(&mut leases, now, |_| 3600);
            let differ =
                leases.iter().zip(&before).filter(|(new, old)| new != old).map(|(new, _)| new.clone());
            assert_eq!(changed, differ.collect::<Vec<_>>(), "all of those that changed are written");
            leases.iter().map(|lease| lease.expires).collect::<Vec<_>>()
        };
        assert_eq!(expiries(1010), [8200, 900, 4610, 1000]);
        assert_eq!(expiries(7000), [10_600, 900, 10_600, 1000]);
        assert_eq!(expiries(1 << 40), [(1 << 40) + 3600, 900, (1 << 40) + 3600, 1000]);
        // The clock went back before all of it: as much is left as was left.
        assert_eq!(expiries(100), [7300, 500, 3700, 1000]);
    }
}
