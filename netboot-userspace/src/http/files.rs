//! The files that a worker has open, or in memory, and whether they are still what their paths mean.
//!
//! A turn is what a worker does between two waits, or between one and what comes back from elsewhere. All requests of a turn were sent
//! before it began, as nothing is received in it: so what a path meant at any time in it is right for each of them, and one look at
//! the filesystem for each path and turn is enough, and never stale.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::sys::open::{Identity, Refusal, RegularFile};
use crate::sys::shared::SharedFiles;

use super::conditional::Validators;
use super::digests::{self, Digests};
use super::machine::{Entity, Found, Problem, Site};
use super::mounts::{Mounts, Open, Place, media_type};
use super::upstream::Mirror;

/// Files up to this size are kept in memory. Larger ones cost less by sendfile(2), which copies nothing: 64 KiB a tenth less CPU at least.
const SMALL: u64 = 16 * 1024;
/// So much of them each worker keeps.
const MEMORY: u64 = 32 << 20;
/// So many files are known in all.
const FILES: usize = 1024;
/// What nobody has asked for in this time is closed.
const UNUSED: Duration = Duration::from_secs(10);

/// A file, with what its answers are made of.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) identity: Identity,
    pub(super) content: Content,
    /// Whether it is the mirror's.
    is_kept: bool,
    validators: Validators,
    media_type: &'static str,
    /// In base64, once it was wanted and known.
    digest: OnceLock<String>,
}

/// Where the bytes are. Never in a map of the file, which a truncation would turn into SIGBUS.
#[derive(Debug)]
pub(super) enum Content {
    Memory(Arc<[u8]>),
    File(Arc<File>),
}

impl Entity for Arc<Opened> {
    fn validators(&self) -> &Validators {
        &self.validators
    }

    fn media_type(&self) -> &'static str {
        self.media_type
    }

    fn digest(&self) -> Option<&str> {
        self.digest.get().map(String::as_str)
    }
}

impl Opened {
    fn memory(&self) -> u64 {
        if let Content::Memory(bytes) = &self.content { bytes.len() as u64 } else { 0 }
    }

    fn is_open(&self) -> bool {
        matches!(self.content, Content::File(_))
    }
}

/// What a worker has open.
#[derive(Debug)]
pub(super) struct Files<'a> {
    mounts: &'a Mounts,
    digests: &'a Digests,
    mirror: Option<&'a Mirror>,
    known: HashMap<String, Known>,
    /// Those of what is known, and of what is being sent though it is not known any more.
    descriptors: SharedFiles<File>,
    /// Makes room for a file where there is no other descriptor: who is connected already is served.
    spare: Option<OwnedFd>,
    turn: u64,
    now: Duration,
    /// A path in its normal form.
    normal: String,
    /// Why the last file that was looked for could not be had.
    failure: Option<String>,
}

#[derive(Debug)]
struct Known {
    file: Arc<Opened>,
    /// Which of the mount's folders has it.
    root: usize,
    /// When it was the path's.
    turn: u64,
    used: Duration,
    /// Whether a change since it was opened would show.
    is_settled: bool,
}

impl<'a> Files<'a> {
    /// `most`: descriptors of files at once.
    pub(super) fn new(
        mounts: &'a Mounts,
        digests: &'a Digests,
        mirror: Option<&'a Mirror>,
        most: usize,
    ) -> Self {
        let (known, descriptors) = (HashMap::new(), SharedFiles::new(most));
        let (turn, now, normal) = (0, Duration::ZERO, String::new());
        let (spare, failure) = (spare(), None);
        Self { mounts, digests, mirror, known, descriptors, spare, turn, now, normal, failure }
    }

    /// Begins a turn.
    pub(super) fn turn(&mut self, now: Duration) {
        (self.turn, self.now) = (self.turn + 1, now);
        self.spare = self.spare.take().or_else(spare);
    }

    /// Closes what nobody has asked for in a while; when to look again, if anything is left.
    pub(super) fn sweep(&mut self) -> Option<Duration> {
        let now = self.now;
        self.known.retain(|_, known| now.saturating_sub(known.used) < UNUSED);
        (!self.known.is_empty()).then_some(now + UNUSED)
    }

    /// Whether there is anything to sweep.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Closes all that isn't being sent, as descriptors are scarce. What is in memory has none, and stays.
    pub(super) fn close_all(&mut self) {
        self.known.retain(|_, known| !known.file.is_open());
    }

    /// Why the last file that was looked for could not be had, where it is there.
    pub(super) fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Of a static path in its normal form.
    fn file(&mut self, mount: &Open) -> Result<Arc<Opened>, Problem> {
        if let Some(known) = self.known.get_mut(&self.normal) {
            let is_current = known.turn == self.turn
                || (known.is_settled
                    && mount.identity(&self.normal, known.root) == Some(known.file.identity));
            if is_current {
                (known.turn, known.used) = (self.turn, self.now);
                return Ok(known.file.clone());
            }
            self.known.remove(&self.normal);
        }
        let known = self.looked_up(mount);
        // Unless it is a large one that was opened with it, it is to be had again.
        self.spare = self.spare.take().or_else(spare);
        let known = known?;
        let file = known.file.clone();
        self.make_room(&file);
        self.known.insert(self.normal.clone(), known);
        Ok(file)
    }

    /// What `self.normal` means now.
    fn looked_up(&mut self, mount: &Open) -> Result<Known, Problem> {
        let (root, file) = self.open(mount).map_err(|refusal| self.problem(refusal))?;
        let is_settled = file.identity.is_settled();
        let is_kept = self.mirror.is_some_and(|mirror| mount.root(root) == Some(mirror.files()));
        let file = Arc::new(self.opened(file, is_kept)?);
        Ok(Known { file, root, turn: self.turn, used: self.now, is_settled })
    }

    /// Opens it, with the spare descriptor if need be, or else with that of a file that nobody is sent.
    fn open(&mut self, mount: &Open) -> Result<(usize, RegularFile), Refusal> {
        let is_busy = |opened: &Result<_, Refusal>| matches!(opened, Err(Refusal::Busy));
        let mut opened = mount.file(&self.normal);
        if is_busy(&opened) && self.spare.take().is_some() {
            opened = mount.file(&self.normal);
        }
        if is_busy(&opened) {
            self.close_all();
            opened = mount.file(&self.normal);
        }
        opened
    }

    fn problem(&mut self, refusal: Refusal) -> Problem {
        let (problem, cause) = match refusal {
            Refusal::NotFound | Refusal::Forbidden => return Problem::Missing,
            Refusal::Busy => (Problem::Busy, "no descriptor or memory is left".to_owned()),
            Refusal::Failed(_) => (Problem::Failed, refusal.to_string()),
        };
        self.failure = Some(cause);
        problem
    }

    /// Why a small file was not read.
    fn unread(&mut self, error: &io::Error) -> Problem {
        self.failure = Some(error.to_string());
        // One that is changing right now has no content: what it becomes can be had a moment later.
        if error.raw_os_error().is_some() { Problem::Failed } else { Problem::Busy }
    }

    /// What a file beside it says, else what was computed of it.
    fn find_digest(&self, mount: &Open, file: &Arc<Opened>) {
        if file.digest.get().is_none() {
            // What upstreams have beside it is of what they have by now.
            let known = match self.mirror.filter(|_| file.is_kept) {
                Some(mirror) => {
                    mirror.sha256(&self.normal, &file.identity).and_then(|sha| digests::of_hex(&sha))
                }
                None => self.beside(mount, &file.identity),
            };
            let digest = known.or_else(|| self.digests.of(file));
            // Another request of this worker can't have been faster.
            let _ = digest.map(|digest| file.digest.set(digest));
        }
    }

    /// What the file beside the one of this path says of it, in the same folder, as long as it is still the path's.
    fn beside(&self, mount: &Open, file: &Identity) -> Option<String> {
        let root = self.known.get(&self.normal)?.root;
        let (of, beside) = mount.file(&format!("{}.sha256", self.normal)).ok()?;
        let digest = digests::beside(&beside, file).filter(|_| of == root)?;
        (mount.identity(&self.normal, root) == Some(*file)).then_some(digest)
    }

    /// Whether an upstream has to be asked for it: nobody else's file is replaced.
    fn is_elsewhere(&self, found: &Result<Arc<Opened>, Problem>) -> bool {
        let Some(mirror) = self.mirror else { return false };
        match found {
            Ok(file) => file.is_kept && mirror.takes(&self.normal, Some(&file.identity)),
            Err(Problem::Missing) => mirror.takes(&self.normal, None),
            Err(_) => false,
        }
    }

    /// What `self.normal` was found to be.
    fn opened(&mut self, file: RegularFile, is_kept: bool) -> Result<Opened, Problem> {
        let identity = file.identity;
        let content = if identity.size <= SMALL {
            Content::Memory(file.read_whole().map_err(|error| self.unread(&error))?.into())
        } else {
            if !self.descriptors.has_room(&identity) {
                self.close_all();
            }
            let shared = self.descriptors.share(identity, file.file);
            Content::File(shared.ok_or_else(|| self.problem(Refusal::Busy))?)
        };
        let validators = if is_kept { Validators::of_copy(&identity) } else { Validators::of(&identity) };
        let media_type = media_type(&self.normal);
        Ok(Opened { identity, content, is_kept, validators, media_type, digest: OnceLock::new() })
    }

    /// Where there is no room for one more, those go that were asked for longest ago: the older half.
    fn make_room(&mut self, file: &Opened) {
        let memory: u64 = self.known.values().map(|known| known.file.memory()).sum();
        if memory + file.memory() <= MEMORY && self.known.len() < FILES {
            return;
        }
        let mut turns: Vec<u64> = self.known.values().map(|known| known.turn).collect();
        turns.sort_unstable();
        let middle = turns.get(turns.len() / 2).copied().unwrap_or_default();
        // All of one turn are equally old.
        self.known.retain(|_, known| known.turn > middle);
    }
}

/// A descriptor of nothing.
fn spare() -> Option<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC).ok()
}

impl Site for Files<'_> {
    type File = Arc<Opened>;

    fn find(&mut self, path: &str, wants_digest: bool) -> Found<Self::File> {
        self.failure = None;
        let mounts = self.mounts;
        let mount = match mounts.find(path, &mut self.normal) {
            Place::Elsewhere => return Found::Elsewhere,
            Place::Malformed => return Found::Nothing(Problem::Malformed),
            Place::Static(mount) => mount,
        };
        let found = self.file(mount);
        if self.is_elsewhere(&found) {
            return Found::Elsewhere;
        }
        match found {
            Ok(file) => {
                if wants_digest {
                    self.find_digest(mount, &file);
                }
                Found::File(file)
            }
            // Its list is made where reading it may take its time.
            Err(Problem::Missing) if mount.is_listed(&self.normal) => Found::Elsewhere,
            Err(problem) => Found::Nothing(problem),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
