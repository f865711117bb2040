//! The ways in to the workers, for connections that they did not accept themselves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::inbox::Inbox;
use crate::http::stats::Counters;

/// One worker's.
#[derive(Clone, Debug)]
pub(in crate::http) struct Door {
    pub(in crate::http) inbox: Arc<Inbox>,
    pub(in crate::http) counters: Arc<Counters>,
}

/// All that are open, taken in turn.
#[derive(Debug, Default)]
pub(in crate::http) struct Doors {
    open: Mutex<Vec<Door>>,
    turn: AtomicUsize,
}

impl Doors {
    /// A worker says that it serves from now on.
    pub(in crate::http) fn open(&self, door: Door) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(door);
    }

    /// Whose turn it is; `None`: nobody serves.
    pub(super) fn next(&self) -> Option<Door> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|door| door.inbox.is_open());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(open.len())?;
        open.get(turn).cloned()
    }
}
