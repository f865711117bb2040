//! Files in the kernel's maps, from where the TFTP program sends them.
//!
//! [`shelf`] says what goes where; here it is written, in an order in which no transfer ever reads of two versions: first the
//! bytes, then the slot, then the names that lead to it.

mod again;
mod shelf;
mod sweep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddrV4;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{self, Array, Map, MapData, MapError, PerCpuArray};
use netboot_common::tftp::maps::{
    CHUNK, CHUNK_BYTES, Chunk, File, FileKey, FileRef, SESSIONS_MAX, SLOTS, Serving, SessionKey,
};
use netboot_common::tftp::session::Session;
use netboot_common::tftp::stats::{Outcome, Sum};
use rustix::io::Errno;
use serde::Serialize;

use self::again::{Again, Packets};
use self::shelf::Shared;
use self::sweep::{Counted, SILENCE, Sweep};
use super::Error;
use super::tables::is;

pub use self::again::Waiting;
pub use self::sweep::{Counts, Silent};

/// A file to be served: the names that clients may ask for, and its bytes.
#[derive(Clone, Debug)]
pub struct Offered {
    pub names: Vec<String>,
    pub content: Arc<[u8]>,
}

/// What the kernel does not know of its transfers: what their files are called, and how much userspace has sent again.
#[derive(Clone, Debug, Default)]
pub struct Catalogue(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By the slots that they have or had last.
    names: HashMap<u16, (FileRef, String)>,
    again: Packets,
}

impl Catalogue {
    /// The first name of a file; `None`: of one that is long gone.
    pub fn name(&self, found: FileRef) -> Option<String> {
        let known = self.known();
        known.names.get(&found.slot()).filter(|(there, _)| *there == found).map(|(_, name)| name.clone())
    }

    /// How many DATA and OACKs userspace has sent again in a transfer that is over. Says it once.
    pub fn take_again(&self, client: SocketAddrV4, began: u64) -> u32 {
        self.known().again.take((client, began))
    }

    fn note(&self, found: FileRef, name: &str) {
        self.known().names.insert(found.slot(), (found, name.to_owned()));
    }

    fn note_again(&self, client: SocketAddrV4, began: u64, sent: u32) {
        self.known().again.note((client, began), sent);
    }

    /// Forgets all but these. They are asked for only where something is known of any: there may be thousands, ten times a second, and
    /// mostly nothing was lost.
    fn keep_again(&self, transfers: impl FnOnce() -> HashSet<(SocketAddrV4, u64)>) {
        if !self.known().again.is_empty() {
            let transfers = transfers();
            self.known().again.keep(&transfers);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of the files that were offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placed {
    pub files: usize,
    pub bytes: usize,
    /// The first names of those that found no room: userspace serves them.
    pub left: Vec<String>,
}

/// The maps that hold files.
#[expect(missing_debug_implementations, reason = "aya's arrays have none")]
pub struct Files {
    serving: Array<MapData, Serving>,
    names: maps::HashMap<MapData, FileKey, FileRef>,
    table: Array<MapData, File>,
    data: Array<MapData, Chunk>,
    sessions: maps::HashMap<MapData, SessionKey, Session>,
    counters: FileCounters,
    shelf: Shared,
    sweep: Sweep,
    catalogue: Catalogue,
    waiting: Option<Waiting>,
}

impl Files {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let (shelf, catalogue) = (Shared::default(), Catalogue::default());
        let waiting = Waiting {
            sessions: handle(ebpf, "TFTP_SESSIONS")?,
            counters: FileCounters::of(ebpf)?,
            shelf: shelf.clone(),
            catalogue: catalogue.clone(),
            again: Again::default(),
        };
        let mut files = Self {
            counters: FileCounters::of(ebpf)?,
            serving: take(ebpf, "TFTP")?,
            names: take(ebpf, "FILES")?,
            table: take(ebpf, "FILE_TABLE")?,
            data: take(ebpf, "FILE_DATA")?,
            sessions: take(ebpf, "TFTP_SESSIONS")?,
            shelf,
            sweep: Sweep::default(),
            catalogue,
            waiting: Some(waiting),
        };
        files.adopt()?;
        Ok(files)
    }

    /// What an earlier server left is served on, and taken for what it is when the same is offered again.
    fn adopt(&mut self) -> Result<(), Error> {
        for slot in 0..SLOTS as u16 {
            let file = self.table.get(&u32::from(slot), 0).map_err(of("FILE_TABLE"))?;
            if file.generation() != 0 {
                let content = self.read(&file)?;
                self.shelf.lock().adopt(slot, &file, content);
            }
        }
        let generations = self.sessions()?.into_values().map(|session| session.file.generation());
        self.shelf.lock().begin_after(generations.max().unwrap_or(0));
        Ok(())
    }

    fn read(&self, file: &File) -> Result<Arc<[u8]>, Error> {
        let size = file.size() as usize;
        let mut content = Vec::with_capacity(size);
        while content.len() < size {
            let number = file.chunk(content.len() as u32);
            let chunk = self.data.get(&u32::from(number), 0).map_err(of("FILE_DATA"))?;
            content.extend_from_slice(&chunk[..CHUNK.min(size - content.len())]);
        }
        Ok(content.into())
    }

    /// Where requests are taken, and on which ports transfers are; [`Serving::NOTHING`]: all goes to userspace, also what is
    /// under way.
    pub fn serve(&mut self, serving: Serving) -> Result<(), Error> {
        self.serving.set(0, serving, 0).map_err(of("TFTP"))
    }

    /// Whose clients wait for what was lost. Once: it moves out.
    pub fn take_waiting(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    /// What the files are called, and more.
    pub fn catalogue(&self) -> Catalogue {
        self.catalogue.clone()
    }

    /// What is served now.
    pub fn serving(&self) -> Result<Serving, Error> {
        self.serving.get(&0, 0).map_err(of("TFTP"))
    }

    /// Serves exactly these files, in so far as there is room: those that come first have it. `now`: of any clock that never
    /// steps.
    pub fn replace(&mut self, offered: &[Offered], now: Duration) -> Result<Placed, Error> {
        self.tidy(now)?;
        let (mut placed, mut names, mut keep) = (Placed::default(), BTreeMap::new(), HashSet::new());
        for file in offered {
            let Some(found) = self.place(&file.content)? else {
                placed.left.extend(file.names.first().cloned());
                continue;
            };
            for key in file.names.iter().filter_map(|name| FileKey::new(name)) {
                names.entry(key.name).or_insert((key, found));
            }
            if keep.insert(found) {
                self.catalogue.note(found, file.names.first().map_or("", String::as_str));
                placed.files += 1;
                placed.bytes += file.content.len();
            }
        }
        self.rename(names.into_values().collect())?;
        self.shelf.lock().retire_all_but(&keep);
        self.tidy(now)?;
        Ok(placed)
    }

    /// Finds this content a place, or the one that it has; `None`: there is no room.
    fn place(&mut self, content: &Arc<[u8]>) -> Result<Option<FileRef>, Error> {
        let found = self.shelf.lock().find(content);
        if found.is_some() {
            return Ok(found);
        }
        let placed = self.shelf.lock().place(content);
        let Some((found, file)) = placed else { return Ok(None) };
        for at in (0..content.len()).step_by(CHUNK) {
            let mut chunk = Box::new([0; CHUNK_BYTES]);
            let part = &content[at..content.len().min(at + CHUNK_BYTES)];
            chunk[..part.len()].copy_from_slice(part);
            self.data.set(u32::from(file.chunk(at as u32)), chunk, 0).map_err(of("FILE_DATA"))?;
        }
        self.table.set(u32::from(found.slot()), file, 0).map_err(of("FILE_TABLE"))?;
        Ok(Some(found))
    }

    /// Names lead from one version to the next without a gap.
    fn rename(&mut self, names: Vec<(FileKey, FileRef)>) -> Result<(), Error> {
        for (key, found) in &names {
            if self.names.get(key, 0).ok() != Some(*found) {
                self.names.insert(key, found, 0).map_err(of("FILES"))?;
            }
        }
        let keep: HashSet<FileKey> = names.into_iter().map(|(key, _)| key).collect();
        let there = self.names.keys().collect::<Result<Vec<_>, _>>().map_err(of("FILES"))?;
        for key in there.iter().filter(|key| !keep.contains(*key)) {
            self.names.remove(key).map_err(of("FILES"))?;
        }
        Ok(())
    }

    /// Empties the slots of old versions that no transfer reads any more.
    pub fn tidy(&mut self, now: Duration) -> Result<(), Error> {
        if self.shelf.lock().is_tidy() {
            return Ok(());
        }
        let silent = boot_time().saturating_sub(SILENCE.as_nanos() as u64);
        let reading = |session: &Session| !session.ended() && session.time() >= silent;
        let sessions = self.sessions()?.into_values().filter(reading);
        let used: HashSet<FileRef> = sessions.map(|session| session.file).collect();
        let emptied = self.shelf.lock().tidy(&used, now);
        for slot in emptied {
            self.table.set(u32::from(slot), File::NONE, 0).map_err(of("FILE_TABLE"))?;
        }
        Ok(())
    }

    /// What is remembered of a transfer.
    pub fn session(&self, key: &SessionKey) -> Option<Session> {
        self.sessions.get(key, 0).ok()
    }

    /// Forgets the transfers that are over at `now` ([`boot_time`]); those of them of which the program did not tell.
    pub fn sweep(&mut self, now: u64) -> Result<Vec<Silent>, Error> {
        let before = self.counters.counted()?;
        let sessions = self.sessions()?;
        let after = self.counters.counted()?;
        let mut silent = Vec::new();
        for key in self.sweep.look(&sessions, [before, after], now) {
            // Its client may have been heard meanwhile.
            let Some(session) = self.session(&key).filter(|there| sessions.get(&key) == Some(there)) else {
                continue;
            };
            match self.sessions.remove(&key) {
                Ok(()) => silent.extend(self.sweep.forgot(&key, session)),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(of("TFTP_SESSIONS")(error)),
            }
        }
        Ok(silent)
    }

    /// How transfers stood at the last [`sweep`](Self::sweep).
    pub fn transfers(&self) -> Counts {
        Counts { again: self.catalogue.known().again.all, ..self.sweep.counts }
    }

    fn sessions(&self) -> Result<HashMap<SessionKey, Session>, Error> {
        list(&self.sessions)
    }
}

fn list(
    sessions: &maps::HashMap<MapData, SessionKey, Session>,
) -> Result<HashMap<SessionKey, Session>, Error> {
    // One that goes while they are listed is no loss. Where each that is looked at goes, the list begins anew, and has no end.
    let all = sessions.iter().take(2 * SESSIONS_MAX as usize);
    let there = all.filter(|entry| !matches!(entry, Err(error) if is_absent(error)));
    there.collect::<Result<_, _>>().map_err(of("TFTP_SESSIONS"))
}

/// The clock of the programs: `CLOCK_BOOTTIME`, nanoseconds.
pub fn boot_time() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound) || is(error, Errno::NOENT)
}

/// What the TFTP program counted.
#[expect(missing_debug_implementations, reason = "aya's per-CPU arrays have none")]
pub struct FileCounters {
    counters: PerCpuArray<MapData, u64>,
}

impl FileCounters {
    /// A handle of its own: several read them.
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self, Error> {
        Ok(Self { counters: handle(ebpf, "TFTP_COUNTERS")? })
    }

    fn counted(&self) -> Result<Counted, Error> {
        Ok(Counted { begun: self.read(Sum::Begun.index())?, ended: self.read(Sum::Ended.index())? })
    }

    /// One counter ([`Outcome::index`] and others), summed over all CPUs.
    pub fn read(&self, index: u32) -> Result<u64, Error> {
        let values = self.counters.get(&index, 0).map_err(of("TFTP_COUNTERS"))?;
        Ok(values.iter().sum())
    }

    /// All that are not zero, by name: `done`, `unknown_file`, …
    pub fn all(&self) -> Result<BTreeMap<&'static str, u64>, Error> {
        let mut counters = BTreeMap::new();
        for (index, name) in (0..Outcome::COUNT).filter_map(|index| Some((index, Outcome::name(index)?))) {
            let count = self.read(index)?;
            if count > 0 {
                counters.insert(name, count);
            }
        }
        Ok(counters)
    }
}

/// A handle of its own on a map that others have as well.
fn handle<M: TryFrom<Map, Error = MapError>>(ebpf: &Ebpf, name: &'static str) -> Result<M, Error> {
    let (data, kind): (&MapData, fn(MapData) -> Map) = match ebpf.map(name) {
        Some(Map::PerCpuArray(data)) => (data, Map::PerCpuArray),
        Some(Map::LruHashMap(data)) => (data, Map::LruHashMap),
        _ => return Err(Error::Object { what: name }),
    };
    let handle = data.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError).map_err(of(name))?;
    MapData::from_fd(handle).map(kind).and_then(M::try_from).map_err(of(name))
}

fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, Error> {
    let map = ebpf.take_map(name).ok_or(Error::Object { what: name })?;
    M::try_from(map).map_err(of(name))
}

fn of(map: &'static str) -> impl Fn(MapError) -> Error {
    move |source| Error::Map { map, source }
}
