//! Another configuration in the place of the one in force, while machines boot.
//!
//! At each moment a reply is made of parts that belong together: userspace exchanges all its tables under one lock, and in the
//! kernel's a host's entry names the group of its templates by a number that no other group has ([`Numbering`]). What the kernel
//! does not find while its tables are between the two, it passes up.
//!
//! [`Numbering`]: super::tables::Numbering

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use netboot_common::Mac;
use netboot_common::maps::{HostKey, HostValue};

use super::leases::Book;
use super::machine::{Hosts, Machine};
use super::tables::{Link, Plan};
use super::{Error, Policy, Server, Shared, contested, entries, leased_by, persist, render, taken};
use crate::config::Checked;
use crate::fastpath::Change;
use crate::inventory::Snapshot;

/// A configuration's tables, ready to be put into force.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    policy: Policy,
}

/// Entries that are written while requests wait.
const CHUNK: usize = 256;

impl Server {
    /// Renders all that follows from `config`. Nothing has changed yet, and nobody waits.
    ///
    /// # Errors
    /// A reply can't be made as configured.
    pub fn prepare(
        &self,
        config: &Checked,
        links: &[Link],
        policy: Policy,
    ) -> Result<Prepared, render::Error> {
        let numbering = self.shared.machine().plan.numbering();
        Ok(Prepared { plan: Plan::new(config, links, numbering)?, policy })
    }

    /// Puts it into force, with the hosts of `snapshot`, in all lanes. Not at the same time as [`Server::apply`]: both are for
    /// whoever may change the inventory.
    ///
    /// # Errors
    /// The kernel's tables can't be written: what they lack is passed up, and answered by userspace.
    pub fn switch(&self, prepared: Prepared, snapshot: &Snapshot) -> Result<(), Error> {
        let Prepared { mut plan, policy } = prepared;
        let hosts = entries(&mut plan, snapshot.hosts());
        let taken = taken(&plan, snapshot);
        // Before anything leads to them. What is beyond the map's room finds it when the old ones are gone.
        let _ = self.shared.teach(&[], &plan.take_fresh());
        let (before, leases) = {
            let mut machine = self.shared.machine();
            let before = machine.succeed(plan, hosts, &taken, policy);
            self.shared.keep_apart(&mut machine, &before, &taken);
            (before, machine.book.entries().map(|(_, entry)| entry.ip).collect::<Vec<_>>())
        };
        let told = self.shared.tell_hosts(&before).and_then(|()| self.shared.tell_leases(&leases));
        told.and(self.shared.tell_site(policy))
    }
}

impl Machine {
    /// Takes over another plan and other hosts. Gives back the entries that hosts had.
    fn succeed(
        &mut self,
        plan: Plan,
        hosts: Hosts,
        taken: &HashSet<Ipv4Addr>,
        policy: Policy,
    ) -> HashMap<HostKey, HostValue> {
        // Links are numbered by the configuration: each lease is its client's on the link that its address is on now.
        let leases = std::mem::take(&mut self.book).into_entries();
        let mut book = Book::default();
        book.set_pools(plan.pools(), taken);
        leases.for_each(|(key, entry)| book.restore(persist::relinked(&plan, key, &entry), entry));
        (self.plan, self.book) = (plan, book);
        (self.serve_unknown, self.authoritative) = (policy.serve_unknown, policy.authoritative);
        // What the kernel does not know is not to be taken from it.
        let mut before = std::mem::replace(&mut self.hosts, hosts).by_mac;
        before.retain(|key, _| !self.withheld.contains(key));
        before
    }
}

impl Shared {
    /// Addresses that hosts have from now on may be leased, and those that they had may be in use.
    fn keep_apart(
        &self,
        machine: &mut Machine,
        before: &HashMap<HostKey, HostValue>,
        taken: &HashSet<Ipv4Addr>,
    ) {
        let now = self.now();
        machine.withheld.clear();
        let hosts = machine.hosts.by_mac.clone();
        let ended = contested::withhold(machine, hosts.iter(), now);
        self.withdraw(machine, &ended);
        let left = before.iter().map(|(key, host)| (Ipv4Addr::from(host.yiaddr), Mac(key.mac)));
        let left = left.filter(|(ip, _)| !ip.is_unspecified() && !taken.contains(ip));
        let held: Vec<_> = left.filter_map(|(ip, mac)| contested::hold(machine, ip, mac, now)).collect();
        self.store_held(held, now);
    }

    /// Tells the kernel of each host whose entry is another one than `before`. A host that is gone goes last: a MAC that moves to
    /// another host is never without an answer.
    fn tell_hosts(&self, before: &HashMap<HostKey, HostValue>) -> Result<(), Error> {
        let (put, gone): (Vec<HostKey>, Vec<HostKey>) = {
            let hosts = &self.machine().hosts.by_mac;
            let put = hosts.iter().filter(|(key, value)| before.get(key) != Some(value));
            let gone = before.keys().filter(|key| !hosts.contains_key(key));
            (put.map(|(key, _)| *key).collect(), gone.copied().collect())
        };
        self.in_chunks(&[put, gone].concat(), |machine, keys, lessons| {
            for &key in keys {
                // As it is at this moment: somebody else may have changed it meanwhile.
                let host = machine.hosts.by_mac.get(&key).filter(|_| !machine.withheld.contains(&key));
                lessons.push(host.map_or(Change::Remove(key), |host| Change::Put(key, *host)));
            }
        })
    }

    /// Tells it of the leases of clients that are known by their MAC. One that no network has any more is taken back.
    fn tell_leases(&self, leases: &[Ipv4Addr]) -> Result<(), Error> {
        let now = self.now();
        self.in_chunks(leases, |machine, ips, lessons| {
            for &ip in ips {
                let found = machine.book.at(ip).map(|(key, entry)| (key.clone(), entry.clone()));
                let Some((key, entry)) = found else { continue };
                if !machine.book.is_current(&key, ip) {
                    continue;
                }
                let entries = leased_by(&mut machine.plan, &machine.hosts, &key, &entry, now);
                if entries.is_empty() {
                    lessons.extend(machine.withdrawal(entry.mac, ip));
                }
                lessons.extend(entries.into_iter().map(|(key, value)| Change::Put(key, value)));
            }
        })
    }

    /// What is left: budgets and interfaces; and the templates that nothing leads to any more go.
    fn tell_site(&self, policy: Policy) -> Result<(), Error> {
        let mut machine = self.machine();
        // Locked before the machine is free: templates that are met from now on are added behind this.
        let Some(mut kernel) = self.kernel() else { return Ok(()) };
        machine.plan.take_fresh();
        let templates = machine.plan.templates.iter().map(|(key, template)| (*key, *template));
        let (interfaces, templates) = (machine.plan.kernel_interfaces(), templates.collect::<Vec<_>>());
        drop(machine);
        kernel.limit(policy.limits)?;
        kernel.replace_interfaces(&interfaces)?;
        Ok(kernel.replace_templates(&templates)?)
    }

    /// Carries out what `lessons_of` some items of `all` are, a few at a time: requests wait only for those.
    fn in_chunks<T>(
        &self,
        all: &[T],
        lessons_of: impl Fn(&mut Machine, &[T], &mut Vec<Change>),
    ) -> Result<(), Error> {
        if self.kernel.is_none() {
            return Ok(());
        }
        let mut lessons = Vec::with_capacity(CHUNK);
        for chunk in all.chunks(CHUNK) {
            // Locked until the kernel knows: what is decided later is also told later.
            let mut machine = self.machine();
            lessons_of(&mut machine, chunk, &mut lessons);
            let fresh = machine.plan.take_fresh();
            self.teach(&lessons, &fresh)?;
            lessons.clear();
        }
        Ok(())
    }
}
