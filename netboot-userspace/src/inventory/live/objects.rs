//! Profiles and groups that are set by CLI or API, under the same rules as hosts: durable, then visible, before the caller hears of
//! it. Those of files are changed there.

use std::sync::{Arc, PoisonError};

use serde_json::{Map, Value};

use super::{Live, Refused, STORE};
use crate::config;
use crate::inventory::entry::profile_json;
use crate::inventory::group::{Group, GroupEntry};
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

impl Live {
    /// Adds a profile, or puts it in the place of the one of this name.
    ///
    /// # Errors
    /// Why; nothing has changed then.
    pub fn put_profile(&self, typed: &Value) -> Result<Arc<Profile>, Refused> {
        self.put_profile_if(typed, |_| Ok(()))
    }

    /// The same, if `condition` holds of the inventory that it changes, as with [`Live::apply_if`].
    ///
    /// # Errors
    /// Why, or what the condition says; nothing has changed then.
    pub fn put_profile_if<E: From<Refused>>(
        &self,
        typed: &Value,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<Arc<Profile>, E> {
        let _turn = self.turn();
        let old = self.snapshot();
        condition(&old)?;
        let profile = Arc::new(read_profile(typed, &old).map_err(Refused::Invalid)?);
        let name = profile.name.clone();
        of_store(Kind::Profile, &name, old.profile(&name).map(|profile| &profile.origin))?;
        let mut new = Snapshot::clone(&old);
        new.profiles.insert(name.clone(), profile.clone());
        new.odd.remove(&(Kind::Profile, name.clone()));
        self.store.put_profiles(&[(&name, Some(&stored(&profile)))]).map_err(not_made)?;
        self.show(&old, new, Kind::Profile, &name);
        Ok(profile)
    }

    /// Removes a profile that nobody names.
    ///
    /// # Errors
    /// As [`Live::put_profile`].
    pub fn remove_profile(&self, name: &str) -> Result<(), Refused> {
        self.remove_profile_if(name, |_| Ok(()))
    }

    /// The same, if `condition` holds of the inventory that it changes, as with [`Live::apply_if`].
    ///
    /// # Errors
    /// Why, or what the condition says; nothing has changed then.
    pub fn remove_profile_if<E: From<Refused>>(
        &self,
        name: &str,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<(), E> {
        let _turn = self.turn();
        let old = self.snapshot();
        condition(&old)?;
        let profile = old.profile(name);
        let mut new = removable(Kind::Profile, name, profile.map(|profile| &profile.origin), &old)?;
        if profile.is_some_and(|profile| profile.origin == STORE) {
            in_use(name, &old)?;
            new.profiles.remove(name);
        }
        self.store.put_profiles::<Value>(&[(name, None)]).map_err(not_made)?;
        self.show(&old, new, Kind::Profile, name);
        Ok(())
    }

    /// Adds a group, or puts it in the place of the one of this name.
    ///
    /// # Errors
    /// As [`Live::put_profile`].
    pub fn put_group(&self, entry: &GroupEntry) -> Result<Arc<Group>, Refused> {
        self.put_group_if(entry, |_| Ok(()))
    }

    /// The same, if `condition` holds of the inventory that it changes, as with [`Live::apply_if`].
    ///
    /// # Errors
    /// Why, or what the condition says; nothing has changed then.
    pub fn put_group_if<E: From<Refused>>(
        &self,
        entry: &GroupEntry,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<Arc<Group>, E> {
        let _turn = self.turn();
        let old = self.snapshot();
        condition(&old)?;
        let group = Arc::new(entry.check(STORE).map_err(Refused::Invalid)?);
        let name = &group.name;
        of_store(Kind::Group, name, old.groups().get(name).map(|group| &group.origin))?;
        let others = old.groups().iter().filter(|other| other.name != *name).cloned();
        let mut new =
            Snapshot::clone(&old).with_groups(others.chain([group.clone()])).map_err(Refused::Conflict)?;
        new.odd.remove(&(Kind::Group, name.clone()));
        self.store.put_groups(&[(name, Some(&GroupEntry::from(&*group)))]).map_err(not_made)?;
        self.show(&old, new, Kind::Group, name);
        self.tell_groups();
        Ok(group)
    }

    /// Removes a group.
    ///
    /// # Errors
    /// As [`Live::put_profile`].
    pub fn remove_group(&self, name: &str) -> Result<(), Refused> {
        self.remove_group_if(name, |_| Ok(()))
    }

    /// The same, if `condition` holds of the inventory that it changes, as with [`Live::apply_if`].
    ///
    /// # Errors
    /// Why, or what the condition says; nothing has changed then.
    pub fn remove_group_if<E: From<Refused>>(
        &self,
        name: &str,
        condition: impl FnOnce(&Snapshot) -> Result<(), E>,
    ) -> Result<(), E> {
        let _turn = self.turn();
        let old = self.snapshot();
        condition(&old)?;
        let group = old.groups().get(name);
        let mut new = removable(Kind::Group, name, group.map(|group| &group.origin), &old)?;
        if group.is_some_and(|group| group.origin == STORE) {
            let others = old.groups().iter().filter(|other| other.name != name).cloned();
            new = new.with_groups(others).map_err(Refused::Conflict)?;
        }
        self.store.put_groups::<GroupEntry>(&[(name, None)]).map_err(not_made)?;
        self.show(&old, new, Kind::Group, name);
        self.tell_groups();
        Ok(())
    }

    fn tell_groups(&self) {
        let snapshot = self.snapshot();
        let listeners = self.of_groups.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(snapshot.groups()));
    }

    /// Whoever calls it has the turn, and the disk has what is new in it: the one of this name.
    fn show(&self, old: &Snapshot, new: Snapshot, kind: Kind, name: &str) {
        let there = |snapshot: &Snapshot| match kind {
            _ if snapshot.odd.contains_key(&(kind, name.to_owned())) => true,
            Kind::Profile => snapshot.profile(name).is_some(),
            Kind::Group => snapshot.groups().get(name).is_some(),
        };
        let fate = Fate::of(there(old), there(&new));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        let kind = match kind {
            Kind::Profile => revisions::Kind::Profile,
            Kind::Group => revisions::Kind::Group,
        };
        fate.into_iter().for_each(|fate| self.revisions.note(kind, Name::Text(name.to_owned()), fate));
    }
}

fn not_made(error: store::Error) -> Refused {
    Refused::NotMade(error.into())
}

/// What is there of this name must be ours to change.
fn of_store(kind: Kind, name: &str, origin: Option<&String>) -> Result<(), Refused> {
    match origin.filter(|origin| *origin != STORE) {
        None => Ok(()),
        Some(origin) => Err(Refused::Filed { kind, name: name.to_owned(), origin: origin.clone() }),
    }
}

/// The inventory without what the store has of this name and the site does not; a fault if the store has nothing.
fn removable(
    kind: Kind,
    name: &str,
    origin: Option<&String>,
    snapshot: &Snapshot,
) -> Result<Snapshot, Refused> {
    let mut new = snapshot.clone();
    let was_odd = new.odd.remove(&(kind, name.to_owned())).is_some();
    match origin {
        _ if was_odd => Ok(new),
        None => Err(Refused::Missing { kind, name: name.to_owned() }),
        Some(_) => of_store(kind, name, origin).map(|()| new),
    }
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
pub(super) fn join(configured: Snapshot, store: &Store) -> Result<Snapshot, store::Error> {
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
    let mut groups: Vec<Arc<Group>> = snapshot.groups().iter().cloned().collect();
    for (name, entry) in store.groups::<GroupEntry>()? {
        let fits = |group: Group| match snapshot.misfits(&group, &groups) {
            faults if faults.is_empty() => Ok(Arc::new(group)),
            faults => Err(faults.iter().map(|Conflict { fault, .. }| fault.to_string()).collect()),
        };
        match (GroupEntry { name: name.clone(), ..entry }).check(STORE).and_then(fits) {
            Ok(group) => groups.push(group),
            Err(faults) => snapshot.note_odd(Kind::Group, name, faults.join("; ")),
        }
    }
    // Each of them was tried.
    Ok(snapshot.clone().with_groups(groups).unwrap_or(snapshot))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inventory::entry::HostEntry;
    use crate::inventory::live::Change;

    const KERNEL: &str = "http://h/vmlinuz";

    fn profile(name: &str, origin: &str) -> Profile {
        Profile { name: name.into(), origin: origin.into(), ..Profile::default() }
    }

    fn group(value: Value) -> GroupEntry {
        serde_json::from_value(value).unwrap()
    }

    /// A site with a profile and a group of files.
    fn configured() -> Snapshot {
        let filed =
            group(json!({ "name": "filed", "selector": { "os": "x" } })).check("groups.yaml:1").unwrap();
        let snapshot = Snapshot::new(vec![], vec![profile("filed", "profiles.yaml:1")]).unwrap();
        snapshot.with_groups([Arc::new(filed)]).unwrap()
    }

    fn open(dir: &std::path::Path, configured: Snapshot) -> (Live, Vec<String>) {
        Live::open(Arc::new(Store::open(dir).unwrap()), configured, |_| Ok(())).unwrap()
    }

    fn names(live: &Live) -> (Vec<String>, Vec<String>) {
        let snapshot = live.snapshot();
        let profiles = snapshot.profiles().map(|profile| profile.name.clone()).collect();
        (profiles, snapshot.groups().iter().map(|group| group.name.clone()).collect())
    }

    #[test]
    fn profiles_and_groups_by_command_are_durable_and_visible() {
        let dir = tempfile::tempdir().unwrap();
        let typed = json!({
            "name": "p", "kernel": KERNEL, "cmdline": "quiet", "metadata": { "n": 1, "none": null },
            "configs": { "cloud": "#cloud-config\n" },
            "install": { "image": "http://10.0.0.1/i", "sha256": "0".repeat(64), "size": null, "on_failure": "retry", "retry": "5s" },
        });
        let before = {
            let (live, _) = open(dir.path(), configured());
            live.put_profile(&json!({ "name": "p", "local": true })).unwrap();
            live.put_profile(&typed).unwrap();
            live.put_group(&group(json!({ "name": "g", "selector": { "region": "b" }, "profile": "p" })))
                .unwrap();
            live.put_profile(&json!({ "name": "q", "local": true })).unwrap();
            live.remove_profile("q").unwrap();
            live.put_group(&group(json!({ "name": "gone" }))).unwrap();
            live.remove_group("gone").unwrap();
            let shown = profile_json(live.snapshot().profile("p").unwrap());
            live.put_profile(&shown).unwrap();
            (names(&live), live.snapshot())
        };
        let (live, notices) = open(dir.path(), configured());
        assert_eq!((names(&live), notices), (before.0.clone(), vec![]));
        assert_eq!(before.0, (vec!["filed".into(), "p".into()], vec!["g".into(), "filed".into()]));
        assert_eq!(live.snapshot().profile("p"), before.1.profile("p"));
        assert_eq!(
            live.snapshot().profile("p").unwrap().metadata,
            *json!({ "n": 1, "none": null }).as_object().unwrap()
        );
        assert_eq!(live.snapshot().groups().get("g"), before.1.groups().get("g"));
    }

    #[test]
    fn what_files_say_is_changed_there_and_what_is_wrong_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (live, _) = open(dir.path(), configured());
        live.put_profile(&json!({ "name": "p", "kernel": KERNEL })).unwrap();
        live.put_group(&group(json!({ "name": "g", "profile": "p" }))).unwrap();
        let host: HostEntry =
            serde_json::from_value(json!({ "name": "n", "macs": ["52:54:00:00:00:01"], "profile": "p" }))
                .unwrap();
        live.apply(Change::Add(host)).unwrap();
        let put = |typed| live.put_profile(&typed).map(drop);
        let put_group = |typed| live.put_group(&group(typed)).map(drop);
        let cases = [
            (put(json!({ "name": "filed", "local": true })), "profile filed comes from profiles.yaml:1"),
            (live.remove_profile("filed"), "profile filed comes from profiles.yaml:1"),
            (live.remove_profile("x"), "there is no profile x"),
            (live.remove_profile("p"), "host n boots the profile p"),
            (put(json!({ "name": "x", "kernel": "gone", "colour": 1 })), "kernel: "),
            (put(json!({ "name": "x", "local": true, "options": { "252": "text:x" } })), "profiles.d"),
            (put(json!(["x"])), "takes a mapping"),
            (put_group(json!({ "name": "filed" })), "group filed comes from groups.yaml:1"),
            (live.remove_group("filed"), "group filed comes from groups.yaml:1"),
            (live.remove_group("x"), "there is no group x"),
            (put_group(json!({ "name": "x" })), "group x has no selectors, nor has group g"),
            (
                put_group(json!({ "name": "x", "selector": { "a": "b" }, "profile": "y" })),
                "names the profile y",
            ),
            (put_group(json!({ "name": "x", "selector": { "mac": "b" } })), "selector.mac: "),
        ];
        let before = (vec!["filed".to_owned(), "p".into()], vec!["filed".to_owned(), "g".into()]);
        for (refused, want) in cases {
            let fault = refused.unwrap_err().to_string();
            assert!(fault.contains(want), "{want}: {fault}");
            assert_eq!(names(&live), before);
        }
        live.apply(Change::Remove("n".into())).unwrap();
        let fault = live.remove_profile("p").unwrap_err().to_string();
        assert!(fault.contains("group g boots the profile p"), "{fault}");
        live.remove_group("g").unwrap();
        live.remove_profile("p").unwrap();
    }

    #[test]
    fn what_the_site_contradicts_is_left_out_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (live, _) = open(dir.path(), configured());
            live.put_profile(&json!({ "name": "p", "kernel": KERNEL })).unwrap();
            live.put_group(&group(json!({ "name": "g" }))).unwrap();
        }
        let all = group(json!({ "name": "all" })).check("groups.yaml:9").unwrap();
        let other = || {
            let snapshot = Snapshot::new(vec![], vec![profile("p", "profiles.yaml:9")]).unwrap();
            snapshot.with_groups([Arc::new(all.clone())]).unwrap()
        };
        let (live, notices) = open(dir.path(), other());
        let want = [
            "profile p of the store is left out: it is there already, from profiles.yaml:9",
            "group g of the store is left out: group g has no selectors, nor has group all",
        ];
        assert_eq!(notices.len(), want.len(), "{notices:?}");
        for (notice, want) in notices.iter().zip(want) {
            assert!(notice.starts_with(want), "{notice}");
        }
        live.remove_profile("p").unwrap();
        live.put_group(&group(json!({ "name": "g", "selector": { "a": "b" } }))).unwrap();
        assert_eq!(names(&live), (vec!["p".into()], vec!["g".into(), "all".into()]), "the file's stay");
        assert_eq!(live.snapshot().odd_objects().count(), 0);
        let changed = live.reconfigure(configured(), |_| Ok(()), |_| Ok(())).unwrap();
        assert_eq!(names(&live), (vec!["filed".into()], vec!["filed".into(), "g".into()]));
        assert_eq!((changed.groups.added, changed.groups.removed, changed.left_out.len()), (1, 1, 0));
    }
}
