//! The pull-through cache: files of the assets that are somewhere else until somebody asks for them.
//!
//! The engine serves what is on the shelf, as any other file; what is not, or has to be asked for again, it hands over to
//! [`Mirror::before`]. That fetches it once, however many ask, and serves it to all of them while it arrives.
//!
//! What holds true: only configured upstreams are asked, at addresses that were looked at before they were connected to; nothing that a
//! client sends goes there but the path; and what is kept is whole, and right where its digest is known. RFC 9110; how long a copy is good
//! is the configuration's to say, not Cache-Control's (RFC 9111), and it is served when its upstream is gone (RFC 5861).

mod address;
mod answer;
mod ask;
mod body;
mod connect;
mod control;
mod digests;
mod expected;
mod failure;
mod fetch;
mod flight;
mod health;
mod known;
mod shelf;
mod small;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::middleware::from_fn_with_state;
use rustls::ClientConfig;
use tokio::sync::watch;

use self::ask::Source;
use self::failure::Failure;
use self::shelf::{Bounds, Note, Shelf};
pub use self::small::{Trust, get};
use super::whole::Readers;
use crate::config::{Cache, Upstream};
use crate::sys::open::Identity;

/// So many files are kept at most.
const FILES: usize = 100_000;
/// How often it is looked whether others need the disk.
const LOOK: Duration = Duration::from_secs(10);
/// Caches that a request may have come through.
const HOPS: usize = 10;
/// Bytes of a name: with the folder it has to be a path.
const NAME: usize = 2048;
/// Bytes of a part of it, as filesystems have them.
const PART: usize = 255;
/// Where assets are mounted.
pub const MOUNTS: [&str; 2] = ["/assets/", "/images/"];

/// The cache, and who fills it.
pub struct Mirror {
    cache: Cache,
    sources: Vec<Source>,
    /// The folder whose files come first.
    assets: PathBuf,
    shelf: Arc<Shelf>,
    flights: Mutex<HashMap<String, Arc<watch::Sender<flight::Phase>>>>,
    /// Whether what was kept before is known.
    ready: watch::Sender<bool>,
    /// What upstreams did not have, or had wrong, when they were asked last.
    refused: Mutex<HashMap<String, known::Refused>>,
    /// Clients that are sent something.
    readers: Readers,
    /// What we are called on the way (RFC 9110 section 7.6.3).
    me: String,
    counters: Counters,
    /// What was wrong with upstreams when they were asked last.
    ill: Mutex<BTreeMap<String, String>>,
    observer: Observer,
    accesses: super::Observer,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// What became of asking an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The path here.
    pub path: String,
    pub upstream: String,
    pub outcome: Outcome,
    pub duration: Duration,
}

/// See [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, whole and checked.
    Fetched { bytes: u64 },
    /// The copy is still what the upstream has.
    Unchanged,
    /// The upstream can't say: the copy is served as it is.
    Stale { cause: String },
    /// There is none. `status`: what clients were told.
    Failed { status: u16, cause: String },
}

/// Told of each file that was asked for; must not block.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// What was done since the start.
#[derive(Debug, Default)]
struct Counters {
    fetched: AtomicU64,
    unchanged: AtomicU64,
    stale: AtomicU64,
    failed: AtomicU64,
    joined: AtomicU64,
    bytes: AtomicU64,
    sent: AtomicU64,
}

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder can't be used.
    #[error("the cache of upstreams, {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An upstream's `ca` can't be used.
    #[error("assets: upstreams: ca: {0}")]
    Trust(String),
}

/// Whether the certificates of all upstreams' authorities can be used.
///
/// # Errors
/// The first that can't.
pub fn check(cache: &Cache) -> Result<(), Error> {
    let mut system = None;
    cache.upstreams.iter().try_for_each(|upstream| trust(upstream, &mut system).map(drop))
}

/// `system`: whom the system trusts, once somebody has asked.
fn trust(upstream: &Upstream, system: &mut Option<Trust>) -> Result<Arc<ClientConfig>, Error> {
    let read = || connect::trust(upstream.ca.as_deref()).map_err(Error::Trust);
    match (&upstream.ca, system) {
        (Some(_), _) => read(),
        (None, Some(Trust(system))) => Ok(system.clone()),
        (None, system) => Ok(system.insert(Trust(read()?)).0.clone()),
    }
}

impl Mirror {
    /// Takes over what `folder` has, beside `assets`, in a thread of its own. `system`: whom the system trusts, where that is known already.
    /// `descriptors`: of files and connections at once. `observer` is told of files that are fetched, `accesses` of answers.
    ///
    /// # Errors
    /// The folder, or a certificate, can't be used.
    pub fn open(
        cache: Cache,
        mut system: Option<Trust>,
        folder: &Path,
        assets: &Path,
        descriptors: usize,
        observer: Observer,
        accesses: super::Observer,
    ) -> Result<Arc<Self>, Error> {
        let failed = |source| Error::Folder { path: folder.to_owned(), source };
        let bounds = Bounds { size: cache.size, keep_free: cache.keep_free, files: FILES, descriptors };
        let shelf = Arc::new(Shelf::open(folder, bounds).map_err(failed)?);
        let source = |upstream: &Upstream| {
            Ok(Source::new(upstream.clone(), trust(upstream, &mut system)?, shelf.descriptors.clone()))
        };
        let sources: Vec<Source> = cache.upstreams.iter().map(source).collect::<Result<_, _>>()?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error.to_string())))?;
        let mirror = Arc::new(Self {
            cache,
            sources,
            assets: assets.to_owned(),
            ready: watch::Sender::new(false),
            refused: Mutex::default(),
            readers: Readers::default(),
            shelf,
            flights: Mutex::default(),
            me: format!("netboot-{:016x}", u64::from_ne_bytes(random)),
            counters: Counters::default(),
            ill: Mutex::default(),
            observer,
            accesses,
        });
        let keeping = (mirror.clone(), Arc::downgrade(&mirror));
        let keep = move || {
            let (mirror, weak) = keeping;
            mirror.take_over();
            drop(mirror);
            while weak.upgrade().map(|mirror| mirror.shelf.give_way()).is_some() {
                std::thread::sleep(LOOK);
            }
        };
        Builder::new().name("upstreams".to_owned()).spawn(keep).map_err(failed)?;
        Ok(mirror)
    }

    /// What was kept before, as far as its upstream is configured still.
    fn take_over(&self) {
        let began = Instant::now();
        self.shelf.take_over(|note| self.is_of_its_upstream(note));
        self.ready.send_replace(true);
        let ((files, bytes), milliseconds) = (self.shelf.taken(), began.elapsed().as_millis() as u64);
        tracing::info!(files, bytes, milliseconds, "the cache of upstreams is looked through");
    }

    /// Whether whoever it came from has it now.
    fn is_of_its_upstream(&self, note: &Note) -> bool {
        self.cache.upstream(&note.path).is_some_and(|(_, upstream)| upstream.url() == note.upstream)
    }

    /// Waits until it is known what was kept before.
    async fn is_ready(&self) {
        // The sender is ours.
        let _ = self.ready.subscribe().wait_for(|is_ready| *is_ready).await;
    }

    /// The same of one name: where that was kept, its client need not wait for all others.
    async fn is_known(self: &Arc<Self>, name: &str) {
        if *self.ready.borrow() || self.copy(name).is_some() {
            return;
        }
        let (mirror, path) = (self.clone(), name.to_owned());
        let one = move || mirror.shelf.take_over_one(&path, |note| mirror.is_of_its_upstream(note));
        // What becomes of it shows.
        let _ = tokio::task::spawn_blocking(one).await;
        if self.copy(name).is_none() {
            self.is_ready().await;
        }
    }

    /// The folder that the engine serves beside the assets.
    pub fn files(&self) -> &Path {
        self.shelf.files()
    }

    /// Answers what the engine hands over. What is no upstream's is `router`'s to answer.
    pub fn before(self: &Arc<Self>, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), answer::answer))
    }

    /// What operators may ask and do.
    pub fn control(self: &Arc<Self>) -> Router {
        control::router(self.clone())
    }

    /// What was done since the start, and what is there now.
    pub fn stats(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let Counters { fetched, unchanged, stale, failed, joined, bytes, sent } = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let (files, size) = self.shelf.taken();
        [
            ("fetched", read(fetched)),
            ("unchanged", read(unchanged)),
            ("stale", read(stale)),
            ("failed", read(failed)),
            ("joined", read(joined)),
            ("bytes", read(bytes)),
            ("sent", read(sent)),
            ("evicted", read(&self.shelf.evicted)),
            ("arriving", self.flights().len() as u64),
            ("files", files),
            ("size", size),
            ("limit", self.shelf.limit()),
        ]
        .into_iter()
    }

    /// Whether a path in its normal form, of which the engine has this file of ours, or none at all, is ours to answer.
    pub(super) fn takes(&self, path: &str, file: Option<&Identity>) -> bool {
        let Some(name) = self.name(path) else { return false };
        let Some(file) = file else { return true };
        match self.shelf.used(name, file) {
            Some(entry) => self.is_stale(name, &entry),
            // Whether it may be served is not known yet.
            None => !*self.ready.borrow(),
        }
    }

    /// The SHA-256, in hex, of a file of ours that a path in its normal form means.
    pub(super) fn sha256(&self, path: &str, file: &Identity) -> Option<String> {
        Some(self.shelf.used(self.name(path)?, file)?.note.sha256.clone())
    }

    /// What is behind the mount of a path in its normal form, if an upstream may have it.
    fn name<'a>(&self, path: &'a str) -> Option<&'a str> {
        let name = MOUNTS.iter().find_map(|mount| path.strip_prefix(mount))?;
        // As the engine would have it: nothing that climbs, whoever asks, and however whoever is asked reads it.
        let is_part =
            |part: &str| part.len() <= PART && !matches!(part.split(';').next(), Some("" | "." | ".."));
        let is_plain = name.len() <= NAME
            && name.split('/').all(is_part)
            && !name.contains(|c: char| c == '\\' || c.is_control());
        self.cache.upstream(name).filter(|_| is_plain).map(|_| name)
    }

    /// Whether a folder has this name, here or beside.
    async fn is_folder(&self, name: &str) -> bool {
        let folders = [self.shelf.body(name), self.assets.join(name)];
        let looked = tokio::task::spawn_blocking(move || folders.iter().any(|folder| folder.is_dir()));
        looked.await.unwrap_or_default()
    }

    /// The caches that a request has come through, as the beginning of a line that says so; an error where we are one of them.
    fn way(&self, headers: &HeaderMap) -> Result<String, Failure> {
        let lines = headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
        let names = lines.flat_map(|line| line.split([',', ' ', '\t'])).filter(|name| {
            let number = name.strip_prefix("netboot-").unwrap_or_default();
            number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let names: Vec<&str> = names.take(HOPS + 1).collect();
        if names.len() > HOPS || names.contains(&self.me.as_str()) {
            return Err(Failure::circle());
        }
        Ok(names.iter().map(|name| format!("1.1 {name}, ")).collect())
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<String, known::Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, Arc<watch::Sender<flight::Phase>>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
