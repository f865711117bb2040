//! What may be changed of the inventory, and what a batch of changes would make of it. Pure.
//!
//! A batch is one change: its hosts are taken out together and put in together, so that two of them may exchange a MAC or
//! an address, and either all of it is possible or the reasons are known for each part that is not.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::{HostEntry, HostPatch};
use super::live::{Refused, STORE};
use super::{Host, Snapshot};

/// A change by CLI or API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A new host; a fault if the name is taken.
    Add(HostEntry),
    /// A new host, or in place of the one with this name.
    Put(HostEntry),
    /// Some fields of the one with this name; a fault if there is none.
    Patch(String, HostPatch),
    /// Some fields of the one with this name, or a new host that has only these: what an import does.
    Merge(String, HostPatch),
    /// A fault if there is none.
    Remove(String),
}

impl Change {
    /// The host that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Add(entry) | Self::Put(entry) => &entry.name,
            Self::Patch(name, _) | Self::Merge(name, _) | Self::Remove(name) => name,
        }
    }

    /// The host as it would be; `None`: there would be none.
    fn entry(&self, old: Option<&Host>) -> Result<Option<HostEntry>, Refused> {
        let there = || old.map(HostEntry::from).ok_or_else(|| Refused::Unknown(self.name().to_owned()));
        match self {
            Self::Add(entry) | Self::Put(entry) => Ok(Some(entry.clone())),
            Self::Patch(_, patch) => Ok(Some(patch.apply(there()?))),
            Self::Merge(name, patch) => {
                let new = HostEntry { name: name.clone(), ..HostEntry::default() };
                Ok(Some(patch.apply(old.map_or(new, HostEntry::from))))
            }
            Self::Remove(_) => there().map(|_| None),
        }
    }
}

/// One host before and after: both are there for one that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub old: Option<Arc<Host>>,
    pub new: Option<Arc<Host>>,
}

impl Changed {
    /// Whether the host is another one now.
    pub fn differs(&self) -> bool {
        self.old != self.new
    }

    pub fn name(&self) -> &str {
        self.new.as_ref().or(self.old.as_ref()).map_or("", |host| &host.name)
    }
}

/// A change that can't be made, by its place in the batch.
#[derive(Debug)]
pub struct NotTaken {
    pub index: usize,
    pub name: String,
    pub why: Refused,
}

/// What a batch of changes would make of the inventory.
#[derive(Debug)]
pub struct Draft {
    /// The inventory with the changes that can be made.
    pub snapshot: Snapshot,
    /// One for each change that can be made, in their order, with its place in the batch; those that change nothing among
    /// them.
    pub changed: Vec<(usize, Changed)>,
    /// All that can't.
    pub not_taken: Vec<NotTaken>,
}

/// What the site asks of a host.
pub(super) type Rule = dyn Fn(&Host) -> Result<(), String> + Send + Sync;

/// Tries the changes on `old`. Those that can't be made are left out, with all that then can't be made either.
pub(super) fn draft(old: &Snapshot, changes: &[Change], rule: &Rule) -> Draft {
    let mut steps: Vec<Option<Step>> = Vec::with_capacity(changes.len());
    let mut not_taken = Vec::new();
    let mut seen = HashSet::with_capacity(changes.len());
    for (index, change) in changes.iter().enumerate() {
        let step = if seen.insert(change.name()) { step(old, change, rule) } else { Err(Refused::Twice) };
        let name = || change.name().to_owned();
        steps.push(step.map_err(|why| not_taken.push(NotTaken { index, name: name(), why })).ok());
    }
    // What one of them leaves behind may stand in the way of another: until nothing more falls out.
    loop {
        let before = not_taken.len();
        let snapshot = carry_out(old, &mut steps, &mut not_taken);
        if not_taken.len() == before {
            not_taken.sort_by_key(|fault| fault.index);
            let changed = steps.into_iter().enumerate();
            let changed = changed.filter_map(|(i, step)| step.map(|step| (i, step.changed))).collect();
            return Draft { snapshot, changed, not_taken };
        }
    }
}

/// A change that is possible for itself.
struct Step {
    changed: Changed,
    /// Whether `old` makes room: not for an addition, which must find none.
    replaces: bool,
}

fn step(snapshot: &Snapshot, change: &Change, rule: &Rule) -> Result<Step, Refused> {
    let old = snapshot.host(change.name()).cloned();
    let replaces = !matches!(change, Change::Add(_));
    let new = match change.entry(old.as_deref())? {
        Some(entry) => Some(Arc::new(checked(&entry, rule)?)),
        None => None,
    };
    if let (Some(old), Some(new), true) = (&old, &new, replaces)
        && same(old, new)
    {
        return Ok(Step { changed: Changed { old: Some(old.clone()), new: Some(old.clone()) }, replaces });
    }
    match &old {
        Some(old) if replaces && old.origin != STORE => {
            Err(Refused::File { name: old.name.clone(), origin: old.origin.clone() })
        }
        _ => Ok(Step { changed: Changed { old: old.filter(|_| replaces), new }, replaces }),
    }
}

/// The host as meant, if the site takes it.
pub(super) fn checked(entry: &HostEntry, rule: &Rule) -> Result<Host, Refused> {
    let host = entry.check(STORE).map_err(Refused::Invalid)?;
    rule(&host).map_err(|fault| Refused::Invalid(vec![fault]))?;
    Ok(host)
}

/// Equal but for where they come from.
fn same(old: &Host, new: &Host) -> bool {
    *old == Host { origin: old.origin.clone(), ..new.clone() }
}

/// All that are changed make room first, then each takes its place. A step that finds its place taken becomes `None`.
fn carry_out(old: &Snapshot, steps: &mut [Option<Step>], not_taken: &mut Vec<NotTaken>) -> Snapshot {
    let mut snapshot = old.clone();
    let differing = |step: &&Step| step.changed.differs() && step.replaces;
    for host in steps.iter().flatten().filter(differing).filter_map(|step| step.changed.old.as_ref()) {
        snapshot.remove(&host.name);
    }
    for (index, slot) in steps.iter_mut().enumerate() {
        let Some(step) = slot.as_ref().filter(|step| step.changed.differs()) else { continue };
        let Some(new) = &step.changed.new else { continue };
        if let Err(conflicts) = snapshot.insert(new.clone()) {
            not_taken.push(NotTaken { index, name: new.name.clone(), why: Refused::Conflict(conflicts) });
            *slot = None;
        }
    }
    snapshot
}
