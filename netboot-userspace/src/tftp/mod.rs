//! The TFTP server: a worker per core, and a few ports of each, which all its transfers share.
//!
//! [`machine`] decides, and [`upload::machine`] where a client writes; [`worker`](self) moves datagrams. RFC 1350, 2347, 2348,
//! 2349, 7440.

pub mod again;
mod answer;
mod cache;
mod content;
mod desk;
mod disk;
mod files;
mod guesses;
pub mod machine;
pub mod names;
mod pace;
mod past;
pub mod pxelinux;
mod session;
mod sessions;
mod sources;
mod stats;
pub mod strays;
mod tids;
pub mod upload;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::sys::{net, netif};
use crate::uring::workers::{Begun, Stop, Workers, default_count};
use crate::uring::{Choice, Running, Settings};

pub use desk::{Found, Site, Turn};
pub use machine::Limits;
pub use sources::{Served, Sources};
pub use stats::Stats;
pub use upload::Uploads;

/// What a datagram is received into.
const BUFFER: usize = 2048;
/// The largest block of a file that is written: with what the kernel says of its datagram, some 120 bytes, it fits [`BUFFER`].
const WRITTEN_BLOCK_MOST: u16 = 1900;

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address to listen on; `[::]` is both families. Each transfer sends from the address that was asked. Port 0 lets the
    /// kernel choose.
    pub listen: SocketAddr,
    /// Folders to look into, in this order.
    pub roots: Vec<PathBuf>,
    /// Virtual files by exact name (a leading `/` doesn't matter); they come before the folders.
    pub files: Vec<(String, Arc<[u8]>)>,
    /// How many workers; 0 is one for each core.
    pub workers: usize,
    /// Which engine.
    pub engine: Choice,
    /// What one transfer may do.
    pub limits: Limits,
    /// Transfers at once; each worker has its share.
    pub transfers: usize,
    /// Transfers at once for one client address, for each worker: a rack behind an address translation is one.
    pub transfers_per_client: usize,
    /// Who is answered.
    pub sources: Served,
    /// Where transfers come from.
    pub ports: Ports,
    /// Files at once that are too large to be in memory, each of which has a descriptor for all who read it.
    pub open_files: usize,
    /// Where clients may write files to; `None`: nowhere.
    pub uploads: Option<Uploads>,
    /// Files that clients write at once, each of which has a descriptor.
    pub uploads_at_once: usize,
    /// What the site makes of names; `None`: nothing.
    pub site: Option<Arc<dyn Site>>,
}

/// The ports of transfers, our TIDs (RFC 1350 section 4). Transfers share them: one is told from others by its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// That of the requests alone: for clients behind an address translation, or a firewall, that lets no other port's datagrams
    /// through.
    Listen,
    /// So many of those that are free; each worker has its share, and two at least.
    Any(u16),
    /// These; each worker has its share, two at least, and there are as few workers as that takes.
    Range(RangeInclusive<u16>),
}

impl Config {
    /// Serves nothing yet, to everybody, with the usual limits.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            roots: Vec::new(),
            files: Vec::new(),
            workers: 0,
            engine: Choice::Auto,
            limits: Limits::default(),
            transfers: 32_768,
            transfers_per_client: 64,
            sources: Served::Everybody,
            ports: Ports::Any(64),
            open_files: 1024,
            uploads: None,
            uploads_at_once: 1024,
            site: None,
        }
    }
}

/// A request that has come to its end.
#[derive(Debug, Clone)]
pub struct Event {
    /// Who asked.
    pub client: SocketAddr,
    /// What was asked for, made printable.
    pub file: String,
    /// The file's size in bytes; 0 if there was none.
    pub size: u64,
    /// Bytes that the client acknowledged, or that came from it.
    pub bytes: u64,
    /// Blocks, or ACKs, that were sent again.
    pub resent: u64,
    /// From request to end.
    pub duration: Duration,
    /// Who sent the file.
    pub direction: Direction,
    /// How it ended.
    pub outcome: Outcome,
}

/// Which way a file went, or was to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// To the client.
    Read,
    /// From the client.
    Write {
        /// What it is called below the folder of uploads, once it is complete.
        stored: Option<String>,
    },
}

impl Event {
    /// Whether nobody need look into it: it ended well, or a client looked for a file that may be missing, as it does at each
    /// boot, or asked for the size alone.
    pub fn is_harmless(&self) -> bool {
        match self.outcome {
            Outcome::Done | Outcome::Unconfirmed | Outcome::Aborted => true,
            Outcome::NotFound => names::may_be_missing(&self.file),
            Outcome::Refused(_) | Outcome::Failed(_) => false,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte was acknowledged.
    Done,
    /// Every byte was sent, only the last ACK is missing: most likely done.
    Unconfirmed,
    /// The client only wanted to know the size, asked again, or had read as much as it wanted: harmless.
    Aborted,
    /// There is no such file.
    NotFound,
    /// Refused, for this reason.
    Refused(&'static str),
    /// Failed, for this reason.
    Failed(String),
}

/// Called by workers at the end of each request; must not block.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// Why the server didn't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address, or one of the ports of transfers, can't be used.
    #[error("TFTP: {address}: {}", explain(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// A root, or the folder of uploads, can't be opened.
    #[error("TFTP: folder {}: {source}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No engine could be made.
    #[error("TFTP: starting a worker: {0}")]
    Engine(#[source] io::Error),
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "port in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no interface has this address".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission to use this port".to_owned(),
        _ => error.to_string(),
    }
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    workers: Workers,
    counters: Arc<stats::Counters>,
    sources: sources::Sources,
}

impl Server {
    /// Binds, and starts the workers.
    pub fn start(config: Config, observer: Observer) -> Result<Self, Error> {
        let count = if config.workers == 0 { default_count() } else { config.workers };
        let count = match &config.ports {
            Ports::Range(range) => count.min(range.len() / 2).max(1),
            Ports::Listen | Ports::Any(_) => count,
        };
        let listen = |source| Error::Listen { address: config.listen, source };
        let sockets = net::udp_sockets(config.listen, count).map_err(listen)?;
        let address = match sockets.first().map(net::local_address) {
            Some(Ok(address)) => address,
            Some(Err(error)) => return Err(listen(error)),
            None => return Err(listen(io::ErrorKind::Unsupported.into())),
        };
        let tids = tids::bind(&config.ports, address.ip(), count)?;
        let counters = Arc::<stats::Counters>::default();
        let library = files::Library::open(&config.roots, config.files.clone(), config.open_files)
            .map_err(|(path, source)| Error::Root { path, source })?;
        let library = Arc::new(library);
        let disk = disk::open(&library).map_err(Error::Engine)?;
        let uploads = config.uploads.as_ref().map(|uploads| {
            let root = |source| Error::Root { path: uploads.folder.clone(), source };
            upload::Folder::open(uploads, config.uploads_at_once).map_err(root)
        });
        let uploads = uploads.transpose()?;
        let desk = config.site.clone().map(desk::open).transpose().map_err(Error::Engine)?;
        let engine = config.engine;
        let transfers = (config.transfers / count).max(1);
        let questions = desk::share(count, config.transfers_per_client);
        let sources = sources::Sources::new(ArcSwap::from_pointee(config.sources.clone()));
        let (counted, asked) = (counters.clone(), sources.clone());
        let shared = worker::Shared {
            config,
            sources: asked,
            transfers,
            questions,
            guesses: guesses::Guesses::new(),
            library,
            uploads,
            desk,
            disk,
            interfaces: netif::Control::new().map_err(Error::Engine)?,
            observer,
            counters: counted,
        };
        let shared = Arc::new(shared);
        let works = sockets
            .into_iter()
            .zip(tids)
            .map(|sockets| {
                let shared = shared.clone();
                move |reactor, begun: Begun, stop: &Stop| {
                    begun.say();
                    worker::run(reactor, sockets, &shared, stop)
                }
            })
            .collect();
        let settings = Settings { entries: 1024, buffers: 512, buffer_size: BUFFER };
        let workers = Workers::start("tftp", engine, settings, works).map_err(Error::Engine)?;
        Ok(Self { address, workers, counters, sources })
    }

    /// These subnets, and no longer [`Config::sources`], from the next request on.
    pub fn serve_only(&self, sources: Vec<(IpAddr, u8)>) {
        self.sources.store(Arc::new(Served::These(sources)));
    }

    /// Who is answered, now and later.
    pub fn sources(&self) -> Sources {
        self.sources.clone()
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Which engine runs now, and why it isn't the fast one.
    pub fn engine(&self) -> Running {
        self.workers.running()
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// Ends all transfers and waits for the workers.
    pub fn shutdown(mut self) {
        self.workers.shutdown();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
