//! A data folder of bootcfg or matchbox, as it is now: nothing need be restarted or told when a file changes.

mod read;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};

use self::read::{Epoch, Read};
use crate::inventory::Profile;
use crate::inventory::configs::Kind as Config;
use crate::inventory::elsewhere::Elsewhere;
use crate::inventory::group::Group;
use crate::inventory::labels::Labels;
use crate::render::asked::Asked;
use crate::render::{bootcfg, matchbox};
use crate::sys::open::{Refusal, RegularFile, Root};
use crate::template::{OUTPUT, Template};

/// Why a folder has nothing for a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing fits, or what fits names no such thing.
    #[error("{0}")]
    Missing(String),
    /// What there is can't be used.
    #[error("{0}")]
    Broken(String),
}

type Found<T> = Result<T, Fault>;

/// Where the files are, and what was read of them last.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    read: ArcSwapOption<Read>,
    /// Whoever reads the folder holds it.
    reading: Mutex<()>,
    /// How often that was done.
    readings: AtomicU64,
}

/// The folder as it is at one moment, for one request.
pub(super) struct Now<'a> {
    folder: &'a Folder,
    read: Arc<Read>,
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
        Self { path, read: ArcSwapOption::empty(), reading: Mutex::default(), readings: AtomicU64::new(0) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the folder in as it is now: who decides for a machine from then on knows it. Several may do so at once.
    ///
    /// # Errors
    /// It can't be read: what was read before stays.
    pub fn refresh(&self) -> Result<(), Fault> {
        self.whole().map(drop)
    }

    /// All that is wrong in it, as far as its files show it.
    pub fn faults(&self) -> Vec<String> {
        let now = match self.whole() {
            Ok(now) => now,
            Err(fault) => return vec![fault.to_string()],
        };
        let templates = now.read.profiles().flat_map(|profile| {
            let named = [Config::Cloud, Config::Ignition, Config::Generic].map(|kind| named(profile, kind));
            let wrong = named.into_iter().flatten().filter_map(|(name, is_template)| {
                let text = self.text(&name).map_err(|fault| fault.to_string());
                let parsed = text.and_then(|text| match is_template {
                    true => Template::parse(&name, &text).map(drop).map_err(|fault| fault.to_string()),
                    false => Ok(()),
                });
                parsed.err()
            });
            wrong.map(|fault| format!("profile {}: {fault}", profile.id)).collect::<Vec<_>>()
        });
        now.read.faults().into_iter().chain(templates).collect()
    }

    /// The folder as it is now, for machines that say this of themselves.
    pub(super) fn now<'a>(&self, machines: impl IntoIterator<Item = &'a Labels>) -> Found<Now<'_>> {
        match self.read.load_full() {
            Some(read) if read.is_still(machines.into_iter()) => Ok(Now { folder: self, read }),
            _ => self.whole(),
        }
    }

    /// Of many who ask at once one reads, for all who have asked before it began.
    fn whole(&self) -> Found<Now<'_>> {
        let readings = self.readings.load(Ordering::Acquire);
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.read.load_full();
        if let Some(read) = &before
            && self.readings.load(Ordering::Acquire) > readings + 1
        {
            return Ok(Now { folder: self, read: read.clone() });
        }
        let now = Read::now(&self.path, before.as_ref())?;
        if before.is_none_or(|before| !Arc::ptr_eq(&before, &now)) {
            self.read.store(Some(now.clone()));
        }
        self.readings.fetch_add(1, Ordering::Release);
        Ok(Now { folder: self, read: now })
    }

    /// How often the whole folder was looked at.
    #[cfg(test)]
    pub(super) fn readings(&self) -> u64 {
        self.readings.load(Ordering::Acquire)
    }

    /// What was read last: the same as long as no file is changed.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.read.load().as_ref().map_or(0, |read| Arc::as_ptr(read).addr())
    }

    fn root(&self) -> Found<Root> {
        Root::open(&self.path).map_err(|error| Fault::Broken(format!("{}: {error}", self.path.display())))
    }

    /// A file by its name, which comes from the operator's files, or is a plain one.
    fn text(&self, name: &str) -> Found<String> {
        if !is_below(name) {
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

impl Now<'_> {
    /// What boots a machine that says this of itself.
    pub(super) fn boots(&self, labels: &Labels) -> Found<Arc<Profile>> {
        self.read.boots(labels).map(|(profile, _)| profile)
    }

    /// The same, if it says anything of a machine, though that may be wrong.
    pub(super) fn knowing(self, asked: &Asked) -> Found<Self> {
        let labels = asked.to_labels();
        match self.read.epoch {
            Epoch::Matchbox => self.read.group(&labels).map(drop),
            Epoch::Bootcfg => self.read.boots(&labels).map(drop).or_else(|_| self.cloud(asked).map(drop)),
        }?;
        Ok(self)
    }

    /// The configuration of a kind that a machine gets.
    pub(super) fn config(&self, asked: &Asked, kind: Config) -> Found<Text> {
        let read = &self.read;
        if read.epoch == Epoch::Bootcfg {
            return match kind {
                Config::Cloud => self.cloud(asked),
                _ => {
                    Err(Fault::Missing(format!("a folder of bootcfg has no {} configurations", kind.name())))
                }
            };
        }
        let (group, profile) = read.chosen(&asked.to_labels())?;
        let profile = &profile.templates;
        let (name, is_template) = named(profile, kind)
            .ok_or_else(|| Fault::Missing(format!("profile {} has no {}_id", profile.id, kind.name())))?;
        let text = self.folder.text(&name)?;
        let data = is_template.then(|| data(group, asked));
        Ok(Text { name, text, data })
    }

    /// What templates know of a machine.
    pub(super) fn metadata(&self, asked: &Asked) -> Found<Map<String, Value>> {
        let read = &self.read;
        if read.epoch == Epoch::Bootcfg {
            return Err(Fault::Missing("a folder of bootcfg has no metadata".to_owned()));
        }
        Ok(data(read.group(&asked.to_labels())?, asked))
    }

    fn cloud(&self, asked: &Asked) -> Found<Text> {
        let mac = asked.mac().map(|mac| mac.to_string());
        let places = bootcfg::places("cloud", asked.label("uuid"), mac.as_deref());
        for name in &places {
            match self.folder.text(name) {
                Err(Fault::Missing(_)) => {}
                // A name from the network: bootcfg looks at regular files alone.
                Err(Fault::Broken(_)) if self.folder.root()?.is_folder(name) => {}
                read => return read.map(|text| Text { name: name.clone(), text, data: None }),
            }
        }
        Err(self.read.none_of(&places))
    }
}

impl Elsewhere for Folder {
    fn boots(&self, labels: &Labels) -> Result<Option<(Arc<Profile>, String)>, String> {
        let Some(read) = self.read.load_full() else {
            return Err(format!("{} could not be read yet", self.path.display()));
        };
        match read.boots(labels) {
            Ok(boots) => Ok(Some(boots)),
            Err(Fault::Missing(_)) => Ok(None),
            Err(Fault::Broken(what)) => Err(what),
        }
    }
}

/// The file of a kind that a profile of matchbox's names, and whether it is a template.
fn named(profile: &matchbox::Profile, kind: Config) -> Option<(String, bool)> {
    let id = match kind {
        Config::Cloud => &profile.cloud_id,
        Config::Ignition => &profile.ignition_id,
        Config::Generic => &profile.generic_id,
    };
    let is_json = kind == Config::Ignition && crate::render::config::is_ignition(id);
    (!id.is_empty()).then(|| (format!("{}/{id}", kind.name()), !is_json))
}

/// Whether a name stays below the folder, as it is written.
fn is_below(name: &str) -> bool {
    !name.contains('\0') && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn data(group: &Group, asked: &Asked) -> Map<String, Value> {
    let selected_by = group.selector.typed();
    let selected_by =
        selected_by.into_iter().map(|(key, values)| (key, Value::from(values.as_strs().join(","))));
    asked.data(group.metadata.clone(), selected_by)
}

fn text(file: RegularFile) -> Result<String, String> {
    let mut bytes = Vec::new();
    let most = OUTPUT as u64;
    file.file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > OUTPUT {
        return Err(format!("has more than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}
