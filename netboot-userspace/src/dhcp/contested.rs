//! Addresses that the inventory gives to a host while they are another machine's lease. A lease can't be called back: it is not
//! renewed any more, and the host waits until it is over. Until then the host is as one without an address.
//!
//! What the kernel's lanes must not promise any more is told here, too.

use std::net::Ipv4Addr;

use netboot_common::Mac;
use netboot_common::maps::{HostKey, HostValue};

use super::leases::{Entry, Key};
use super::machine::{Machine, Now};
use crate::fastpath::Change;

/// Finds those of these hosts whose address is somebody else's lease: the kernel's lanes must not know them. Answers the leases
/// that end, which the kernel's lanes must not renew.
pub(super) fn withhold<'a>(
    machine: &mut Machine,
    hosts: impl Iterator<Item = (&'a HostKey, &'a HostValue)>,
    now: Now,
) -> Vec<(Mac, Ipv4Addr)> {
    let mut ended = Vec::new();
    for (key, host) in hosts {
        let ip = Ipv4Addr::from(host.yiaddr);
        let Some((_, lease)) = machine.book.leased(ip, now.unix) else { continue };
        let holder = lease.mac;
        if holder == Mac(key.mac) {
            continue;
        }
        tracing::warn!(%ip, host = %Mac(key.mac), %holder, "DHCP: the host's address is leased: it waits until that is over");
        machine.withheld.insert(*key);
        // What was promised last, may have been promised just now.
        let until = machine.plan.promised_until(ip, now.unix);
        ended.extend(machine.book.end_by(ip, until).map(|mac| (mac, ip)));
    }
    ended
}

/// Keeps an address of a pool, which was reserved for `mac` until now, from being leased while it may be in use. What is to be
/// stored.
pub(super) fn hold(machine: &mut Machine, ip: Ipv4Addr, mac: Mac, now: Now) -> Option<(Key, Entry)> {
    let until = machine.plan.promised_until(ip, now.unix);
    machine.book.hold(ip, mac, now.unix, until)
}

impl Machine {
    /// What takes a lease of this MAC out of the kernel's table: back to what the inventory says of it, if anything.
    pub(super) fn withdrawal(&self, mac: Mac, ip: Ipv4Addr) -> impl Iterator<Item = Change> {
        self.plan.keys(mac).map(move |key| {
            let known = self.hosts.by_mac.get(&key).filter(|_| !self.withheld.contains(&key));
            Change::Withdraw { key, ip, instead: known.copied() }
        })
    }
}
