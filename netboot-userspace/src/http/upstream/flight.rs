//! A file on its way here: one for all who ask for it.

use std::fs::File;
use std::sync::Arc;

use tokio::sync::watch;

use super::failure::Failure;
use super::shelf::Entry;

/// How far it is.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Its upstream has not answered yet.
    Asking,
    Arriving(Arriving),
    /// It is on the shelf.
    Kept(Arc<Entry>),
    Failed(Failure),
}

/// A body, as far as it is there.
#[derive(Clone, Debug)]
pub(super) struct Arriving {
    pub(super) file: Arc<File>,
    /// Bytes in all, if its upstream has said so.
    pub(super) total: Option<u64>,
    /// Unix time.
    pub(super) modified: i64,
    /// Bytes that may be sent on. The last one is held back until all is known to be right, so that whoever has a whole body has a right one;
    /// the disk need not have all of it by then.
    pub(super) there: u64,
}

/// Waits until byte `at` is there; how many are. `None`: it has fewer.
pub(super) async fn reach(flight: &mut watch::Receiver<Phase>, at: u64) -> Result<Option<u64>, Failure> {
    let there = |state: &Phase| match state {
        Phase::Asking => None,
        Phase::Arriving(arriving) => (arriving.there > at).then_some(Ok(arriving.there)),
        Phase::Kept(entry) => Some(Ok(entry.note.size)),
        Phase::Failed(failure) => Some(Err(failure.clone())),
    };
    let state = flight.wait_for(|state| there(state).is_some()).await;
    let state = state.map_err(|_| Failure::ours("its fetching ended"))?;
    match there(&state) {
        Some(Ok(there)) => Ok((there > at).then_some(there)),
        Some(Err(failure)) => Err(failure),
        None => Ok(None),
    }
}
