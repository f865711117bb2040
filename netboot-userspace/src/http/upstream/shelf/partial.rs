//! What arrives, until it is on the shelf.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::{Entry, Held, NOTES, Note, Shelf, cost};
use crate::sys::clock::now;

/// A file that goes unless it is put where it belongs.
#[derive(Debug)]
pub(super) struct Unplaced(pub(super) PathBuf);

impl Unplaced {
    pub(super) fn put(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.0, to)
    }
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        // What is left of it is swept at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// A body that arrives.
#[derive(Debug)]
pub(in super::super) struct Partial {
    shelf: Arc<Shelf>,
    path: PathBuf,
    pub(in super::super) held: Arc<Held>,
    /// Bytes for which room was made.
    taken: u64,
    is_kept: bool,
}

impl Partial {
    pub(super) fn new(shelf: Arc<Shelf>, path: PathBuf, place: OwnedSemaphorePermit) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        let held = Arc::new(Held::arriving(file, place));
        Ok(Self { shelf, path, held, taken: 0, is_kept: false })
    }

    /// Whether a body of so many bytes can have room at all.
    pub(in super::super) fn is_possible(&self, bytes: u64) -> bool {
        self.shelf.is_possible(bytes)
    }

    /// Makes sure that so many bytes of it have room, and so many `ahead` if that can be; whether they have.
    pub(in super::super) fn reserve(&mut self, bytes: u64, ahead: u64) -> bool {
        let more = cost(bytes).saturating_sub(self.taken);
        if more == 0 {
            return true;
        }
        let mut coming = self.shelf.changing();
        let room = [more + ahead, more].into_iter().find(|room| self.shelf.make_room(&mut coming, *room));
        if let Some(room) = room {
            coming.taken += room;
            self.taken += room;
        }
        room.is_some()
    }

    /// Writes at this place; where the disk is full all the same, what was used longest ago makes room once.
    pub(in super::super) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.held.file.write_all_at(bytes, at).or_else(|error| match error.kind() {
            io::ErrorKind::StorageFull => {
                let mut coming = self.shelf.changing();
                self.shelf.evict(&mut coming, cost(bytes.len() as u64));
                drop(coming);
                self.held.file.write_all_at(bytes, at)
            }
            _ => Err(error),
        })
    }

    /// Puts it on the shelf, in the place of what was there. `note`: all but which file it is about.
    pub(in super::super) fn keep(mut self, note: Note) -> io::Result<Arc<Entry>> {
        let time = UNIX_EPOCH + Duration::from_secs(note.modified.max(0).unsigned_abs());
        self.held.file.set_modified(time)?;
        self.held.file.sync_all()?;
        let meta = self.held.file.metadata()?;
        // What came without a byte has taken nothing yet.
        if !self.reserve(meta.size(), 0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let note = Note { size: meta.size(), inode: meta.ino(), modified: meta.mtime(), ..note };
        let shelf = self.shelf.clone();
        let entry = Arc::new(Entry::new(note, now(), 0));
        // Before the body: from the rename on it counts.
        let note = shelf.note(&entry.note.path, entry.note.inode);
        shelf.prepare(&entry.note)?.put(&note)?;
        shelf.sync(&shelf.folder.join(NOTES))?;
        let put = self.put(&entry);
        if put.is_err() {
            let _ = fs::remove_file(&note);
        }
        let folder = put?;
        shelf.sync(&folder)?;
        Ok(entry)
    }

    /// Gives the body its place; the folder of it.
    fn put(&mut self, entry: &Arc<Entry>) -> io::Result<PathBuf> {
        let shelf = self.shelf.clone();
        let (path, body) = (&entry.note.path, shelf.body(&entry.note.path));
        let folder = body.parent().unwrap_or(&shelf.files).to_owned();
        let mut coming = shelf.changing();
        if shelf.find(path).is_none() {
            shelf.make_place();
        }
        fs::create_dir_all(&folder)?;
        fs::rename(&self.path, &body)?;
        self.is_kept = true;
        shelf.touch(entry);
        let before = shelf.write().insert(entry.clone());
        coming.taken -= std::mem::take(&mut self.taken);
        drop(coming);
        if let Some(before) = before {
            let _ = fs::remove_file(shelf.note(path, before.note.inode));
        }
        Ok(folder)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let (shelf, path, taken) = (self.shelf.clone(), std::mem::take(&mut self.path), self.taken);
        let give_up = move || {
            // What is left of it is swept at the next start.
            let _ = fs::remove_file(path);
            shelf.changing().taken -= taken;
        };
        // Both may take their time.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(give_up)),
            Err(_) => give_up(),
        }
    }
}
