//! The boot records of machines, as the store keeps them and operators read and overrule them.

use netboot_common::Mac;

use super::known::Known;
use super::{BOOTS, Machines};
use crate::inventory::boots::{BootId, Breaker, Record};
use crate::inventory::observed::{Machine, Observation};
use crate::store;

impl Machines {
    /// The breaker stops these no more, and nothing else changes: what is installed stays so. The boot that is under way is meant, too.
    ///
    /// # Errors
    /// As [`Machines::reset`].
    pub fn rearm(&self, macs: &[Mac]) -> Result<(), store::Error> {
        let is_counted =
            |machine: &Machine| machine.stopped.is_some() || machine.fruitless > 0 || machine.quick > 0;
        let counted: Vec<Mac> = {
            let known = self.lock();
            macs.iter().filter(|mac| known.by_mac.get(mac).is_some_and(is_counted)).copied().collect()
        };
        if !counted.is_empty() {
            self.change(&counted, Machine::rearm)?;
        }
        self.overrule(macs);
        Ok(())
    }

    /// The same for all that it stops. How many.
    ///
    /// # Errors
    /// As [`Machines::reset`].
    pub fn rearm_all(&self) -> Result<usize, store::Error> {
        let macs: Vec<Mac> = {
            let known = self.lock();
            let is_stopped = |(_, machine): &(&Mac, &Machine)| machine.stopped.is_some();
            known.by_mac.iter().filter(is_stopped).map(|(mac, _)| *mac).collect()
        };
        self.rearm(&macs)?;
        Ok(macs.len())
    }

    pub(super) fn overrule(&self, macs: &[Mac]) {
        let mut known = self.lock();
        macs.iter().for_each(|mac| known.boots.overrule(*mac));
    }

    /// The boot records of these machines, in the order in which they began.
    pub fn boots(&self, macs: &[Mac]) -> Vec<Record> {
        let known = self.lock();
        let mut records: Vec<_> = macs.iter().flat_map(|mac| known.boots.of(*mac)).collect();
        records.sort_unstable_by_key(|record| record.id);
        records
    }

    /// The last `most` of all.
    pub fn last_boots(&self, most: usize) -> Vec<Record> {
        self.lock().boots.last(most)
    }

    /// One boot's record.
    pub fn boot_of(&self, id: BootId) -> Option<Record> {
        self.lock().boots.by_id(id).cloned()
    }

    /// The boot of a machine that is under way, or was its last.
    pub fn boot(&self, mac: Mac) -> Option<BootId> {
        self.lock().boots.id(mac)
    }

    /// The profile of machines that nobody said more about.
    pub fn default_profile(&self) -> Option<String> {
        self.policy().default_profile.clone()
    }

    /// What stops boots that bear no fruit.
    pub fn breaker(&self) -> Option<Breaker> {
        self.policy().breaker
    }

    /// Machines that the breaker stops, by MAC.
    pub fn stopped(&self) -> Vec<Machine> {
        if self.breaker().is_none() {
            return Vec::new();
        }
        let is_stopped = |machine: &&Machine| machine.stopped.is_some();
        let mut machines: Vec<_> = self.lock().by_mac.values().filter(is_stopped).cloned().collect();
        machines.sort_by(|a, b| a.mac.cmp(&b.mac));
        machines
    }

    /// Has the store remember the boots of a machine, where it must. Before the machine's own record, so that who waits for that
    /// has waited for this, too.
    pub(super) fn keep_boots(&self, known: &Known, mac: Mac, seen: &Observation) {
        if known.boots.current(mac).is_some_and(|record| record.must_survive(seen)) {
            self.put_boots(mac, &known.boots.of(mac));
        }
    }

    pub(super) fn put_boots(&self, mac: Mac, records: &[Record]) {
        let key = format!("{BOOTS}{mac}");
        if let Ok(pending) = self.store.put_values(&[(key.as_str(), Some(&records))]) {
            pending.forget();
        }
    }
}
