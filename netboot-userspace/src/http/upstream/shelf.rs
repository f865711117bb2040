//! What was fetched, on the disk: bodies by their paths, and a note beside each.
//!
//! What holds true: a body is on the shelf only whole, synced, and with the note that belongs to it. A note has the inode that it is about in
//! its name: the one of what comes is there before the body, and the one of what was there goes after it, so that at each moment, also that
//! of a crash, one of the two counts. What doesn't is swept at the start.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use self::partial::Unplaced;
use super::body::disk;
use super::failure::Failure;
use crate::image::digest::Digest;
use crate::sys::clock::now;
use crate::sys::open::Identity;

mod open;
mod partial;
mod room;
mod start;

use self::room::Coming;

pub(super) use self::open::Held;
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
    pub(super) size: u64,
    pub(super) inode: u64,
    pub(super) modified: i64,
}

/// A body on the shelf.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) note: Note,
    /// When its upstream last said that it has this: the time of its note.
    checked: AtomicU64,
    /// What comes is to take its place.
    pub(super) is_being_replaced: AtomicBool,
    /// It is not asked for again before this.
    retry: Mutex<Option<Instant>>,
    /// A number that grows with each use of any.
    used: AtomicU64,
    /// While it is being sent.
    open: Mutex<Weak<Held>>,
}

impl Entry {
    fn new(note: Note, checked: u64, used: u64) -> Self {
        let (checked, used) = (AtomicU64::new(checked), AtomicU64::new(used));
        let (retry, open) = (Mutex::default(), Mutex::default());
        Self { note, checked, is_being_replaced: AtomicBool::new(false), retry, used, open }
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

    fn open(&self) -> MutexGuard<'_, Weak<Held>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// How many there may be.
    pub(super) files: usize,
    /// Descriptors.
    pub(super) descriptors: usize,
    /// What is left to others, the leases among them.
    pub(super) keep_free: u64,
}

/// The folder, and what it has.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    /// Where the bodies are.
    files: PathBuf,
    bounds: Bounds,
    /// What may be open, upstreams' connections among it.
    pub(super) descriptors: Arc<Semaphore>,
    entries: RwLock<Entries>,
    /// Held by who changes what is on the disk, but never while something is synced.
    coming: Mutex<Coming>,
    uses: AtomicU64,
    partial: AtomicU64,
    pub(super) evicted: AtomicU64,
}

/// By their paths.
#[derive(Debug, Default)]
struct Entries {
    all: HashMap<String, Arc<Entry>>,
    /// What all of them take.
    size: u64,
}

impl Entries {
    fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.size += cost(entry.note.size);
        let before = self.all.insert(entry.note.path.clone(), entry);
        self.size -= before.as_ref().map_or(0, |before| cost(before.note.size));
        before
    }

    fn remove(&mut self, path: &str) -> Option<Arc<Entry>> {
        let entry = self.all.remove(path)?;
        self.size -= cost(entry.note.size);
        Some(entry)
    }
}

/// What a body of so many bytes takes on the disk, with its note.
fn cost(bytes: u64) -> u64 {
    bytes.div_ceil(4096).saturating_add(1).saturating_mul(4096)
}

const FILES: &str = "files";
const NOTES: &str = "notes";
const PARTIAL: &str = "partial";

impl Shelf {
    /// Nothing is known yet of what is there: see [`Shelf::take_over`].
    pub(super) fn open(folder: &Path, bounds: Bounds) -> io::Result<Self> {
        for name in [FILES, NOTES, PARTIAL] {
            fs::create_dir_all(folder.join(name))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            files: folder.join(FILES),
            bounds,
            descriptors: Arc::new(Semaphore::new(bounds.descriptors.min(Semaphore::MAX_PERMITS))),
            entries: RwLock::default(),
            coming: Mutex::default(),
            uses: AtomicU64::new(1),
            partial: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        })
    }

    /// Where the bodies are.
    pub(super) fn files(&self) -> &Path {
        &self.files
    }

    /// Where the body of this path is.
    pub(super) fn body(&self, path: &str) -> PathBuf {
        self.files.join(path)
    }

    fn note(&self, path: &str, inode: u64) -> PathBuf {
        let name = Digest(Sha256::digest(path.as_bytes()).into());
        self.folder.join(NOTES).join(format!("{name}-{inode:x}.json"))
    }

    pub(super) fn find(&self, path: &str) -> Option<Arc<Entry>> {
        self.read().all.get(path).cloned()
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
        let mut all: Vec<_> = self.read().all.values().cloned().collect();
        all.sort_by(|one, other| one.note.path.cmp(&other.note.path));
        all
    }

    /// How many there are, and what they take on the disk.
    pub(super) fn taken(&self) -> (u64, u64) {
        let entries = self.read();
        (entries.all.len() as u64, entries.size)
    }

    pub(super) fn limit(&self) -> u64 {
        self.bounds.size
    }

    /// A file for what arrives; it goes unless it is kept.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Partial, Failure> {
        let path = self.folder.join(PARTIAL).join(self.partial.fetch_add(1, Relaxed).to_string());
        let place = self.descriptor()?;
        Partial::new(self.clone(), path, place).map_err(disk)
    }

    /// Its upstream has said that it still has this. Nothing waits for the disk: where that is forgotten, it is asked once more.
    pub(super) fn confirm(&self, entry: &Entry) -> io::Result<()> {
        let checked = now();
        entry.checked.store(checked, Relaxed);
        *entry.retry() = None;
        let note = File::open(self.note(&entry.note.path, entry.note.inode))?;
        note.set_modified(UNIX_EPOCH + Duration::from_secs(checked))
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
        let Some(entry) = self.write().remove(path) else { return Ok(false) };
        let body = self.body(path);
        fs::remove_file(&body).or_else(missing_is_fine)?;
        fs::remove_file(self.note(path, entry.note.inode)).or_else(missing_is_fine)?;
        // Folders go with the last of what they have.
        let mut parent = body.parent();
        while let Some(folder) =
            parent.filter(|folder| *folder != self.files && fs::remove_dir(folder).is_ok())
        {
            parent = folder.parent();
        }
        Ok(true)
    }

    /// A note that is on the disk, and needs its name.
    fn prepare(&self, note: &Note) -> io::Result<Unplaced> {
        let partial = self.folder.join(PARTIAL).join(format!("{}.json", self.partial.fetch_add(1, Relaxed)));
        let mut file = File::options().write(true).create_new(true).open(&partial)?;
        let written = Unplaced(partial);
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

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, Coming> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As long as it is there, the disk takes its time.
    #[cfg(test)]
    pub(super) fn slow(&self) -> impl Sized + '_ {
        self.changing()
    }
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
