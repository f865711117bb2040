//! What a worker remembers of the requests that it has answered: by it, what comes late is told from what is meant.
//!
//! **Invariant:** of the last [`CLIENTS`] clients, at least, the last few requests are known, and where their answers came from.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;

/// As many as a table of 4096 places takes.
const CLIENTS: usize = 3584;
/// So many requests of each client.
const EACH: usize = 4;

/// A request that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    /// A hash of the request.
    pub(super) asked: u32,
    /// Where the answer came from, or [`Answered::NOWHERE`].
    pub(super) tid: u16,
    pub(super) how: How,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Its transfer is over, and the client knows, or need not: what comes for it is late.
    Over,
    /// Its transfer was given up: a client that comes back hears so.
    GivenUp,
    /// It has no transfer: it was refused, or another request came before its answer.
    Refused,
}

impl Answered {
    /// The TID of what had none.
    pub(super) const NOWHERE: u16 = u16::MAX;
}

/// See the top of this file. Clients are known by a keyed hash, which nobody can aim at.
#[derive(Debug, Default)]
pub(super) struct Past {
    recent: HashMap<u64, Requests>,
    older: HashMap<u64, Requests>,
    hasher: RandomState,
}

/// The latest first.
type Requests = [Option<Answered>; EACH];

impl Past {
    pub(super) fn add(&mut self, client: SocketAddr, answered: Answered) {
        let key = self.hasher.hash_one(client);
        let known = self.recent.remove(&key).or_else(|| self.older.remove(&key));
        let mut requests = known.unwrap_or_default();
        requests.rotate_right(1);
        requests[0] = Some(answered);
        if self.recent.len() >= CLIENTS {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, requests);
    }

    /// A client's last requests, the latest first.
    pub(super) fn of(&self, client: SocketAddr) -> impl Iterator<Item = &Answered> + Clone {
        let key = self.hasher.hash_one(client);
        self.recent.get(&key).or_else(|| self.older.get(&key)).into_iter().flatten().flatten()
    }

    /// Whether a client has asked for this before.
    pub(super) fn has(&self, client: SocketAddr, asked: u32) -> bool {
        self.of(client).any(|answered| answered.asked == asked)
    }

    /// What a client was answered from this port.
    pub(super) fn from(&self, client: SocketAddr, tid: u16) -> Option<How> {
        self.of(client).find(|answered| answered.tid == tid).map(|answered| answered.how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn answered(asked: u32, tid: u16, how: How) -> Answered {
        Answered { asked, tid, how }
    }

    #[test]
    fn the_last_requests_of_a_client_are_known_and_nobody_elses() {
        let mut past = Past::default();
        for n in 0..10 {
            past.add(client(1), answered(u32::from(n), n, How::Over));
        }
        let tids = |port| past.of(client(port)).map(|answered| answered.tid).collect::<Vec<_>>();
        assert_eq!((tids(1), tids(2)), (vec![9, 8, 7, 6], vec![]));
        assert!(past.has(client(1), 6) && !past.has(client(1), 5) && !past.has(client(2), 9));
        assert_eq!((past.from(client(1), 7), past.from(client(2), 7)), (Some(How::Over), None));
        past.add(client(1), answered(1, 7, How::GivenUp));
        assert_eq!(past.from(client(1), 7), Some(How::GivenUp), "the last one");
    }

    #[test]
    fn so_many_clients_are_remembered_at_least_and_not_many_more() {
        let mut past = Past::default();
        let clients =
            || (0..10 * CLIENTS).map(|n| SocketAddr::from(([10, 0, (n >> 15) as u8, 1], n as u16 | 1 << 15)));
        let clients: Vec<_> = clients().collect();
        for (n, client) in clients.iter().enumerate() {
            past.add(*client, answered(1, 1, How::Over));
            assert!(past.has(clients[n.saturating_sub(CLIENTS - 1)], 1));
        }
        assert!(past.recent.len() + past.older.len() <= 2 * CLIENTS);
        past.add(clients[clients.len() - CLIENTS], answered(2, 1, How::Over));
        assert!(past.has(clients[clients.len() - CLIENTS], 1), "what is known goes on");
    }
}
