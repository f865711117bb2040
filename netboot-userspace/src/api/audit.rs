//! What was changed, by whom: a line of JSON each, appended to `audit.jsonl` in the state folder before the change is answered.
//!
//! The file is only ever appended to. When it is full it is renamed to `audit.1.jsonl`, that to `audit.2.jsonl` and so on, and the
//! oldest is removed: some hundred thousand changes are kept, in 40 MiB at most.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use serde::{Deserialize, Serialize};

use super::control::Shared;
use super::roles::Role;
use super::{ApiError, blocking};

/// The file's name, in the state folder.
pub const FILE: &str = "audit.jsonl";
/// Bytes of one file.
const LARGEST: u64 = 8 << 20;
/// Older files beside it.
const OLDER: usize = 4;

/// A change that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Unix time, milliseconds.
    pub time: u64,
    /// `token NAME`, or `uid NUMBER` by the control socket.
    pub who: String,
    pub role: Option<Role>,
    /// Where it was asked from; none by the control socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    pub method: String,
    pub path: String,
    /// Of the answer.
    pub status: u16,
    /// Whether anything was changed: also where the answer is an error, of what came after it.
    pub made: bool,
    /// What was changed, in one line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// How many more of this caller came to nothing since its last record, and have none.
    #[serde(skip_serializing_if = "is_none")]
    pub untold: u64,
}

const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// In an answer: what was changed, for its [`Record`]; empty: nothing was. The client does not see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said(pub(super) String);

impl IntoResponseParts for Said {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

impl IntoResponse for Said {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

/// The files.
#[derive(Debug)]
pub struct Audit {
    folder: PathBuf,
    largest: u64,
    /// The one that is appended to. Holding it is the right to rename them.
    file: Mutex<Option<File>>,
    /// Why the last record is not there, or not where it should be. Whoever asks does not wait for the disk.
    fault: Mutex<Option<String>>,
}

impl Audit {
    /// In this folder, which is there; a file is made with the first record.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), largest: LARGEST, file: Mutex::default(), fault: Mutex::default() }
    }

    /// Appends it, durably. That it could not be is logged, and told by [`Audit::fault`] until one can be again: the change itself was made.
    pub fn append(&self, record: &Record) {
        let mut file = lock(&self.file);
        let made_room = self.make_room(&mut file);
        let written = self.write(&mut file, record);
        if written.is_err() {
            *file = None;
        }
        let path = self.path(0);
        let fault = match (written, made_room) {
            (Err(error), _) => {
                Some(format!("the audit {}: {error}: changes are made, and not recorded", path.display()))
            }
            (Ok(()), Err(error)) => {
                Some(format!("the audit {}: it grows, for no other can be begun: {error}", path.display()))
            }
            (Ok(()), Ok(())) => None,
        };
        if let Some(fault) = &fault {
            tracing::error!("{fault}: {record:?}");
        }
        *lock(&self.fault) = fault;
    }

    /// Why the last record could not be written.
    pub fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// The last `count` records, oldest first.
    ///
    /// # Errors
    /// A file is there and can't be read.
    pub fn last(&self, count: usize) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for file in self.files()? {
            let mut older = read(file)?;
            older.extend(records);
            records = older;
            if records.len() >= count {
                break;
            }
        }
        Ok(records.split_off(records.len().saturating_sub(count)))
    }

    /// Those that are there, the newest first. What they are called later is nothing to who has them open.
    fn files(&self) -> io::Result<Vec<File>> {
        let _nobody_renames = lock(&self.file);
        let open = |index| match File::open(self.path(index)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file),
        };
        (0..=OLDER).filter_map(open).collect()
    }

    fn write(&self, file: &mut Option<File>, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let file = match file {
            Some(file) => file,
            None => {
                let opened = file.insert(open(&self.path(0))?);
                // Its name is durable, too.
                File::open(&self.folder)?.sync_all()?;
                opened
            }
        };
        file.write_all(&line)?;
        file.sync_data()
    }

    /// Puts a full file beside the older ones.
    fn make_room(&self, file: &mut Option<File>) -> io::Result<()> {
        if file.as_ref().map(File::metadata).transpose()?.is_none_or(|meta| meta.len() < self.largest) {
            return Ok(());
        }
        // Up to the first that is not there, as after a rotation that could not go on: the oldest goes only where there is no other place.
        let is_there = |index: &usize| self.path(*index).symlink_metadata().is_ok();
        let free = (1..OLDER).find(|index| !is_there(index)).unwrap_or(OLDER);
        for index in (0..free).rev() {
            match fs::rename(self.path(index), self.path(index + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        *file = None;
        Ok(())
    }

    fn path(&self, index: usize) -> PathBuf {
        match index {
            0 => self.folder.join(FILE),
            older => self.folder.join(format!("audit.{older}.jsonl")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line that a crash has cut short is ended, so that the next one is whole.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
    let (length, mut last) = (file.metadata()?.len(), [b'\n']);
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// What a crash has cut short, or a disk has lost, is no record.
fn read(file: File) -> io::Result<Vec<Record>> {
    let lines = BufReader::new(file).split(b'\n');
    let records = lines.map(|line| Ok(serde_json::from_slice(&line?).ok()));
    records.filter_map(Result::transpose).collect()
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// How many, the newest.
    last: usize,
}

impl Default for Which {
    fn default() -> Self {
        Self { last: 1000 }
    }
}

pub(super) async fn list(
    State(state): Shared,
    Query(Which { last }): Query<Which>,
) -> Result<Json<Vec<Record>>, ApiError> {
    let records = blocking(move || state.audit.last(last)).await?;
    records.map(Json).map_err(|error| ApiError::internal(format!("the audit: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn record(status: u16) -> Record {
        let (who, role) = ("token ci".to_owned(), Some(Role::Admin));
        Record { who, role, method: "PUT".into(), path: "/x".into(), status, ..Record::default() }
    }

    fn statuses(audit: &Audit, count: usize) -> Vec<u16> {
        audit.last(count).unwrap().iter().map(|record| record.status).collect()
    }

    #[test]
    fn records_are_appended_and_kept_over_restarts_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(statuses(&Audit::new(dir.path()), 9).is_empty());
        (0..3).for_each(|status| Audit::new(dir.path()).append(&record(status)));
        // A crash amid a line.
        let path = dir.path().join(FILE);
        File::options().append(true).open(&path).unwrap().write_all(b"\xff\xfe\n{\"time\": 1").unwrap();
        let audit = Audit::new(dir.path());
        assert_eq!((statuses(&audit, 9), statuses(&audit, 2)), (vec![0, 1, 2], vec![1, 2]));
        audit.append(&record(3));
        assert_eq!((statuses(&audit, 9), audit.last(1).unwrap()), (vec![0, 1, 2, 3], vec![record(3)]));
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn files_are_of_bounded_size_and_number_and_the_newest_records_stay() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit { largest: 1000, ..Audit::new(dir.path()) };
        (0..200).for_each(|status| audit.append(&record(status)));
        let files: Vec<u64> =
            fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(files.len(), OLDER + 1);
        assert!(files.iter().all(|size| *size < 1200), "{files:?}");
        let kept = statuses(&audit, 1000);
        assert!(kept.len() > 30 && kept.is_sorted() && kept.last() == Some(&199), "{kept:?}");
        assert_eq!(statuses(&audit, 20), (180..200).collect::<Vec<_>>(), "over two files and more");
    }

    #[test]
    fn what_can_not_be_recorded_is_told_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(&dir.path().join("later"));
        audit.append(&record(1));
        assert!(audit.fault().unwrap().contains("not recorded"));
        fs::create_dir(dir.path().join("later")).unwrap();
        audit.append(&record(2));
        assert_eq!((audit.fault(), statuses(&audit, 9)), (None, vec![2]));
    }

    #[test]
    fn records_go_on_where_no_other_file_can_be_begun() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit { largest: 1000, ..Audit::new(dir.path()) };
        // It can't be renamed over.
        let oldest = dir.path().join("audit.4.jsonl");
        fs::create_dir_all(oldest.join("full")).unwrap();
        (0..200).for_each(|status| audit.append(&record(status)));
        assert!(audit.fault().unwrap().contains("no other can be begun"), "{:?}", audit.fault());
        fs::remove_dir_all(oldest).unwrap();
        assert_eq!(statuses(&audit, 1000), (0..200).collect::<Vec<_>>(), "none is lost");
        audit.append(&record(200));
        audit.append(&record(201));
        assert_eq!((audit.fault(), statuses(&audit, 202).len()), (None, 202));
    }
}
