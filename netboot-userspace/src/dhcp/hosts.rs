//! Whom the inventory knows, as the lanes look them up, and the addresses that are nobody's to lease.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::machine::{Hosts, NamedHost};
use super::tables::Plan;
use crate::inventory::group::Groups;
use crate::inventory::identity::Uuid;
use crate::inventory::{Host, Snapshot};

impl Hosts {
    /// All that an inventory has, and who is in its groups.
    pub(super) fn of(plan: &mut Plan, snapshot: &Snapshot) -> Self {
        let mut hosts = entries(plan, snapshot.hosts());
        hosts.regroup(snapshot.groups());
        hosts
    }

    /// Who is no stranger for being in a group.
    pub(super) fn regroup(&mut self, groups: &Groups) {
        self.grouped_macs = groups.macs().map(|mac| mac.0).collect();
        self.grouped_uuids = groups.uuids().map(Uuid::to_wire).collect();
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
