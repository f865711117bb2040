//! Contents of files in memory, by what `fstat` said of the file: a changed file is another key.
//!
//! **Invariant:** all contents together, also those that only transfers still hold, stay within a bound: what is in use is
//! not dropped to make room, for then it would be in memory once for each time it was dropped, and thirty bytes of a
//! spoofed request would pin another copy.
//! **Invariant:** a file that is read as it goes has one descriptor, however many transfers read it, and there are so many of them
//! at most.

use std::collections::HashMap;
use std::sync::Arc;

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
    most: u64,
}

impl Cache {
    /// Holds so many files open.
    pub(super) fn new(most_files: usize) -> Self {
        Self { contents: HashMap::new(), files: SharedFiles::new(most_files), bytes: 0, most: MOST }
    }

    pub(super) fn content(&self, key: &Key) -> Option<Arc<[u8]>> {
        self.contents.get(key).cloned()
    }

    /// Whether `size` bytes more may be in memory; what nobody uses goes for them.
    pub(super) fn make_room(&mut self, size: u64) -> bool {
        if self.bytes + size > self.most {
            self.drop_unused(|_| true);
        }
        self.bytes + size <= self.most
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
