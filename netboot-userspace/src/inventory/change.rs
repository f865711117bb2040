//! What may be changed of the inventory, and what a batch of changes would make of it. Pure.
//!
//! A batch is one change: its hosts are taken out together and put in together, so that two of them may exchange a MAC or
//! an address, and either all of it is possible or the reasons are known for each part that is not.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::{HostEntry, HostPatch};
use super::group::Groups;
use super::live::{Refused, STORE};
use super::{Conflict, Fault, Host, LeftOut, Snapshot};

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
    fn entry(&self, old: Option<HostEntry>) -> Result<Option<HostEntry>, Refused> {
        let there = |old: Option<_>| old.ok_or_else(|| Refused::Unknown(self.name().to_owned()));
        match self {
            Self::Add(entry) | Self::Put(entry) => Ok(Some(entry.clone())),
            Self::Patch(_, patch) => Ok(Some(patch.apply(there(old)?))),
            Self::Merge(name, patch) => {
                let new = || HostEntry { name: name.clone(), ..HostEntry::default() };
                Ok(Some(patch.apply(old.unwrap_or_else(new))))
            }
            Self::Remove(_) => there(old).map(|_| None),
        }
    }
}

/// One host before and after: both are there for one that was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub old: Option<Arc<Host>>,
    pub new: Option<Arc<Host>>,
    /// What the store had of this name, and the site did not: now both have the new one, or neither has any.
    pub left_out: Option<Arc<LeftOut>>,
}

impl Changed {
    /// Whether the host is another one now.
    pub fn differs(&self) -> bool {
        self.old != self.new || self.left_out.is_some()
    }

    pub fn name(&self) -> &str {
        match (self.new.as_ref().or(self.old.as_ref()), &self.left_out) {
            (Some(host), _) => &host.name,
            (None, Some(left_out)) => &left_out.entry.name,
            (None, None) => "",
        }
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

/// What the site asks of a host, beside these groups.
pub(super) type Rule = dyn Fn(&Host, &Groups) -> Result<(), String> + Send + Sync;

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
    if let Some(left_out) = snapshot.left_out(change.name())
        && (old.is_none() || matches!(change, Change::Remove(_)))
    {
        return of_left_out(left_out, change, snapshot.groups(), rule);
    }
    let replaces = !matches!(change, Change::Add(_));
    let new = match change.entry(old.as_deref().map(HostEntry::from))? {
        Some(entry) => Some(Arc::new(checked(&entry, snapshot.groups(), rule)?)),
        None => None,
    };
    if let (Some(old), Some(new), true) = (&old, &new, replaces)
        && same(old, new)
    {
        let (old, new) = (Some(old.clone()), Some(old.clone()));
        return Ok(Step { changed: Changed { old, new, left_out: None }, replaces });
    }
    match &old {
        Some(old) if replaces && old.origin != STORE => {
            Err(Refused::File { name: old.name.clone(), origin: old.origin.clone() })
        }
        _ => Ok(Step { changed: Changed { old: old.filter(|_| replaces), new, left_out: None }, replaces }),
    }
}

/// A change of what the store has, and the site does not: afterwards it is right, or gone.
fn of_left_out(
    left_out: &Arc<LeftOut>,
    change: &Change,
    groups: &Groups,
    rule: &Rule,
) -> Result<Step, Refused> {
    if let Change::Add(entry) = change {
        let first = format!("the store, where it is left out: {}", left_out.why());
        let fault = Fault::Name { name: entry.name.clone(), first };
        return Err(Refused::Conflict(vec![Conflict { origin: STORE.to_owned(), fault }]));
    }
    let new = match change.entry(Some(left_out.entry.clone()))? {
        Some(entry) => Some(Arc::new(checked(&entry, groups, rule)?)),
        None => None,
    };
    let changed = Changed { old: None, new, left_out: Some(left_out.clone()) };
    Ok(Step { changed, replaces: true })
}

/// The host as meant, if the site takes it.
pub(super) fn checked(entry: &HostEntry, groups: &Groups, rule: &Rule) -> Result<Host, Refused> {
    let host = entry.check(STORE).map_err(Refused::Invalid)?;
    rule(&host, groups).map_err(|fault| Refused::Invalid(vec![fault]))?;
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
    for step in steps.iter().flatten().filter(differing) {
        match &step.changed.left_out {
            Some(left_out) => drop(snapshot.left_out.remove(&left_out.entry.name)),
            None => drop(snapshot.remove(step.changed.name())),
        }
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
