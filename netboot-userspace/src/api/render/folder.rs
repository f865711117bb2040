//! A data folder of bootcfg or matchbox, as it is now: nothing need be restarted or told when a file changes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

use crate::inventory::configs::Kind as Config;
use crate::inventory::group::{Group, Groups};
use crate::render::asked::Asked;
use crate::render::matchbox::{self, Profile};
use crate::render::{Boot, bootcfg};
use crate::sys::open::{self, Identity, Refusal, RegularFile, Root};
use crate::template::{OUTPUT, Template};

/// Why a folder has nothing for a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Nothing fits, or what fits names no such thing.
    #[error("{0}")]
    Missing(String),
    /// What there is can't be used.
    #[error("{0}")]
    Broken(String),
}

type Found<T> = Result<T, Fault>;

/// Which program's folder it is: what is in it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Epoch {
    /// `boot/` and `cloud/`, by UUID and MAC.
    Bootcfg,
    /// `groups/` and `profiles/`.
    Matchbox,
}

/// Where the files are, and the groups that were read.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    groups: Mutex<Arc<ReadGroups>>,
}

/// The groups, and the files that they are in: the same as long as no file was changed.
#[derive(Debug, Default)]
struct ReadGroups {
    files: BTreeMap<String, Arc<Known>>,
    groups: Groups,
}

/// A group's file.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    identity: Identity,
    /// As it was when it could be read last; `None`: it never could.
    group: Option<Arc<Group>>,
    fault: Option<String>,
}

/// A file of the folder, by its path in it.
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: String,
    /// What it is filled in with; `None`: it is no template.
    pub(super) data: Option<Map<String, Value>>,
}

impl Text {
    /// As the machine gets it.
    pub(super) fn rendered(self) -> Found<String> {
        let Some(data) = self.data else { return Ok(self.text) };
        let template = Template::parse(&self.name, &self.text);
        let rendered = template.and_then(|template| template.render(&Value::Object(data), &()));
        rendered.map_err(|fault| Fault::Broken(fault.to_string()))
    }
}

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self { path, groups: Mutex::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn epoch(&self) -> Found<Epoch> {
        let has = |names: [&str; 2]| names.iter().any(|name| self.path.join(name).is_dir());
        match (has(["groups", "profiles"]), has(["boot", "cloud"])) {
            (true, _) => Ok(Epoch::Matchbox),
            (false, true) => Ok(Epoch::Bootcfg),
            (false, false) => Err(Fault::Broken(format!(
                "{} has neither matchbox's folders (groups, profiles) nor bootcfg's (boot, cloud)",
                self.path.display()
            ))),
        }
    }

    /// What a machine boots, and by which name.
    pub(super) fn boot(&self, asked: &Asked) -> Found<(String, Boot)> {
        if self.epoch()? == Epoch::Bootcfg {
            let Text { name, text, .. } = self.first("boot", asked)?;
            let boot = bootcfg::boot(&text).map_err(|what| Fault::Broken(format!("{name}: {what}")))?;
            return Ok((name, boot));
        }
        let (_, profile) = self.chosen(asked)?;
        let boot = profile.boot();
        let boot = boot.ok_or_else(|| Fault::Missing(format!("profile {} has no kernel", profile.id)))?;
        Ok((profile.id, boot))
    }

    /// The configuration of a kind that a machine gets.
    pub(super) fn config(&self, asked: &Asked, kind: Config) -> Found<Text> {
        if self.epoch()? == Epoch::Bootcfg {
            return match kind {
                Config::Cloud => self.first("cloud", asked),
                _ => {
                    Err(Fault::Missing(format!("a folder of bootcfg has no {} configurations", kind.name())))
                }
            };
        }
        let (group, profile) = self.chosen(asked)?;
        let id = match kind {
            Config::Cloud => &profile.cloud_id,
            Config::Ignition => &profile.ignition_id,
            Config::Generic => &profile.generic_id,
        };
        if id.is_empty() {
            return Err(Fault::Missing(format!("profile {} has no {}_id", profile.id, kind.name())));
        }
        let name = format!("{}/{id}", kind.name());
        let text = self.read(&name)?;
        let is_json = kind == Config::Ignition && crate::render::config::is_ignition(id);
        let data = (!is_json).then(|| data(&group, asked));
        Ok(Text { name, text, data })
    }

    /// What templates know of a machine.
    pub(super) fn metadata(&self, asked: &Asked) -> Found<Map<String, Value>> {
        if self.epoch()? == Epoch::Bootcfg {
            return Err(Fault::Missing("a folder of bootcfg has no metadata".to_owned()));
        }
        let group = self.group(asked)?;
        Ok(data(&group, asked))
    }

    fn first(&self, folder: &str, asked: &Asked) -> Found<Text> {
        let places = bootcfg::places(folder, asked);
        for name in &places {
            match self.read(name) {
                Err(Fault::Missing(_)) => {}
                // A name from the network: bootcfg looks at regular files alone.
                Err(Fault::Broken(_)) if self.root()?.is_folder(name) => {}
                read => return read.map(|text| Text { name: name.clone(), text, data: None }),
            }
        }
        Err(Fault::Missing(format!("there is none of {} in {}", places.join(", "), self.path.display())))
    }

    fn chosen(&self, asked: &Asked) -> Found<(Arc<Group>, Profile)> {
        let group = self.group(asked)?;
        let name = format!("profiles/{}.json", group.profile.as_deref().unwrap_or_default());
        let profile = self.read(&name).map_err(|fault| match fault {
            Fault::Missing(what) => Fault::Missing(format!("group {}: {what}", group.name)),
            broken @ Fault::Broken(_) => broken,
        })?;
        let profile = Profile::parse(&profile).map_err(|what| Fault::Broken(format!("{name}: {what}")))?;
        Ok((group, profile))
    }

    fn group(&self, asked: &Asked) -> Found<Arc<Group>> {
        let read = self.groups()?;
        if let Some(fault) = read.unknown() {
            return Err(Fault::Broken(fault.to_owned()));
        }
        read.groups.of(&asked.to_labels()).cloned().ok_or_else(|| {
            let labels: Vec<String> =
                asked.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            Fault::Missing(format!("no group has a machine with {}", labels.join(", ")))
        })
    }

    /// All groups as they are now. One that was changed and can't be read stays what it was, and is warned of; as long as there is one
    /// that never could be read, nobody knows whose group it is. Nothing is locked while files are read: several may read them at once.
    fn groups(&self) -> Found<Arc<ReadGroups>> {
        let names = self.names()?;
        let before = self.lock().clone();
        let root = self.root()?;
        let mut is_same = names.len() == before.files.len();
        let mut files = BTreeMap::new();
        for name in names {
            let was = before.files.get(&name);
            let Some(now) = self.known(&root, &name, was) else {
                is_same = false;
                continue;
            };
            is_same &= was.is_some_and(|was| Arc::ptr_eq(was, &now));
            files.insert(name, now);
        }
        if is_same {
            return Ok(before);
        }
        let groups = Groups::new(files.values().filter_map(|known| known.group.clone()));
        let now = Arc::new(ReadGroups { files, groups });
        let before = std::mem::replace(&mut *self.lock(), now.clone());
        now.warn_beside(&before);
        Ok(now)
    }

    /// Which groups are kept: others whenever a file was changed.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        Arc::as_ptr(&*self.lock()).addr()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<ReadGroups>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(&self) -> Found<Root> {
        Root::open(&self.path).map_err(|error| Fault::Broken(format!("{}: {error}", self.path.display())))
    }

    /// The names of the groups' files.
    fn names(&self) -> Found<Vec<String>> {
        let folder = self.path.join("groups");
        let unreadable = |error: io::Error| Fault::Broken(format!("{}: {error}", folder.display()));
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") && !name.starts_with('.') {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// A group's file as it is now; `None`: it is gone.
    fn known(&self, root: &Root, name: &str, before: Option<&Arc<Known>>) -> Option<Arc<Known>> {
        let path = format!("groups/{name}");
        let is_as_before = |before: &&Arc<Known>| {
            let now = open::identity(&self.path.join(&path));
            before.identity.is_settled() && now.is_ok_and(|now| now == before.identity)
        };
        if let Some(before) = before.filter(is_as_before) {
            return Some(before.clone());
        }
        let of_before = |identity, fault| {
            let group = before.and_then(|before| before.group.clone());
            Known { identity, group, fault: Some(format!("{path}: {fault}")) }
        };
        let now = match root.linked(&path) {
            Err(Refusal::NotFound) => return None,
            Err(refusal) => of_before(NEVER, refusal.to_string()),
            Ok(file) => {
                let identity = file.identity;
                match text(file).and_then(|text| matchbox::group(&path, &text)) {
                    Ok(group) => Known { identity, group: Some(Arc::new(group)), fault: None },
                    Err(fault) => of_before(identity, fault),
                }
            }
        };
        Some(before.filter(|before| ***before == now).cloned().unwrap_or_else(|| Arc::new(now)))
    }

    /// A file by its name, which comes from the operator's files, or is a plain one.
    fn read(&self, name: &str) -> Found<String> {
        let plain = name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain || name.contains('\0') {
            return Err(Fault::Broken(format!("{name:?} leads out of {}", self.path.display())));
        }
        match self.root()?.linked(name) {
            Ok(file) => text(file).map_err(|what| Fault::Broken(format!("{name}: {what}"))),
            Err(Refusal::NotFound) => {
                Err(Fault::Missing(format!("there is no {name} in {}", self.path.display())))
            }
            Err(refusal) => Err(Fault::Broken(format!("{name}: {refusal}"))),
        }
    }
}

impl ReadGroups {
    /// What is wrong with a group that never could be read: the first by name.
    fn unknown(&self) -> Option<&str> {
        self.files.values().find(|known| known.group.is_none())?.fault.as_deref()
    }

    /// What was not said before.
    fn warn_beside(&self, before: &Self) {
        for (name, known) in &self.files {
            let said = before.files.get(name).and_then(|known| known.fault.as_ref());
            if let Some(fault) = known.fault.as_ref().filter(|fault| said != Some(fault)) {
                let is_known = known.group.is_some();
                let meanwhile =
                    if is_known { "what it was stays" } else { "no machine's group is known meanwhile" };
                tracing::warn!("{fault}: {meanwhile}");
            }
        }
    }
}

fn data(group: &Group, asked: &Asked) -> Map<String, Value> {
    let selected_by = group.selector.typed();
    let selected_by =
        selected_by.into_iter().map(|(key, values)| (key, Value::from(values.as_strs().join(","))));
    asked.data(group.metadata.clone(), selected_by)
}

/// No file's.
const NEVER: Identity =
    Identity { device: 0, inode: 0, size: 0, modified: 0, modified_nanos: 0, changed: 0, changed_nanos: 0 };

fn text(file: RegularFile) -> Result<String, String> {
    let mut bytes = Vec::new();
    let most = OUTPUT as u64;
    file.file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > OUTPUT {
        return Err(format!("has more than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}
