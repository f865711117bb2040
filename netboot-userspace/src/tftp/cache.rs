//! Contents of files in memory, by what `fstat` said of the file: a changed file is another key.
//!
//! **Invariant:** all contents together, also those that only transfers still hold, or one alone has, stay within a bound: what is in use is
//! not dropped to make room, for then it would be in memory once for each time it was dropped, and thirty bytes of a
//! spoofed request would pin another copy.
//! **Invariant:** a file that is read as it goes has one descriptor, however many transfers read it, and there are so many of them
//! at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use netboot_common::wire::tftp::Mode;

use crate::sys::open::{Identity, RegularFile};
use crate::sys::shared::SharedFiles;

/// A file, and the mode that it was translated for.
pub(super) type Key = (Identity, Mode);

/// How much is kept at most.
const MOST: u64 = 64 << 20;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Cache {
    contents: HashMap<Key, Arc<[u8]>>,
    /// Those that transfers read as they go.
    files: SharedFiles<RegularFile>,
    bytes: u64,
    /// Of the contents that are not here, each of which one transfer alone has.
    alone: Arc<AtomicU64>,
    most: u64,
}

/// A content that is of one transfer alone, as long as that lasts.
#[derive(Debug)]
pub(super) struct Alone {
    content: Box<[u8]>,
    all: Arc<AtomicU64>,
}

impl Alone {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.all.fetch_sub(self.content.len() as u64, Relaxed);
    }
}

impl Cache {
    /// Holds so many files open.
    pub(super) fn new(most_files: usize) -> Self {
        let (files, alone) = (SharedFiles::new(most_files), Arc::default());
        Self { contents: HashMap::new(), files, bytes: 0, alone, most: MOST }
    }

    pub(super) fn content(&self, key: &Key) -> Option<Arc<[u8]>> {
        self.contents.get(key).cloned()
    }

    /// Whether `size` bytes more may be in memory; what nobody uses goes for them.
    pub(super) fn make_room(&mut self, size: u64) -> bool {
        let alone = self.alone.load(Relaxed);
        if self.bytes + alone + size > self.most {
            self.drop_unused(|_| true);
        }
        self.bytes + alone + size <= self.most
    }

    /// Counts a content that is not kept; `None`: there is no room.
    pub(super) fn count(&mut self, content: Vec<u8>) -> Option<Box<Alone>> {
        if !self.make_room(content.len() as u64) {
            return None;
        }
        self.alone.fetch_add(content.len() as u64, Relaxed);
        Some(Box::new(Alone { content: content.into(), all: self.alone.clone() }))
    }

    /// Keeps a content, unless there is no room or another worker was faster: the one that is kept.
    pub(super) fn keep(&mut self, key: Key, content: Vec<u8>) -> Option<Arc<[u8]>> {
        // Versions of a file that are gone would stay until the room is needed otherwise.
        self.drop_unused(|(other, _)| {
            (other.device, other.inode) == (key.0.device, key.0.inode) && *other != key.0
        });
        if let Some(other) = self.content(&key) {
            return Some(other);
        }
        if !self.make_room(content.len() as u64) {
            return None;
        }
        let content: Arc<[u8]> = content.into();
        self.bytes += content.len() as u64;
        self.contents.insert(key, content.clone());
        Some(content)
    }

    /// The descriptor by which others read this file, or from now on this one; `None`: too many files are open.
    pub(super) fn share(&mut self, file: RegularFile) -> Option<Arc<RegularFile>> {
        self.files.share(file.identity, file)
    }

    fn drop_unused(&mut self, which: impl Fn(&Key) -> bool) {
        self.contents.retain(|key, content| {
            let stays = !which(key) || Arc::strong_count(content) > 1;
            if !stays {
                self.bytes -= content.len() as u64;
            }
            stays
        });
    }

    #[cfg(test)]
    pub(super) fn holding(most: u64) -> Self {
        Self { most, ..Self::new(2) }
    }
}
