//! The SHA-256 of whole files in base64, as `Repr-Digest` (RFC 9530 section 3) and `Digest` (RFC 3230 section 4.3.2) have it, for clients
//! that want it: from a file beside them, or computed once, on a thread of its own. Until it is known, answers go without.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use sha2::{Digest as _, Sha256};

use super::files::{Content, Opened};
use crate::image::digest::Digest;
use crate::pixiecore::base64;
use crate::sys::open::{Identity, RegularFile};

/// So many are remembered; then all are forgotten, and those that are wanted are computed again.
const MOST: usize = 4096;
/// So many files wait at most, with a descriptor each; more are taken up when they are asked for again.
const QUEUE: usize = 32;
/// What is read at once.
const PIECE: usize = 1 << 20;
/// A file beside another is a line of `sha256sum`.
const MOST_BESIDE: u64 = 4096;

type Sha = [u8; 32];

/// What is known, and the thread that finds out more. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Digests {
    shared: Arc<Shared>,
    queue: Option<SyncSender<Arc<Opened>>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// `None`: it is being computed.
    known: Mutex<HashMap<Identity, Option<Sha>>>,
    stop: AtomicBool,
}

impl Digests {
    /// Each worker may have `open_files`: no more than a quarter of them wait here.
    pub(super) fn start(open_files: usize) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (queue, queued) = sync_channel((open_files / 4).min(QUEUE));
        let computing = shared.clone();
        let thread = Builder::new().name("digests".to_owned()).spawn(move || computing.run(&queued))?;
        Ok(Self { shared, queue: Some(queue), thread: Some(thread) })
    }

    /// What it is, where it is known; else it will be.
    pub(super) fn of(&self, file: &Arc<Opened>) -> Option<String> {
        // Held for a look by whoever has it, and by none while a file is read.
        let mut known = self.shared.known();
        if let Some(known) = known.get(&file.identity) {
            return known.as_ref().map(|sha| base64::to_text(sha));
        }
        if known.len() >= MOST {
            known.clear();
        }
        // Of a file that is changing right now nobody can say what it will be.
        if file.identity.is_settled() && self.queue.as_ref()?.try_send(file.clone()).is_ok() {
            known.insert(file.identity, None);
        }
        None
    }
}

impl Drop for Digests {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, queued: &Receiver<Arc<Opened>>) {
        while let Ok(file) = queued.recv() {
            match self.compute(&file) {
                Ok(sha) => drop(self.known().insert(file.identity, Some(sha))),
                // Whoever asks again has it tried again.
                Err(_) => drop(self.known().remove(&file.identity)),
            }
        }
    }

    fn compute(&self, opened: &Opened) -> io::Result<Sha> {
        let file = match &opened.content {
            Content::Memory(bytes) => return Ok(Sha256::digest(bytes).into()),
            Content::File(file) => file,
        };
        let (mut sha, mut piece, mut at) = (Sha256::new(), vec![0; PIECE], 0);
        while at < opened.identity.size {
            if self.stop.load(Ordering::Acquire) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match file.read_at(&mut piece, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    sha.update(&piece[..count]);
                    at += count as u64;
                }
            }
        }
        opened.identity.check_content(file)?;
        Ok(sha.finalize().into())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Identity, Option<Sha>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the file beside `file`, as `sha256sum FILE > FILE.sha256` writes it, says of it: unless it may be of what was there before. Of its
/// two times the last change can't be set back, and the last modification is not moved on by new permissions or another name.
pub(super) fn beside(beside: &RegularFile, file: &Identity) -> Option<String> {
    let Identity { modified, modified_nanos, changed, changed_nanos, .. } = beside.identity;
    let written = (modified, modified_nanos).min((changed, changed_nanos));
    if written <= (file.changed, file.changed_nanos) {
        return None;
    }
    let text = String::from_utf8(beside.read_at_most(MOST_BESIDE).ok()?).ok()?;
    let Digest(sha) = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(base64::to_text(&sha))
}

/// Of a SHA-256 in hex.
pub(super) fn of_hex(sha256: &str) -> Option<String> {
    let Digest(sha) = sha256.parse().ok()?;
    Some(base64::to_text(&sha))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    /// Of nothing (FIPS 180-4), in both spellings.
    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const BASE64: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn what_a_file_beside_another_says_of_it_holds_unless_it_is_older() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let file = RegularFile::open(&path).unwrap().identity;
        // So many seconds after the file was changed, and modified so many before that.
        let says_at = |text: &str, later, before| {
            std::fs::write(&path, text).unwrap();
            let other = File::options().write(true).open(&path).unwrap();
            let modified = other.metadata().unwrap().modified().unwrap();
            other.set_modified(modified - Duration::from_secs(before)).unwrap();
            let other = RegularFile::open(&path).unwrap();
            let Identity { modified, modified_nanos, .. } = other.identity;
            let changed = modified + before as i64 - later;
            beside(&other, &Identity { changed, changed_nanos: modified_nanos, ..file })
        };
        let says = |text: &str, later| says_at(text, later, 0);
        assert_eq!(says(&format!("{HEX}  file\n"), 1).as_deref(), Some(BASE64));
        assert_eq!(says(&HEX.to_uppercase(), 9).as_deref(), Some(BASE64));
        for (later, before) in [(0, 0), (-1, 0), (1, 1), (1, 9)] {
            assert_eq!(says_at(HEX, later, before), None, "it may be of what was there before");
        }
        for wrong in ["", "no", &HEX[1..], &format!("{HEX}00"), &HEX.replace('e', "g"), &"é".repeat(32)] {
            assert_eq!(says(wrong, 1), None, "{wrong}");
        }
        assert_eq!(says(&format!("{HEX} {}", "x".repeat(5000)), 1), None, "it is no such file");
    }
}
