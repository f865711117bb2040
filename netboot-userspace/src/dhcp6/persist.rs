//! Leases between the book and the store.

use super::leases::{Entry, Holder, State};
use super::tables::Plan;
use crate::store::{self, Lease6, LeaseState, Store};

/// What the store kept, as it holds now. What holds for longer after a reboot is written anew.
pub(super) fn restore(plan: &Plan, store: &Store) -> Result<Vec<(Holder, Entry)>, store::Error> {
    let (mut leases, clock) = (store.leases6()?, store.clock());
    if !clock.resumed {
        let longer = store::carry_over(&mut leases, clock.now(), |lease| plan.lease_seconds(lease.ip));
        if let Err(error) = store.put_leases6(&longer) {
            // Nothing is promised by it: each Renew is a commit of its own.
            tracing::error!(%error, "DHCPv6: leases of before the reboot hold for longer, but not durably so");
        }
    }
    Ok(leases.into_iter().map(from_lease).collect())
}

fn from_lease(lease: Lease6) -> (Holder, Entry) {
    let state = match lease.state {
        LeaseState::Bound => State::Bound,
        LeaseState::Released => State::Released,
        LeaseState::Declined => State::Declined,
    };
    let Lease6 { ip, client: duid, iaid, mac, expires: until, hostname, .. } = lease;
    (Holder { duid, iaid }, Entry { ip, mac, until, hostname, state })
}

/// `now`: Unix time, seconds.
pub(super) fn to_lease((holder, entry): (Holder, Entry), now: u64) -> Lease6 {
    let state = match entry.state {
        State::Offered | State::Bound => LeaseState::Bound,
        State::Released => LeaseState::Released,
        State::Declined => LeaseState::Declined,
    };
    let Holder { duid: client, iaid } = holder;
    let Entry { ip, mac, until: expires, hostname, .. } = entry;
    Lease6 { ip, client, iaid, mac, written: now, expires, hostname, state }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on ends")]
mod tests {
    use std::net::Ipv6Addr;
    use std::sync::Arc;

    use redb::backends::InMemoryBackend;

    use super::super::Server;
    use super::super::leases::Pool;
    use super::super::tests::Site;
    use super::*;
    use crate::inventory::Snapshot;
    use crate::store::Clock;

    const LEASE: u64 = 3600;
    const YEARS: u64 = 10 * 365 * 86_400;
    /// When the lease was written by the boot before.
    const BEFORE: u64 = 1_800_000_000;

    fn bound() -> (Holder, Entry) {
        let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);
        let entry =
            Entry { ip, mac: None, until: BEFORE + LEASE, hostname: String::new(), state: State::Bound };
        (Holder { duid: vec![0, 4, 1], iaid: 1 }, entry)
    }

    /// When the lease is over, by the store and by the book, once a server has started at `now`.
    fn ends(now: u64, resumed: bool) -> [u64; 2] {
        let mut clock = Clock::starting_at(now);
        clock.resumed = resumed;
        let store = Arc::new(Store::on(InMemoryBackend::new(), clock).unwrap());
        store.put_leases6(&[to_lease(bound(), BEFORE)]).unwrap();
        let mut plan = Site::new().machine.plan;
        // Nothing listens: what it has restored is all that is asked for.
        plan.served.clear();
        let none = Snapshot::new(Vec::new(), Vec::new()).unwrap();
        let server = Server::start(plan, true, &none, store.clone(), Arc::new(|_| {})).unwrap();
        let (holder, entry) = bound();
        let pool = Pool { first: entry.ip, last: entry.ip };
        let until = server.shared.machine().book.of(&holder, pool).unwrap().until;
        [store.leases6().unwrap()[0].expires, until]
    }

    #[test]
    fn no_clock_of_a_new_boot_ends_a_lease_of_dhcpv6() {
        for now in [BEFORE - YEARS, BEFORE + YEARS] {
            for ends in ends(now, false) {
                assert!((now + LEASE..=now + LEASE + 5).contains(&ends), "{now}: {ends}");
            }
        }
        assert_eq!(ends(BEFORE + YEARS, true), [BEFORE + LEASE; 2], "the same boot: its clock is right");
    }
}
