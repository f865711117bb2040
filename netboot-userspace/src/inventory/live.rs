//! The inventory that is in force: readers take a snapshot and never wait; a change is durable first, then visible, then
//! announced, all before its caller hears of it.

mod objects;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::Serialize;

pub use self::objects::{Kind, OddObject};
pub use super::change::{Change, Changed};
use super::change::{Draft, NotTaken, Rule, draft};
use super::entry::HostEntry;
use super::group::{Group, Groups};
use super::revisions::{self, Fate, Name, Revisions};
use super::{Conflict, Host, Snapshot, left_out};
use crate::store::{self, Store};

/// `origin` of hosts that live in the store.
pub const STORE: &str = "store";

/// Why a change was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// One line per fault.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    #[error("there is no host {0}")]
    Unknown(String),
    #[error("{}", lines(.0))]
    Conflict(Vec<Conflict>),
    #[error("host {name} comes from {origin}: change it there")]
    File { name: String, origin: String },
    #[error("there is no {} {name}", .kind.name())]
    Missing { kind: Kind, name: String },
    #[error("{} {name} comes from {origin}: change it there", .kind.name())]
    Filed { kind: Kind, name: String, origin: String },
    #[error("{by} boots the profile {name}: give it another one first")]
    InUse { name: String, by: String },
    /// With the profile that a group would give it, somebody would be told more than a reply has room for.
    #[error("{0}")]
    Misfit(String),
    #[error("is changed twice in one batch: name each host once")]
    Twice,
    #[error(transparent)]
    NotMade(#[from] NotMade),
}

/// A change that was right, and could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It is stored and visible, but not every layer could follow.
    #[error("{0}")]
    NotInForce(String),
}

impl Refused {
    /// What is wrong, a line per fault, for one who knows which change it was.
    pub fn faults(&self) -> Vec<String> {
        match self {
            Self::Invalid(faults) => faults.clone(),
            Self::Conflict(conflicts) => {
                conflicts.iter().map(|conflict| conflict.fault.to_string()).collect()
            }
            other => vec![other.to_string()],
        }
    }
}

/// Why no change of a batch was made.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{} of the changes can't be made", .0.len())]
    Refused(Vec<NotTaken>),
    #[error(transparent)]
    NotMade(#[from] NotMade),
}

fn lines(conflicts: &[Conflict]) -> String {
    conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

type Listener = Box<dyn Fn(&[Changed]) -> Result<(), String> + Send + Sync>;
type GroupsListener = Box<dyn Fn(&Snapshot) -> Result<(), String> + Send + Sync>;

/// What became of a batch of changes.
#[derive(Debug)]
pub struct Done {
    /// One for each change that was made, by its place in the batch; those that changed nothing among them.
    pub changed: Vec<(usize, Changed)>,
    pub not_taken: Vec<NotTaken>,
}

/// The inventory in force, and the way to change it.
pub struct Live {
    store: Arc<Store>,
    current: RwLock<Arc<Snapshot>>,
    /// Holding it is the right to change `current`.
    turn: Mutex<()>,
    listeners: RwLock<Vec<Listener>>,
    of_groups: RwLock<Vec<GroupsListener>>,
    rule: RwLock<Box<Rule>>,
    revisions: Arc<Revisions>,
}

/// What another configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconfigured {
    pub hosts: Counts,
    pub profiles: Counts,
    pub groups: Counts,
    /// Hosts, profiles and groups of the store that the configuration contradicts now: a line for each, to be shown to a person.
    pub left_out: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("current", &self.snapshot()).finish_non_exhaustive()
    }
}

impl Live {
    /// The configured inventory and the store's hosts, together. `rule` is what the site asks of a host set by CLI or
    /// API, beside the groups that give it a profile (`Checked::check_host`).
    ///
    /// A stored host that the configuration now contradicts is left out (it stays in the store, and in
    /// [`Snapshot::all_left_out`]): the second value has a line for each, to be shown to a person.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn open(
        store: Arc<Store>,
        configured: Snapshot,
        rule: impl Fn(&Host, &Groups) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<(Self, Vec<String>), store::Error> {
        let (snapshot, notices) = with_stored(&store, configured, &rule)?;
        let current = RwLock::new(Arc::new(snapshot));
        let (turn, listeners, of_groups) = Default::default();
        let (rule, revisions) = (RwLock::new(Box::new(rule) as Box<Rule>), Arc::default());
        Ok((Self { store, current, turn, listeners, of_groups, rule, revisions }, notices))
    }

    /// Puts another configuration's hosts and profiles in the place of those in force, beside the store's hosts, as
    /// [`Live::open`] does. `switch` puts the rest of it into force, with the new inventory, before any other change is made.
    ///
    /// # Errors
    /// The store can't be read: nothing has changed then. Or `switch` could not follow.
    pub fn reconfigure(
        &self,
        configured: Snapshot,
        rule: impl Fn(&Host, &Groups) -> Result<(), String> + Send + Sync + 'static,
        switch: impl FnOnce(&Snapshot) -> Result<(), String>,
    ) -> Result<Reconfigured, NotMade> {
        let _turn = self.turn();
        let (new, left_out) = with_stored(&self.store, configured, &rule)?;
        let (old, new) = (self.snapshot(), Arc::new(new));
        *self.rule.write().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        let switched = switch(&new).map_err(NotMade::NotInForce);
        let note =
            |kind| move |name: &str, fate| self.revisions.note(kind, Name::Text(name.to_owned()), fate);
        let (before, after) = (old.hosts().map(|h| (&h.name, h)), new.hosts().map(|h| (&h.name, h)));
        let hosts = compare(before, after, note(revisions::Kind::Host));
        let (before, after) = (old.profiles().map(|p| (&p.name, p)), new.profiles().map(|p| (&p.name, p)));
        let profiles = compare(before, after, note(revisions::Kind::Profile));
        let [before, after] = [&old, &new].map(|snapshot| {
            let by_name = |group: &Arc<Group>| (group.name.clone(), group.clone());
            snapshot.groups().iter().map(by_name).collect::<BTreeMap<_, _>>()
        });
        let groups = compare(before.iter(), after.iter(), note(revisions::Kind::Group));
        switched.map(|()| Reconfigured { hosts, profiles, groups, left_out })
    }

    /// The inventory of this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has changed of hosts and profiles, and of all else that whoever changes it notes there.
    pub fn revisions(&self) -> &Arc<Revisions> {
        &self.revisions
    }

    /// Has `listener` called with what differs after each change, in the thread that makes it, before it is answered.
    pub fn on_change(&self, listener: impl Fn(&[Changed]) -> Result<(), String> + Send + Sync + 'static) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Has `listener` called with the inventory after each change of a group, in the thread that makes it, before it is answered.
    pub fn on_regroup(&self, listener: impl Fn(&Snapshot) -> Result<(), String> + Send + Sync + 'static) {
        self.of_groups.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Makes a change: durable, then visible, then announced to every listener. Answers the inventory before and after.
    ///
    /// # Errors
    /// Why; nothing has changed then.
    pub fn apply(&self, change: Change) -> Result<(Arc<Snapshot>, Arc<Snapshot>), Refused> {
        self.apply_if(change, |_| Ok(()))
    }

    /// The same, if `condition` holds of the inventory that it changes: nobody else changes it in between.
    ///
    /// # Errors
    /// Why, or what the condition says; nothing has changed then.
    pub fn apply_if<E: From<Refused>>(
        &self,
        change: Change,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<(Arc<Snapshot>, Arc<Snapshot>), E> {
        let _turn = self.turn();
        let old = self.snapshot();
        condition(&old)?;
        let mut draft = self.draft(&old, &[change]);
        if let Some(fault) = draft.not_taken.pop() {
            return Err(fault.why.into());
        }
        self.commit(draft).map_err(Refused::from)?;
        Ok((old, self.snapshot()))
    }

    /// Makes all of these changes at once, as one: in one transaction, and seen together.
    ///
    /// # Errors
    /// Every one that can't be made, or the store; nothing has changed then.
    pub fn apply_all(&self, changes: &[Change]) -> Result<Vec<(usize, Changed)>, Failed> {
        let _turn = self.turn();
        let draft = self.draft(&self.snapshot(), changes);
        if !draft.not_taken.is_empty() {
            return Err(Failed::Refused(draft.not_taken));
        }
        Ok(self.commit(draft)?.changed)
    }

    /// Makes those of these changes that can be made, at once, and names the others.
    ///
    /// # Errors
    /// The store can't be written; nothing has changed then.
    pub fn apply_fitting(&self, changes: &[Change]) -> Result<Done, NotMade> {
        let _turn = self.turn();
        self.commit(self.draft(&self.snapshot(), changes))
    }

    /// What these changes would do now. Does nothing.
    pub fn dry_run(&self, changes: &[Change]) -> Done {
        let Draft { changed, not_taken, .. } = self.draft(&self.snapshot(), changes);
        Done { changed, not_taken }
    }

    fn draft(&self, old: &Snapshot, changes: &[Change]) -> Draft {
        draft(old, changes, &**self.rule.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever calls it has the turn, and made the draft of the snapshot in force.
    fn commit(&self, draft: Draft) -> Result<Done, NotMade> {
        let Draft { snapshot, changed, not_taken } = draft;
        let differing: Vec<Changed> =
            changed.iter().map(|(_, changed)| changed).filter(|changed| changed.differs()).cloned().collect();
        if !differing.is_empty() {
            self.put(&differing)?;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
            let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
            // All of them hear of it, also behind one that could not follow.
            let faults: Vec<String> =
                listeners.iter().filter_map(|listener| listener(&differing).err()).collect();
            let named = differing.iter().filter_map(|changed| {
                let fate =
                    Fate::of(changed.old.is_some() || changed.left_out.is_some(), changed.new.is_some())?;
                Some((revisions::Kind::Host, Name::Text(changed.name().to_owned()), fate))
            });
            self.revisions.note_all(named);
            if !faults.is_empty() {
                return Err(NotMade::NotInForce(faults.join("; ")));
            }
        }
        Ok(Done { changed, not_taken })
    }

    /// One durable transaction.
    fn put(&self, changed: &[Changed]) -> Result<(), store::Error> {
        let entries: Vec<_> = changed
            .iter()
            .map(|changed| (changed.name(), changed.new.as_deref().map(HostEntry::from)))
            .collect();
        let entries: Vec<_> = entries.iter().map(|(name, entry)| (*name, entry.as_ref())).collect();
        self.store.put_hosts(&entries)
    }
}

/// The configured inventory with the store's hosts, and a line for each that was left out.
fn with_stored(
    store: &Store,
    configured: Snapshot,
    rule: &Rule,
) -> Result<(Snapshot, Vec<String>), store::Error> {
    let snapshot = left_out::join(objects::join(configured, store, rule)?, store.hosts()?, rule);
    let objects = snapshot.odd_objects().map(OddObject::notice);
    let notices = objects.chain(snapshot.all_left_out().map(|left_out| left_out.notice())).collect();
    Ok((snapshot, notices))
}

/// By name: both come in the same order. `each` hears of what differs.
fn compare<'a, T: PartialEq + 'a>(
    old: impl Iterator<Item = (&'a String, T)>,
    new: impl Iterator<Item = (&'a String, T)>,
    each: impl Fn(&str, Fate),
) -> Counts {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    let mut counts = Counts::default();
    loop {
        let (order, name) = match (old.peek(), new.peek()) {
            (None, None) => return counts,
            (Some((a, _)), None) => (Ordering::Less, *a),
            (None, Some((b, _))) => (Ordering::Greater, *b),
            (Some((a, _)), Some((b, _))) => (a.cmp(b), (*a).min(*b)),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let (count, fate) = match order {
            Ordering::Less => (&mut counts.removed, Fate::Removed),
            Ordering::Greater => (&mut counts.added, Fate::Added),
            Ordering::Equal if before == after => continue,
            Ordering::Equal => (&mut counts.changed, Fate::Changed),
        };
        *count += 1;
        each(name, fate);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
