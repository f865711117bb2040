//! Bodies that are open: each with one descriptor of those that the cache may have, however many are sent it.

use std::borrow::Borrow;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::super::failure::Failure;
use super::{Entry, Shelf};
use crate::sys::open::{Identity, Refusal, RegularFile};

/// A file, and its descriptor's place.
#[derive(Debug)]
pub(in super::super) struct Held {
    pub(in super::super) file: File,
    /// What it was when it was opened; of what arrives nothing yet.
    pub(in super::super) identity: Option<Identity>,
    _place: OwnedSemaphorePermit,
}

impl Held {
    pub(super) fn arriving(file: File, place: OwnedSemaphorePermit) -> Self {
        Self { file, identity: None, _place: place }
    }

    /// Whether it has its name still, or that was taken away.
    fn has_name(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() > 0)
    }
}

impl Borrow<File> for Held {
    fn borrow(&self) -> &File {
        &self.file
    }
}

impl Shelf {
    /// A body, for all who are sent it. `None`: it is gone from the disk, and so is what was known of it. Nothing else takes it away: who is out of
    /// descriptors now, or whose disk has a bad moment, has it later.
    pub(in super::super) fn open_body(&self, entry: &Arc<Entry>) -> Result<Option<Arc<Held>>, Failure> {
        let mut shared = entry.open();
        if let Some(held) = shared.upgrade().filter(|held| held.has_name()) {
            return Ok(Some(held));
        }
        let place = self.descriptor()?;
        let opened = RegularFile::open(&self.body(&entry.note.path));
        let Some(RegularFile { file, identity }) = judged(opened, entry.note.inode)? else {
            self.forget(entry);
            return Ok(None);
        };
        let held = Arc::new(Held { file, identity: Some(identity), _place: place });
        *shared = Arc::downgrade(&held);
        Ok(Some(held))
    }

    /// The place of one more descriptor.
    pub(super) fn descriptor(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let place = self.descriptors.clone().try_acquire_owned();
        place.map_err(|_| {
            Failure::busy("the cache of upstreams has as many files and connections open as it may")
        })
    }
}

/// What came of opening it. `None`: it is gone.
fn judged(opened: Result<RegularFile, Refusal>, inode: u64) -> Result<Option<RegularFile>, Failure> {
    match opened {
        Ok(file) => Ok(Some(file).filter(|file| file.identity.inode == inode)),
        Err(Refusal::NotFound) => Ok(None),
        Err(Refusal::Busy) => Err(Failure::busy("the system has no descriptors or no memory left")),
        Err(refusal @ (Refusal::Forbidden | Refusal::Failed(_))) => {
            Err(Failure::ours(format!("the copy can't be read now ({refusal}): it stays where it is")))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_or_another_is_gone() {
        let file = || RegularFile::of(tempfile::tempfile().unwrap()).unwrap();
        let (own, other) = (file(), file());
        let inode = own.identity.inode;
        assert!(judged(Ok(own), inode).unwrap().is_some());
        assert!(judged(Ok(other), inode).unwrap().is_none());
        assert!(judged(Err(Refusal::NotFound), inode).unwrap().is_none());
        for (refusal, status) in [(Refusal::Busy, 503), (Refusal::Forbidden, 500)] {
            assert_eq!(judged(Err(refusal), inode).unwrap_err().status, status);
        }
    }
}
