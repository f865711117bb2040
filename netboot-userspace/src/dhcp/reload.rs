//! Another configuration in the place of the one in force, while machines boot.
//!
//! At each moment a reply is made of parts that belong together: userspace exchanges all its tables under one lock, and in the
//! kernel's a host's entry names the group of its templates by a number that no other group has ([`Numbering`]). What the kernel
//! does not find while its tables are between the two, it passes up.
//!
//! [`Numbering`]: super::tables::Numbering

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;

use netboot_common::Mac;
use netboot_common::limit::Limits;
use netboot_common::maps::{HostKey, HostValue};

use super::hosts::taken;
use super::leases::Book;
use super::machine::{Hosts, Machine};
use super::tables::{Link, Plan};
use super::teaching::{fill, leased_by};
use super::{CHUNK, Error, Policy, Server, Shared, behind, contested, persist, render};
use crate::config::Checked;
use crate::fastpath::Change;
use crate::inventory::Snapshot;

/// A configuration's tables, ready to be put into force.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    policy: Policy,
}

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
        let (hosts, shared) = (Hosts::of(&mut plan, snapshot), &self.shared);
        let (reserved, taken) = (hosts.by_mac.clone(), taken(&plan, snapshot));
        let mut book = Book::default();
        book.set_pools(plan.pools(), &taken);
        // Before anything leads to them. What is beyond the map's room finds it when the old ones are gone.
        let _ = shared.teach(&[], &plan.take_fresh());
        let mut machine = shared.machine();
        let now = shared.now();
        plan.succeed(&machine.plan, now.unix);
        let Succeeded { hosts: before, withheld: mut differing, forgotten } =
            machine.succeed(plan, hosts, book, policy);
        let ended = contested::withhold(&mut machine, reserved.iter(), now);
        shared.withdraw(&machine, &ended);
        let free = before.iter().map(|(key, host)| (host.yiaddr.into(), Mac(key.mac)));
        let free = free.filter(|(ip, _)| !taken.contains(ip));
        let held: Vec<_> = free.filter_map(|(ip, mac)| contested::hold(&mut machine, ip, mac, now)).collect();
        let held: Vec<_> =
            held.into_iter().map(|(key, entry)| persist::to_lease(&key, entry, now.unix)).collect();
        let leases: Vec<Ipv4Addr> = machine.book.entries().map(|(_, entry)| entry.ip).collect();
        differing.extend(&machine.withheld);
        drop(machine);
        // It is large: nobody waited for that.
        drop(forgotten);
        if !held.is_empty() {
            // If a crash forgets it, the probe is left.
            shared.store.ask_leases(&held).forget();
        }
        if shared.behind.why().is_some() {
            return shared.tell_everything(Some(policy.limits));
        }
        let told = shared.tell_hosts(&before, &reserved, differing);
        let told = told.and(shared.tell_leases(&leases));
        // What the others failed by is noted already, and may have been told meanwhile.
        let site = shared.tell_site(policy).inspect_err(|error| shared.behind.note(error));
        told.and(site)
    }
}

/// What was in force.
struct Succeeded {
    /// The entries of hosts.
    hosts: HashMap<HostKey, HostValue>,
    /// Those of them that were withheld.
    withheld: HashSet<HostKey>,
    /// The rest, of which nothing is needed.
    forgotten: (Plan, Book),
}

impl Machine {
    /// Takes over another plan, other hosts, and an empty book of the plan's pools.
    fn succeed(&mut self, plan: Plan, hosts: Hosts, mut book: Book, policy: Policy) -> Succeeded {
        // Links are numbered by the configuration: each lease is its client's on the link that its address is on now.
        for (key, entry) in self.book.take_entries() {
            book.restore(persist::relinked(&plan, key, &entry), entry);
        }
        (self.serve_unknown, self.authoritative) = (policy.serve_unknown, policy.authoritative);
        Succeeded {
            forgotten: (std::mem::replace(&mut self.plan, plan), std::mem::replace(&mut self.book, book)),
            hosts: std::mem::replace(&mut self.hosts, hosts).by_mac,
            withheld: std::mem::take(&mut self.withheld),
        }
    }
}

impl Shared {
    /// Starts the thread that does so; `None`: there are no lanes in the kernel.
    pub(super) fn tell_what_was_not_told(self: &Arc<Self>) -> Result<Option<JoinHandle<()>>, Error> {
        if self.kernel.is_none() {
            return Ok(None);
        }
        let shared = self.clone();
        let tell = move || {
            shared.behind.follow(behind::PAUSES, || {
                if let Err(error) = shared.tell_everything(None) {
                    tracing::debug!(%error, "DHCP: the kernel's tables still lack something");
                }
            });
        };
        let telling = std::thread::Builder::new().name("dhcp-again".to_owned()).spawn(tell);
        telling.map(Some).map_err(Error::Thread)
    }

    /// All of it at once, as at a start: nobody knows what the kernel's tables have of what they were told before. `limits`: other
    /// budgets.
    fn tell_everything(&self, limits: Option<Limits>) -> Result<(), Error> {
        let (mut machine, now) = (self.machine(), self.now());
        let told = self.kernel().map_or(Ok(()), |mut kernel| {
            limits.map_or(Ok(()), |limits| kernel.limit(limits))?;
            fill(&mut kernel, &mut machine, now)
        });
        // While nobody else tells anything.
        match &told {
            Ok(()) => self.behind.clear(),
            Err(error) => self.behind.note(error),
        }
        told
    }

    /// Tells the kernel of each host whose entry in `after` is another one than in `before`. A host that is gone goes last: a MAC
    /// that moves to another host is never without an answer.
    /// `differing`: others that may differ.
    fn tell_hosts(
        &self,
        before: &HashMap<HostKey, HostValue>,
        after: &HashMap<HostKey, HostValue>,
        differing: HashSet<HostKey>,
    ) -> Result<(), Error> {
        let put = after.iter().filter(|(key, value)| before.get(key) != Some(value));
        let gone = before.keys().filter(|key| !after.contains_key(key));
        let (put, gone): (Vec<HostKey>, Vec<HostKey>) =
            (put.map(|(key, _)| *key).collect(), gone.copied().collect());
        self.in_chunks(&[put, differing.into_iter().collect(), gone].concat(), |machine, keys, changes| {
            for &key in keys {
                // As it is at this moment: somebody else may have changed it meanwhile.
                let host = machine.hosts.by_mac.get(&key).filter(|_| !machine.withheld.contains(&key));
                changes.push(host.map_or(Change::Remove(key), |host| Change::Put(key, *host)));
            }
        })
    }

    /// Tells it of the leases of clients that are known by their MAC. One that no network has any more is taken back.
    pub(super) fn tell_leases(&self, leases: &[Ipv4Addr]) -> Result<(), Error> {
        let now = self.now();
        self.in_chunks(leases, |machine, ips, changes| {
            for &ip in ips {
                let found = machine.book.at(ip).map(|(key, entry)| (key.clone(), entry.clone()));
                let Some((key, entry)) = found.filter(|(key, _)| machine.book.is_current(key, ip)) else {
                    continue;
                };
                let Machine { plan, hosts, withheld, .. } = machine;
                let reserved = |key: &HostKey| {
                    hosts.by_mac.get(key).is_some_and(|host| host.yiaddr != [0; 4] && !withheld.contains(key))
                };
                let entries = leased_by(plan, hosts, &key, &entry, now);
                if entries.is_empty() && key.is_by_mac(entry.mac) {
                    let keys = plan.keys(entry.mac).filter(|key| !reserved(key));
                    let as_host = |key| match hosts.by_mac.get(&key).filter(|_| !withheld.contains(&key)) {
                        Some(host) => Change::Put(key, *host),
                        None => Change::Remove(key),
                    };
                    changes.extend(keys.map(as_host));
                }
                let entries = entries.into_iter().filter(|(key, _)| !reserved(key));
                changes.extend(entries.map(|(key, value)| Change::Put(key, value)));
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
        let told = kernel.limit(policy.limits).and(kernel.replace_interfaces(&interfaces));
        Ok(told.and(kernel.replace_templates(&templates))?)
    }

    /// Carries out what `changes_of` some items of `all` are, a few at a time: requests wait only for those.
    fn in_chunks<T>(
        &self,
        all: &[T],
        changes_of: impl Fn(&mut Machine, &[T], &mut Vec<Change>),
    ) -> Result<(), Error> {
        if self.kernel.is_none() {
            return Ok(());
        }
        let mut changes = Vec::with_capacity(CHUNK);
        // All of them, also behind one that fails: what must be taken back comes last.
        let mut told = Ok(());
        for chunk in all.chunks(CHUNK) {
            // Locked until the kernel knows: what is decided later is also told later.
            let mut machine = self.machine();
            changes_of(&mut machine, chunk, &mut changes);
            let fresh = machine.plan.take_fresh();
            told = told.and(self.teach(&changes, &fresh));
            changes.clear();
        }
        told
    }
}
