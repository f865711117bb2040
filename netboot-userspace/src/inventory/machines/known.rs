//! The records of all machines, and by what they are found. Pure: the time and the inventory are arguments.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use netboot_common::Mac;

use super::Past;
use super::strangers::Strangers;
use crate::inventory::boots::{BootId, Boots};
use crate::inventory::identity::Uuid;
use crate::inventory::observed::{Machine, Named, Observation, Shown};
use crate::inventory::{Host, Snapshot};
use crate::store::Pending;

/// Strangers that make room at once.
const AT_ONCE: usize = 256;

/// By what a machine is found.
#[derive(Debug, Default)]
pub(super) struct Keys {
    addresses: [Option<IpAddr>; 3],
    uuid: Option<Uuid>,
    names: [Option<String>; 2],
}

#[derive(Debug)]
pub(super) struct Known {
    /// How many strangers there may be.
    pub(super) room: usize,
    pub(super) by_mac: HashMap<Mac, Machine>,
    by_address: HashMap<IpAddr, Mac>,
    /// The MACs that show a UUID, and those that DHCP knows as a host.
    by_uuid: HashMap<Uuid, BTreeSet<Mac>>,
    by_name: HashMap<String, BTreeSet<Mac>>,
    /// Those whose MAC is in no host entry. Where there is no more room, those unseen for longest go, and those that boot last.
    pub(super) strangers: Strangers,
    /// When it was last looked for strangers that have become hosts.
    looked: u64,
    /// Machines whose record on the disk is older than the one here, because writing it failed.
    pub(super) unwritten: HashSet<Mac>,
    /// What machines said that are not remembered yet.
    pub(super) said: HashMap<Mac, BTreeMap<String, String>>,
    /// What was asked of the disk for observations that nobody waits for.
    pub(super) unsettled: Vec<(Mac, Pending)>,
    /// Of machines that are remembered, and no others.
    pub(super) boots: Boots,
}

impl Known {
    /// Nobody, and room for so many strangers. `salt`: see [`Boots::new`].
    pub(super) fn new(room: usize, salt: u32) -> Self {
        let (by_mac, by_address, by_uuid, by_name) = Default::default();
        let (strangers, unwritten, said, unsettled) = Default::default();
        let (boots, looked) = (Boots::new(salt), 0);
        Self {
            room,
            by_mac,
            by_address,
            by_uuid,
            by_name,
            strangers,
            looked,
            unwritten,
            said,
            unsettled,
            boots,
        }
    }

    /// Takes in a record of the store.
    pub(super) fn restore(&mut self, mac: Mac, machine: Machine, inventory: &Snapshot) {
        if inventory.host_by_mac(mac).is_none() {
            self.strangers.put(mac, Some(&machine));
        }
        // What we gave is surer than where another came from.
        if let Some(address) = machine.asked_from {
            self.by_address.entry(address).or_insert(mac);
        }
        self.by_address.extend(machine.addresses().map(|address| (address, mac)));
        self.by_mac.insert(mac, machine);
        self.index_names(mac, &Keys::default());
    }

    /// By what the machine is found.
    pub(super) fn keys(&self, mac: Mac) -> Keys {
        self.by_mac.get(&mac).map(Keys::of).unwrap_or_default()
    }

    /// Makes the record findable by what was seen last, and by nothing that it has no more.
    pub(super) fn index(&mut self, mac: Mac, before: &Keys, seen: &Observation) {
        let has = self.keys(mac);
        for address in before.addresses.iter().flatten().filter(|old| !has.addresses.contains(&Some(**old))) {
            self.leave_address(*address, mac);
        }
        let address = match seen {
            Observation::Dhcp { ip, .. } => *ip,
            Observation::Script { shown, .. } => shown.peer,
            _ => None,
        };
        self.by_address.extend(address.map(|address| (address, mac)));
        // What the kernel answers tells no names; and it is the most.
        if !matches!(seen, Observation::Dhcp { named: Named::Unasked, .. }) {
            self.index_names(mac, before);
        }
    }

    fn index_names(&mut self, mac: Mac, before: &Keys) {
        let has = self.keys(mac);
        if has.uuid != before.uuid {
            leave(&mut self.by_uuid, before.uuid.as_ref(), mac);
            if let Some(uuid) = has.uuid {
                self.by_uuid.entry(uuid).or_default().insert(mac);
            }
        }
        if has.names != before.names {
            before.names.iter().for_each(|name| leave(&mut self.by_name, name.as_ref(), mac));
            for name in has.names.into_iter().flatten() {
                self.by_name.entry(name).or_default().insert(mac);
            }
        }
    }

    fn leave_address(&mut self, address: IpAddr, mac: Mac) {
        if self.by_address.get(&address) == Some(&mac) {
            self.by_address.remove(&address);
        }
    }

    /// Puts a stranger where its record says by now.
    pub(super) fn rank(&mut self, mac: Mac) {
        if self.strangers.contains(mac) {
            self.strangers.put(mac, self.by_mac.get(&mac));
        }
    }

    pub(super) fn mac_at(&self, address: IpAddr) -> Option<Mac> {
        self.by_address.get(&address).copied()
    }

    /// The host that the machine is: by its MAC, its UUID, as DHCP knew it, or by its address.
    ///
    /// An address says it of hosts without a MAC alone: who has the address of another is not that other.
    pub(super) fn host(&self, inventory: &Snapshot, mac: Mac, shown: Shown) -> Option<Arc<Host>> {
        let machine = self.by_mac.get(&mac);
        let uuid = shown.uuid.or(machine.and_then(|machine| machine.uuid));
        let by_uuid = || inventory.host_by_uuid(uuid?);
        let by_name = || {
            let hosts = machine?.names().filter_map(|name| inventory.host(name));
            hosts.into_iter().find(|host| host.is_named_by_dhcp())
        };
        let by_address = || {
            let peer = shown.peer.or(machine.and_then(|machine| machine.asked_from));
            let given = machine.into_iter().flat_map(Machine::addresses);
            given
                .chain(peer)
                .find_map(|address| inventory.host_at(address).filter(|host| host.macs.is_empty()))
        };
        inventory.host_by_mac(mac).or_else(by_uuid).or_else(by_name).or_else(by_address).cloned()
    }

    /// All MACs of a host: those of its entry, and those that its machine was seen with.
    pub(super) fn macs_of(&self, inventory: &Snapshot, host: &Host) -> Vec<Mac> {
        let by_uuid = host.uuid.and_then(|uuid| self.by_uuid.get(&uuid));
        let seen = by_uuid.into_iter().chain(self.by_name.get(&host.name)).flatten();
        let reserved = host.ip.map(IpAddr::V4).into_iter().chain(host.ip6.map(IpAddr::V6));
        let seen = seen.copied().chain(reserved.filter_map(|address| self.mac_at(address)));
        let is_its = |mac: &Mac| {
            self.host(inventory, *mac, Shown::default()).is_some_and(|other| other.name == host.name)
        };
        let others: BTreeSet<Mac> = seen.filter(|mac| !host.macs.contains(mac)).filter(is_its).collect();
        host.macs.iter().copied().chain(others).collect()
    }

    /// What is known to be the machine's: reservations of its host, and what its ports were given.
    pub(super) fn addresses(&self, inventory: &Snapshot, mac: Mac, shown: Shown) -> Vec<IpAddr> {
        let host = self.host(inventory, mac, shown);
        let macs = host.as_ref().map_or_else(|| vec![mac], |host| self.macs_of(inventory, host));
        let v4 = host.as_ref().and_then(|host| host.ip).map(IpAddr::V4);
        let v6 = host.as_ref().and_then(|host| host.ip6).map(IpAddr::V6);
        let machines = macs.iter().filter_map(|mac| self.by_mac.get(mac));
        v4.into_iter().chain(v6).chain(machines.flat_map(Machine::addresses)).collect()
    }

    /// A machine with two ports is one machine: what one of its MACs installed, all did. `boot`: which asks.
    pub(super) fn past(
        &self,
        inventory: &Snapshot,
        mac: Mac,
        shown: Shown,
        host: Option<&Host>,
        boot: Option<BootId>,
    ) -> Past {
        let Some(host) = host else { return self.past_of_stranger(inventory, mac, shown) };
        let macs = self.macs_of(inventory, host);
        let machines = || macs.iter().filter_map(|mac| self.by_mac.get(mac));
        Past {
            installed: machines().any(|machine| machine.installed.is_some()),
            once_done: machines().any(|machine| machine.once_is_used(boot)),
            wanted: machines().any(|machine| machine.wanted),
        }
    }

    /// A stranger is told by its UUID to be another port of a machine: the disk of a host is not its to install, and what was
    /// installed is so, unless an operator asks for this MAC.
    fn past_of_stranger(&self, inventory: &Snapshot, mac: Mac, shown: Shown) -> Past {
        let machine = self.by_mac.get(&mac);
        let uuid = shown.uuid.filter(|uuid| uuid.is_unique()).or(machine.and_then(|machine| machine.uuid));
        let of_uuid = uuid.and_then(|uuid| self.by_uuid.get(&uuid)).into_iter().flatten();
        let is_of_uuid = |machine: &&Machine| machine.uuid == uuid;
        let mut others = of_uuid.filter_map(|mac| Some((*mac, self.by_mac.get(mac).filter(is_of_uuid)?)));
        let is_installed = |machine: &Machine| machine.installed.is_some();
        let elsewhere = others.any(|(mac, machine)| {
            is_installed(machine) || self.host(inventory, mac, Shown::default()).is_some()
        });
        let wanted = machine.is_some_and(|machine| machine.wanted);
        Past {
            installed: machine.is_some_and(is_installed) || (elsewhere && !wanted),
            once_done: false,
            wanted,
        }
    }

    /// This machine is installed: its other ports are asked to install no more. Their records, which are to be written.
    pub(super) fn fulfil(&mut self, mac: Mac) -> Vec<Machine> {
        let uuid = self.by_mac.get(&mac).and_then(|machine| machine.uuid);
        let ports = uuid.and_then(|uuid| self.by_uuid.get(&uuid)).into_iter().flatten();
        let mut changed = Vec::new();
        for port in ports.filter(|port| **port != mac && self.strangers.contains(**port)) {
            let asked = |machine: &&mut Machine| machine.uuid == uuid && machine.wanted;
            let Some(machine) = self.by_mac.get_mut(port).filter(asked) else { continue };
            machine.wanted = false;
            // Nobody waits for this one's record alone: should the disk not take it, what is seen next brings it there.
            self.unwritten.insert(*port);
            changed.push((*port, machine.clone()));
        }
        changed.iter().for_each(|(port, _)| self.rank(*port));
        changed.into_iter().map(|(_, machine)| machine).collect()
    }

    /// Whether this machine may be remembered. Where there are too many strangers, some go: the second value.
    pub(super) fn admit(&mut self, inventory: &Snapshot, mac: Mac, now: u64) -> (bool, Vec<Mac>) {
        if inventory.host_by_mac(mac).is_some() {
            self.strangers.remove(mac);
            return (true, Vec::new());
        }
        if self.strangers.contains(mac) {
            return (true, Vec::new());
        }
        let is_full = self.strangers.len() >= self.room && !self.by_mac.contains_key(&mac);
        let gone = if is_full { self.make_room(inventory, now) } else { Vec::new() };
        if is_full && self.strangers.len() >= self.room {
            return (false, gone);
        }
        self.strangers.put(mac, self.by_mac.get(&mac));
        (true, gone)
    }

    /// Several at once, so that the store hears of it seldom.
    fn make_room(&mut self, inventory: &Snapshot, now: u64) -> Vec<Mac> {
        let is_host = |mac| inventory.host_by_mac(mac).is_some();
        let mut gone = Vec::new();
        for _ in 0..(self.room / 16).clamp(1, AT_ONCE) {
            match self.strangers.next(now) {
                // It has become one meanwhile.
                Some((mac, _)) if is_host(mac) => self.strangers.remove(mac),
                Some((mac, true)) => {
                    self.forget(mac);
                    gone.push(mac);
                }
                _ => break,
            }
        }
        // Others may have, behind those who stay; that they have not is known for a second.
        if self.strangers.len() >= self.room && self.looked != now {
            self.looked = now;
            self.strangers.remove_where(is_host);
        }
        gone
    }

    fn forget(&mut self, mac: Mac) {
        let had = self.keys(mac);
        self.by_mac.remove(&mac);
        self.strangers.remove(mac);
        self.unwritten.remove(&mac);
        self.said.remove(&mac);
        self.boots.forget(&[mac]);
        had.addresses.into_iter().flatten().for_each(|address| self.leave_address(address, mac));
        leave(&mut self.by_uuid, had.uuid.as_ref(), mac);
        had.names.iter().for_each(|name| leave(&mut self.by_name, name.as_ref(), mac));
    }
}

impl Keys {
    fn of(machine: &Machine) -> Self {
        let Machine { address, address6, asked_from, uuid, known_as, known_as6, .. } = machine;
        let given = [address.map(IpAddr::V4), address6.map(IpAddr::V6)];
        let names = [known_as.clone(), known_as6.clone()];
        Self { addresses: [given[0], given[1], *asked_from], uuid: *uuid, names }
    }
}

/// The machine is found by this no more.
fn leave<K: Hash + Eq>(index: &mut HashMap<K, BTreeSet<Mac>>, key: Option<&K>, mac: Mac) {
    let Some(key) = key else { return };
    if let Some(macs) = index.get_mut(key) {
        macs.remove(&mac);
        if macs.is_empty() {
            index.remove(key);
        }
    }
}
