//! Where content comes from: virtual files by exact name, then the root folders in their order.
//!
//! Small files are read whole and shared by all transfers, so that a transfer sends one content from its first block to
//! its last even when the file is replaced meanwhile. Large ones, those that are changing, and all when the memory for
//! them is used up, are read as they go; one that is written to meanwhile ends its transfer with an ERROR. Nothing is mapped: a truncated
//! map is a SIGBUS. A text that is changing is in memory for each transfer that translates it, and counted as what is shared.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use netboot_common::wire::tftp::Mode;
use rustix::io::Errno;

use crate::sys::open::{Refusal, RegularFile, Root};

use super::cache::Cache;
use super::content::Content;
use super::names::Candidates;

/// Files up to this size are shared in memory.
const SHARED: u64 = 4 << 20;
/// Files up to this size may be translated to netascii.
const TEXT: u64 = 64 << 10;

/// All that can be fetched.
#[derive(Debug)]
pub(super) struct Library {
    files: HashMap<String, Virtual>,
    roots: Vec<Root>,
    cache: Mutex<Cache>,
}

/// A file that is in no folder.
#[derive(Debug)]
struct Virtual {
    bytes: Arc<[u8]>,
    /// The same in netascii, once somebody asked for it.
    text: OnceLock<Arc<[u8]>>,
}

/// Why there is no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    File(Refusal),
    /// netascii is for texts: larger files would cost too much memory and time, again for each who asks.
    TextTooLarge,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::File(refusal)
    }
}

impl Library {
    pub(super) fn open(
        roots: &[PathBuf],
        files: Vec<(String, Arc<[u8]>)>,
        open_files: usize,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let roots = roots
            .iter()
            .map(|path| Root::open(path).map_err(|error| (path.clone(), error)))
            .collect::<Result<_, _>>()?;
        let name = |name: String| name.trim_start_matches('/').to_owned();
        let files = files
            .into_iter()
            .map(|(path, bytes)| (name(path), Virtual { bytes, text: OnceLock::new() }))
            .collect();
        Ok(Self { files, roots, cache: Mutex::new(Cache::new(open_files)) })
    }

    /// The first candidate that may be served. Something that exists but may not be served hides nothing behind it, and
    /// is the reason only when there is nothing else.
    pub(super) fn find(&self, names: &Candidates, mode: Mode) -> Result<Content, Problem> {
        self.seek(names, mode, true).unwrap_or(Err(Refusal::Busy.into()))
    }

    /// The same if it takes no look at the disk; `None`: it would.
    pub(super) fn find_at_once(&self, names: &Candidates, mode: Mode) -> Option<Result<Content, Problem>> {
        self.seek(names, mode, false)
    }

    fn seek(&self, names: &Candidates, mode: Mode, waits: bool) -> Option<Result<Content, Problem>> {
        let mut reason = Refusal::NotFound;
        for name in names.iter() {
            if let Some(file) = self.files.get(name) {
                return Some(file.content(mode));
            }
            for root in &self.roots {
                match if waits { root.file(name) } else { root.at_once(name)? } {
                    Ok(file) => return self.content(file, mode, waits),
                    Err(Refusal::NotFound) => {}
                    Err(Refusal::Forbidden) => reason = Refusal::Forbidden,
                    Err(refusal @ (Refusal::Busy | Refusal::Failed(_))) => return Some(Err(refusal.into())),
                }
            }
        }
        Some(Err(reason.into()))
    }

    /// What somebody made for this one transfer.
    pub(super) fn made(bytes: Arc<[u8]>, mode: Mode) -> Result<Content, Problem> {
        Virtual { bytes, text: OnceLock::new() }.content(mode)
    }

    fn content(&self, file: RegularFile, mode: Mode, waits: bool) -> Option<Result<Content, Problem>> {
        let (identity, text) = (file.identity, mode == Mode::Netascii);
        if text && identity.size > TEXT {
            return Some(Err(Problem::TextTooLarge));
        }
        if let Some(bytes) = self.cache().content(&(identity, mode)) {
            return Some(Ok(Content::Memory(bytes)));
        }
        let shared =
            identity.size <= SHARED && identity.is_settled() && self.cache().make_room(identity.size);
        match (shared || text, waits) {
            (false, _) => Some(self.read_as_it_goes(file)),
            (true, true) => Some(self.read(file, mode, shared)),
            (true, false) => None,
        }
    }

    /// Into memory: to share it, or for one transfer alone.
    fn read(&self, file: RegularFile, mode: Mode, shared: bool) -> Result<Content, Problem> {
        let bytes = file.read_whole().map_err(|error| unreadable(&error))?;
        let is_text = mode == Mode::Netascii;
        let bytes = if is_text { netascii(&bytes) } else { bytes };
        if !shared {
            let counted = self.cache().count(bytes);
            return Ok(Content::Alone(counted.ok_or(Refusal::Busy)?));
        }
        let kept = self.cache().keep((file.identity, mode), bytes);
        match kept {
            Some(bytes) => Ok(Content::Memory(bytes)),
            None if is_text => Err(Refusal::Busy.into()),
            // Others took the room meanwhile.
            None => self.read_as_it_goes(file),
        }
    }

    fn read_as_it_goes(&self, file: RegularFile) -> Result<Content, Problem> {
        Ok(Content::File(self.cache().share(file).ok_or(Refusal::Busy)?))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that changes right now can be had a moment later; one that the disk doesn't give can't.
fn unreadable(error: &io::Error) -> Problem {
    Problem::File(Errno::from_io_error(error).map_or(Refusal::Busy, Refusal::Failed))
}

impl Virtual {
    fn content(&self, mode: Mode) -> Result<Content, Problem> {
        if mode != Mode::Netascii {
            return Ok(Content::Memory(self.bytes.clone()));
        }
        if self.bytes.len() as u64 > TEXT {
            return Err(Problem::TextTooLarge);
        }
        Ok(Content::Memory(self.text.get_or_init(|| netascii(&self.bytes).into()).clone()))
    }
}

/// RFC 764 text: LF becomes CR LF, CR becomes CR NUL.
fn netascii(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for &byte in bytes {
        match byte {
            b'\n' => text.extend_from_slice(b"\r\n"),
            b'\r' => text.extend_from_slice(b"\r\0"),
            byte => text.push(byte),
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
