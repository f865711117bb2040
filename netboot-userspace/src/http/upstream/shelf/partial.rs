//! What arrives, until it is on the shelf.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::{Coming, Entry, NOTES, Note, Shelf, cost};

/// A file that goes unless it is put where it belongs.
#[derive(Debug)]
pub(super) struct Written(pub(super) PathBuf);

impl Written {
    pub(super) fn put(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.0, to)
    }
}

impl Drop for Written {
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
    pub(in super::super) file: Arc<File>,
    /// What all of it takes, and for how much of that was made room.
    promised: u64,
    taken: u64,
    is_kept: bool,
}

impl Partial {
    pub(super) fn new(shelf: Arc<Shelf>, path: PathBuf) -> io::Result<Self> {
        let file = Arc::new(File::options().read(true).write(true).create_new(true).open(&path)?);
        Ok(Self { shelf, path, file, promised: 0, taken: 0, is_kept: false })
    }

    /// Whether a body of so many bytes can have room beside the others that are promised theirs. Nothing goes for it yet: it may say
    /// more than it has.
    pub(in super::super) fn promise(&mut self, bytes: u64) -> bool {
        let mut coming = self.shelf.changing();
        let more = cost(bytes).saturating_sub(self.promised);
        let is_possible = coming.promised.saturating_add(more) <= self.shelf.bounds.size
            && self.shelf.over(&coming, more) <= self.shelf.taken().1;
        if is_possible {
            coming.promised += more;
            self.promised += more;
        }
        is_possible
    }

    /// Makes sure that so many bytes of it have room, and so many `ahead` if that can be; whether they have.
    pub(in super::super) fn reserve(&mut self, bytes: u64, ahead: u64) -> bool {
        let mut coming = self.shelf.changing();
        let more = cost(bytes).saturating_sub(self.taken);
        if more == 0 {
            return true;
        }
        let room = [more + ahead, more].into_iter().find(|room| self.shelf.make_room(&coming, *room));
        if let Some(room) = room {
            coming.taken += room;
            self.taken += room;
            let beyond = self.taken.saturating_sub(self.promised);
            coming.promised += beyond;
            self.promised += beyond;
        }
        room.is_some()
    }

    /// Writes at this place; where the disk is full all the same, what was used longest ago makes room once.
    pub(in super::super) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at).or_else(|error| match error.kind() {
            io::ErrorKind::StorageFull => {
                let coming = self.shelf.changing();
                self.shelf.evict(cost(bytes.len() as u64));
                drop(coming);
                self.file.write_all_at(bytes, at)
            }
            _ => Err(error),
        })
    }

    /// Puts it on the shelf, in the place of what was there. `note`: all but which file it is about.
    pub(in super::super) fn keep(mut self, note: Note, modified: i64) -> io::Result<Arc<Entry>> {
        let time = UNIX_EPOCH + Duration::from_secs(modified.max(0).unsigned_abs());
        self.file.set_modified(time)?;
        self.file.sync_all()?;
        let meta = self.file.metadata()?;
        // What came without a byte has taken nothing yet.
        if !self.reserve(meta.size(), 0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let note = Note { size: meta.size(), inode: meta.ino(), modified: meta.mtime(), ..note };
        let shelf = self.shelf.clone();
        let (body, entry) = (shelf.body(&note.path), Arc::new(Entry::new(note)));
        let written = shelf.prepare(&entry.note)?;
        let mut coming = shelf.changing();
        shelf.clear_the_way(&entry.note.path)?;
        if let Some(folder) = body.parent() {
            fs::create_dir_all(folder)?;
        }
        let at = shelf.note(&entry.note.path);
        written.put(&at)?;
        if let Err(error) = fs::rename(&self.path, &body) {
            shelf.put_back(&entry.note.path, &at);
            return Err(error);
        }
        self.is_kept = true;
        shelf.touch(&entry);
        shelf.write().insert(entry.note.path.clone(), entry.clone());
        self.release(&mut coming);
        drop(coming);
        shelf.sync(&shelf.folder.join(NOTES))?;
        shelf.sync(body.parent().unwrap_or(&shelf.folder))?;
        Ok(entry)
    }

    fn release(&mut self, coming: &mut Coming) {
        coming.promised -= std::mem::take(&mut self.promised);
        coming.taken -= std::mem::take(&mut self.taken);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let shelf = self.shelf.clone();
        self.release(&mut shelf.changing());
        if !self.is_kept {
            // What is left of it is swept at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}
