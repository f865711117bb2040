//! What must survive: hosts set by CLI or API, leases, what became of each machine, and a few values of the daemon.
//!
//! One redb file, `netboot.redb`, under the state folder. **Invariant:** a write is on the disk when its call returns.
//! Leases are compact bytes with a version in front, all else is JSON.

mod lease;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use lease::{Lease, LeaseState};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

/// The store's file, under the state folder.
pub const FILE: &str = "netboot.redb";

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const HOSTS: Table = TableDefinition::new("hosts");
const LEASES: Table = TableDefinition::new("leases");
const MACHINES: Table = TableDefinition::new("machines");
const KV: Table = TableDefinition::new("kv");

/// Why the store can't serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the state folder {path}: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("{path} is in use: another netboot runs on this state folder (paths.state)")]
    InUse { path: PathBuf },
    #[error("opening {path}: {source}")]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("the store: {0}")]
    Storage(#[from] Box<redb::Error>),
    #[error("the store's {table} has an entry that this version can't read ({key}): {reason}")]
    Entry { table: &'static str, key: String, reason: String },
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// The store. Calls block on the disk: from async code, use `spawn_blocking` where that matters.
#[derive(Debug)]
pub struct Store {
    database: Database,
    replaced: Option<Replaced>,
}

/// A file that was no store any more, and where it lies now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store {file} can't be read ({reason}); it was moved to {kept} and an empty one made: hosts added by command \
     and leases are gone from it, those of the configuration files are not"
)]
pub struct Replaced {
    pub file: PathBuf,
    pub kept: PathBuf,
    pub reason: String,
}

impl Replaced {
    fn aside(file: &Path, reason: String) -> Result<Self> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let unused = (0..).map(|n| file.with_extension(format!("redb.corrupt-{seconds}-{n}")));
        let kept = unused.into_iter().find(|path| !path.exists()).unwrap_or_default();
        fs::rename(file, &kept).map_err(|source| Error::Folder { path: file.to_owned(), source })?;
        Ok(Self { file: file.to_owned(), kept, reason })
    }
}

impl Store {
    /// Opens the store in `dir`, which is made if it isn't there. A file that is no store is moved aside:
    /// [`Store::replaced`] then says so, and the caller must pass it on to a person.
    ///
    /// # Errors
    /// The folder can't be made or written, or another process has the store open.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|source| Error::Folder { path: dir.to_owned(), source })?;
        let file = dir.join(FILE);
        let (database, replaced) = match open_file(&file) {
            Ok(database) => (database, None),
            Err(Broken::Corrupt(reason)) => {
                let replaced = Replaced::aside(&file, reason)?;
                let database = open_file(&file).map_err(|broken| broken.into_error(&file))?;
                (database, Some(replaced))
            }
            Err(broken) => return Err(broken.into_error(&file)),
        };
        Ok(Self { database, replaced })
    }

    /// The notice that [`Store::open`] found a file it could not read and began an empty store.
    pub fn replaced(&self) -> Option<&Replaced> {
        self.replaced.as_ref()
    }

    /// All leases, those that ended among them.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        let entries = self.entries(LEASES)?;
        entries
            .into_iter()
            .map(|(key, value)| {
                lease::decode(&value).map_err(|reason| Error::Entry {
                    table: "leases",
                    key: format!("{key:?}"),
                    reason: reason.to_owned(),
                })
            })
            .collect()
    }

    /// Writes all of them in one durable transaction: when this returns, a crash forgets none. A lease replaces the
    /// one of the same address.
    pub fn put_leases(&self, leases: &[Lease]) -> Result<()> {
        let entries: Vec<_> =
            leases.iter().map(|lease| (lease.ip.octets(), Some(lease::encode(lease)))).collect();
        self.write(LEASES, entries.iter().map(|(key, value)| (key.as_slice(), value.as_deref())))
    }

    /// The hosts set by CLI or API: JSON values by name.
    pub fn hosts<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        self.json_entries(HOSTS, "hosts", "")
    }

    /// Writes (`Some`) and removes (`None`) hosts by name, in one durable transaction.
    pub fn put_hosts<T: Serialize>(&self, hosts: &[(&str, Option<&T>)]) -> Result<()> {
        self.put_json(HOSTS, "hosts", hosts)
    }

    /// What must survive of each machine: JSON values by MAC, as text.
    pub fn machines<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        self.json_entries(MACHINES, "machines", "")
    }

    /// Writes (`Some`) and removes (`None`) machines by MAC, in one durable transaction.
    pub fn put_machines<T: Serialize>(&self, machines: &[(&str, Option<&T>)]) -> Result<()> {
        self.put_json(MACHINES, "machines", machines)
    }

    /// The daemon's own values whose keys begin with `prefix`, in their order.
    pub fn values<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>> {
        let mut values = self.json_entries(KV, "kv", prefix)?;
        values.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(values)
    }

    /// Writes (`Some`) and removes (`None`) values, in one durable transaction.
    pub fn put_values<T: Serialize>(&self, values: &[(&str, Option<&T>)]) -> Result<()> {
        self.put_json(KV, "kv", values)
    }

    fn json_entries<T: DeserializeOwned>(
        &self,
        table: Table,
        name: &'static str,
        prefix: &str,
    ) -> Result<Vec<(String, T)>> {
        let entries = self.entries(table)?;
        entries
            .into_iter()
            .filter(|(key, _)| key.starts_with(prefix.as_bytes()))
            .map(|(key, value)| {
                let key = String::from_utf8_lossy(&key).into_owned();
                match serde_json::from_slice(&value) {
                    Ok(value) => Ok((key, value)),
                    Err(reason) => Err(Error::Entry { table: name, key, reason: reason.to_string() }),
                }
            })
            .collect()
    }

    fn put_json<T: Serialize>(
        &self,
        table: Table,
        name: &'static str,
        entries: &[(&str, Option<&T>)],
    ) -> Result<()> {
        let mut encoded = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let json = value.map(serde_json::to_vec).transpose().map_err(|reason| Error::Entry {
                table: name,
                key: (*key).to_owned(),
                reason: reason.to_string(),
            })?;
            encoded.push((*key, json));
        }
        self.write(table, encoded.iter().map(|(key, json)| (key.as_bytes(), json.as_deref())))
    }

    fn entries(&self, table: Table) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let read = self.database.begin_read().map_err(redb_error)?;
        let table = match read.open_table(table) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(redb_error(error)),
        };
        let mut entries = Vec::new();
        for entry in table.iter().map_err(redb_error)? {
            let (key, value) = entry.map_err(redb_error)?;
            entries.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(entries)
    }

    /// One transaction. redb's default durability syncs before `commit` returns.
    fn write<'a>(
        &self,
        table: Table,
        entries: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<()> {
        let transaction = self.database.begin_write().map_err(redb_error)?;
        {
            let mut table = transaction.open_table(table).map_err(redb_error)?;
            for (key, value) in entries {
                match value {
                    Some(value) => table.insert(key, value).map_err(redb_error)?,
                    None => table.remove(key).map_err(redb_error)?,
                };
            }
        }
        transaction.commit().map_err(redb_error)
    }
}

fn redb_error(error: impl Into<redb::Error>) -> Error {
    Error::Storage(Box::new(error.into()))
}

enum Broken {
    Corrupt(String),
    InUse,
    Other(redb::Error),
}

impl Broken {
    fn into_error(self, file: &Path) -> Error {
        let path = file.to_owned();
        match self {
            Self::InUse => Error::InUse { path },
            Self::Corrupt(reason) => Error::Open { path, source: Box::new(redb::Error::Corrupted(reason)) },
            Self::Other(source) => Error::Open { path, source: Box::new(source) },
        }
    }
}

/// Opens or makes the file, and reads every table once: damage shows now, not at the first boot of the day.
fn open_file(file: &Path) -> Result<Database, Broken> {
    let database = Database::create(file).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => Broken::InUse,
        DatabaseError::Storage(StorageError::Corrupted(reason)) => Broken::Corrupt(reason),
        // redb answers a foreign or truncated file with an I/O error of this kind.
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            Broken::Corrupt(error.to_string())
        }
        DatabaseError::UpgradeRequired(version) => Broken::Corrupt(format!("file format {version}")),
        DatabaseError::RepairAborted => Broken::Corrupt("repair was aborted".to_owned()),
        other => Broken::Other(other.into()),
    })?;
    Ok(database)
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
            store.put_values(&[("a/1", Some(&1)), ("b/2", Some(&2))]).unwrap();
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
}
