//! What the site makes of a name. It may take a lock to know, so it is asked on a thread of its own, and the worker goes on.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::session::Ends;
use crate::uring::Waker;

/// What knows more names than those of the folders.
pub trait Site: Send + Sync + fmt::Debug {
    /// Whether it may know this name. Called by workers: takes no lock.
    fn turn(&self, name: &str) -> Turn;

    /// What this client gets under this name. Never called by a worker.
    fn find(&self, name: &str, client: IpAddr) -> Found;
}

/// When a site is asked about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It knows nothing of it.
    Never,
    /// Before the folders are looked into.
    First,
    /// When no folder has it.
    Last,
}

/// What a site knows under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// The file of this name in the folders.
    File(String),
    /// Nothing more than the folders do.
    Nothing,
}

/// A request that waits for the site's answer.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) ends: Ends,
    pub(super) name: String,
    /// The request itself.
    pub(super) datagram: Vec<u8>,
}

/// What came of it, for the worker that asked.
#[derive(Debug)]
pub(super) struct Inbox {
    answered: Mutex<Vec<(Question, Found)>>,
    waker: Waker,
}

impl Inbox {
    pub(super) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { answered: Mutex::default(), waker })
    }

    pub(super) fn take(&self) -> Vec<(Question, Found)> {
        std::mem::take(&mut *self.answered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, question: Question, found: Found) {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).push((question, found));
        self.waker.wake();
    }
}

/// Where questions go. The thread behind it ends with the last who could ask.
pub(super) type Desk = SyncSender<(Question, Arc<Inbox>)>;

/// How many questions may wait: those of a rack that starts at once.
const WAITING: usize = 4096;

pub(super) fn open(site: Arc<dyn Site>) -> io::Result<Desk> {
    let (desk, questions) = sync_channel::<(Question, Arc<Inbox>)>(WAITING);
    std::thread::Builder::new().name("tftp-names".to_owned()).spawn(move || {
        for (question, inbox) in questions {
            let client = question.ends.client.ip();
            // One name that it stumbles over must not silence it for all others.
            let found = catch_unwind(AssertUnwindSafe(|| site.find(&question.name, client)));
            inbox.put(question, found.unwrap_or(Found::Nothing));
        }
    })?;
    Ok(desk)
}
