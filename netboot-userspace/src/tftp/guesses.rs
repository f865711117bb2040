//! Datagrams of clients at ports that they have nothing to do with, as all workers hear them: somebody guesses.
//!
//! Transfers share their ports, which are few. Whoever puts the address of another on a request does not hear from which of them the
//! answer comes, and would acknowledge it at all of them: a small datagram at each has us send a file to somebody who never asked.
//! **Invariant:** a transfer whose client is heard at another port, from its request until [`FRESH`](super::machine::FRESH) after its first
//! answer, is sent nothing more. Each worker hears for itself: one of them may know of a right guess before the others know of the wrong
//! ones, and a window leaves. So it is asked at every answer of that time, not at the first one alone.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Clients share so many places; one that has another's place for itself has it until the next.
const PLACES: usize = 4096;
/// How often its client was heard is in the lower half of a place, who it is in the other one.
const COUNT: u64 = u32::MAX as u64;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Guesses {
    places: Box<[AtomicU64]>,
    /// Nobody can aim at another's place.
    hasher: RandomState,
}

/// What had been heard of a client at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard(u64);

impl Guesses {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    /// This client was heard at a port where it has no business. Two workers at once count one: that is enough.
    pub(super) fn note(&self, client: SocketAddr) {
        let (place, mark) = self.place(client);
        let count = (place.load(Relaxed) + 1) & COUNT;
        place.store(mark | count, Relaxed);
    }

    pub(super) fn of(&self, client: SocketAddr) -> Heard {
        Heard(self.place(client).0.load(Relaxed))
    }

    /// Whether it was heard since.
    pub(super) fn any_since(&self, before: Heard, client: SocketAddr) -> bool {
        let (place, mark) = self.place(client);
        let now = place.load(Relaxed);
        now != before.0 && now & !COUNT == mark && now != 0
    }

    fn place(&self, client: SocketAddr) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(client);
        (&self.places[hash as usize % PLACES], hash & !COUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_is_heard_for_itself_and_from_a_time_on() {
        let guesses = Guesses::new();
        let clients: Vec<_> = (0..1000).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
        let before: Vec<_> = clients.iter().map(|client| guesses.of(*client)).collect();
        guesses.note(clients[7]);
        for (client, before) in clients.iter().zip(&before) {
            assert_eq!(guesses.any_since(*before, *client), *client == clients[7]);
        }
        let now = guesses.of(clients[7]);
        assert!(!guesses.any_since(now, clients[7]), "before it");
        guesses.note(clients[7]);
        assert!(guesses.any_since(now, clients[7]));
    }

    #[test]
    fn whoever_takes_the_place_of_another_says_nothing_of_it() {
        let guesses = Guesses::new();
        let client = SocketAddr::from(([10, 0, 0, 1], 1));
        guesses.note(client);
        let before = guesses.of(client);
        let others = (0..).map(|n: u32| SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 1)));
        let is_there = |other: &SocketAddr| std::ptr::eq(guesses.place(*other).0, guesses.place(client).0);
        let Some(other) = others.take(1 << 16).find(is_there) else { return };
        guesses.note(other);
        assert!(!guesses.any_since(before, client));
    }
}
