//! A file on its way here: one for all who ask for it.

use std::sync::Arc;

use tokio::sync::watch;

use super::failure::Failure;
use super::shelf::{Entry, Held};

/// How far it is.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Its upstream has not answered yet.
    Asking,
    Arriving(Arriving),
    /// It is on the shelf.
    Kept(Arc<Entry>),
    /// Its upstream can't say: this is what there was before.
    Stale(Arc<Entry>, Failure),
    /// So many bytes came, all of them right, and could not be kept: who is being sent them gets them.
    Unkept(u64, Failure),
    Failed(Failure),
}

/// A body, as far as it is there.
#[derive(Clone, Debug)]
pub(super) struct Arriving {
    pub(super) file: Arc<Held>,
    /// Bytes in all, if its upstream has said so.
    pub(super) total: Option<u64>,
    /// Unix time. `None` while it may prove wrong: the next one, which is right, may have the same.
    pub(super) modified: Option<i64>,
    /// Bytes that may be sent on. The last one is held back until all is known to be right, so that whoever has a whole body has a right one;
    /// the disk need not have all of it by then.
    pub(super) there: u64,
    pub(super) is_right: bool,
}

impl Arriving {
    /// How long it is, where a client can be told: of no byte, none can be held back.
    pub(super) fn known(&self) -> Option<u64> {
        self.total.filter(|total| self.is_right || *total > 0)
    }
}

/// Waits until byte `at` is there; how many are. `None`: it has fewer.
pub(super) async fn reach(flight: &mut watch::Receiver<Phase>, at: u64) -> Result<Option<u64>, Failure> {
    let there = |state: &Phase| match state {
        Phase::Asking => None,
        Phase::Arriving(arriving) => (arriving.there > at).then_some(Ok(arriving.there)),
        Phase::Kept(entry) => Some(Ok(entry.note.size)),
        Phase::Unkept(bytes, _) => Some(Ok(*bytes)),
        Phase::Stale(_, failure) | Phase::Failed(failure) => Some(Err(failure.clone())),
    };
    let state = flight.wait_for(|state| there(state).is_some()).await;
    let state = state.map_err(|_| Failure::ours("its fetching ended"))?;
    match there(&state) {
        Some(Ok(there)) => Ok((there > at).then_some(there)),
        Some(Err(failure)) => Err(failure),
        None => Ok(None),
    }
}
