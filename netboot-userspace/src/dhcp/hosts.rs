//! Whom the inventory knows, as the lanes look them up, and the addresses that are nobody's to lease.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use netboot_common::Mac;
use netboot_common::maps::{HostKey, HostValue};

use super::machine::{Hosts, NamedHost};
use super::tables::Plan;
use crate::inventory::group::Grouped;
use crate::inventory::labels::Heard;
use crate::inventory::{Host, Snapshot};

impl Hosts {
    /// All that an inventory has, and who is in its groups.
    pub(super) fn of(plan: &mut Plan, snapshot: &Snapshot) -> Self {
        plan.place_by(snapshot.groups());
        let hosts = entries(plan, snapshot.hosts());
        Self { grouped: Grouped::of(snapshot.groups()), ..hosts }
    }

    /// Takes out what there is of these.
    pub(super) fn take<'a>(&mut self, plan: &Plan, hosts: impl Iterator<Item = &'a Arc<Host>>) -> Self {
        let mut taken = Self::default();
        for host in hosts {
            let keys = host.macs.iter().flat_map(|mac| plan.keys(*mac));
            taken.by_mac.extend(keys.filter_map(|key| self.by_mac.remove_entry(&key)));
            let client_id = host.client_id.as_ref();
            taken.by_client_id.extend(client_id.and_then(|id| self.by_client_id.remove_entry(&id.0)));
            taken.by_uuid.extend(host.uuid.and_then(|uuid| self.by_uuid.remove_entry(&uuid.to_wire())));
            let circuit = host.circuit.as_ref();
            taken.by_circuit.extend(circuit.and_then(|circuit| self.by_circuit.remove_entry(&circuit.0)));
        }
        taken
    }

    /// What the kernel's lanes may say to who has leased `ip` and is known by this key. `None`: more of a message than its MAC says
    /// what its sender is to be told.
    pub(super) fn lesson(&self, plan: &mut Plan, key: &HostKey, ip: Ipv4Addr) -> Option<HostValue> {
        // Where hosts are known by more than their MAC, such a host may ask as one: userspace looks.
        let known = match self.by_mac.get(key) {
            _ if self.are_named() => return None,
            Some(known) => *known,
            None if plan.placing().hear_more_than_macs() => return None,
            None => plan.stranger_in_group(Heard::by_mac(Mac(key.mac))),
        };
        plan.lease_value(ip, &known)
    }
}

/// Hosts, by each of their identities.
pub(super) fn entries<'a>(plan: &mut Plan, of: impl Iterator<Item = &'a Arc<Host>>) -> Hosts {
    let mut hosts = Hosts::default();
    for host in of {
        let entries = plan.host_entries(host);
        hosts.by_mac.extend(entries);
        if host.client_id.is_none() && host.uuid.is_none() && host.circuit.is_none() {
            continue;
        }
        let Ok(value) = plan.host_value(host) else { continue };
        let named = NamedHost { value, name: host.name.as_str().into() };
        hosts.by_client_id.extend(host.client_id.as_ref().map(|id| (id.0.clone(), named.clone())));
        hosts.by_uuid.extend(host.uuid.map(|uuid| (uuid.to_wire(), named.clone())));
        hosts.by_circuit.extend(host.circuit.as_ref().map(|circuit| (circuit.0.clone(), named)));
    }
    hosts
}

/// Addresses that are nobody's to lease: reservations, routers, our own.
pub(super) fn taken(plan: &Plan, snapshot: &Snapshot) -> HashSet<Ipv4Addr> {
    let mut taken = fixed(plan);
    taken.extend(snapshot.hosts().filter_map(|host| host.ip));
    taken
}

/// Those of them that are no reservations.
pub(super) fn fixed(plan: &Plan) -> HashSet<Ipv4Addr> {
    let routers = plan.networks.iter().filter_map(|network| network.subnet.router);
    routers.chain(plan.served.iter().map(|served| served.link.address)).collect()
}
