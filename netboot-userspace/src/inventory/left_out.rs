//! Hosts of the store that the configuration contradicts: nothing is served to them, and they are kept until somebody repairs or
//! removes them. Pure.

use std::sync::Arc;

use super::Snapshot;
use super::change::{Rule, checked};
use super::entry::HostEntry;
use super::live::Refused;

/// A host of the store that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// As the store has it.
    pub entry: HostEntry,
    /// What contradicts it, a line per fault.
    pub faults: Vec<String>,
}

impl LeftOut {
    /// Why, in one line.
    pub fn why(&self) -> String {
        self.faults.join("; ")
    }

    /// What an operator should know.
    pub fn notice(&self) -> String {
        let name = &self.entry.name;
        format!(
            "host {name} of the store is left out: {} (`netboot host set {name} …` repairs it, `netboot host remove {name}` \
             removes it)",
            self.why()
        )
    }
}

/// The configured inventory with the store's hosts; those that do not fit are in it as left out.
pub(super) fn join(configured: Snapshot, stored: Vec<(String, HostEntry)>, rule: &Rule) -> Snapshot {
    let mut snapshot = configured;
    for (name, entry) in stored {
        let entry = HostEntry { name, ..entry };
        let inserted = checked(&entry, snapshot.groups(), rule)
            .and_then(|host| snapshot.insert(Arc::new(host)).map_err(Refused::Conflict));
        if let Err(refused) = inserted {
            snapshot.leave_out(LeftOut { faults: refused.faults(), entry });
        }
    }
    snapshot
}
