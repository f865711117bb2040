//! Profiles and groups that are set by CLI or API, under the same rules as hosts: durable, then visible, before the caller hears of
//! it. Those of files are changed there.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde_json::{Map, Value, json};

use super::{Live, NotMade, Refused, STORE};
use crate::config;
use crate::inventory::change::Rule;
use crate::inventory::entry::profile_json;
use crate::inventory::group::{Group, GroupEntry, Groups};
use crate::inventory::labels::Labels;
use crate::inventory::revisions::{self, Fate, Name};
use crate::inventory::{Conflict, Profile, Snapshot};
use crate::store::{self, Store};

/// What has a name and is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Profile,
    Group,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Group => "group",
        }
    }
}

/// A profile or group of the store that the site contradicts: it is not in force, and kept until somebody sets or removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddObject {
    pub kind: Kind,
    pub name: String,
    pub why: String,
}

impl OddObject {
    /// What an operator should know.
    pub fn notice(&self) -> String {
        let (kind, name) = (self.kind.name(), &self.name);
        format!(
            "{kind} {name} of the store is left out: {} (`netboot {kind} set` repairs it, `netboot {kind} remove {name}` \
             removes it)",
            self.why
        )
    }
}

/// A change of one object, made and not yet written.
struct Made<T> {
    name: String,
    /// As the store has it; `None`: no more.
    stored: Option<Value>,
    new: Snapshot,
    answer: T,
}

impl Live {
    /// Adds a profile, or puts it in the place of the one of this name, if `condition` holds of the inventory that it changes, as with
    /// [`Live::apply_if`].
    ///
    /// # Errors
    /// Why, or what the condition says; nothing has changed then.
    pub fn put_profile_if<E: From<Refused>>(
        &self,
        typed: &Value,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<Arc<Profile>, E> {
        self.change_object(Kind::Profile, condition, |old| {
            let profile = Arc::new(read_profile(typed, old).map_err(Refused::Invalid)?);
            let name = profile.name.clone();
            of_store(Kind::Profile, &name, old)?;
            let mut new = old.clone();
            new.profiles.insert(name.clone(), profile.clone());
            Ok(Made { name, stored: Some(stored(&profile)), new, answer: profile })
        })
    }

    /// Removes a profile that nobody names.
    ///
    /// # Errors
    /// As [`Live::put_profile_if`].
    pub fn remove_profile_if<E: From<Refused>>(
        &self,
        name: &str,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<(), E> {
        self.change_object(Kind::Profile, condition, |old| {
            let mut new = old.clone();
            if is_removable(Kind::Profile, name, old)? {
                in_use(name, old)?;
                new.profiles.remove(name);
            }
            Ok(Made { name: name.to_owned(), stored: None, new, answer: () })
        })
    }

    /// Adds a group, or puts it in the place of the one of this name.
    ///
    /// # Errors
    /// As [`Live::put_profile_if`].
    pub fn put_group_if<E: From<Refused>>(
        &self,
        entry: &GroupEntry,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<Arc<Group>, E> {
        self.change_object(Kind::Group, condition, |old| {
            let group = Arc::new(entry.check(STORE).map_err(Refused::Invalid)?);
            let name = group.name.clone();
            of_store(Kind::Group, &name, old)?;
            let groups = groups_without(&name, old).chain([group.clone()]);
            let new = self.regrouped(old, groups)?;
            Ok(Made { name, stored: Some(json!(GroupEntry::from(&*group))), new, answer: group })
        })
    }

    /// Removes a group.
    ///
    /// # Errors
    /// As [`Live::put_profile_if`].
    pub fn remove_group_if<E: From<Refused>>(
        &self,
        name: &str,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<(), E> {
        self.change_object(Kind::Group, condition, |old| {
            let mut new = old.clone();
            if is_removable(Kind::Group, name, old)? {
                new = self.regrouped(old, groups_without(name, old))?;
            }
            Ok(Made { name: name.to_owned(), stored: None, new, answer: () })
        })
    }

    /// The same with other groups: whoever they give another profile must be able to have that one's settings.
    fn regrouped(
        &self,
        old: &Snapshot,
        groups: impl IntoIterator<Item = Arc<Group>>,
    ) -> Result<Snapshot, Refused> {
        let new = old.clone().with_groups(groups).map_err(Refused::Conflict)?;
        let rule = self.rule.read().unwrap_or_else(PoisonError::into_inner);
        let misfit = misfits(&new, old.groups(), &**rule).next();
        misfit.map_or(Ok(()), |(_, fault)| Err(Refused::Misfit(fault)))?;
        Ok(new)
    }

    /// Durable, then visible, then announced. What is left out under this name is so no more: it was put right, or removed.
    fn change_object<T, E: From<Refused>>(
        &self,
        kind: Kind,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
        make: impl FnOnce(&Snapshot) -> Result<Made<T>, Refused>,
    ) -> Result<T, E> {
        let _turn = self.turn();
        let old = self.snapshot();
        condition(&old)?;
        let Made { name, stored, mut new, answer } = make(&old)?;
        new.odd.remove(&(kind, name.clone()));
        let entry = [(name.as_str(), stored.as_ref())];
        let put = match kind {
            Kind::Profile => self.store.put_profiles(&entry),
            Kind::Group => self.store.put_groups(&entry),
        };
        put.map_err(|error| Refused::NotMade(error.into()))?;
        self.show(&old, new, kind, name).map_err(Refused::from)?;
        Ok(answer)
    }

    /// Whoever calls it has the turn, and the disk has what is new in it: the one of this name. As with hosts, every lane has it
    /// before whoever follows is told.
    fn show(&self, old: &Snapshot, new: Snapshot, kind: Kind, name: String) -> Result<(), NotMade> {
        let odd = (kind, name);
        let there =
            |snapshot: &Snapshot| snapshot.odd.contains_key(&odd) || origin(kind, &odd.1, snapshot).is_some();
        let (fate, new) = (Fate::of(there(old), there(&new)), Arc::new(new));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        let (kind, faults) = match kind {
            Kind::Profile => (revisions::Kind::Profile, Vec::new()),
            Kind::Group => {
                let listeners = self.of_groups.read().unwrap_or_else(PoisonError::into_inner);
                let faults = listeners.iter().filter_map(|listener| listener(&new).err()).collect();
                (revisions::Kind::Group, faults)
            }
        };
        fate.into_iter().for_each(|fate| self.revisions.note(kind, Name::Text(odd.1.clone()), fate));
        if faults.is_empty() { Ok(()) } else { Err(NotMade::NotInForce(faults.join("; "))) }
    }
}

/// Where the one in force of this name comes from.
fn origin<'a>(kind: Kind, name: &str, snapshot: &'a Snapshot) -> Option<&'a String> {
    match kind {
        Kind::Profile => snapshot.profile(name).map(|profile| &profile.origin),
        Kind::Group => snapshot.groups().get(name).map(|group| &group.origin),
    }
}

/// What is there of this name must be ours to change.
fn of_store(kind: Kind, name: &str, snapshot: &Snapshot) -> Result<(), Refused> {
    match origin(kind, name, snapshot).filter(|origin| *origin != STORE) {
        None => Ok(()),
        Some(origin) => Err(Refused::Filed { kind, name: name.to_owned(), origin: origin.clone() }),
    }
}

/// Whether the one to remove is in force; a fault if the store has nothing of this name.
fn is_removable(kind: Kind, name: &str, snapshot: &Snapshot) -> Result<bool, Refused> {
    match origin(kind, name, snapshot) {
        origin if snapshot.odd.contains_key(&(kind, name.to_owned())) => {
            Ok(origin.is_some_and(|origin| origin == STORE))
        }
        None => Err(Refused::Missing { kind, name: name.to_owned() }),
        Some(_) => of_store(kind, name, snapshot).map(|()| true),
    }
}

fn groups_without(name: &str, snapshot: &Snapshot) -> impl Iterator<Item = Arc<Group>> {
    snapshot.groups().iter().filter(move |group| group.name != name).cloned()
}

/// A profile that is named somewhere stays.
fn in_use(name: &str, snapshot: &Snapshot) -> Result<(), Refused> {
    let names = |profile: &Option<String>| profile.as_deref() == Some(name);
    let host = snapshot.hosts().find(|host| names(&host.profile)).map(|host| format!("host {}", host.name));
    let group = || snapshot.groups().iter().find(|group| names(&group.profile));
    match host.or_else(|| group().map(|group| format!("group {}", group.name))) {
        Some(by) => Err(Refused::InUse { name: name.to_owned(), by }),
        None => Ok(()),
    }
}

/// From JSON with the keys of the configuration, as the configuration is read.
fn read_profile(typed: &Value, snapshot: &Snapshot) -> Result<Profile, Vec<String>> {
    let profile = config::profile(typed, snapshot.named())?;
    if !profile.settings.is_empty() {
        let what = "options, vendor_options, boot_files, pxe_menu: what is set by command has none of these: write the \
                    profile to a file in profiles.d";
        return Err(vec![what.to_owned()]);
    }
    Ok(Profile { origin: STORE.to_owned(), ..profile })
}

/// As the store has it.
fn stored(profile: &Profile) -> Value {
    let mut value = profile_json(profile);
    value.as_object_mut().map(|object| object.remove("origin"));
    value
}

/// The configured inventory with the store's profiles and groups. Those that do not fit are noted in it.
pub(super) fn join(configured: Snapshot, store: &Store, rule: &Rule) -> Result<Snapshot, store::Error> {
    let mut snapshot = configured;
    for (name, typed) in store.profiles::<Value>()? {
        let named = Map::from_iter([("name".to_owned(), Value::from(name.as_str()))]);
        let typed =
            typed.as_object().map(|typed| typed.clone().into_iter().chain(named).collect::<Map<_, _>>());
        let there =
            snapshot.profile(&name).map(|profile| format!("it is there already, from {}", profile.origin));
        let read = read_profile(&typed.unwrap_or_default().into(), &snapshot);
        match there.map_or(read, |there| Err(vec![there])) {
            Ok(profile) => drop(snapshot.profiles.insert(name, Arc::new(profile))),
            Err(faults) => snapshot.note_odd(Kind::Profile, name, faults.join("; ")),
        }
    }
    let filed = snapshot.groups().clone();
    let by_name = |group: &Arc<Group>| (group.name.clone(), group.clone());
    let mut groups: BTreeMap<String, Arc<Group>> = filed.iter().map(by_name).collect();
    for (name, entry) in store.groups::<GroupEntry>()? {
        let fits = |group: Group| match snapshot.misfits(&group, &groups) {
            faults if faults.is_empty() => Ok(Arc::new(group)),
            faults => Err(faults.iter().map(|Conflict { fault, .. }| fault.to_string()).collect()),
        };
        match (GroupEntry { name: name.clone(), ..entry }).check(STORE).and_then(fits) {
            Ok(group) => drop(groups.insert(name, group)),
            Err(faults) => snapshot.note_odd(Kind::Group, name, faults.join("; ")),
        }
    }
    // Each of them was tried.
    Ok(without_misfits(snapshot.clone().with_groups(groups.into_values()).unwrap_or(snapshot), &filed, rule))
}

/// Without those groups that give hosts of files, or machines without an entry, a profile whose settings they can't have. `filed`: the
/// groups of files, which are right.
fn without_misfits(mut snapshot: Snapshot, filed: &Groups, rule: &Rule) -> Snapshot {
    loop {
        let mut unfit: BTreeMap<String, String> = BTreeMap::new();
        for (group, fault) in misfits(&snapshot, filed, rule) {
            if let Some(group) = group {
                unfit.entry(group).or_insert(fault);
            }
        }
        let left = snapshot.groups().iter().filter(|group| !unfit.contains_key(&group.name));
        let left: Vec<_> = left.cloned().collect();
        // A part of groups that fit together fits together.
        let Some(Ok(fewer)) = (!unfit.is_empty()).then(|| snapshot.clone().with_groups(left)) else {
            return snapshot;
        };
        // Those whom the ones had that go may be in others now, which are too much for them.
        snapshot = fewer;
        unfit.into_iter().for_each(|(group, fault)| snapshot.note_odd(Kind::Group, group, fault));
    }
}

/// Whoever can't have the settings of the profile that it is given by the snapshot's groups, and was not by those `before`: the group
/// that it is in, and why.
fn misfits<'a>(
    snapshot: &'a Snapshot,
    before: &'a Groups,
    rule: &'a Rule,
) -> impl Iterator<Item = (Option<String>, String)> + 'a {
    let groups = snapshot.groups();
    let hosts = snapshot.moved(before).filter_map(move |host| {
        let fault = rule(host, groups).err()?;
        let group = groups.of(&Labels::default().of_host(host));
        let fault = format!("host {} would get what does not fit: {fault}", host.name);
        Some((group.map(|group| group.name.clone()), fault))
    });
    let strangers = groups.unlike(before).filter(|group| group.is_heard()).filter_map(move |group| {
        let fault = rule(&group.anybody()?, groups).err()?;
        let fault = format!("machines without an entry would get what does not fit: {fault}");
        Some((Some(group.name.clone()), fault))
    });
    hosts.chain(strangers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
