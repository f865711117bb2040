//! The HTTP data plane: static files by sendfile, everything else handed over on the same connection.
//!
//! [`head`] reads requests, [`conditional`] selects what to send, [`machine`] decides, all pure; a worker per core moves the bytes.
//! RFC 9110, 9112, UEFI 24.7.

pub mod conditional;
mod connection;
mod connections;
pub mod date;
mod digests;
mod files;
pub mod head;
mod inbox;
mod listing;
pub mod machine;
mod mounts;
mod pace;
mod response;
mod stats;
mod tally;
pub mod tls;
pub mod upstream;
mod whole;
mod worker;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::sys::net;
use crate::uring::workers::{Stop, Workers, default_count};
use crate::uring::{Choice, Running, Settings};

pub use inbox::WayBack;
pub use listing::Folders;
pub use machine::{Onward, Patience};
pub use mounts::Mount;
pub use stats::{Place, Stats};
pub use whole::Named;

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address to listen on; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Static files, looked through in this order.
    pub mounts: Vec<Mount>,
    /// How many workers; 0 is one for each core.
    pub workers: usize,
    /// Which engine.
    pub engine: Choice,
    /// What clients may take.
    pub limits: Limits,
    /// Bytes per second that one connection is sent at most.
    pub pace: Option<u64>,
    /// The same by HTTPS.
    pub tls: Option<tls::Config>,
    /// What fetches files that no mount has.
    pub mirror: Option<Arc<upstream::Mirror>>,
}

impl Config {
    /// No static files yet, and the usual limits.
    pub fn new(listen: SocketAddr) -> Self {
        let (engine, limits) = (Choice::Auto, Limits::default());
        let (mounts, workers, pace, tls, mirror) = (Vec::new(), 0, None, None, None);
        Self { listen, mounts, workers, engine, limits, pace, tls, mirror }
    }
}

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of a connection's time.
    pub patience: Patience,
    /// Connections of one address.
    pub per_peer: usize,
    /// Connections in all; one /64 of IPv6 has half of them at most.
    pub total: usize,
    /// Files that are too large to be in memory, each of which has a descriptor for all who are sent it; each worker has its share.
    pub open_files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: Patience::default(), per_peer: 512, total: 16_384, open_files: 4096 }
    }
}

/// A connection with a request that isn't for a static file.
#[derive(Debug)]
pub struct HandOver {
    /// The connection; it does not block, as tokio wants it. Of a client that came by TLS it is one end of a pair, which knows no
    /// addresses, or enciphered by the kernel ([`crate::sys::ktls`]).
    pub stream: TcpStream,
    /// What was already read from it: the request, and perhaps more.
    pub read: Vec<u8>,
    /// Where the request ends.
    pub request: Onward,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Our address, where the client has reached us by TLS.
    pub tls: Option<SocketAddr>,
    /// To be kept for as long as the connection is served, and to give it back.
    pub way_back: WayBack,
}

/// Takes connections; called by workers, must not block.
pub type HandOverTo = Arc<dyn Fn(HandOver) + Send + Sync>;

/// A response, under way or at its end.
#[derive(Debug, Clone)]
pub struct Event {
    /// Who asked.
    pub peer: SocketAddr,
    /// The path that was asked for, as it was sent; empty when the request was refused.
    pub path: String,
    /// The boot that its query says it is for (`?boot=`).
    pub boot: Option<u64>,
    /// The status.
    pub status: u16,
    /// Body bytes that the socket has taken.
    pub bytes: u64,
    /// Body bytes in all.
    pub total: u64,
    /// Since the request.
    pub duration: Duration,
    /// First byte and the one after the last, for a 206.
    pub range: Option<(u64, u64)>,
    /// Bytes per second that the connection is sent at most, where its client is known to stall.
    pub pace: Option<u64>,
    /// Whether it goes on.
    pub stage: Stage,
    /// Why there is no file, or not all of it, where that is not the client's doing.
    pub cause: Option<String>,
}

/// Where a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// On its way: reported each second for bodies over 8 MiB.
    Progress,
    /// All of it is in the socket.
    Done,
    /// It broke off.
    Broken,
}

/// Called by workers; must not block.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// Why the server didn't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can't be used.
    #[error("HTTP: {address}: {}", explain(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// A folder can't be opened.
    #[error("HTTP: folder {}: {source}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No engine could be made.
    #[error("HTTP: starting a worker: {0}")]
    Engine(#[source] io::Error),
    /// No HTTPS.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "port in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no interface has this address".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission to use this port".to_owned(),
        _ => error.to_string(),
    }
}

/// What all workers share.
struct Shared {
    /// `open_files`: each worker's.
    limits: Limits,
    mounts: mounts::Mounts,
    mirror: Option<Arc<upstream::Mirror>>,
    hand_over: HandOverTo,
    observer: Observer,
    peers: Arc<stats::Peers>,
    doors: tls::doors::Doors,
    digests: digests::Digests,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("mounts", &self.mounts).finish_non_exhaustive()
    }
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    workers: Workers,
    tls: Option<tls::Listener>,
    counters: Vec<Arc<stats::Counters>>,
    peers: Arc<stats::Peers>,
}

impl Server {
    /// Binds, and starts the workers.
    pub fn start(config: Config, hand_over: HandOverTo, observer: Observer) -> Result<Self, Error> {
        let count = if config.workers == 0 { default_count() } else { config.workers };
        let listen = |source| Error::Listen { address: config.listen, source };
        let listeners = net::tcp_listeners(config.listen, count).map_err(listen)?;
        let address = listeners.first().map_or(Ok(config.listen), net::local_address).map_err(listen)?;
        listeners
            .iter()
            .try_for_each(|listener| net::prepare_accepted(listener, config.pace))
            .map_err(listen)?;
        let peers = Arc::<stats::Peers>::default();
        let known = peers.clone();
        let counters: Vec<Arc<stats::Counters>> = listeners.iter().map(|_| Arc::default()).collect();
        let mounts =
            mounts::Mounts::open(&config.mounts).map_err(|(path, source)| Error::Root { path, source })?;
        let (mut limits, mirror) = (config.limits, config.mirror);
        limits.open_files = (limits.open_files / count).max(1);
        let digests = digests::Digests::start(limits.open_files).map_err(Error::Engine)?;
        let doors = Default::default();
        let shared = Arc::new(Shared { limits, mounts, mirror, hand_over, observer, peers, doors, digests });
        let behind_tls = shared.clone();
        let works = listeners
            .into_iter()
            .zip(counters.clone())
            .map(|(listener, counters)| {
                let shared = shared.clone();
                move |reactor, begun, stop: &Stop| {
                    worker::run(reactor, listener, &shared, &counters, begun, stop)
                }
            })
            .collect();
        let settings = Settings { entries: 1024, buffers: 512, buffer_size: 4096 };
        let workers = Workers::start("http", config.engine, settings, works).map_err(Error::Engine)?;
        let start = |tls| tls::Listener::start(tls, count.div_ceil(2), config.pace, behind_tls);
        let tls = config.tls.as_ref().map(start).transpose()?;
        Ok(Self { address, workers, tls, counters, peers: known })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The HTTPS listener.
    pub fn tls(&self) -> Option<&tls::Listener> {
        self.tls.as_ref()
    }

    /// Which engine runs now, and why it isn't the fast one.
    pub fn engine(&self) -> Running {
        self.workers.running()
    }

    /// What was done so far, by all workers.
    pub fn stats(&self) -> Stats {
        self.worker_stats().into_iter().sum()
    }

    /// What each worker has done so far.
    pub fn worker_stats(&self) -> Vec<Stats> {
        self.counters.iter().map(|counters| counters.snapshot()).collect()
    }

    /// Clients that are known to stall, and how many bytes per second each of their connections is sent at most.
    pub fn paces(&self) -> Vec<(IpAddr, u64)> {
        self.peers.paces()
    }

    /// Closes all connections but those handed over, and waits for the workers, and for what they have sent by TLS to be so.
    pub fn shutdown(mut self) {
        self.tls.iter().for_each(tls::Listener::close);
        self.workers.shutdown();
        self.tls.into_iter().for_each(tls::Listener::finish);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
