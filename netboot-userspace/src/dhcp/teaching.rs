//! What the kernel's lanes are told: hosts, and leases that are durable.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{MutexGuard, PoisonError};

use netboot_common::Mac;
use netboot_common::maps::{HostKey, HostValue, Template, TemplateKey};

use super::leases::{Entry, Key, State};
use super::machine::{Hosts, Machine, Now};
use super::tables::Plan;
use super::{Error, Shared};
use crate::fastpath::{self, Change, KernelTables};

impl Shared {
    /// The kernel's lanes forget these leases, as far as they have them.
    pub(super) fn withdraw(&self, machine: &Machine, leases: &[(Mac, Ipv4Addr)]) {
        let changes: Vec<Change> =
            leases.iter().flat_map(|(mac, ip)| machine.withdrawal(*mac, *ip).collect::<Vec<_>>()).collect();
        if let Err(error) = self.teach(&changes, &[]) {
            tracing::error!(?leases, %error, "DHCP: the kernel's lanes still promise these leases");
        }
    }

    /// Tells the kernel's lanes of leases that are durable, and of hosts that are no longer withheld: of those that are right
    /// still. `machine` is locked, so that whatever ends one comes either before this or behind it.
    pub(super) fn teach_leases(&self, lessons: &[(HostKey, HostValue)]) -> Result<(), Error> {
        if lessons.is_empty() {
            return Ok(());
        }
        let (mut machine, now) = (self.machine(), self.now());
        let valid = lessons.iter().filter(|(key, value)| machine.may_be_taught(key, value, now));
        let changes: Vec<Change> = valid.map(|(key, value)| Change::Put(*key, *value)).collect();
        self.teach(&changes, &machine.plan.take_fresh())
    }

    /// `None`: there are no lanes in the kernel.
    pub(super) fn kernel(&self) -> Option<MutexGuard<'_, KernelTables>> {
        self.kernel.as_ref().map(|kernel| kernel.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Templates before the hosts that lead to them. All of them, also behind one that fails: the first error, and all is told again
    /// then ([`Behind`]).
    ///
    /// [`Behind`]: super::behind::Behind
    pub(super) fn teach(
        &self,
        changes: &[Change],
        templates: &[(TemplateKey, Template)],
    ) -> Result<(), Error> {
        let Some(mut kernel) = self.kernel().filter(|_| !(changes.is_empty() && templates.is_empty())) else {
            return Ok(());
        };
        let added = kernel.add_templates(templates);
        let results = changes.iter().map(|change| kernel.change(*change));
        // A full table is counted and shown: userspace answers what it does not hold.
        let results: Vec<_> =
            results.filter(|result| !matches!(result, Err(fastpath::Error::Full { .. }))).collect();
        let told = added.and(results.into_iter().collect()).map_err(Error::from);
        told.inspect_err(|error| self.behind.note(error))
    }
}

/// Replaces what the kernel's tables hold by what is known now: reservations, and the leases that are durable.
pub(super) fn fill(tables: &mut KernelTables, machine: &mut Machine, now: Now) -> Result<(), Error> {
    let mut hosts: HashMap<HostKey, HostValue> = leased(machine, now);
    let known = machine.hosts.by_mac.iter().filter(|(key, _)| !machine.withheld.contains(key));
    hosts.extend(known.map(|(key, value)| (*key, *value)));
    let hosts: Vec<_> = hosts.into_iter().collect();
    // All of them are told anew.
    machine.plan.take_fresh();
    let templates: Vec<_> = machine.plan.templates.iter().map(|(key, value)| (*key, *value)).collect();
    Ok(tables.replace(&machine.plan.kernel_interfaces(), &hosts, &templates)?)
}

/// The host entries of all leases whose client is its MAC, as far as they are durable.
fn leased(machine: &mut Machine, now: Now) -> HashMap<HostKey, HostValue> {
    let Machine { plan, book, hosts, .. } = machine;
    let mut leased: HashMap<HostKey, HostValue> = HashMap::new();
    for (key, entry) in book.entries().filter(|(key, entry)| book.is_current(key, entry.ip)) {
        for (host_key, value) in leased_by(plan, hosts, key, entry, now) {
            let longer =
                leased.get(&host_key).is_some_and(|other| other.valid_until() >= value.valid_until());
            if !longer {
                leased.insert(host_key, value);
            }
        }
    }
    leased
}

/// The host entries of a lease, if its client is its MAC, as far as it is durable.
pub(super) fn leased_by(
    plan: &mut Plan,
    hosts: &Hosts,
    key: &Key,
    entry: &Entry,
    now: Now,
) -> Vec<(HostKey, HostValue)> {
    if !key.is_by_mac(entry.mac) || entry.state != State::Bound || entry.durable <= now.unix {
        return Vec::new();
    }
    let until = now.boot + (entry.durable - now.unix);
    let keys: Vec<HostKey> = plan.keys(entry.mac).collect();
    let lesson = |key| Some((key, hosts.lesson(plan, &key, entry.ip)?.with_valid_until(until)));
    keys.into_iter().filter_map(lesson).collect()
}
