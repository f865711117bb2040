//! Counters of the TFTP server.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Direction, Event, Outcome};

/// What the server has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that were read.
    pub requests: u64,
    /// Transfers under way.
    pub active: u64,
    /// Transfers that ended well, the last ACK seen or not.
    pub done: u64,
    /// Transfers that the client gave up harmlessly.
    pub aborted: u64,
    /// Requests for files that don't exist.
    pub not_found: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Transfers that failed.
    pub failed: u64,
    /// Datagrams that were dropped: malformed, or from outside the allowed subnets.
    pub dropped: u64,
    /// Requests that were dropped because they were sent to a broadcast or multicast address.
    pub broadcast: u64,
    /// Transfers that nobody had answered, given up to make room for another.
    pub evicted: u64,
    /// Requests that were left unanswered because all transfers were in use.
    pub full: u64,
    /// Requests that were left unanswered because their client uses all transfers that one may have.
    pub client_full: u64,
    /// Requests that were to be refused, and were left unanswered because there were so many of them.
    pub silenced: u64,
    /// Datagrams at ports of transfers that were of no transfer there.
    pub strays: u64,
    /// Transfers that were ended because somebody guessed at their ports.
    pub guessed: u64,
    /// Datagrams, or windows that were to leave as one, that were lost here: their socket had no room for them.
    pub unsent: u64,
    /// Windows, or parts of them, that left as one.
    pub as_one: u64,
    /// Transfers whose windows left one datagram at a time, because the kernel could not divide them.
    pub apart: u64,
    /// Transfers whose windows left in parts, because their clients lost the ends of them.
    pub paced: u64,
    /// Files that clients wrote, of those that are done.
    pub written: u64,
    /// Bytes that were acknowledged, or that came from clients.
    pub bytes: u64,
    /// Blocks, or ACKs, that were sent again.
    pub resent: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) active: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) broadcast: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) client_full: AtomicU64,
    pub(super) silenced: AtomicU64,
    pub(super) strays: AtomicU64,
    pub(super) guessed: AtomicU64,
    pub(super) unsent: AtomicU64,
    pub(super) as_one: AtomicU64,
    pub(super) apart: AtomicU64,
    pub(super) paced: AtomicU64,
    written: AtomicU64,
    done: AtomicU64,
    aborted: AtomicU64,
    not_found: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    resent: AtomicU64,
}

impl Counters {
    pub(super) fn ended(&self, event: &Event) {
        let counter = match event.outcome {
            Outcome::Done | Outcome::Unconfirmed => &self.done,
            Outcome::Aborted => &self.aborted,
            Outcome::NotFound => &self.not_found,
            Outcome::Refused(_) => &self.refused,
            Outcome::Failed(_) => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
        let is_stored = matches!(event.direction, Direction::Write { stored: Some(_) });
        self.written.fetch_add(is_stored.into(), Relaxed);
        self.bytes.fetch_add(event.bytes, Relaxed);
        self.resent.fetch_add(event.resent, Relaxed);
    }

    pub(super) fn snapshot(&self) -> Stats {
        Stats {
            requests: self.requests.load(Relaxed),
            active: self.active.load(Relaxed),
            done: self.done.load(Relaxed),
            aborted: self.aborted.load(Relaxed),
            not_found: self.not_found.load(Relaxed),
            refused: self.refused.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            broadcast: self.broadcast.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            full: self.full.load(Relaxed),
            client_full: self.client_full.load(Relaxed),
            silenced: self.silenced.load(Relaxed),
            strays: self.strays.load(Relaxed),
            guessed: self.guessed.load(Relaxed),
            unsent: self.unsent.load(Relaxed),
            as_one: self.as_one.load(Relaxed),
            apart: self.apart.load(Relaxed),
            paced: self.paced.load(Relaxed),
            written: self.written.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            resent: self.resent.load(Relaxed),
        }
    }
}
