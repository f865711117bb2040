//! What was seen by those who must not wait, until somebody takes it in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::Who;
use crate::inventory::events::Lane;
use crate::inventory::observed::Observation;

/// How much may wait.
pub(super) const MOST: usize = 16_384;

/// One observation.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) who: Who,
    pub(super) lane: Lane,
    pub(super) seen: Observation,
}

/// The queue. Pushing takes no lock.
#[derive(Debug)]
pub(super) struct NotedQueue {
    sender: SyncSender<Noted>,
    /// Whoever takes holds the machines' lock already: nobody waits here.
    receiver: Mutex<Receiver<Noted>>,
    lost: AtomicU64,
}

impl Default for NotedQueue {
    fn default() -> Self {
        let (sender, receiver) = sync_channel(MOST);
        Self { sender, receiver: Mutex::new(receiver), lost: AtomicU64::new(0) }
    }
}

impl NotedQueue {
    /// False: it is full.
    pub(super) fn push(&self, noted: Noted) -> bool {
        let pushed = self.sender.try_send(noted);
        if pushed.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        pushed.is_ok()
    }

    /// Waits for room.
    pub(super) fn push_surely(&self, noted: Noted) {
        // The receiver lives as long as the sender.
        let _ = self.sender.send(noted);
    }

    /// What waits now, the first first. No more than there is room for: those who push must not keep one who takes for ever.
    pub(super) fn take(&self) -> Vec<Noted> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.try_iter().take(MOST).collect()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
