//! Handshakes that are under way, and how those before have ended.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::http::tally::Tally;

/// How one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// One side did not like what the other said.
    Failed,
    /// The client took too long.
    Late,
    /// Its peer, or all together, had too many connections, or too many handshakes at once.
    NoRoom,
}

/// How all have ended so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// With a connection.
    pub done: u64,
    /// Of these, those with which the kernel goes on.
    pub by_kernel: u64,
    /// One side did not like what the other said.
    pub failed: u64,
    /// The client took too long.
    pub late: u64,
    /// Closed at once: too many at the same time.
    pub over_limit: u64,
    /// Who failed last, and why.
    pub last_failure: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    under_way: Tally<IpAddr>,
    counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<State>);

impl Handshakes {
    /// Begins one, unless the peer has so many under way already.
    pub(super) fn begin(&self, peer: IpAddr, most: usize) -> Option<Begun<'_>> {
        let mut state = self.state();
        if state.under_way.of(&peer) >= most {
            return None;
        }
        state.under_way.add(peer);
        Some(Begun { handshakes: self, peer })
    }

    pub(super) fn ended(&self, outcome: Outcome, peer: SocketAddr, why: &str) {
        let mut state = self.state();
        let counts = &mut state.counts;
        match outcome {
            Outcome::Done => counts.done += 1,
            Outcome::Failed => {
                counts.failed += 1;
                counts.last_failure = Some(format!("{peer}: {why}"));
                tracing::debug!("HTTPS: {peer}: {why}");
            }
            Outcome::Late => counts.late += 1,
            Outcome::NoRoom => counts.over_limit += 1,
        }
    }

    /// The kernel goes on with one that is done.
    pub(super) fn is_kernels(&self) {
        self.state().counts.by_kernel += 1;
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is under way; dropping it ends it.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    handshakes: &'a Handshakes,
    peer: IpAddr,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.handshakes.state().under_way.take(&self.peer);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_only_so_many_under_way() {
        let handshakes = Handshakes::default();
        let (one, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = handshakes.begin(one, 2).unwrap();
        let second = handshakes.begin(one, 2).unwrap();
        assert!(handshakes.begin(one, 2).is_none());
        assert!(handshakes.begin(other, 2).is_some(), "each has its own");
        drop(first);
        assert!(handshakes.begin(one, 2).is_some());
        drop(second);
        assert!(handshakes.state().under_way.is_empty(), "nothing is kept of those that ended");
    }

    #[test]
    fn each_end_is_counted_and_the_last_failure_told() {
        let handshakes = Handshakes::default();
        let peer = ([10, 0, 0, 1], 7).into();
        for outcome in [Outcome::Done, Outcome::Failed, Outcome::Late, Outcome::NoRoom, Outcome::NoRoom] {
            handshakes.ended(outcome, peer, "unknown CA");
        }
        handshakes.is_kernels();
        let last_failure = Some("10.0.0.1:7: unknown CA".to_owned());
        let want = Counts { done: 1, by_kernel: 1, failed: 1, late: 1, over_limit: 2, last_failure };
        assert_eq!(handshakes.counts(), want);
    }
}
