//! An image: the folder `TARGET/VERSION` with a kernel, an initrd and a squashfs, as LiveBOOTP builds it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sys::open::{self, Identity, Root};

/// One that is named.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// `TARGET/VERSION`.
    pub(super) name: String,
    /// What is wrong with its folder is its own fault, and nobody else's: it may be being built.
    pub(super) parts: Result<Parts, String>,
}

/// Paths below the folder of images.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) kernel: String,
    pub(super) initrd: String,
    pub(super) squashfs: String,
}

/// Those that were asked for.
#[derive(Debug)]
pub(super) struct Images<'a> {
    folder: &'a Path,
    /// Files in here are served in place of an image's with the same path.
    assets: &'a Path,
    known: BTreeMap<String, Image>,
}

/// A file of an image: what it is, how LiveBOOTP or its like may call it.
type Part = (&'static str, fn(&str) -> bool);

const PARTS: [Part; 3] = [
    ("kernel (kernel, vmlinuz)", |name| {
        name == "kernel" || ["kernel-", "kernel.", "vmlinuz"].iter().any(|start| name.starts_with(start))
    }),
    ("initrd", |name| name.starts_with("initrd") || name.starts_with("initramfs")),
    ("squashfs", |name| name == "squashfs" || name.ends_with(".squashfs")),
];

/// So many names of others are said where one is missing.
const SHOWN: usize = 20;

impl<'a> Images<'a> {
    pub(super) fn new(folder: &'a Path, assets: &'a Path) -> Self {
        Self { folder, assets, known: BTreeMap::new() }
    }

    /// # Errors
    /// It is no name of one.
    pub(super) fn get(&mut self, name: &str) -> Result<Image, String> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        if !is_name(name) {
            return Err(format!(
                "{name:?} is no image: write TARGET/VERSION, as in nginx-web-server/1.0.0, two folders of {}",
                self.folder.display()
            ));
        }
        let image = Image { name: name.to_owned(), parts: self.parts(name) };
        self.known.insert(name.to_owned(), image.clone());
        Ok(image)
    }

    /// Their folders, whatever is in them.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.known.keys().map(|name| self.folder.join(name))
    }

    fn parts(&self, name: &str) -> Result<Parts, String> {
        let path = self.folder.join(name);
        let files = files(&path).map_err(|error| {
            format!("{} can't be read: {error}; there are: {}", path.display(), self.there())
        })?;
        let parts = PARTS.map(|part| self.part(name, &files, part));
        let faults: Vec<&str> =
            parts.iter().filter_map(|part| part.as_ref().err()).map(String::as_str).collect();
        if !faults.is_empty() {
            return Err(faults.join("; "));
        }
        let [kernel, initrd, squashfs] = parts.map(Result::unwrap_or_default);
        Ok(Parts { kernel, initrd, squashfs })
    }

    /// The one file of an image that is such a part, as it is served.
    fn part(&self, name: &str, files: &[String], (what, is): Part) -> Result<String, String> {
        let folder = self.folder.join(name);
        let folder = folder.display();
        let found: Vec<&String> = files.iter().filter(|file| is(file)).collect();
        let [file] = found.as_slice() else {
            return Err(match found.as_slice() {
                [] => format!("{folder} has no {what}; it has: {}", listed(files.iter().cloned())),
                several => format!(
                    "{folder} has more than one {what}: {}; leave the one that is to boot",
                    listed(several.iter().map(|file| (*file).clone()))
                ),
            });
        };
        let path = format!("{name}/{file}");
        let served = Root::open(self.folder).map_err(|error| error.to_string());
        let served = served.and_then(|root| root.file(&path).map_err(|refusal| refusal.to_string()));
        let served = served.map_err(|refusal| {
            format!(
                "{folder}/{file} can't be served: {refusal} (links are not followed, and it must be readable)"
            )
        })?;
        // The folder of images may be that of the assets.
        let is_other =
            |first: Identity| (first.device, first.inode) != (served.identity.device, served.identity.inode);
        if open::identity(&self.assets.join(&path)).is_ok_and(is_other) {
            return Err(format!(
                "{path} is also in {}, which is looked into first: take it away there",
                self.assets.display()
            ));
        }
        Ok(path)
    }

    /// The images that there are.
    fn there(&self) -> String {
        let folders = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
            let folders = entries.filter(|entry| entry.path().is_dir());
            folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
        };
        let versions = |target: String| {
            let versions = folders(&self.folder.join(&target));
            versions.into_iter().map(move |version| format!("{target}/{version}"))
        };
        listed(folders(self.folder).into_iter().flat_map(versions))
    }
}

/// Two names of folders that lead nowhere else.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
    };
    name.split_once('/').is_some_and(|(target, version)| part(target) && part(version))
}

/// The names of the regular files in a folder.
fn files(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort();
    Ok(names)
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.sort();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{}, and {more} more", names.join(", ")),
    }
}
