//! What was fetched, on the disk: bodies by their paths, and a note beside each.
//!
//! What holds true: a body is on the shelf only whole, synced, and with the note that belongs to it. The note says which inode it is about,
//! so that after a crash between two renames neither counts; what doesn't is swept at the start.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::partial::Written;
use crate::sys::clock::now;
use crate::sys::open::Identity;

mod partial;

pub(super) use self::partial::Partial;

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
    /// It is not asked for again before this.
    retry: Mutex<Option<Instant>>,
    /// A number that grows with each use of any.
    used: AtomicU64,
}

impl Entry {
    fn new(note: Note) -> Self {
        let checked = AtomicU64::new(note.checked);
        Self { note, checked, retry: Mutex::new(None), used: AtomicU64::new(0) }
    }

    /// When its upstream last said that it has this; Unix time.
    pub(super) fn checked(&self) -> u64 {
        self.checked.load(Relaxed)
    }

    /// Whether so many seconds have passed since its upstream was asked. A clock that was set back makes nothing fresh.
    pub(super) fn is_old(&self, after: u64) -> bool {
        let (now, checked) = (now(), self.checked());
        now < checked || now - checked >= after
    }

    /// Whether its upstream is left alone for now.
    pub(super) fn is_put_off(&self) -> bool {
        self.retry().is_some_and(|retry| Instant::now() < retry)
    }

    /// Its upstream can't say: as it is for so long.
    pub(super) fn put_off(&self, time: Duration) {
        *self.retry() = Some(Instant::now() + time);
    }

    /// It is to be asked for at once.
    pub(super) fn doubt(&self) {
        self.checked.store(0, Relaxed);
        *self.retry() = None;
    }

    fn retry(&self) -> MutexGuard<'_, Option<Instant>> {
        self.retry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of the disk is ours. Bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of all bodies.
    pub(super) size: u64,
    /// What is left to others, the leases among them.
    pub(super) keep_free: u64,
}

/// The folder, and what it has.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    bounds: Bounds,
    entries: RwLock<HashMap<String, Arc<Entry>>>,
    /// Held by who changes what is on the disk, but never while something is synced.
    coming: Mutex<Coming>,
    uses: AtomicU64,
    partial: AtomicU64,
    pub(super) evicted: AtomicU64,
}

/// Bytes of what is on its way here.
#[derive(Debug, Default)]
struct Coming {
    /// What all of it takes, as far as that is known.
    promised: u64,
    /// For so much of that was made room.
    taken: u64,
}

/// What a body of so many bytes takes on the disk, with its note.
fn cost(bytes: u64) -> u64 {
    bytes.div_ceil(4096).saturating_add(1).saturating_mul(4096)
}

const FILES: &str = "files";
const NOTES: &str = "notes";
const PARTIAL: &str = "partial";

impl Shelf {
    /// Takes over what is there and `wanted`, and sweeps away the rest, and what is not whole.
    pub(super) fn open(folder: &Path, bounds: Bounds, wanted: impl Fn(&Note) -> bool) -> io::Result<Self> {
        for name in [FILES, NOTES, PARTIAL] {
            fs::create_dir_all(folder.join(name))?;
        }
        let shelf = Self {
            folder: folder.to_owned(),
            bounds,
            entries: RwLock::default(),
            coming: Mutex::default(),
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
        shelf.make_room(&shelf.changing(), 0);
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

    /// Whether there is a folder by this name, with what is below it.
    pub(super) fn is_folder(&self, path: &str) -> bool {
        self.body(path).is_dir()
    }

    /// All, in the order of their paths.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = self.read().values().cloned().collect();
        all.sort_by(|one, other| one.note.path.cmp(&other.note.path));
        all
    }

    /// How many there are, and what they take on the disk.
    pub(super) fn taken(&self) -> (u64, u64) {
        let entries = self.read();
        (entries.len() as u64, entries.values().map(|entry| cost(entry.note.size)).sum())
    }

    pub(super) fn limit(&self) -> u64 {
        self.bounds.size
    }

    /// A file for what arrives; it goes unless it is kept.
    pub(super) fn begin(self: &Arc<Self>) -> io::Result<Partial> {
        let path = self.folder.join(PARTIAL).join(self.partial.fetch_add(1, Relaxed).to_string());
        Partial::new(self.clone(), path)
    }

    /// Takes away what was used longest ago, until there is room for so much more; whether there is. Where all of it would not do, it stays.
    /// What is being sent goes as well: its blocks are free when all have it.
    fn make_room(&self, coming: &Coming, more: u64) -> bool {
        self.evict(self.over(coming, more));
        self.over(coming, more) == 0
    }

    /// How much is in the way of so much more.
    fn over(&self, coming: &Coming, more: u64) -> u64 {
        let taken = self.taken().1 + coming.taken;
        let beyond = taken.saturating_add(more).saturating_sub(self.bounds.size);
        beyond.max(self.bounds.keep_free.saturating_add(more).saturating_sub(self.free()))
    }

    /// Takes away what was used longest ago, so many bytes of it; nothing where that is more than there is.
    fn evict(&self, bytes: u64) {
        for path in self.oldest(bytes).unwrap_or_default() {
            match self.take_away(&path) {
                Ok(was_there) => drop(self.evicted.fetch_add(was_there.into(), Relaxed)),
                Err(error) => tracing::warn!("the cache of upstreams: {path}: {error}"),
            }
        }
    }

    fn oldest(&self, bytes: u64) -> Option<Vec<String>> {
        let (entries, mut left) = (self.read(), bytes);
        if left == 0 {
            return Some(Vec::new());
        }
        let mut all: Vec<_> = entries.values().collect();
        all.sort_by_key(|entry| (entry.used.load(Relaxed), entry.checked()));
        let mut all = all.into_iter();
        let mut paths = Vec::new();
        while left > 0 {
            let note = &all.next()?.note;
            left = left.saturating_sub(cost(note.size));
            paths.push(note.path.clone());
        }
        Some(paths)
    }

    /// Bytes that the disk has free. Where it does not say so, a write will.
    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.folder);
        disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Its upstream has said that it still has this.
    pub(super) fn confirm(&self, entry: &Arc<Entry>) -> io::Result<()> {
        let checked = now();
        let note = Note { checked, ..entry.note.clone() };
        let written = self.prepare(&note)?;
        let changing = self.changing();
        if self.find(&note.path).is_some_and(|current| Arc::ptr_eq(&current, entry)) {
            written.put(&self.note(&note.path))?;
        }
        drop(changing);
        entry.checked.store(checked, Relaxed);
        *entry.retry() = None;
        self.sync(&self.folder.join(NOTES))
    }

    /// Takes it away; whether it was there.
    pub(super) fn remove(&self, path: &str) -> io::Result<bool> {
        let _changing = self.changing();
        self.take_away(path)
    }

    /// The same for what was found to be gone already, unless there is another by now.
    pub(super) fn forget(&self, entry: &Arc<Entry>) {
        let _changing = self.changing();
        if self.find(&entry.note.path).is_some_and(|current| Arc::ptr_eq(&current, entry)) {
            // What is gone can't be in the way.
            let _ = self.take_away(&entry.note.path);
        }
    }

    fn take_away(&self, path: &str) -> io::Result<bool> {
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

    /// What is now a folder was a file when it was kept.
    fn clear_the_way(&self, path: &str) -> io::Result<()> {
        path.match_indices('/').try_for_each(|(end, _)| self.take_away(&path[..end]).map(drop))
    }

    /// The note of what stays on the shelf, in the place of what did not get there.
    fn put_back(&self, path: &str, at: &Path) {
        let back = match self.find(path) {
            Some(old) => self.prepare(&old.note).and_then(|written| written.put(at)),
            None => fs::remove_file(at),
        };
        if let Err(error) = back {
            tracing::warn!("the cache of upstreams: {path}: {error}");
        }
    }

    /// A note that is on the disk, and needs its name.
    fn prepare(&self, note: &Note) -> io::Result<Written> {
        let partial = self.folder.join(PARTIAL).join(format!("{}.json", self.partial.fetch_add(1, Relaxed)));
        let mut file = File::options().write(true).create_new(true).open(&partial)?;
        let written = Written(partial);
        file.write_all(&serde_json::to_vec(note)?)?;
        file.sync_all()?;
        Ok(written)
    }

    fn sync(&self, folder: &Path) -> io::Result<()> {
        match File::open(folder) {
            // It went with the last of what it had.
            Err(error) => missing_is_fine(error),
            Ok(folder) => folder.sync_all(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Arc<Entry>>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Arc<Entry>>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, Coming> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
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
