//! Taking over what an earlier server has kept.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Entries, Entry, NOTES, Note, PARTIAL, Shelf};

/// A note whose body is there.
struct Found {
    note: Note,
    /// Unix time of each.
    checked: u64,
    used: i64,
}

/// What a note is worth.
enum Worth {
    Kept(Found),
    Nothing,
    /// The disk does not say: it is left alone.
    Unknown(io::Error),
}

impl Shelf {
    /// Takes over what is there and `wanted`, and sweeps away the rest, and what is not whole. What can't be looked at is left as it is.
    pub(in super::super) fn take_over(&self, wanted: impl Fn(&Note) -> bool) {
        let _changing = self.changing();
        self.empty(&self.folder.join(PARTIAL));
        let (mut found, mut is_complete) = (Vec::new(), true);
        for at in names(&self.folder.join(NOTES), &mut is_complete) {
            match self.worth(&at, &wanted) {
                Worth::Kept(note) => found.push(note),
                Worth::Nothing => gone(fs::remove_file(&at), &at),
                Worth::Unknown(error) => {
                    tracing::warn!("the cache of upstreams: {}: {error}", at.display());
                    is_complete = false;
                }
            }
        }
        // Whose note could not be read may be there.
        if is_complete {
            sweep(&self.files, "", &found.iter().map(|found| found.note.path.as_str()).collect());
        }
        *self.write() = self.in_order(found);
    }

    /// The order in which they are used goes on.
    fn in_order(&self, mut found: Vec<Found>) -> Entries {
        found.sort_by_key(|found| found.used);
        let mut entries = Entries::default();
        for Found { note, checked, .. } in found {
            let used = self.uses.fetch_add(1, Relaxed);
            entries.insert(Arc::new(Entry::new(note, checked, used)));
        }
        entries
    }

    fn worth(&self, at: &Path, wanted: impl Fn(&Note) -> bool) -> Worth {
        let read = || io::Result::Ok((fs::read(at)?, fs::metadata(at)?.mtime()));
        let (text, checked) = match read() {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Worth::Nothing,
            Err(error) => return Worth::Unknown(error),
        };
        let note = serde_json::from_slice::<Note>(&text).ok();
        let Some(note) = note.filter(|note| self.note(&note.path, note.inode) == at && wanted(note)) else {
            return Worth::Nothing;
        };
        let is_its_own = |meta: &fs::Metadata| {
            meta.is_file()
                && (meta.ino(), meta.size(), meta.mtime()) == (note.inode, note.size, note.modified)
        };
        match fs::symlink_metadata(self.body(&note.path)) {
            Ok(meta) if is_its_own(&meta) => {
                Worth::Kept(Found { note, checked: checked.max(0).unsigned_abs(), used: meta.atime() })
            }
            Ok(_) => Worth::Nothing,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Worth::Nothing
            }
            Err(error) => Worth::Unknown(error),
        }
    }

    fn empty(&self, folder: &Path) {
        for at in names(folder, &mut true) {
            gone(if at.is_dir() { fs::remove_dir_all(&at) } else { fs::remove_file(&at) }, &at);
        }
    }
}

/// What a folder has, as far as it can be read.
fn names(folder: &Path, is_complete: &mut bool) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).and_then(|all| all.map(|entry| Ok(entry?.path())).collect());
    all.unwrap_or_else(|error: io::Error| {
        tracing::warn!("the cache of upstreams: {}: {error}", folder.display());
        *is_complete = false;
        Vec::new()
    })
}

/// Removes files that have no note, and folders without files.
fn sweep(folder: &Path, prefix: &str, known: &HashSet<&str>) {
    for at in names(folder, &mut true) {
        let name = at.file_name().and_then(|name| name.to_str());
        let path = name.map(|name| format!("{prefix}{name}"));
        if fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_dir()) {
            sweep(&at, &format!("{}/", path.unwrap_or_default()), known);
            // It stays if it has any.
            let _ = fs::remove_dir(&at);
        } else if !path.is_some_and(|path| known.contains(path.as_str())) {
            gone(fs::remove_file(&at), &at);
        }
    }
}

/// What can't be taken away is in nobody's way.
fn gone(removed: io::Result<()>, at: &Path) {
    if let Err(error) = removed {
        tracing::warn!("the cache of upstreams: {}: {error}", at.display());
    }
}
