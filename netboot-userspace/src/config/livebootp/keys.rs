//! Files of public keys: `authorized_keys` that hosts share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::errors::{Errors, Source};
use super::super::reader::Field;
use super::super::yaml::At;
use crate::inventory::keys::public_key;
use crate::sys::open::Root;

/// More than this is no list of keys.
const LARGEST: u64 = 1 << 20;

/// Those that were asked for.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    folder: Option<&'a Path>,
    known: BTreeMap<String, Vec<String>>,
    /// Those that can't be read.
    missing: BTreeSet<String>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(folder: Option<&'a Path>) -> Self {
        Self { folder, known: BTreeMap::new(), missing: BTreeSet::new() }
    }

    /// The keys in the file that is named, without its comments. What is wrong in it is said once, at its own lines.
    pub(super) fn get(&mut self, field: &Field<'_>, errors: &mut Errors) -> Vec<String> {
        if let Some(keys) = field.as_text().and_then(|name| self.known.get(name)) {
            return keys.clone();
        }
        let Some((name, text)) = field.parse(errors, |name| Ok((name.to_owned(), self.text(name)?))) else {
            self.missing.extend(field.as_text().filter(|name| is_name(name)).map(str::to_owned));
            return Vec::new();
        };
        let path = self.folder.map(|folder| folder.join(&name)).unwrap_or_default();
        let keys = keys(&path, &text, errors);
        self.known.insert(name, keys.clone());
        keys
    }

    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let folder = self.folder.unwrap_or(Path::new(""));
        self.known.keys().chain(&self.missing).map(|name| folder.join(name))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        let Some(folder) = self.folder else {
            return Err("needs `ssh_authorized_keys` of `livebootp`: the folder of these files".to_owned());
        };
        if !is_name(name) {
            return Err(format!(
                "{name:?} is no file of {}: write its name alone, as in default",
                folder.display()
            ));
        }
        let unreadable =
            |error: &dyn std::fmt::Display| format!("{} can't be read: {error}", folder.join(name).display());
        let root = Root::open(folder).map_err(|error| unreadable(&error))?;
        let file = root.linked(name).map_err(|refusal| unreadable(&refusal))?;
        let bytes = file.read_at_most(LARGEST).map_err(|error| unreadable(&error))?;
        String::from_utf8(bytes).map_err(|_| unreadable(&"it is not UTF-8 text"))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// One a line (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
fn keys(path: &Path, text: &str, errors: &mut Errors) -> Vec<String> {
    let source = Source::new(path, text);
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        match public_key(line) {
            Ok(key) => keys.push(key),
            Err(fault) => errors.push(source.fault(At { line: index + 1, column: 1 }, "", fault)),
        }
    }
    keys
}
