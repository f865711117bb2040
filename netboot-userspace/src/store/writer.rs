//! One thread writes: what many ask for at once is one transaction, so that all of them wait for the same sync of the disk.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;

use redb::Database;

use super::{Error, Result, Table, open};

/// Jobs of one transaction, at most: those who wait for it should not wait for many more.
const BATCH: usize = 4096;

/// Keys of one table, each with its new value, or none.
pub(super) struct Job {
    pub(super) table: Table,
    pub(super) entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A write that was asked for.
#[derive(Debug)]
#[must_use = "a write is durable only once it was waited for"]
pub struct Pending(Receiver<Result<()>>);

impl Pending {
    /// Until it is on the disk.
    ///
    /// # Errors
    /// It is not, and may never be.
    pub fn wait(self) -> Result<()> {
        self.0.recv().unwrap_or(Err(Error::Ended))
    }

    /// It need not survive a crash: the writer says so in the log if it fails.
    pub fn forget(self) {}
}

/// The database, which may have to be opened anew: redb refuses every write after one that failed.
pub(super) struct Shared {
    pub(super) file: PathBuf,
    pub(super) database: RwLock<Result<Database>>,
    /// Hears of every transaction, when it is on the disk.
    pub(super) listener: OnceLock<Listener>,
}

pub(super) type Listener = Box<dyn Fn(&[Job]) + Send + Sync>;

impl Shared {
    /// Calls `with` the open database.
    pub(super) fn with<T>(&self, with: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(database) => with(database),
            Err(why) => Err(Error::NotOpen { path: self.file.clone(), why: Box::new(why.clone()) }),
        }
    }

    /// `why`: it can't go on as it is.
    fn reopen(&self, why: &Error) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: a file is open once only.
        *database = Err(why.clone());
        *database = open::plain(&self.file);
    }

    /// Opens it, where that failed before.
    fn ensure_open(&self) {
        let why = self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref().err().cloned();
        if let Some(why) = why {
            self.reopen(&why);
        }
    }
}

/// The writing end. Dropping it writes what was asked for, and ends the thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<Sender<(Job, Sender<Result<()>>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (queue, jobs) = channel();
        let thread =
            std::thread::Builder::new().name("store".to_owned()).spawn(move || serve(&shared, &jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Jobs are written in the order in which they are asked for.
    pub(super) fn ask(&self, job: Job) -> Pending {
        let (done, pending) = channel();
        if let Some(queue) = &self.queue {
            // An ended thread answers nobody, and `wait` says so.
            let _ = queue.send((job, done));
        }
        Pending(pending)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Shared, jobs: &Receiver<(Job, Sender<Result<()>>)>) {
    let mut failing = false;
    while let Ok(first) = jobs.recv() {
        let (batch, waiting): (Vec<_>, Vec<_>) =
            std::iter::once(first).chain(jobs.try_iter()).take(BATCH).unzip();
        shared.ensure_open();
        let written = commit(shared, &batch);
        match &written {
            // Once, not for each of the many that follow.
            Err(error) if !failing => {
                tracing::error!("the store: nothing is durable until this is over: {error}")
            }
            Ok(()) if failing => tracing::info!("the store: what is written is durable again"),
            _ => {}
        }
        failing = written.is_err();
        if let (Ok(()), Some(listener)) = (&written, shared.listener.get()) {
            listener(&batch);
        }
        if let Err(error) = &written {
            shared.reopen(error);
        }
        for done in waiting {
            // Nobody waits for what need not survive.
            let _ = done.send(written.clone());
        }
    }
}

/// One transaction. redb's default durability syncs before `commit` returns.
fn commit(shared: &Shared, batch: &[Job]) -> Result<()> {
    shared.with(|database| {
        let transaction = database.begin_write()?;
        for Job { table, entries } in batch {
            let mut table = transaction.open_table(*table)?;
            for (key, value) in entries {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                    None => table.remove(key.as_slice())?,
                };
            }
        }
        Ok(transaction.commit()?)
    })
}
