//! What the site makes of a name. It may take a lock to know, so it is asked on a thread of its own, and the worker goes on; and what a
//! worker hears of that, and of the disk.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netboot_common::wire::tftp::Mode;

use super::content::{Content, Part};
use super::files::Problem;
use super::session::Ends;
use super::upload::Upload;
use super::upload::writing::Written;
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

/// A request that waits for an answer, of the site or of the disk.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) ends: Ends,
    /// Which name it is about.
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) of: Of,
    /// The request itself.
    pub(super) datagram: Vec<u8>,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Of {
    Site,
    /// The folders, and where they have nothing, the site under this name.
    Folders(Option<String>),
}

/// An answer.
#[derive(Debug)]
pub(super) enum Told {
    Site(Found),
    Folders(Result<Content, Problem>),
}

/// What a worker hears of what it has asked.
#[derive(Debug)]
pub(super) enum News {
    Answer(Question, Told),
    /// A part of the file that the transfer of this token reads.
    Bytes(u64, Part, io::Result<Vec<u8>>),
    /// What its client has written.
    Written(u64, Box<Upload>, Vec<Written>),
}

/// Where a worker hears it.
#[derive(Debug)]
pub(super) struct Inbox {
    news: Mutex<Vec<News>>,
    waker: Waker,
}

impl Inbox {
    pub(super) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { news: Mutex::default(), waker })
    }

    pub(super) fn take(&self) -> Vec<News> {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put(&self, news: News) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).push(news);
        self.waker.wake();
    }
}

/// Where questions go. The thread behind it ends with the last who could ask.
pub(super) type Desk = SyncSender<(Question, Arc<Inbox>)>;

/// How many questions may wait for the site: those of a rack that starts at once.
const WAITING: usize = 4096;

/// How many of them each of so many workers may have of one client address, which has no more transfers than `transfers`: all
/// together an eighth of what there is room for.
pub(super) fn share(workers: usize, transfers: usize) -> usize {
    (WAITING / 8 / workers.max(1)).clamp(1, transfers.max(1))
}

/// The questions of one worker.
///
/// **Invariant:** of each client only the last one counts, and of each address no more wait than its share.
#[derive(Debug)]
pub(super) struct Asking {
    /// A hash of the request, and when it came.
    last: HashMap<SocketAddr, (u32, Duration)>,
    /// How many wait, also of those that count no more.
    of_address: HashMap<IpAddr, usize>,
    most: usize,
}

impl Asking {
    pub(super) fn new(most: usize) -> Self {
        Self { last: HashMap::new(), of_address: HashMap::new(), most }
    }

    /// Whether an address may ask one more.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        self.of_address.get(&address).is_none_or(|count| *count < self.most)
    }

    pub(super) fn add(&mut self, ends: Ends, now: Duration) {
        self.last.insert(ends.client, (ends.asked, now));
        *self.of_address.entry(ends.client.ip()).or_default() += 1;
    }

    /// What a client waits for, and since when.
    pub(super) fn of(&self, client: SocketAddr) -> Option<(u32, Duration)> {
        self.last.get(&client).copied()
    }

    /// It has asked for something else.
    pub(super) fn forget(&mut self, client: SocketAddr) {
        self.last.remove(&client);
    }

    /// An answer came: whether anybody still waits for it.
    pub(super) fn is_wanted(&mut self, ends: Ends) -> bool {
        let address = ends.client.ip();
        if let Some(count) = self.of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
        let is_wanted = self.last.get(&ends.client).is_some_and(|(asked, _)| *asked == ends.asked);
        if is_wanted {
            self.last.remove(&ends.client);
        }
        is_wanted
    }
}

pub(super) fn open(site: Arc<dyn Site>) -> io::Result<Desk> {
    let (desk, questions) = sync_channel::<(Question, Arc<Inbox>)>(WAITING);
    std::thread::Builder::new().name("tftp-names".to_owned()).spawn(move || {
        for (question, inbox) in questions {
            let client = question.ends.client.ip();
            // One name that it stumbles over must not silence it for all others.
            let found = catch_unwind(AssertUnwindSafe(|| site.find(&question.name, client)));
            inbox.put(News::Answer(question, Told::Site(found.unwrap_or(Found::Nothing))));
        }
    })?;
    Ok(desk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(host: u8, port: u16, asked: u32) -> Ends {
        let client = ([10, 0, 0, host], port).into();
        Ends { client, own: ([10, 0, 0, 99], 0).into(), interface: 1, asked }
    }

    #[test]
    fn an_address_has_its_share_of_the_questions_until_they_are_answered() {
        let mut asking = Asking::new(2);
        let now = Duration::ZERO;
        asking.add(ends(1, 1, 1), now);
        // Of one client, too: what it asked before waits all the same.
        asking.forget(ends(1, 1, 1).client);
        asking.add(ends(1, 1, 2), now);
        assert!(!asking.admits([10, 0, 0, 1].into()) && asking.admits([10, 0, 0, 2].into()));
        assert!(!asking.is_wanted(ends(1, 1, 1)), "another one was asked after it");
        assert!(asking.admits([10, 0, 0, 1].into()));
        assert_eq!(asking.of(ends(1, 1, 0).client), Some((2, now)));
        assert!(asking.is_wanted(ends(1, 1, 2)) && !asking.is_wanted(ends(1, 1, 2)));
        assert!(asking.last.is_empty() && asking.of_address.is_empty());
    }

    #[test]
    fn no_address_has_the_desk_for_itself() {
        for (workers, transfers, most) in
            [(1, 64, 64), (1, 10_000, 512), (64, 64, 8), (10_000, 64, 1), (1, 0, 1)]
        {
            assert_eq!(share(workers, transfers), most);
        }
    }
}
