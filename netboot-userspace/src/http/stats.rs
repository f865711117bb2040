//! Counters of the HTTP data plane, and how many connections each client has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What the data plane has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that are open, those handed over among them.
    pub open: u64,
    /// Responses that were sent whole.
    pub responses: u64,
    /// Responses that broke off.
    pub broken: u64,
    /// Body bytes sent.
    pub bytes: u64,
    /// Connections handed over.
    pub handed_over: u64,
    /// Requests that were refused as malformed.
    pub refused: u64,
    /// Connections closed at once: their peer, or all together, had too many.
    pub over_limit: u64,
    /// Times that accepting paused for want of descriptors or memory.
    pub pauses: u64,
    /// Connections closed because they idled, sent their head too slowly, or took nothing of their body.
    pub timeouts: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) responses: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) handed_over: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) over_limit: AtomicU64,
    pub(super) pauses: AtomicU64,
    pub(super) timeouts: AtomicU64,
    peers: Mutex<Peers>,
}

#[derive(Debug, Default)]
struct Peers {
    connections: HashMap<IpAddr, usize>,
    open: usize,
}

impl Counters {
    /// A place for a connection, unless its peer or all together have too many.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, per_peer: usize, total: usize) -> Option<Place> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.open >= total || peers.connections.get(&peer).is_some_and(|&n| n >= per_peer) {
            self.over_limit.fetch_add(1, Relaxed);
            return None;
        }
        peers.open += 1;
        *peers.connections.entry(peer).or_default() += 1;
        self.accepted.fetch_add(1, Relaxed);
        Some(Place { counters: self.clone(), peer })
    }

    pub(super) fn snapshot(&self) -> Stats {
        let open = self.peers.lock().unwrap_or_else(PoisonError::into_inner).open as u64;
        Stats {
            accepted: self.accepted.load(Relaxed),
            open,
            responses: self.responses.load(Relaxed),
            broken: self.broken.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            handed_over: self.handed_over.load(Relaxed),
            refused: self.refused.load(Relaxed),
            over_limit: self.over_limit.load(Relaxed),
            pauses: self.pauses.load(Relaxed),
            timeouts: self.timeouts.load(Relaxed),
        }
    }
}

/// One connection's place among those that its peer, and all together, may have. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    counters: Arc<Counters>,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.counters.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.open = peers.open.saturating_sub(1);
        if let Some(count) = peers.connections.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                peers.connections.remove(&self.peer);
            }
        }
    }
}
