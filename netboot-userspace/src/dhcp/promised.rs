//! For how long an address may be somebody's whom we told nothing lately: what configurations before the one in force promised, holds
//! when the lease time has become shorter.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::leases::{Entry, State};
use super::tables::Plan;
use crate::config::Subnet;

/// Subnets whose lease was longer, and until when that may matter: Unix time, seconds.
pub(super) type Outlived = Vec<(Subnet, u64)>;

impl Plan {
    /// Until when `ip` may be promised to somebody, at `now`. Unix time, seconds.
    pub(super) fn promised_until(&self, ip: Ipv4Addr, now: u64) -> u64 {
        let outlived =
            self.outlived.iter().filter(|(subnet, _)| subnet.contains(ip)).map(|(_, until)| *until);
        outlived.fold(now + self.lease_seconds(ip), u64::max)
    }

    /// It follows `before`, at `now`.
    pub(super) fn succeed(&mut self, before: &Self, now: u64) {
        let keeps = |old: &Subnet, new: &Subnet| {
            (new.network, new.prefix) == (old.network, old.prefix) && new.lease >= old.lease
        };
        let subnets = before.networks.iter().map(|network| &network.subnet);
        let shortened = subnets.filter(|old| self.networks.iter().all(|new| !keeps(old, &new.subnet)));
        let shortened = shortened.map(|old| (old.clone(), now + old.lease.as_secs()));
        let outlived = before.outlived.iter().filter(|(_, until)| *until > now).cloned();
        self.outlived = outlived.chain(shortened).collect();
    }

    /// It follows a server whose configuration nobody knows any more: each promise of its own is over when the last of the leases
    /// that it bound is.
    pub(super) fn resume<'a>(&mut self, leases: impl Iterator<Item = &'a Entry>) {
        let mut last: HashMap<u16, u64> = HashMap::new();
        for lease in leases.filter(|lease| lease.state == State::Bound) {
            let Some(network) = self.network_of(lease.ip) else { continue };
            let until = last.entry(network).or_default();
            *until = lease.until.max(*until);
        }
        let of = |(number, until)| (self.network(number).subnet.clone(), until);
        self.outlived = last.into_iter().map(of).collect();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on ends")]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use netboot_common::Mac;
    use netboot_common::limit::Limits;
    use redb::backends::InMemoryBackend;

    use super::super::leases::Key;
    use super::super::machine::tests::{OUR_MAC, OURS, config};
    use super::super::tables::{Link, Numbering};
    use super::super::{Policy, Server, persist};
    use super::*;
    use crate::config::Checked;
    use crate::inventory::change::Changed;
    use crate::inventory::entry::HostEntry;
    use crate::inventory::{Host, Snapshot};
    use crate::store::{Clock, Store};

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;
    const LEASED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
    const RESERVED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 105);
    const POLICY: Policy = Policy { serve_unknown: true, authoritative: true, limits: Limits::NONE };

    /// With this lease, in seconds.
    fn site(lease: u64) -> Checked {
        let mut config = config();
        config.interfaces.truncate(1);
        config.interfaces[0].subnets[0].lease = Duration::from_secs(lease);
        config
    }

    fn links() -> [Link; 1] {
        let (name, mac, address) = ("eth0".to_owned(), Mac(OUR_MAC), OURS.into());
        [Link { name, index: 1, mac, address, prefix: 24, mtu: 1500 }]
    }

    fn host(name: &str, mac: &str, ip: Ipv4Addr) -> Host {
        let (macs, ip) = (vec![mac.to_owned()], Some(ip.to_string()));
        HostEntry { name: name.to_owned(), macs, ip, ..Default::default() }.check("test").unwrap()
    }

    fn snapshot(hosts: Vec<Host>) -> Snapshot {
        Snapshot::new(hosts, Vec::new()).unwrap()
    }

    /// Without a socket: nobody asks it.
    fn server(lease: u64, hosts: Vec<Host>, store: Arc<Store>) -> Server {
        let mut plan = Plan::new(&site(lease), &links(), Numbering::default()).unwrap();
        plan.served.clear();
        Server::start(None, plan, POLICY, &snapshot(hosts), store, None, Arc::new(|_| {})).unwrap()
    }

    fn switch(server: &Server, lease: u64, hosts: Vec<Host>) {
        let prepared = server.prepare(&site(lease), &links(), POLICY).unwrap();
        server.switch(prepared, &snapshot(hosts)).unwrap();
    }

    fn store() -> Arc<Store> {
        Arc::new(Store::on(InMemoryBackend::new(), Clock::starting_at(NOW)).unwrap())
    }

    /// Bound just now, where a day is the lease: twice that is durable.
    fn bound() -> (Key, Entry) {
        let (mac, until) = (Mac([2, 0, 0, 0, 0, 9]), NOW + 2 * DAY);
        let (state, hostname) = (State::Bound, String::new());
        let client = [&[1][..], &mac.0[..]].concat();
        (Key { link: 0, client }, Entry { ip: LEASED, mac, until, durable: until, hostname, state })
    }

    fn until(server: &Server, ip: Ipv4Addr) -> (State, u64) {
        let machine = server.shared.machine();
        let (_, entry) = machine.book.at(ip).unwrap();
        (entry.state, entry.until)
    }

    #[test]
    fn a_promise_outlives_the_configuration_that_it_was_made_under() {
        let gone = Arc::new(host("gone", "52:54:00:00:00:01", RESERVED));
        let server = server(DAY, vec![(*gone).clone()], store());
        let (key, entry) = bound();
        server.shared.machine().book.restore(key, entry);
        for lease in [600, 700] {
            switch(&server, lease, vec![(*gone).clone()]);
        }
        let new = Arc::new(host("new", "52:54:00:00:00:02", LEASED));
        let removed = Changed { old: Some(gone), ..Default::default() };
        server.apply(&[removed, Changed { new: Some(new), ..Default::default() }]).unwrap();
        for (ip, state) in [(LEASED, State::Bound), (RESERVED, State::Declined)] {
            let (found, until) = until(&server, ip);
            assert_eq!(found, state);
            assert!((NOW + DAY..=NOW + DAY + 5).contains(&until), "{ip}: {until}");
        }
    }

    #[test]
    fn a_promise_outlives_the_server_that_made_it() {
        let (store, (key, entry)) = (store(), bound());
        store.put_leases(&[persist::to_lease(&key, entry, NOW)]).unwrap();
        let server = server(600, Vec::new(), store);
        switch(&server, 600, vec![host("new", "52:54:00:00:00:02", LEASED)]);
        assert_eq!(until(&server, LEASED), (State::Bound, NOW + 2 * DAY));
    }
}
