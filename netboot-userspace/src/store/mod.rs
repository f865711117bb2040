//! What must survive: hosts, profiles and groups set by CLI or API, leases, what became of each machine, and a few values of the daemon.
//!
//! One redb file, `netboot.redb`, under the state folder. **Invariant:** a write is on the disk when its call returns, or
//! when its [`Pending`] was waited for. Leases are compact bytes with a version in front, all else is JSON.

mod clock;
mod lease;
mod lease6;
mod open;
mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

pub use clock::{Clock, Dated, carry_over, since_boot};
pub use lease::{Lease, LeaseState};
pub use lease6::Lease6;
pub use open::Replaced;
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableHandle as _};
use serde::{Serialize, de::DeserializeOwned};
pub use writer::Pending;
use writer::{Job, Shared, Writer};

/// The store's file, under the state folder.
pub const FILE: &str = "netboot.redb";

/// Under which [`Store::values`] keep the clock.
const CLOCK: &str = "clock";

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const HOSTS: Table = TableDefinition::new("hosts");
const PROFILES: Table = TableDefinition::new("profiles");
const GROUPS: Table = TableDefinition::new("groups");
const LEASES: Table = TableDefinition::new("leases");
const LEASES6: Table = TableDefinition::new("leases6");
const MACHINES: Table = TableDefinition::new("machines");
const KV: Table = TableDefinition::new("kv");

/// Why the store can't serve.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("the state folder {path}: {source}")]
    Folder { path: PathBuf, source: Arc<io::Error> },
    #[error("{path} is in use: another netboot runs on this state folder (paths.state)")]
    InUse { path: PathBuf },
    #[error(
        "opening {path}: {source}; it is left as it is: repair it, or move it away to begin an empty store"
    )]
    Open { path: PathBuf, source: Arc<redb::Error> },
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("the store {path} is not open, and could not be opened again: {why}")]
    NotOpen { path: PathBuf, why: Box<Self> },
    #[error("the store: {0}")]
    Storage(Arc<redb::Error>),
    #[error("the store's {table}: {key} can't be written as JSON: {reason}")]
    Entry { table: &'static str, key: String, reason: String },
    #[error("the store's writer has ended")]
    Ended,
}

/// redb has an error for each call; here all of them mean the same.
macro_rules! from_redb {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for Error {
            fn from(error: redb::$error) -> Self {
                Self::Storage(Arc::new(error.into()))
            }
        })*
    };
}

from_redb!(TransactionError TableError StorageError CommitError);

impl Error {
    /// The disk has no room, or the quota is used up: over as soon as there is room.
    pub fn is_full(&self) -> bool {
        let full = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match self {
            Self::Folder { source, .. } => full(source),
            Self::Open { source, .. } | Self::Storage(source) => {
                matches!(&**source, redb::Error::Io(error) if full(error))
            }
            Self::NotOpen { why, .. } => why.is_full(),
            _ => false,
        }
    }
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// The store. Calls block on the disk: from async code, use `spawn_blocking` where that matters.
pub struct Store {
    // First, so that it has ended before the database closes.
    writer: Writer,
    shared: Arc<Shared>,
    replaced: Option<Replaced>,
    /// A line for each entry that can't be read, however often it was tried.
    odd: Mutex<BTreeSet<String>>,
    clock: Clock,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("file", &self.shared.file).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `dir`, which is made if it isn't there. A damaged file is moved aside: [`Store::replaced`] then says
    /// so, and the caller must pass it on to a person.
    ///
    /// # Errors
    /// The folder can't be made or written, another process has the store open, or it is of another redb's format.
    pub fn open(dir: &Path) -> Result<Self> {
        let folder = |source| Error::Folder { path: dir.to_owned(), source: Arc::new(source) };
        fs::create_dir_all(dir).map_err(folder)?;
        let file = dir.join(FILE);
        let (database, replaced) = open::or_replace(&file)?;
        let shared =
            Arc::new(Shared { file, database: RwLock::new(Ok(database)), listener: OnceLock::new() });
        let writer = Writer::start(shared.clone()).map_err(folder)?;
        let (clock, _) = Clock::resume(None);
        let mut store = Self { writer, shared, replaced, odd: Mutex::default(), clock };
        let kept = store.values(CLOCK)?.into_iter().find_map(|(key, kept)| (key == CLOCK).then_some(kept));
        let (clock, fresh) = Clock::resume(kept);
        store.clock = clock;
        if let Some(fresh) = fresh {
            // Before any lease by this clock is; if that fails, the next start takes the clock for another boot's.
            store.put_values(&[(CLOCK, Some(&fresh))])?.forget();
        }
        Ok(store)
    }

    /// On storage that is no file.
    #[cfg(test)]
    pub(crate) fn on(storage: impl redb::StorageBackend, clock: Clock) -> Result<Self> {
        let mut database = redb::Database::builder().create_with_backend(storage).unwrap();
        assert!(database.check_integrity().unwrap(), "its pages don't agree with their checksums");
        let shared = Arc::new(Shared {
            file: PathBuf::new(),
            database: RwLock::new(Ok(database)),
            listener: OnceLock::new(),
        });
        let writer = Writer::start(shared.clone()).unwrap();
        Ok(Self { writer, shared, replaced: None, odd: Mutex::default(), clock })
    }

    /// The state folder.
    pub fn folder(&self) -> &Path {
        self.shared.file.parent().unwrap_or(Path::new("."))
    }

    /// What leases are dated by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The notice that [`Store::open`] found a file it could not read and began an empty store.
    pub fn replaced(&self) -> Option<&Replaced> {
        self.replaced.as_ref()
    }

    /// What a person should know: entries that this version can't read. They stay where they are.
    pub fn notices(&self) -> Vec<String> {
        self.odd.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// All leases, those that ended among them.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        let entries = self.entries(LEASES)?;
        let read = |(key, value): (Vec<u8>, Vec<u8>)| self.sound("leases", &key, lease::decode(&value));
        Ok(entries.into_iter().filter_map(read).collect())
    }

    /// Writes all of them in one durable transaction: when this returns, a crash forgets none. A lease replaces the
    /// one of the same address.
    pub fn put_leases(&self, leases: &[Lease]) -> Result<()> {
        self.ask_leases(leases).wait()
    }

    /// Asks for the same. What is asked for first is written first.
    pub fn ask_leases(&self, leases: &[Lease]) -> Pending {
        let entries = leases.iter().map(|lease| (lease.ip.octets().to_vec(), Some(lease::encode(lease))));
        self.writer.ask(Job { table: LEASES, entries: entries.collect() })
    }

    /// Has `listener` called with the addresses of all leases that were written, when they are on the disk, in the writer's thread. There is one:
    /// the first.
    pub fn on_leases(&self, listener: impl Fn(&[IpAddr]) + Send + Sync + 'static) {
        let of_leases = move |jobs: &[Job]| {
            let of_leases = |job: &&Job| [LEASES.name(), LEASES6.name()].contains(&job.table.name());
            let entries = jobs.iter().filter(of_leases).flat_map(|job| &job.entries);
            let addresses: Vec<IpAddr> = entries.filter_map(|(key, _)| address(key)).collect();
            if !addresses.is_empty() {
                listener(&addresses);
            }
        };
        let _ = self.shared.listener.set(Box::new(of_leases));
    }

    /// All leases of DHCPv6, those that ended among them.
    pub fn leases6(&self) -> Result<Vec<Lease6>> {
        let entries = self.entries(LEASES6)?;
        let read = |(key, value): (Vec<u8>, Vec<u8>)| self.sound("leases6", &key, lease6::decode(&value));
        Ok(entries.into_iter().filter_map(read).collect())
    }

    /// As [`Store::put_leases`].
    pub fn put_leases6(&self, leases: &[Lease6]) -> Result<()> {
        let entries = leases.iter().map(|lease| (lease.ip.octets().to_vec(), Some(lease6::encode(lease))));
        self.writer.ask(Job { table: LEASES6, entries: entries.collect() }).wait()
    }

    /// The hosts set by CLI or API: JSON values by name.
    pub fn hosts<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        self.json_entries(HOSTS, "hosts", "")
    }

    /// Writes (`Some`) and removes (`None`) hosts by name, in one durable transaction.
    pub fn put_hosts<T: Serialize>(&self, hosts: &[(&str, Option<&T>)]) -> Result<()> {
        self.put_json(HOSTS, "hosts", hosts)?.wait()
    }

    /// The profiles set by CLI or API: JSON values by name.
    pub fn profiles<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        self.json_entries(PROFILES, "profiles", "")
    }

    /// As [`Store::put_hosts`].
    pub fn put_profiles<T: Serialize>(&self, profiles: &[(&str, Option<&T>)]) -> Result<()> {
        self.put_json(PROFILES, "profiles", profiles)?.wait()
    }

    /// The groups set by CLI or API: JSON values by name.
    pub fn groups<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        self.json_entries(GROUPS, "groups", "")
    }

    /// As [`Store::put_hosts`].
    pub fn put_groups<T: Serialize>(&self, groups: &[(&str, Option<&T>)]) -> Result<()> {
        self.put_json(GROUPS, "groups", groups)?.wait()
    }

    /// What must survive of each machine: JSON values by MAC, as text.
    pub fn machines<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        self.json_entries(MACHINES, "machines", "")
    }

    /// Asks to write (`Some`) and remove (`None`) machines by MAC, in one transaction.
    ///
    /// # Errors
    /// A value is no JSON; what the disk says comes with [`Pending::wait`].
    pub fn put_machines<T: Serialize>(&self, machines: &[(&str, Option<&T>)]) -> Result<Pending> {
        self.put_json(MACHINES, "machines", machines)
    }

    /// The daemon's own values whose keys begin with `prefix`, in their order.
    pub fn values<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>> {
        let mut values = self.json_entries(KV, "kv", prefix)?;
        values.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(values)
    }

    /// Asks to write (`Some`) and remove (`None`) values, in one transaction.
    ///
    /// # Errors
    /// As [`Store::put_machines`].
    pub fn put_values<T: Serialize>(&self, values: &[(&str, Option<&T>)]) -> Result<Pending> {
        self.put_json(KV, "kv", values)
    }

    fn json_entries<T: DeserializeOwned>(
        &self,
        table: Table,
        name: &'static str,
        prefix: &str,
    ) -> Result<Vec<(String, T)>> {
        let entries = self.entries(table)?;
        let wanted = entries.into_iter().filter(|(key, _)| key.starts_with(prefix.as_bytes()));
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            let value = self.sound(name, &key, serde_json::from_slice(&value))?;
            Some((String::from_utf8_lossy(&key).into_owned(), value))
        };
        Ok(wanted.filter_map(read).collect())
    }

    /// An entry that this version can't read is left out and said, and costs no other its place.
    fn sound<T, E: fmt::Display>(&self, table: &str, key: &[u8], read: Result<T, E>) -> Option<T> {
        let error = match read {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let key = String::from_utf8_lossy(key);
        let notice =
            format!("the store's {table}: this version can't read {key:?} ({error}): it is left out");
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if !odd.contains(&notice) {
            tracing::warn!("{notice}");
            odd.insert(notice);
        }
        None
    }

    fn put_json<T: Serialize>(
        &self,
        table: Table,
        name: &'static str,
        entries: &[(&str, Option<&T>)],
    ) -> Result<Pending> {
        let mut encoded = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let json = value.map(serde_json::to_vec).transpose().map_err(|reason| Error::Entry {
                table: name,
                key: (*key).to_owned(),
                reason: reason.to_string(),
            })?;
            encoded.push((key.as_bytes().to_vec(), json));
        }
        Ok(self.writer.ask(Job { table, entries: encoded }))
    }

    fn entries(&self, table: Table) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.shared.with(|database| {
            let read = database.begin_read()?;
            let table = match read.open_table(table) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut entries = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                entries.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(entries)
        })
    }
}

/// A lease's key is its address.
fn address(key: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(key).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(key).map(IpAddr::from)).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use netboot_common::Mac;

    fn lease(last: u8, expires: u64) -> Lease {
        Lease {
            ip: [10, 0, 0, last].into(),
            client: vec![1, 0x52, 0x54, 0, 0, 0, last],
            mac: Mac([0x52, 0x54, 0, 0, 0, last]),
            written: 50,
            expires,
            hostname: format!("node{last}"),
            state: LeaseState::Bound,
        }
    }

    #[test]
    fn what_was_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("deep/state");
        {
            let store = Store::open(&state).unwrap();
            assert_eq!(store.leases().unwrap(), []);
            store.put_leases(&[lease(1, 100), lease(2, 200)]).unwrap();
            store.put_leases(&[Lease { state: LeaseState::Declined, ..lease(2, 300) }]).unwrap();
            store.put_hosts(&[("a", Some(&"host a")), ("b", Some(&"host b"))]).unwrap();
            store.put_hosts::<String>(&[("a", None)]).unwrap();
            store.put_values(&[("a/1", Some(&1)), ("b/2", Some(&2))]).unwrap().wait().unwrap();
        }
        let store = Store::open(&state).unwrap();
        assert!(store.replaced().is_none());
        let second = Lease { state: LeaseState::Declined, ..lease(2, 300) };
        assert_eq!(store.leases().unwrap(), [lease(1, 100), second]);
        assert_eq!(store.hosts::<String>().unwrap(), [("b".to_owned(), "host b".to_owned())]);
        assert_eq!(store.values::<u8>("b/").unwrap(), [("b/2".to_owned(), 2)]);
    }

    #[test]
    fn a_file_that_is_no_store_is_kept_aside_and_reported() {
        for garbage in [b"not a store".to_vec(), vec![0; 4096], vec![0xff; 1 << 20]] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), &garbage).unwrap();
            let store = Store::open(dir.path()).unwrap();
            let replaced = store.replaced().expect("a notice").clone();
            assert_eq!(fs::read(&replaced.kept).unwrap(), garbage);
            assert!(replaced.to_string().contains("moved to"), "{replaced}");
            store.put_leases(&[lease(1, 1)]).unwrap();
        }
    }

    #[test]
    fn a_store_in_use_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path()).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::InUse { .. }), "{error}");
    }

    #[test]
    fn what_many_write_at_once_is_all_there() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            std::thread::scope(|scope| {
                for writer in 0..8 {
                    let store = &store;
                    scope.spawn(move || {
                        for i in 0..25 {
                            store.put_leases(&[lease(writer * 25 + i, 7)]).unwrap();
                        }
                    });
                }
            });
        }
        assert_eq!(Store::open(dir.path()).unwrap().leases().unwrap().len(), 200);
    }

    #[test]
    fn an_entry_of_another_version_is_left_out_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_leases(&[lease(1, 100)]).unwrap();
        let entries = vec![(vec![10, 0, 0, 9], Some(vec![99, 0])), (vec![10, 0, 0, 8], Some(vec![]))];
        store.writer.ask(Job { table: LEASES, entries }).wait().unwrap();
        // However often they are read.
        (0..3).for_each(|_| assert_eq!(store.leases().unwrap(), [lease(1, 100)]));
        assert_eq!(store.notices().len(), 2);
    }

    #[test]
    fn a_store_cut_short_is_found_out_or_whole() {
        let dir = tempfile::tempdir().unwrap();
        let leases: Vec<_> = (0..200).map(|i| lease(i, 100)).collect();
        Store::open(dir.path()).unwrap().put_leases(&leases).unwrap();
        let sound = fs::read(dir.path().join(FILE)).unwrap();
        for i in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let length = i * sound.len() / 50 + i % 7;
            fs::write(dir.path().join(FILE), &sound[..length]).unwrap();
            match Store::open(dir.path()) {
                Ok(store) if store.replaced().is_some() => {
                    let kept = &store.replaced().unwrap().kept;
                    assert_eq!(fs::read(kept).unwrap(), sound[..length]);
                }
                // An empty file is one that was never begun.
                Ok(store) if length == 0 => assert_eq!(store.leases().unwrap(), []),
                Ok(store) => assert_eq!(store.leases().unwrap(), leases, "{length} of {}", sound.len()),
                Err(error) => assert!(matches!(error, Error::Open { .. }), "{error}"),
            }
        }
    }

    /// Every page is compared with its checksum when the store is opened: no flipped bit goes unnoticed.
    #[test]
    fn a_flipped_bit_anywhere_is_found_out_or_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let leases: Vec<_> = (0..200).map(|i| lease(i, 100)).collect();
        Store::open(dir.path()).unwrap().put_leases(&leases).unwrap();
        let sound = fs::read(dir.path().join(FILE)).unwrap();
        let mut found = 0;
        for i in 0..1000 {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes = sound.clone();
            let at = i * bytes.len() / 1000 + i % 7;
            bytes[at] ^= 1 << (i % 8);
            fs::write(dir.path().join(FILE), &bytes).unwrap();
            match Store::open(dir.path()) {
                Ok(store) if store.replaced().is_some() => found += 1,
                Ok(store) => assert_eq!(store.leases().unwrap(), leases, "bit {} of byte {at}", i % 8),
                Err(error) => assert!(matches!(error, Error::Open { .. }), "{error}"),
            }
        }
        assert!(found > 0, "none of the flips was in a page in use");
    }
}
