//! Counters of each worker, and how many connections each client has.

use std::iter::Sum;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::pace::Stalls;
use super::tally::Taken;

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
    /// Connections that are sent less in a second, as their client is known to stall.
    paced,
}

/// Counts one more.
pub(super) fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Who has how many connections, of all workers, and who is known to stall.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    taken: Taken,
    stalls: Stalls,
}

impl Peers {
    /// A place for a connection, unless its peer or all together have too many: see [`Taken::take`].
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        per_peer: usize,
        total: usize,
        counters: &Arc<Counters>,
    ) -> Option<Place> {
        // IPv4 clients also come by sockets of IPv6.
        let peer = peer.to_canonical();
        let pace = {
            let mut open = self.open();
            if !open.taken.take(peer, per_peer, total) {
                return None;
            }
            // Where nobody has stalled, it is nobody's business what time it is.
            (!open.stalls.is_empty()).then(|| open.stalls.pace(peer, Instant::now())).flatten()
        };
        one(&counters.open);
        if pace.is_some() {
            one(&counters.paced);
        }
        let (peers, counters, has_stalled) = (self.clone(), counters.clone(), AtomicBool::new(false));
        let held = Held { peers, counters, peer, pace, has_stalled };
        Some(Place { held: Arc::new(held), tls: None })
    }

    /// Who is known to stall, and how many bytes each of its connections is sent in a second at most.
    pub(super) fn paces(&self) -> Vec<(IpAddr, u64)> {
        self.open().stalls.paces(Instant::now())
    }

    /// An answer to this client has stalled: what it is sent in a second from now on, if that is another pace than before.
    fn stalled(&self, peer: IpAddr) -> Option<u64> {
        let Open { taken, stalls } = &mut *self.open();
        stalls.add(peer, taken.of(peer), Instant::now())
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place among those that its peer, and all together, may have. Dropping it, and each share of it, gives it back.
#[derive(Debug)]
pub struct Place {
    held: Arc<Held>,
    tls: Option<Box<Tls>>,
}

/// Of a connection that came by TLS.
#[derive(Debug)]
struct Tls {
    /// Our address there, which one end of a pair does not know.
    local: SocketAddr,
    /// Its room among those that came so, which a relay keeps itself. `None`: there is a relay.
    by_kernel: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Held {
    peers: Arc<Peers>,
    counters: Arc<Counters>,
    peer: IpAddr,
    pace: Option<u64>,
    has_stalled: AtomicBool,
}

impl Place {
    /// The same place, for a worker that serves one end of a pair of sockets: its client has come by TLS to our address `local`.
    pub(super) fn behind_relay(&self, local: SocketAddr) -> Self {
        let tls = Tls { local, by_kernel: None };
        Self { held: self.held.clone(), tls: Some(Box::new(tls)) }
    }

    /// That of a connection by TLS to our address `local`, which the kernel enciphers.
    pub(super) fn by_kernel(self, local: SocketAddr, room: OwnedSemaphorePermit) -> Self {
        let tls = Tls { local, by_kernel: Some(room) };
        Self { tls: Some(Box::new(tls)), ..self }
    }

    /// Our address, where the connection came by TLS.
    pub(super) fn tls(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|tls| tls.local)
    }

    /// Whether somebody else knows what its client takes, and gives it up.
    pub(super) fn is_relayed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.by_kernel.is_none())
    }

    /// Whether the kernel enciphers: see [`crate::sys::ktls`].
    pub(super) fn is_by_kernel(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.by_kernel.is_some())
    }

    /// Bytes per second that it is sent at most, if its peer was known to stall when it came.
    pub(super) fn pace(&self) -> Option<u64> {
        self.held.pace
    }

    /// An answer to its peer has stalled: connections that come later are sent less in a second. Behind TLS both the relay and the worker
    /// may notice it: it counts once.
    pub(super) fn stalled(&self) {
        let Held { peers, peer, has_stalled, .. } = &*self.held;
        if has_stalled.swap(true, Relaxed) {
            return;
        }
        if let Some(pace) = peers.stalled(*peer) {
            tracing::warn!(
                "HTTP: answers to {peer} stall: its next connections are sent {pace} bytes per second at most"
            );
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
        self.peers.open().taken.give_back(self.peer);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_half_of_all_with_a_64_of_ipv6() {
        let (peers, counters) = (Arc::<Peers>::default(), Arc::<Counters>::default());
        let admit = |peer: &str| peers.admit(peer.parse().unwrap(), 2, 12, &counters);
        let some = ["::ffff:10.0.0.1", "10.0.0.1", "2001:db8:0:1::1", "2001:db8:0:1::1"];
        let mut held: Vec<Place> = some.map(|peer| admit(peer).unwrap()).into();
        for peer in ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8:0:1::1"] {
            assert!(admit(peer).is_none(), "{peer} has its two");
        }
        held.extend((2..6).map(|host| admit(&format!("2001:db8:0:1:{host}::")).unwrap()));
        assert!(admit("2001:db8:0:1:ffff::1").is_none(), "six of twelve");
        for peer in ["2001:db8:0:2::1", "::ffff:10.0.0.2", "10.0.0.3"] {
            assert!(admit(peer).is_some(), "{peer} is another's");
        }
        drop(held);
        assert!(peers.open().taken.is_empty());
        assert_eq!(counters.snapshot().open, 0);
    }

    #[test]
    fn a_connection_stalls_once_though_relay_and_worker_notice() {
        let (peers, counters) = (Arc::<Peers>::default(), Arc::<Counters>::default());
        for want in [vec![], vec![12_500_000], vec![6_250_000]] {
            let of_relay = peers.admit([192, 0, 2, 1].into(), 1, 1, &counters).unwrap();
            let of_worker = of_relay.behind_relay(([192, 0, 2, 9], 443).into());
            of_relay.stalled();
            of_worker.stalled();
            let paces: Vec<u64> = peers.paces().into_iter().map(|(_, pace)| pace).collect();
            assert_eq!(paces, want);
        }
    }
}
