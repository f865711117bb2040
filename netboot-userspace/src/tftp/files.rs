//! Where content comes from: virtual files by exact name, then the root folders in their order.
//!
//! Small files are read whole and kept, keyed by what `fstat` says of them, so that a transfer sends one content from its
//! first block to its last even when the file is replaced meanwhile. Large ones are read as they go; one that shrinks
//! ends its transfer with an ERROR. Nothing is mapped: a truncated map is a SIGBUS.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::open::{Identity, Refusal, RegularFile, Root};

use super::names::Candidates;

/// Files up to this size are kept in memory.
const SMALL: u64 = 4 << 20;
/// How much is kept at most; when it is full, all of it is dropped.
const CACHE: u64 = 64 << 20;

/// All that can be fetched.
#[derive(Debug)]
pub(super) struct Library {
    files: HashMap<String, Arc<[u8]>>,
    roots: Vec<Root>,
    cache: Mutex<HashMap<Identity, Arc<[u8]>>>,
}

/// The content of one transfer.
#[derive(Debug)]
pub(super) enum Content {
    Memory(Arc<[u8]>),
    File(File, u64),
}

impl Library {
    pub(super) fn open(
        roots: &[PathBuf],
        files: Vec<(String, Arc<[u8]>)>,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let roots = roots
            .iter()
            .map(|path| Root::open(path).map_err(|error| (path.clone(), error)))
            .collect::<Result<_, _>>()?;
        let files = files.into_iter().map(|(name, bytes)| (name.trim_start_matches('/').to_owned(), bytes));
        Ok(Self { files: files.collect(), roots, cache: Mutex::default() })
    }

    /// The first candidate that exists. Something that exists but may not be served hides nothing behind it.
    pub(super) fn find(&self, names: &Candidates) -> Result<Content, Refusal> {
        for name in names.iter() {
            if let Some(bytes) = self.files.get(name) {
                return Ok(Content::Memory(bytes.clone()));
            }
            for root in &self.roots {
                match root.file(name) {
                    Ok(file) => return self.content(file),
                    Err(Refusal::NotFound) => {}
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Err(Refusal::NotFound)
    }

    fn content(&self, file: RegularFile) -> Result<Content, Refusal> {
        let identity = file.identity;
        if identity.size > SMALL {
            return Ok(Content::File(file.file, identity.size));
        }
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = lock().get(&identity) {
            return Ok(Content::Memory(bytes.clone()));
        }
        let bytes: Arc<[u8]> = file.read_whole().map_err(|_| Refusal::Busy)?.into();
        if !identity.is_settled() {
            return Ok(Content::Memory(bytes));
        }
        let mut cache = lock();
        // Versions of a file that are gone would stay for ever otherwise.
        cache.retain(|other, _| (other.device, other.inode) != (identity.device, identity.inode));
        if cache.keys().map(|k| k.size).sum::<u64>() + identity.size > CACHE {
            cache.clear();
        }
        cache.insert(identity, bytes.clone());
        Ok(Content::Memory(bytes))
    }
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }

    /// The content as RFC 764 text: LF becomes CR LF, CR becomes CR NUL. Only what is in memory.
    pub(super) fn netascii(&self) -> Option<Self> {
        let Self::Memory(bytes) = self else { return None };
        let mut text = Vec::with_capacity(bytes.len() + bytes.len() / 16);
        for &byte in bytes.iter() {
            match byte {
                b'\n' => text.extend_from_slice(b"\r\n"),
                b'\r' => text.extend_from_slice(b"\r\0"),
                byte => text.push(byte),
            }
        }
        Some(Self::Memory(text.into()))
    }

    /// Appends `len` bytes from `offset`.
    pub(super) fn append(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => {
                let part = usize::try_from(offset).ok().and_then(|start| bytes.get(start..start + len));
                out.extend_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Self::File(file, _) => {
                let start = out.len();
                out.resize(start + len, 0);
                file.read_exact_at(&mut out[start..], offset)
            }
        }
    }
}
