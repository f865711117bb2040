//! What a change of the inventory makes of the machine, and what the kernel's lanes and the store have to be told of it. Pure.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use netboot_common::Mac;
use netboot_common::maps::{HostKey, Template, TemplateKey};

use super::contested;
use super::hosts::{entries, fixed};
use super::leases::{Entry, Key};
use super::machine::{Machine, Now};
use crate::fastpath::Change;
use crate::inventory::change::Changed;
use crate::inventory::group::{Grouped, Groups};
use crate::inventory::{Host, Snapshot};

/// Whom to tell what, before anybody else changes the machine.
#[derive(Debug)]
pub(super) struct Told {
    /// Leases that the kernel's lanes must forget first.
    pub(super) ended: Vec<(Mac, Ipv4Addr)>,
    /// What is to be stored.
    pub(super) held: Vec<(Key, Entry)>,
    /// Of the kernel's table of hosts.
    pub(super) changes: Vec<Change>,
    /// What these lead to.
    pub(super) templates: Vec<(TemplateKey, Template)>,
}

/// The hosts that change because the inventory's groups are other ones than `before`: their entries stay, their profiles do not.
pub(super) fn moved(snapshot: &Snapshot, before: &Groups) -> Vec<Changed> {
    let same =
        |host: &Arc<Host>| Changed { old: Some(host.clone()), new: Some(host.clone()), left_out: None };
    snapshot.moved(before).map(same).collect()
}

impl Machine {
    /// Other groups, by which machines have their profiles from now on. Hosts that they move are as they were until they are taken over.
    pub(super) fn regroup(&mut self, groups: &Arc<Groups>, grouped: Grouped) {
        self.plan.place_by(groups);
        self.hosts.grouped = grouped;
    }

    /// Takes hosts over as they are now.
    pub(super) fn take_over(&mut self, changed: &[Changed], now: Now) -> Told {
        let Self { plan, hosts, book, .. } = self;
        let old = || changed.iter().filter_map(|changed| changed.old.as_ref());
        let new = || changed.iter().filter_map(|changed| changed.new.as_ref());
        let were_named = hosts.are_named();
        let before = hosts.take(plan, old());
        let after = entries(plan, new());
        hosts.extend(after.clone());
        let leases: Vec<_> = match hosts.are_named() && !were_named {
            true => book.entries().map(|(_, entry)| (entry.mac, entry.ip)).collect(),
            false => Vec::new(),
        };
        let fixed = fixed(plan);
        let free = old().filter_map(|host| host.ip).filter(|ip| !fixed.contains(ip));
        book.change_taken(free, new().filter_map(|host| host.ip));
        let templates = plan.take_fresh();
        let was_withheld = before.by_mac.keys().filter(|key| self.withheld.remove(key)).copied();
        let was_withheld: HashSet<HostKey> = was_withheld.collect();
        let mut ended = contested::withhold(self, after.by_mac.iter(), now);
        ended.extend(leases);
        // New entries before old ones go: a MAC that moves to another host is never without an answer.
        let known = |key: &HostKey| after.by_mac.contains_key(key) && !self.withheld.contains(key);
        let differs =
            |key: &HostKey, value| before.by_mac.get(key) != Some(value) || was_withheld.contains(key);
        let put = after.by_mac.iter().filter(|(key, value)| known(key) && differs(key, value));
        let gone = before.by_mac.keys().filter(|key| !known(key));
        let changes = put.map(|(key, value)| Change::Put(*key, *value));
        let changes: Vec<Change> = changes.chain(gone.map(|key| Change::Remove(*key))).collect();
        let still: HashSet<Ipv4Addr> = new().filter_map(|host| host.ip).collect();
        let left = old().filter(|host| host.ip.is_some_and(|ip| !still.contains(&ip)));
        let left = left.filter_map(|host| Some((host.ip?, *host.macs.first()?)));
        let held = left.filter_map(|(ip, mac)| contested::hold(self, ip, mac, now)).collect();
        Told { ended, held, changes, templates }
    }
}
