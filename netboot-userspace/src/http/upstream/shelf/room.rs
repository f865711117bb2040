//! Room on the disk: who gets it, and who makes it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{Entry, Shelf, cost};

/// What is taken away while it is being sent has its blocks for a while yet: so long nothing else goes in its stead.
const LEAVING: Duration = Duration::from_secs(60);
/// When room is made, so much more than is needed goes, of what may be kept: looking for what was used longest ago is for many files at once.
const BEYOND: u64 = 256;

/// What is on its way here, or on its way out.
#[derive(Debug, Default)]
pub(super) struct Coming {
    /// Bytes for which room was made.
    pub(super) taken: u64,
    /// Bytes that were taken away and are not free yet, each until when that is waited for.
    leaving: Vec<(Instant, u64)>,
}

impl Coming {
    fn leaving(&mut self) -> u64 {
        let now = Instant::now();
        self.leaving.retain(|(until, _)| now < *until);
        self.leaving.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Shelf {
    /// Takes away what was used longest ago, until there is room for so much more; whether there is. Where all of it would not do, it stays.
    pub(super) fn make_room(&self, coming: &mut Coming, more: u64) -> bool {
        let beyond = self.beyond(coming, more);
        let missing = self.missing(more).saturating_sub(coming.leaving());
        self.evict(coming, beyond.max(missing));
        self.beyond(coming, more) == 0 && self.missing(more) == 0
    }

    /// Gives way to others who need the disk, if need be with all there is.
    pub(in super::super) fn give_way(&self) {
        let mut coming = self.changing();
        let missing = self.missing(0).saturating_sub(coming.leaving());
        let wanted = self.beyond(&coming, 0).max(missing);
        self.evict(&mut coming, wanted.min(self.taken().1));
    }

    /// Whether a body of so many bytes could have room if all others went. It may say more than it has: nothing goes for it yet, and nothing is
    /// kept for it.
    pub(super) fn is_possible(&self, bytes: u64) -> bool {
        let (coming, cost) = (self.changing(), cost(bytes));
        cost <= self.bounds.size && self.beyond(&coming, cost).max(self.missing(cost)) <= self.taken().1
    }

    /// How much of the cache is in the way of so much more.
    fn beyond(&self, coming: &Coming, more: u64) -> u64 {
        (self.taken().1 + coming.taken).saturating_add(more).saturating_sub(self.bounds.size)
    }

    /// How much of the disk is.
    fn missing(&self, more: u64) -> u64 {
        self.bounds.keep_free.saturating_add(more).saturating_sub(self.free())
    }

    /// Bytes that the disk has free. Where it does not say so, a write will.
    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.folder);
        disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Takes away what was used longest ago, so many bytes of it; nothing where that is more than there is.
    pub(super) fn evict(&self, coming: &mut Coming, bytes: u64) {
        let Some(entries) = self.oldest(bytes, 0) else { return };
        let before = self.free();
        let taken = self.evict_all(&entries);
        let freed = self.free().saturating_sub(before);
        if freed < taken {
            coming.leaving.push((Instant::now() + LEAVING, taken - freed));
        }
    }

    /// Makes room for one more by number.
    pub(super) fn make_place(&self) {
        let files = self.read().all.len();
        if files >= self.bounds.files {
            let more = 1 + files - self.bounds.files;
            self.evict_all(&self.oldest(0, more).unwrap_or_default());
        }
    }

    /// What they took.
    fn evict_all(&self, entries: &[Arc<Entry>]) -> u64 {
        let mut taken = 0;
        for Entry { note, .. } in entries.iter().map(Arc::as_ref) {
            match self.take_away(&note.path) {
                Ok(was_there) => {
                    self.evicted.fetch_add(was_there.into(), Relaxed);
                    taken += cost(note.size);
                }
                Err(error) => tracing::warn!("the cache of upstreams: {}: {error}", note.path),
            }
        }
        taken
    }

    /// Those that were used longest ago, of so many bytes and so many of them at least; those last whose place somebody else is about to take.
    fn oldest(&self, bytes: u64, count: usize) -> Option<Vec<Arc<Entry>>> {
        let entries = self.read();
        if (bytes == 0 && count == 0) || bytes > entries.size {
            return None;
        }
        let (bytes, count) = match count {
            0 => (bytes + self.bounds.size / BEYOND, 0),
            count => (0, count + self.bounds.files / BEYOND as usize),
        };
        let mut all: Vec<&Arc<Entry>> = entries.all.values().collect();
        all.sort_by_cached_key(|entry| {
            (entry.is_being_replaced.load(Relaxed), entry.used.load(Relaxed), entry.checked())
        });
        let mut left = bytes;
        let wanted = all.into_iter().enumerate().take_while(|(index, entry)| {
            let is_wanted = left > 0 || *index < count;
            left = left.saturating_sub(cost(entry.note.size));
            is_wanted
        });
        Some(wanted.map(|(_, entry)| entry.clone()).collect())
    }
}
