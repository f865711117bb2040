//! Counters of each worker, and how many connections each client has.

use std::collections::HashMap;
use std::iter::Sum;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a worker, or all, have done since they started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Each counter by its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        impl Sum for Stats {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::default(), |sum, one| Self { $($name: sum.$name + one.$name,)* })
            }
        }

        /// One worker counts here.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections that were accepted.
    accepted,
    /// Of these, those that are open, the ones handed over among them.
    open,
    /// Responses that were sent whole.
    responses,
    /// Responses that broke off.
    broken,
    /// Body bytes sent.
    bytes,
    /// Connections handed over.
    handed_over,
    /// Of these, those that came back for more.
    returned,
    /// Requests that were refused as malformed.
    refused,
    /// Connections closed at once: their peer, or all together, had too many.
    over_limit,
    /// Times that accepting paused for want of descriptors or memory.
    pauses,
    /// Connections closed because they idled, sent their head too slowly, or took too little of their body.
    timeouts,
}

/// Counts one more.
pub(super) fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Who has how many connections, of all workers.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<IpAddr, u32>,
    total: usize,
}

impl Peers {
    /// A place for a connection, unless its peer or all together have too many.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        per_peer: usize,
        total: usize,
        counters: &Arc<Counters>,
    ) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= total || open.connections.get(&peer).is_some_and(|&n| n as usize >= per_peer) {
            return None;
        }
        open.total += 1;
        *open.connections.entry(peer).or_default() += 1;
        one(&counters.open);
        let held = Held { peers: self.clone(), counters: counters.clone(), peer };
        Some(Place { held: Arc::new(held), behind_tls: None })
    }
}

/// One connection's place among those that its peer, and all together, may have. Dropping it, and each share of it, gives it back.
#[derive(Debug)]
pub struct Place {
    held: Arc<Held>,
    /// Of a connection that came by TLS: our address there, which its socket does not know.
    behind_tls: Option<Box<SocketAddr>>,
}

#[derive(Debug)]
struct Held {
    peers: Arc<Peers>,
    counters: Arc<Counters>,
    peer: IpAddr,
}

impl Place {
    /// The same place, for a worker that serves what has come by TLS to our address `local`.
    pub(super) fn behind_tls(&self, local: SocketAddr) -> Self {
        Self { held: self.held.clone(), behind_tls: Some(Box::new(local)) }
    }

    /// Our address, where the connection came by TLS.
    pub(super) fn tls(&self) -> Option<SocketAddr> {
        self.behind_tls.as_deref().copied()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
        let mut open = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.connections.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.connections.remove(&self.peer);
            }
        }
    }
}
