//! Which slot and which chunks hold which file, and when they may hold another. Pure: what is read, and the time, are arguments.
//!
//! A version that is not offered any more is *retired*: it stays for as long as a transfer reads it. Then its slot is emptied, which
//! ends a transfer that began in that moment, and *rests* until no program that found it full can be at work still.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netboot_common::tftp::maps::{CHUNKS, File, FileRef, SLOTS};

/// Programs run for microseconds.
const REST: Duration = Duration::from_secs(1);

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Shelf {
    slots: Vec<Slot>,
    free: Vec<u16>,
    generation: u32,
}

/// One that several look at.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Shelf>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Free,
    Full(Version),
    Resting {
        chunks: Vec<u16>,
        since: Duration,
    },
}

#[derive(Debug)]
struct Version {
    found: FileRef,
    content: Arc<[u8]>,
    chunks: Vec<u16>,
    is_retired: bool,
}

impl Default for Shelf {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| Slot::Free).collect();
        // From the end, so that the first comes first.
        Self { slots, free: (0..CHUNKS as u16).rev().collect(), generation: 1 }
    }
}

impl Shelf {
    /// What is there already. Nobody has offered it yet.
    pub(super) fn adopt(&mut self, slot: u16, file: &File, content: Arc<[u8]>) {
        let chunks: Vec<u16> = (0..File::chunks_of(content.len())).map(|i| file.chunk_at(i)).collect();
        self.free.retain(|chunk| !chunks.contains(chunk));
        let found = FileRef::new(slot, file.generation());
        self.begin_after(file.generation());
        self.slots[usize::from(slot)] = Slot::Full(Version { found, content, chunks, is_retired: false });
    }

    /// Versions to come have other generations than those up to this one.
    pub(super) fn begin_after(&mut self, generation: u32) {
        self.generation = self.generation.max(generation.checked_add(1).unwrap_or(1));
    }

    /// Where this content is; it is offered, from now on.
    pub(super) fn find(&mut self, content: &Arc<[u8]>) -> Option<FileRef> {
        let version = self.versions().find(|version| version.content == *content)?;
        version.is_retired = false;
        Some(version.found)
    }

    /// What is in this version, as long as it is there.
    pub(super) fn content(&self, found: FileRef) -> Option<Arc<[u8]>> {
        match self.slots.get(usize::from(found.slot())) {
            Some(Slot::Full(version)) if version.found == found => Some(version.content.clone()),
            _ => None,
        }
    }

    /// A place for this content; `None`: there is none.
    pub(super) fn place(&mut self, content: &Arc<[u8]>) -> Option<(FileRef, File)> {
        let slot = self.slots.iter().position(|slot| matches!(slot, Slot::Free))?;
        let left = self.free.len().checked_sub(File::chunks_of(content.len()))?;
        let chunks = self.free[left..].to_vec();
        let file = File::new(self.generation, content.len(), &chunks)?;
        self.free.truncate(left);
        let found = FileRef::new(slot as u16, self.generation);
        self.begin_after(self.generation);
        let content = content.clone();
        self.slots[slot] = Slot::Full(Version { found, content, chunks, is_retired: false });
        Some((found, file))
    }

    /// These are offered, and nothing else.
    pub(super) fn retire_all_but(&mut self, keep: &HashSet<FileRef>) {
        self.versions().for_each(|version| version.is_retired = !keep.contains(&version.found));
    }

    /// Whether there is nothing to [`tidy`](Self::tidy).
    pub(super) fn is_tidy(&self) -> bool {
        self.slots.iter().all(|slot| match slot {
            Slot::Free => true,
            Slot::Full(version) => !version.is_retired,
            Slot::Resting { .. } => false,
        })
    }

    /// Slots that are to be emptied now: nobody reads them. What has rested is free.
    pub(super) fn tidy(&mut self, used: &HashSet<FileRef>, now: Duration) -> Vec<u16> {
        let mut emptied = Vec::new();
        for (number, slot) in self.slots.iter_mut().enumerate() {
            match slot {
                Slot::Full(version) if version.is_retired && !used.contains(&version.found) => {
                    let chunks = std::mem::take(&mut version.chunks);
                    *slot = Slot::Resting { chunks, since: now };
                    emptied.push(number as u16);
                }
                Slot::Resting { chunks, since } if now.saturating_sub(*since) >= REST => {
                    self.free.append(chunks);
                    *slot = Slot::Free;
                }
                _ => {}
            }
        }
        emptied
    }

    fn versions(&mut self) -> impl Iterator<Item = &mut Version> {
        self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Full(version) => Some(version),
            _ => None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use netboot_common::tftp::maps::CHUNK;

    use super::*;

    fn content(chunks: usize, byte: u8) -> Arc<[u8]> {
        vec![byte; chunks * CHUNK].into()
    }

    fn nobody() -> HashSet<FileRef> {
        HashSet::new()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_offered_again_stays_where_it_is() {
        let mut shelf = Shelf::default();
        let (first, _) = shelf.place(&content(2, 1)).unwrap();
        assert_eq!(shelf.find(&content(2, 1)), Some(first));
        assert_eq!(shelf.find(&content(2, 2)), None);
        shelf.retire_all_but(&nobody());
        assert!(!shelf.is_tidy());
        assert_eq!(shelf.find(&content(2, 1)), Some(first), "somebody offers it anew");
        assert!(shelf.is_tidy());
    }

    #[test]
    fn a_version_that_is_read_stays_and_then_rests_before_another_takes_its_chunks() {
        let mut shelf = Shelf::default();
        let most = usize::try_from(CHUNKS).unwrap() / 64;
        let all: Vec<FileRef> = (0..most).map(|i| shelf.place(&content(64, i as u8)).unwrap().0).collect();
        assert_eq!(shelf.place(&content(1, 99)), None, "it is full");
        let (empty, _) = shelf.place(&content(0, 0)).unwrap(); // It takes no chunk.
        let keep = all[1..].iter().copied().chain([empty]).collect();
        shelf.retire_all_but(&keep);
        assert!(shelf.tidy(&HashSet::from([all[0]]), seconds(10)).is_empty(), "a transfer reads it");
        assert_eq!(shelf.content(all[0]), Some(content(64, 0)));
        assert_eq!(shelf.place(&content(1, 99)), None);
        let emptied = shelf.tidy(&nobody(), seconds(11));
        assert!(emptied.contains(&all[0].slot()));
        assert_eq!((shelf.content(all[0]), shelf.content(all[1])), (None, Some(content(64, 1))));
        assert!(shelf.tidy(&nobody(), seconds(11)).is_empty() && shelf.place(&content(1, 99)).is_none());
        shelf.tidy(&nobody(), seconds(12));
        let (new, file) = shelf.place(&content(64, 99)).unwrap();
        assert_eq!(file.size() as usize, 64 * CHUNK);
        assert!(all.iter().all(|old| old.generation() != new.generation()), "no two versions have one name");
        assert!(shelf.is_tidy());
    }

    #[test]
    fn what_an_earlier_server_left_is_known_by_its_content() {
        let mut before = Shelf::default();
        before.place(&content(3, 7)).unwrap();
        let (found, file) = before.place(&content(2, 8)).unwrap();
        let mut shelf = Shelf::default();
        shelf.adopt(found.slot(), &file, content(2, 8));
        shelf.begin_after(41);
        assert_eq!(shelf.find(&content(2, 8)), Some(found));
        let (new, placed) = shelf.place(&content(64, 9)).unwrap();
        assert_eq!(new.generation(), 42);
        let chunks = |file: &File, n| (0..n).map(|i| file.chunk_at(i)).collect::<HashSet<_>>();
        assert!(chunks(&placed, 64).is_disjoint(&chunks(&file, 2)));
    }
}
