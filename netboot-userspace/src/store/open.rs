//! Opening the store's file, and what becomes of one that is damaged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{Database, DatabaseError, StorageError};

use super::{Error, Result};
use crate::sys::panic::contain;

/// A file that was no store any more, and where it lies now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store {file} can't be read ({reason}); it was moved to {kept} and an empty one made: hosts added by command, leases \
     and the marks of installed machines are gone from it, the hosts of the configuration files are not. Nothing is installed \
     until `netboot machine allow-installs`, for nobody knows any more which machines are installed already"
)]
pub struct Replaced {
    pub file: PathBuf,
    pub kept: PathBuf,
    pub reason: String,
}

/// Opens or makes the file. A damaged one is moved aside.
pub(super) fn or_replace(file: &Path) -> Result<(Database, Option<Replaced>)> {
    match checked(file) {
        Ok(database) => Ok((database, None)),
        Err(Broken::Damaged(reason)) => {
            let replaced = move_aside(file, reason)?;
            Ok((plain(file)?, Some(replaced)))
        }
        Err(Broken::Other(error)) => Err(error),
    }
}

/// Opens or makes the file.
pub(super) fn plain(file: &Path) -> Result<Database> {
    Database::create(file).map_err(|error| match broken(file, error) {
        Broken::Damaged(reason) => Error::Damaged { path: file.to_owned(), reason },
        Broken::Other(error) => error,
    })
}

enum Broken {
    Damaged(String),
    Other(Error),
}

/// Opens, and compares every page with its checksum: damage shows now, not at the first boot of the day.
fn checked(file: &Path) -> Result<Database, Broken> {
    let open = || {
        let mut database = Database::create(file)?;
        let sound = database.check_integrity()?;
        Ok((database, sound))
    };
    // redb 4.5 panics over some kinds of damage.
    match contain(open) {
        Ok(Ok((database, true))) => Ok(database),
        Ok(Ok((_, false))) => Err(Broken::Damaged("its pages don't agree with their checksums".to_owned())),
        Ok(Err(error)) => Err(broken(file, error)),
        Err(panic) => Err(Broken::Damaged(panic)),
    }
}

fn broken(file: &Path, error: DatabaseError) -> Broken {
    let path = file.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => Broken::Other(Error::InUse { path }),
        DatabaseError::Storage(StorageError::Corrupted(reason)) => Broken::Damaged(reason),
        // redb answers a foreign or truncated file with an I/O error of this kind.
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            Broken::Damaged(error.to_string())
        }
        // Not damage: an older or newer file, or one that can be opened another time.
        other => Broken::Other(Error::Open { path, source: std::sync::Arc::new(other.into()) }),
    }
}

fn move_aside(file: &Path, reason: String) -> Result<Replaced> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let unused = (0..).map(|n| file.with_extension(format!("redb.corrupt-{seconds}-{n}")));
    let kept = unused.into_iter().find(|path| !path.exists()).unwrap_or_default();
    fs::rename(file, &kept)
        .map_err(|source| Error::Folder { path: file.to_owned(), source: std::sync::Arc::new(source) })?;
    Ok(Replaced { file: file.to_owned(), kept, reason })
}
