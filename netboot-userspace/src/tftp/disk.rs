//! What waits for the disk, on threads of its own: a disk may take its time, and a worker has other clients.
//!
//! **Invariant:** a worker opens what the kernel knows already, and reads what it has in memory; the rest is asked for here, and all that
//! clients write.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::content::Part;
use super::desk::{Inbox, News, Question, Told};
use super::files::{Library, Problem};
use super::names::Candidates;
use super::upload::Upload;
use super::upload::writing::{self, Order};
use crate::sys::open::Refusal;

/// How many wait for it at a time: one that hangs on one file need not hold up the others.
const THREADS: usize = 4;
/// What finds no room is as if it was lost: clients, and timers, ask again.
const WAITING: usize = 4096;

/// What is asked of the disk.
#[derive(Debug)]
pub(super) enum Job {
    /// What a name means.
    Find(Question),
    /// A part of a file, for the transfer of this token.
    Read(u64, Part),
    /// What its client writes.
    Write(u64, Box<Upload>, Vec<Order>),
}

/// Where jobs go. The threads behind it end with the last who could ask.
pub(super) type Disk = SyncSender<(Job, Arc<Inbox>)>;

pub(super) fn open(library: &Arc<Library>) -> io::Result<Disk> {
    let (disk, jobs) = sync_channel(WAITING);
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..THREADS {
        let (jobs, library) = (jobs.clone(), library.clone());
        std::thread::Builder::new().name("tftp-disk".to_owned()).spawn(move || {
            while let Some((job, inbox)) = next(&jobs) {
                inbox.put(done(job, &library));
            }
        })?;
    }
    Ok(disk)
}

fn next(jobs: &Mutex<Receiver<(Job, Arc<Inbox>)>>) -> Option<(Job, Arc<Inbox>)> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn done(job: Job, library: &Library) -> News {
    match job {
        Job::Find(question) => {
            let found = Candidates::parse(question.name.as_bytes())
                .map_err(|_| Problem::File(Refusal::NotFound))
                .and_then(|names| library.find(&names, question.mode));
            News::Answer(question, Told::Folders(found))
        }
        Job::Read(token, part) => {
            let bytes = read(&part);
            News::Bytes(token, part, bytes)
        }
        Job::Write(token, mut upload, orders) => {
            let written = writing::write(&mut upload, orders);
            News::Written(token, upload, written)
        }
    }
}

fn read(Part { file, start, length, is_last }: &Part) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; *length];
    file.file.read_exact_at(&mut bytes, *start)?;
    if *is_last {
        file.identity.check_content(&file.file)?;
    }
    Ok(bytes)
}
