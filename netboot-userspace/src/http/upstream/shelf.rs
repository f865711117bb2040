//! What was fetched, on the disk: bodies by their paths, and a note beside each.
//!
//! What holds true: a body is on the shelf only whole, synced, and with the note that belongs to it. The note says which inode it is about,
//! so that after a crash between two renames neither counts; what doesn't is swept at the start.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::sys::clock::now;
use crate::sys::open::Identity;

/// What is known of a body. This is also its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Below `/assets/`.
    pub(super) path: String,
    /// The configured one, by its URL: where that is another now, it may have another file by this name.
    pub(super) upstream: String,
    pub(super) url: String,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) sha256: String,
    /// Unix time.
    pub(super) fetched: u64,
    /// When its upstream last said that it has this.
    pub(super) checked: u64,
    pub(super) size: u64,
    pub(super) inode: u64,
    pub(super) modified: i64,
}

/// A body on the shelf.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) note: Note,
    checked: AtomicU64,
    /// It is not asked for again before this time.
    retry: AtomicU64,
    /// A number that grows with each use of any.
    used: AtomicU64,
}

impl Entry {
    fn new(note: Note) -> Self {
        let checked = AtomicU64::new(note.checked);
        Self { note, checked, retry: AtomicU64::new(0), used: AtomicU64::new(0) }
    }

    /// When its upstream last said that it has this; Unix time.
    pub(super) fn checked(&self) -> u64 {
        self.checked.load(Relaxed)
    }

    /// Whether its upstream has to be asked, after so many seconds. A clock that was set back makes nothing fresh.
    pub(super) fn is_stale(&self, after: u64) -> bool {
        let (now, checked) = (now(), self.checked());
        now >= self.retry.load(Relaxed) && (now < checked || now - checked >= after)
    }

    /// Its upstream can't say: as it is for so many seconds.
    pub(super) fn put_off(&self, seconds: u64) {
        self.retry.store(now() + seconds, Relaxed);
    }

    /// It is to be asked for at once.
    pub(super) fn doubt(&self) {
        self.checked.store(0, Relaxed);
        self.retry.store(0, Relaxed);
    }
}

/// The folder, and what it has.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    /// Bytes.
    size: u64,
    entries: RwLock<HashMap<String, Arc<Entry>>>,
    /// Bytes of what is on its way here.
    reserved: AtomicU64,
    /// Who changes what is on the disk.
    changes: Mutex<()>,
    uses: AtomicU64,
    partial: AtomicU64,
    pub(super) evicted: AtomicU64,
}

const FILES: &str = "files";
const NOTES: &str = "notes";
const PARTIAL: &str = "partial";

impl Shelf {
    /// Takes over what is there and `wanted`, and sweeps away the rest, and what is not whole.
    pub(super) fn open(folder: &Path, size: u64, wanted: impl Fn(&Note) -> bool) -> io::Result<Self> {
        for name in [FILES, NOTES, PARTIAL] {
            fs::create_dir_all(folder.join(name))?;
        }
        let shelf = Self {
            folder: folder.to_owned(),
            size,
            entries: RwLock::default(),
            reserved: AtomicU64::new(0),
            changes: Mutex::new(()),
            uses: AtomicU64::new(1),
            partial: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        };
        for entry in fs::read_dir(folder.join(PARTIAL))? {
            fs::remove_file(entry?.path())?;
        }
        let found = shelf.read_notes(wanted)?;
        sweep(&shelf.files(), "", &found)?;
        *shelf.write() = found;
        shelf.make_room(0);
        Ok(shelf)
    }

    /// Where the bodies are.
    pub(super) fn files(&self) -> PathBuf {
        self.folder.join(FILES)
    }

    /// Where the body of this path is.
    pub(super) fn body(&self, path: &str) -> PathBuf {
        self.files().join(path)
    }

    fn note(&self, path: &str) -> PathBuf {
        let digest = Sha256::digest(path.as_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(NOTES).join(format!("{name}.json"))
    }

    /// Notes whose bodies are there, and wanted; others go.
    fn read_notes(&self, wanted: impl Fn(&Note) -> bool) -> io::Result<HashMap<String, Arc<Entry>>> {
        let mut found = HashMap::new();
        for file in fs::read_dir(self.folder.join(NOTES))? {
            let at = file?.path();
            let note = fs::read(&at).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
            match note.filter(|note| self.note(&note.path) == at && self.is_there(note) && wanted(note)) {
                Some(note) => drop(found.insert(note.path.clone(), Arc::new(Entry::new(note)))),
                None => fs::remove_file(&at)?,
            }
        }
        Ok(found)
    }

    fn is_there(&self, note: &Note) -> bool {
        fs::symlink_metadata(self.body(&note.path)).is_ok_and(|meta| {
            meta.is_file()
                && (meta.ino(), meta.size(), meta.mtime()) == (note.inode, note.size, note.modified)
        })
    }

    pub(super) fn find(&self, path: &str) -> Option<Arc<Entry>> {
        self.read().get(path).cloned()
    }

    /// The one of this very file, which is used now.
    pub(super) fn used(&self, path: &str, file: &Identity) -> Option<Arc<Entry>> {
        let entry = self.find(path).filter(|entry| entry.note.inode == file.inode)?;
        self.touch(&entry);
        Some(entry)
    }

    pub(super) fn touch(&self, entry: &Entry) {
        entry.used.store(self.uses.fetch_add(1, Relaxed), Relaxed);
    }

    /// All, in the order of their paths.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = self.read().values().cloned().collect();
        all.sort_by(|one, other| one.note.path.cmp(&other.note.path));
        all
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        self.read().values().map(|entry| entry.note.size).sum()
    }

    pub(super) fn limit(&self) -> u64 {
        self.size
    }

    /// A file for what arrives; it goes unless it is kept.
    pub(super) fn begin(self: &Arc<Self>) -> io::Result<Partial> {
        let path = self.folder.join(PARTIAL).join(self.partial.fetch_add(1, Relaxed).to_string());
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Partial { shelf: self.clone(), path, file: Arc::new(file), room: 0, is_kept: false })
    }

    /// Takes away what was used longest ago, until there is room for so much more; whether there is. What is being sent stays, and where
    /// all the rest would not do, so does that.
    fn make_room(&self, more: u64) -> bool {
        for path in self.in_the_way(more).unwrap_or_default() {
            if self.remove(&path).is_ok_and(|was_there| was_there) {
                self.evicted.fetch_add(1, Relaxed);
            }
        }
        self.in_the_way(more).is_some_and(|left| left.is_empty())
    }

    /// What has to go for so much more; `None`: that would not do.
    fn in_the_way(&self, more: u64) -> Option<Vec<String>> {
        let entries = self.read();
        let taken = entries.values().map(|entry| entry.note.size).sum::<u64>() + self.reserved.load(Relaxed);
        let mut over = taken.saturating_add(more).saturating_sub(self.size);
        if over == 0 {
            return Some(Vec::new());
        }
        let mut idle: Vec<_> = entries.values().filter(|entry| Arc::strong_count(entry) == 1).collect();
        idle.sort_by_key(|entry| (entry.used.load(Relaxed), entry.checked()));
        let mut idle = idle.into_iter();
        let mut paths = Vec::new();
        while over > 0 {
            let note = &idle.next()?.note;
            over = over.saturating_sub(note.size);
            paths.push(note.path.clone());
        }
        Some(paths)
    }

    /// Its upstream has said that it still has this.
    pub(super) fn confirm(&self, entry: &Arc<Entry>) -> io::Result<()> {
        let checked = now();
        let note = Note { checked, ..entry.note.clone() };
        let changing = self.changing();
        if self.find(&note.path).is_some_and(|current| Arc::ptr_eq(&current, entry)) {
            self.write_note(&note)?;
        }
        drop(changing);
        entry.checked.store(checked, Relaxed);
        entry.retry.store(0, Relaxed);
        Ok(())
    }

    /// Takes it away; whether it was there.
    pub(super) fn remove(&self, path: &str) -> io::Result<bool> {
        let _changing = self.changing();
        let was_there = self.write().remove(path).is_some();
        if was_there {
            let body = self.body(path);
            fs::remove_file(&body).or_else(missing_is_fine)?;
            fs::remove_file(self.note(path)).or_else(missing_is_fine)?;
            // Folders go with the last of what they have.
            let files = self.files();
            let mut parent = body.parent();
            while let Some(folder) =
                parent.filter(|folder| *folder != files && fs::remove_dir(folder).is_ok())
            {
                parent = folder.parent();
            }
        }
        Ok(was_there)
    }

    fn write_note(&self, note: &Note) -> io::Result<()> {
        let text = serde_json::to_vec(note)?;
        let partial = self.folder.join(PARTIAL).join(format!("{}.json", self.partial.fetch_add(1, Relaxed)));
        fs::write(&partial, text)?;
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, self.note(&note.path))?;
        File::open(self.folder.join(NOTES))?.sync_all()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Arc<Entry>>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Arc<Entry>>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that arrives.
#[derive(Debug)]
pub(super) struct Partial {
    shelf: Arc<Shelf>,
    path: PathBuf,
    pub(super) file: Arc<File>,
    /// Bytes that are reserved for it.
    room: u64,
    is_kept: bool,
}

impl Partial {
    /// Makes sure that so many bytes of it have room, and so many `ahead` if that can be; whether they have.
    pub(super) fn reserve(&mut self, bytes: u64, ahead: u64) -> bool {
        let more = bytes.saturating_sub(self.room);
        let room = [more + ahead, more].into_iter().find(|room| more == 0 || self.shelf.make_room(*room));
        if let Some(room) = room.filter(|_| more > 0) {
            self.shelf.reserved.fetch_add(room, Relaxed);
            self.room += room;
        }
        room.is_some()
    }

    /// Puts it on the shelf, in the place of what was there. `note`: all but which file it is about.
    pub(super) fn keep(mut self, note: Note, modified: i64) -> io::Result<Arc<Entry>> {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(modified.max(0).unsigned_abs());
        self.file.set_modified(time)?;
        self.file.sync_all()?;
        let meta = self.file.metadata()?;
        let note = Note { size: meta.size(), inode: meta.ino(), modified: meta.mtime(), ..note };
        let shelf = self.shelf.clone();
        let _changing = shelf.changing();
        let body = shelf.body(&note.path);
        if let Some(folder) = body.parent() {
            fs::create_dir_all(folder)?;
        }
        shelf.write_note(&note)?;
        fs::rename(&self.path, &body)?;
        self.is_kept = true;
        if let Some(folder) = body.parent() {
            File::open(folder)?.sync_all()?;
        }
        let entry = Arc::new(Entry::new(note));
        shelf.touch(&entry);
        shelf.write().insert(entry.note.path.clone(), entry.clone());
        Ok(entry)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.shelf.reserved.fetch_sub(self.room, Relaxed);
        if !self.is_kept {
            // What is left of it is swept at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes files that have no note, and folders without files.
fn sweep(folder: &Path, prefix: &str, known: &HashMap<String, Arc<Entry>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok();
        let path = name.map(|name| format!("{prefix}{name}"));
        if entry.file_type()?.is_dir() {
            sweep(&entry.path(), &format!("{}/", path.unwrap_or_default()), known)?;
            let _ = fs::remove_dir(entry.path());
        } else if !path.is_some_and(|path| known.contains_key(&path)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
