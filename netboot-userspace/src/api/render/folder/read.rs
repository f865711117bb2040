//! What was read of a data folder: whole, at one moment, and the same as long as no file is changed. Whoever decides for a machine asks
//! it under locks, and no file is read then.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Fault, Found, text};
use crate::inventory::group::{Group, Groups};
use crate::inventory::labels::Labels;
use crate::inventory::{Profile, ProfileBoot};
use crate::render::{bootcfg, matchbox};
use crate::sys::open::{self, Identity, Refusal, Root};

/// Which program's folder it is: what is in it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Epoch {
    /// `boot/` and `cloud/`, by UUID and MAC.
    Bootcfg,
    /// `groups/` and `profiles/`.
    Matchbox,
}

impl Epoch {
    fn of(folder: &Path) -> Found<Self> {
        let has = |names: [&str; 2]| names.iter().any(|name| folder.join(name).is_dir());
        match (has(["groups", "profiles"]), has(["boot", "cloud"])) {
            (true, _) => Ok(Self::Matchbox),
            (false, true) => Ok(Self::Bootcfg),
            (false, false) => Err(Fault::Broken(format!(
                "{} has neither matchbox's folders (groups, profiles) nor bootcfg's (boot, cloud)",
                folder.display()
            ))),
        }
    }
}

/// What there was.
#[derive(Debug)]
pub(super) struct Read {
    folder: PathBuf,
    pub(super) epoch: Epoch,
    /// Those of bootcfg's that have its files: as long as they are the same, so are the names in them.
    folders: Vec<Seen>,
    /// By path in the folder; those of bootcfg in lower case, for UUIDs are written either way.
    files: BTreeMap<String, Arc<Known>>,
    groups: Groups,
    /// What is wrong with a group that never could be read: nobody knows whose it is.
    unknown: Option<String>,
}

/// A file or a folder, as it was.
#[derive(Debug)]
struct Seen {
    /// In the data folder.
    path: String,
    identity: Identity,
    /// Whether a change since then shows: it was not changed just then.
    is_settled: AtomicBool,
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.identity) == (&other.path, other.identity)
    }
}

impl Seen {
    /// What is to be looked at next, or was just now.
    fn new(path: &str, identity: Identity) -> Self {
        let is_settled = AtomicBool::new(identity.is_settled());
        Self { path: path.to_owned(), identity, is_settled }
    }

    /// Whether it is now what it was.
    fn is_still(&self, folder: &Path) -> bool {
        self.is_settled.load(Ordering::Relaxed)
            && open::identity(&folder.join(&self.path)).is_ok_and(|now| now == self.identity)
    }

    /// It was looked at once more, and is the same.
    fn settle(&self, again: &Self) {
        self.is_settled.fetch_or(again.is_settled.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A file.
#[derive(Debug, PartialEq)]
struct Known {
    seen: Seen,
    /// As it was when it could be read last; `None`: it never could.
    content: Option<Content>,
    /// What is wrong with it now.
    fault: Option<String>,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Group(Arc<Group>),
    Profile(Named),
    /// A boot configuration of bootcfg's.
    Boot(Arc<Profile>),
}

/// A profile of matchbox's: the templates that it names, and what it boots, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) templates: Arc<matchbox::Profile>,
    pub(super) boots: Option<Arc<Profile>>,
}

impl Read {
    /// The folder as it is now; `before` again where nothing was changed. A group that was changed and can't be read stays what it was.
    /// What is wrong now, and was not before, is warned of.
    pub(super) fn now(folder: &Path, before: Option<&Arc<Self>>) -> Found<Arc<Self>> {
        let epoch = Epoch::of(folder)?;
        let root = Root::open(folder);
        let root = root.map_err(|error| Fault::Broken(format!("{}: {error}", folder.display())))?;
        let old = before.filter(|before| before.epoch == epoch);
        if before.is_some_and(|before| (before.epoch, epoch) == (Epoch::Matchbox, Epoch::Bootcfg)) {
            // They are being exchanged: matchbox's folder has `cloud`, too.
            let folder = folder.display();
            let what =
                "has neither groups nor profiles any more; restart netboot if it is bootcfg's from now on";
            return Err(Fault::Broken(format!("{folder} {what}")));
        }
        let before = old.map(|old| &old.files);
        let mut reading = Reading { folder, root, before, folders: Vec::new(), files: BTreeMap::new() };
        match epoch {
            Epoch::Matchbox => reading.matchbox()?,
            Epoch::Bootcfg => reading.bootcfg()?,
        }
        let Reading { folders, files, .. } = reading;
        let is_same = |old: &&Arc<Self>| {
            let mut pairs = old.files.values().zip(files.values());
            old.folders == folders
                && old.files.len() == files.len()
                && pairs.all(|(old, new)| Arc::ptr_eq(old, new))
        };
        if let Some(old) = old.filter(is_same) {
            old.folders.iter().zip(&folders).for_each(|(old, again)| old.settle(again));
            return Ok(old.clone());
        }
        let groups = Groups::new(files.values().filter_map(|known| match &known.content {
            Some(Content::Group(group)) => Some(group.clone()),
            _ => None,
        }));
        let is_unknown =
            |(name, known): &(&String, &Arc<Known>)| name.starts_with(GROUPS) && known.content.is_none();
        let unknown = files.iter().find(is_unknown).map(|(_, known)| known.fault.clone().unwrap_or_default());
        let now = Arc::new(Self { folder: folder.to_owned(), epoch, folders, files, groups, unknown });
        now.warn_beside(old.map(|old| &old.files));
        Ok(now)
    }

    /// Whether it is still all that there is for machines of which this is known, as far as a few looks tell: of bootcfg's folder, which
    /// has a file for each machine, the names that are in it, and the files of these machines. Any of matchbox's groups may have any machine.
    pub(super) fn is_still<'a>(&self, machines: impl Iterator<Item = &'a Labels>) -> bool {
        let is_still = |seen: &Seen| seen.is_still(&self.folder);
        let is_file_still = |place: String| {
            let known = self.files.get(&place.to_ascii_lowercase());
            known.is_none_or(|known| is_still(&known.seen))
        };
        self.epoch == Epoch::Bootcfg
            && self.folders.iter().all(is_still)
            && machines.flat_map(places).all(is_file_still)
    }

    /// The profiles that groups name.
    pub(super) fn profiles(&self) -> impl Iterator<Item = &matchbox::Profile> {
        self.files.values().filter_map(|known| match (&known.fault, &known.content) {
            (None, Some(Content::Profile(profile))) => Some(&*profile.templates),
            _ => None,
        })
    }

    /// What is wrong with its files, and which of them are not there.
    pub(super) fn faults(&self) -> Vec<String> {
        let missing = |known: &Arc<Known>| match &known.content {
            Some(Content::Group(group)) if !self.files.contains_key(&profile_of(group)) => {
                Some(format!("group {} ({}): there is no {}", group.name, group.origin, profile_of(group)))
            }
            _ => None,
        };
        let files = self.files.values();
        files.flat_map(|known| known.fault.clone().into_iter().chain(missing(known))).collect()
    }

    /// What boots a machine, and what says so.
    pub(super) fn boots(&self, labels: &Labels) -> Found<(Arc<Profile>, String)> {
        if self.epoch == Epoch::Bootcfg {
            return self.configured(labels);
        }
        let (group, profile) = self.chosen(labels)?;
        let id = &profile.templates.id;
        let boots = profile.boots.clone();
        let boots = boots.ok_or_else(|| Fault::Missing(format!("profile {id} has no kernel")))?;
        Ok((boots, format!("group {} ({})", group.name, group.origin)))
    }

    fn configured(&self, labels: &Labels) -> Found<(Arc<Profile>, String)> {
        let places = places(labels);
        let mut there = places.iter().filter_map(|place| self.files.get(&place.to_ascii_lowercase()));
        let known = there.next().ok_or_else(|| self.none_of(&places))?;
        match (&known.fault, &known.content) {
            (None, Some(Content::Boot(profile))) => Ok((profile.clone(), profile.origin.clone())),
            (fault, _) => Err(Fault::Broken(fault.clone().unwrap_or_default())),
        }
    }

    /// That the folder has nothing by any of these names.
    pub(super) fn none_of(&self, places: &[String]) -> Fault {
        Fault::Missing(format!("there is none of {} in {}", places.join(", "), self.folder.display()))
    }

    /// The group that counts for a machine, and its profile.
    pub(super) fn chosen(&self, labels: &Labels) -> Found<(&Arc<Group>, &Named)> {
        let group = self.group(labels)?;
        let name = profile_of(group);
        let missing = || {
            let (group, folder) = (&group.name, self.folder.display());
            Fault::Missing(format!("group {group}: there is no {name} in {folder}"))
        };
        let known = self.files.get(&name).ok_or_else(missing)?;
        match (&known.fault, &known.content) {
            (None, Some(Content::Profile(profile))) => Ok((group, profile)),
            (fault, _) => Err(Fault::Broken(fault.clone().unwrap_or_default())),
        }
    }

    /// The group that counts for a machine.
    pub(super) fn group(&self, labels: &Labels) -> Found<&Arc<Group>> {
        if let Some(fault) = &self.unknown {
            return Err(Fault::Broken(fault.clone()));
        }
        self.groups.of(labels).ok_or_else(|| {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            Fault::Missing(format!("no group has a machine with {}", labels.join(", ")))
        })
    }

    fn warn_beside(&self, before: Option<&BTreeMap<String, Arc<Known>>>) {
        for (name, known) in &self.files {
            let said = before.and_then(|before| before.get(name)).and_then(|known| known.fault.as_ref());
            let Some(fault) = known.fault.as_ref().filter(|fault| said != Some(fault)) else { continue };
            let meanwhile = match (name.starts_with(GROUPS), &known.content) {
                (true, Some(_)) => "what it was stays",
                (true, None) => "no machine's group is known meanwhile",
                (false, _) => "nothing is booted by it meanwhile",
            };
            tracing::warn!("{fault}: {meanwhile}");
        }
    }
}

const GROUPS: &str = "groups/";

fn profile_of(group: &Group) -> String {
    format!("profiles/{}.json", group.profile.as_deref().unwrap_or_default())
}

/// Where bootcfg looks for what boots a machine.
fn places(labels: &Labels) -> Vec<String> {
    bootcfg::places("boot", label(labels, "uuid"), label(labels, "mac"))
}

/// By its name in any case.
fn label<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    let any = || labels.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    labels.get(name).or_else(any)
}

/// The files of a folder, one after the other.
struct Reading<'a> {
    folder: &'a Path,
    root: Root,
    before: Option<&'a BTreeMap<String, Arc<Known>>>,
    folders: Vec<Seen>,
    files: BTreeMap<String, Arc<Known>>,
}

type Parse = fn(&str, &str) -> Result<Content, String>;

impl Reading<'_> {
    fn matchbox(&mut self) -> Found<()> {
        for name in self.names("groups")? {
            if name.ends_with(".json") {
                let path = format!("{GROUPS}{name}");
                self.take(path.clone(), &path, group);
            }
        }
        let contents = self.files.values().filter_map(|known| known.content.as_ref());
        let profiles: BTreeSet<String> = contents
            .filter_map(|content| match content {
                Content::Group(group) => Some(profile_of(group)),
                _ => None,
            })
            .collect();
        for path in profiles {
            self.take(path.clone(), &path, profile);
        }
        Ok(())
    }

    fn bootcfg(&mut self) -> Found<()> {
        // Before what is in them: a name that comes meanwhile is a change.
        for path in ["", "boot", "boot/uuid", "boot/mac"] {
            let identity = open::identity(&self.folder.join(path));
            self.folders.extend(identity.ok().map(|identity| Seen::new(path, identity)));
        }
        for folder in ["boot/uuid", "boot/mac"] {
            if !self.root.is_folder(folder) {
                continue;
            }
            for name in self.names(folder)? {
                let path = format!("{folder}/{name}");
                // bootcfg looks at regular files alone.
                if !self.root.is_folder(&path) {
                    self.take(path.to_ascii_lowercase(), &path, boot);
                }
            }
        }
        self.take("boot/default".to_owned(), "boot/default", boot);
        Ok(())
    }

    /// The names in a folder, without hidden ones.
    fn names(&self, folder: &str) -> Found<Vec<String>> {
        let folder = self.folder.join(folder);
        let unreadable = |error: io::Error| Fault::Broken(format!("{}: {error}", folder.display()));
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| !name.starts_with('.'));
        // Of two that differ in their case alone it is always the same that counts.
        names.sort();
        Ok(names)
    }

    /// Takes a file in as it is now, if it is there.
    fn take(&mut self, key: String, path: &str, parse: Parse) {
        if let Some(known) = self.known(&key, path, parse) {
            self.files.insert(key, known);
        }
    }

    fn known(&self, key: &str, path: &str, parse: Parse) -> Option<Arc<Known>> {
        let before = self.before.and_then(|before| before.get(key));
        if let Some(before) = before.filter(|before| before.seen.is_still(self.folder)) {
            return Some(before.clone());
        }
        let of_before = |identity, fault| {
            let content = before.and_then(|before| before.content.clone());
            Known { seen: Seen::new(path, identity), content, fault: Some(format!("{path}: {fault}")) }
        };
        let now = if !super::is_below(path) {
            of_before(NEVER, format!("leads out of {}", self.folder.display()))
        } else {
            match self.root.linked(path) {
                Err(Refusal::NotFound) => return None,
                Err(refusal) => of_before(NEVER, refusal.to_string()),
                Ok(file) => {
                    let identity = file.identity;
                    match text(file).map(|text| parse(path, &text)) {
                        Ok(Ok(content)) => {
                            Known { seen: Seen::new(path, identity), content: Some(content), fault: None }
                        }
                        Ok(Err(fault)) => of_before(identity, fault),
                        // It may be the disk's fault, or the network's: it is read again.
                        Err(fault) => of_before(NEVER, fault),
                    }
                }
            }
        };
        match before.filter(|before| ***before == now) {
            Some(before) => {
                before.seen.settle(&now.seen);
                Some(before.clone())
            }
            None => Some(Arc::new(now)),
        }
    }
}

fn group(path: &str, json: &str) -> Result<Content, String> {
    matchbox::group(path, json).map(|group| Content::Group(Arc::new(group)))
}

fn profile(path: &str, json: &str) -> Result<Content, String> {
    let templates = Arc::new(matchbox::Profile::parse(json)?);
    let booted = |boot| Profile {
        name: templates.id.clone(),
        boot: ProfileBoot::Given(boot),
        origin: path.to_owned(),
        ..Profile::default()
    };
    let boots = templates.boot().map(booted).map(Arc::new);
    Ok(Content::Profile(Named { templates, boots }))
}

fn boot(path: &str, json: &str) -> Result<Content, String> {
    let boot = ProfileBoot::Given(bootcfg::boot(json)?);
    let (name, origin) = (path.to_owned(), path.to_owned());
    Ok(Content::Boot(Arc::new(Profile { name, boot, origin, ..Profile::default() })))
}

/// No file's.
const NEVER: Identity = Identity {
    device: 0,
    inode: 0,
    size: 0,
    modified: 0,
    modified_nanos: 0,
    changed: 0,
    changed_nanos: 0,
    links: 0,
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Of a file that is wrong nobody looks again before it is changed; of one that can't be read everybody does.
    #[test]
    fn what_can_not_be_read_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("groups")).unwrap();
        std::fs::write(dir.path().join("groups/wrong.json"), "{").unwrap();
        std::fs::write(dir.path().join("groups/unread.json"), [0xff]).unwrap();
        let read = Read::now(dir.path(), None).unwrap();
        let is_never = |name: &str| read.files[name].seen.identity == NEVER;
        assert_eq!((is_never("groups/wrong.json"), is_never("groups/unread.json")), (false, true));
        assert!(
            read.group(&Labels::default())
                .unwrap_err()
                .to_string()
                .contains("groups/unread.json: is not UTF-8")
        );
    }
}
