//! HTTPS: the same engine, behind TLS 1.2 (RFC 5246) and 1.3 (RFC 8446).
//!
//! Connections are accepted here and shake hands on threads of their own, which no worker waits for. Then the [`kernel`] enciphers, where
//! it has TLS, and a worker serves the connection as it serves every other one, with the same machine, the same bytes and sendfile.
//! Elsewhere a worker serves one end of a pair of sockets, and [`relay`] enciphers what comes out of the other end. Sealing and opening
//! cost more than the copy between them.

pub mod authority;
mod dhe;
pub(in crate::http) mod doors;
mod handshakes;
mod identity;
mod kernel;
mod records;
mod relay;
mod socket;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::inbox::Returned;
use super::stats::{Place, one};
use super::{Shared, explain};
use crate::sys::net;

use doors::Door;
pub use handshakes::Counts;
use handshakes::{Handshakes, Outcome};
pub use identity::{Facts, Identity, IdentityError};
use kernel::{Kernel, Taken};
use socket::Socket;

/// How long accepting pauses when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);
/// The handshakes of one address at once: as many as a rack behind one address translator may begin together.
const HANDSHAKES_PER_PEER: usize = 64;

/// What to listen on, and what to show there.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The certificate and its key.
    pub identity: Arc<Identity>,
    /// Connections at once, those that shake hands among them. Each has two descriptors beside those of a plain one.
    pub most: usize,
    /// Whether firmware without elliptic curves is served, too (RFC 7919).
    pub dhe: bool,
    /// Whether the kernel enciphers, where it can.
    pub kernel: bool,
}

/// Who enciphers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// The kernel.
    Kernel {
        /// Why it does not take every cipher.
        but: Option<String>,
    },
    /// This process.
    Process {
        /// Why not the kernel.
        reason: String,
    },
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { but: None } => f.write_str("the kernel"),
            Self::Kernel { but: Some(reason) } => write!(f, "the kernel, but for some ciphers ({reason})"),
            Self::Process { reason } => write!(f, "this process (kernel TLS: {reason})"),
        }
    }
}

/// Why there is no HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can't be used.
    #[error("HTTPS: {address}: {}", explain(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// No threads for the handshakes, or no random numbers.
    #[error("HTTPS: {0}")]
    Engine(String),
}

/// A running listener. Dropping it ends it, and every connection that it carries.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    front: Arc<Front>,
    dhe: bool,
    most: usize,
    accepting: AbortHandle,
    threads: Threads,
}

impl Listener {
    /// Binds, and accepts from then on; `threads` encipher.
    pub(super) fn start(
        config: &Config,
        threads: usize,
        pace: Option<u64>,
        shared: Arc<Shared>,
    ) -> Result<Self, Error> {
        let listen = |source| Error::Listen { address: config.listen, source };
        let socket = net::tcp_listeners(config.listen, 1).map_err(listen)?.remove(0);
        let address = net::local_address(&socket).map_err(listen)?;
        net::prepare_accepted(&socket, pace).map_err(listen)?;
        let kernel = if config.kernel { Kernel::probe() } else { Kernel::off() };
        let shown = Shown::new(config.identity.clone(), config.dhe, kernel.is_there())?;
        let (room, handshakes) = (Arc::new(Semaphore::new(config.most)), Handshakes::default());
        let front = Arc::new(Front { shown: ArcSwap::from_pointee(shown), kernel, room, handshakes, shared });
        let engine = |error: io::Error| Error::Engine(format!("starting its threads: {error}"));
        let threads = Threads::start(threads).map_err(engine)?;
        let accepting = threads.accept(socket, front.clone()).map_err(listen)?;
        Ok(Self { address, front, dhe: config.dhe, most: config.most, accepting, threads })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How handshakes have ended so far.
    pub fn counts(&self) -> Counts {
        self.front.handshakes.counts()
    }

    /// Shows another certificate to those who shake hands from now on, and takes up no session that was begun by the one before; whether
    /// it is another.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn replace(&self, identity: Arc<Identity>) -> Result<bool, Error> {
        let is_other = self.identity() != identity;
        if is_other {
            let is_kernels = self.front.kernel.is_there();
            self.front.shown.store(Arc::new(Shown::new(identity, self.dhe, is_kernels)?));
        }
        Ok(is_other)
    }

    /// Who enciphers, as it is told at the start.
    pub fn engine(&self) -> Engine {
        let refused = self.front.kernel.refused().map(str::to_owned);
        if self.front.kernel.is_there() {
            Engine::Kernel { but: refused }
        } else {
            Engine::Process { reason: refused.unwrap_or_default() }
        }
    }

    /// What is shown now.
    pub fn identity(&self) -> Arc<Identity> {
        self.front.shown.load().identity.clone()
    }

    /// Accepts nobody any more.
    pub(super) fn close(&self) {
        self.accepting.abort();
    }

    /// Ends when all have what the workers have sent before they ended, but not later than anybody is waited for.
    pub(super) fn finish(self) {
        let (room, linger) = (self.front.room.clone(), self.front.shared.limits.patience.linger);
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let (tell, told) = sync_channel(1);
        self.threads.handle.spawn(async move {
            let _ = timeout(linger, room.acquire_many(all)).await;
            let _ = tell.send(());
        });
        let _ = told.recv();
    }
}

/// A certificate, and how hands are shaken with it.
struct Shown {
    identity: Arc<Identity>,
    acceptor: TlsAcceptor,
}

impl Shown {
    fn new(identity: Arc<Identity>, dhe: bool, is_kernels: bool) -> Result<Self, Error> {
        let mut protocol = protocol(identity.clone(), dhe)?;
        protocol.enable_secret_extraction = is_kernels;
        let acceptor = TlsAcceptor::from(Arc::new(protocol));
        Ok(Self { identity, acceptor })
    }
}

/// A runtime of its own. Its tasks only wait for sockets: none is waited for when it ends, wherever that is.
#[derive(Debug)]
struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Threads {
    fn start(count: usize) -> io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(count).thread_name("https").enable_all();
        let runtime = runtime.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    fn accept(&self, socket: OwnedFd, front: Arc<Front>) -> io::Result<AbortHandle> {
        let _inside = self.handle.enter();
        let listener = TcpListener::from_std(socket.into())?;
        Ok(tokio::spawn(accept(listener, front)).abort_handle())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Both versions, with suites that keep what was sent secret when the key is lost: all of them have ephemeral keys and AEAD.
fn protocol(identity: Arc<Identity>, dhe: bool) -> Result<ServerConfig, Error> {
    let failed = |error: rustls::Error| Error::Engine(error.to_string());
    let mut provider = aws_lc_rs::default_provider();
    if dhe {
        dhe::add(&mut provider);
    }
    let config = ServerConfig::builder_with_provider(Arc::new(provider));
    let config = config.with_protocol_versions(&[&TLS13, &TLS12]).map_err(failed)?;
    let mut config = config.with_no_client_auth().with_cert_resolver(identity);
    // RFC 7301: of what a client offers, this is all that we speak.
    config.alpn_protocols = ["http/1.1", "http/1.0"].map(Vec::from).into();
    // Who comes back, as firmware does for each file, needs no second signature of us (RFC 5077).
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(failed)?;
    Ok(config)
}

async fn accept(listener: TcpListener, front: Arc<Front>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => front.clone().accepted(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "HTTPS: accepting pauses");
                sleep(PAUSE).await;
            }
        }
    }
}

/// What all connections share.
struct Front {
    shown: ArcSwap<Shown>,
    kernel: Kernel,
    room: Arc<Semaphore>,
    handshakes: Handshakes,
    shared: Arc<Shared>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("identity", &self.shown.load().identity).finish_non_exhaustive()
    }
}

impl Front {
    fn accepted(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        match self.room.clone().try_acquire_owned() {
            Ok(room) => drop(tokio::spawn(self.serve(stream, peer, room))),
            Err(_) => self.handshakes.ended(Outcome::NoRoom, peer, ""),
        }
    }

    /// Its place is kept until all of it is sent, though the worker has long been done.
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, room: OwnedSemaphorePermit) {
        let Ok(local) = stream.local_addr() else { return };
        let Some((door, place)) = self.place(peer.ip()) else {
            return self.handshakes.ended(Outcome::NoRoom, peer, "");
        };
        place.pace().iter().for_each(|pace| net::slow(&stream, *pace));
        let mut stream = Socket::new(stream);
        if self.kernel.is_there() {
            stream = stream.by_records();
        }
        let Some(client) = self.shake_hands(stream.clone(), peer).await else { return };
        let lost = |error: io::Error| tracing::warn!(%error, %peer, "HTTPS: a connection is lost");
        let put = |stream, read, place| {
            door.inbox.put(Returned { stream, read, peer, place, is_new: true });
        };
        let (mut client, stream) = match self.kernel.take(client, stream) {
            Ok(Taken::On(stream, read)) => {
                self.handshakes.is_kernels();
                return put(stream, read, place.by_kernel(local, room));
            }
            Ok(Taken::Not(client, stream)) => (client, stream),
            Err(error) => return lost(error),
        };
        client.get_mut().0.at_will();
        let pair = UnixStream::pair().and_then(|(ours, theirs)| Ok((ours, theirs.into_std()?)));
        match pair {
            Ok((mut ours, theirs)) => {
                // Nobody asks what kind of socket it is: all read, write, peek and shut down alike.
                put(std::net::TcpStream::from(OwnedFd::from(theirs)), Vec::new(), place.behind_relay(local));
                let end = relay::run(client, &stream, &mut ours, &self.shared.limits.patience).await;
                if end == relay::End::GivenUp {
                    place.stalled();
                }
            }
            Err(error) => lost(error),
        }
    }

    /// Whose turn it is to serve, and the connection's place among those of its peer and of all.
    fn place(&self, peer: IpAddr) -> Option<(Door, Place)> {
        let (limits, door) = (&self.shared.limits, self.shared.doors.next()?);
        let Some(place) = self.shared.peers.admit(peer, limits.per_peer, limits.total, &door.counters) else {
            one(&door.counters.over_limit);
            return None;
        };
        Some((door, place))
    }

    async fn shake_hands(&self, stream: Socket, peer: SocketAddr) -> Option<TlsStream<Socket>> {
        let Some(_begun) = self.handshakes.begin(peer.ip(), HANDSHAKES_PER_PEER) else {
            self.handshakes.ended(Outcome::NoRoom, peer, "");
            return None;
        };
        let shaken = self.shown.load().acceptor.accept(stream);
        let accepted = async {
            let mut stream = shaken.await?;
            if self.kernel.is_there() {
                kernel::settle(&mut stream).await?;
            }
            io::Result::Ok(stream)
        };
        let (outcome, why, stream) = match timeout(self.shared.limits.patience.head, accepted).await {
            Ok(Ok(stream)) => (Outcome::Done, String::new(), Some(stream)),
            Ok(Err(error)) => (Outcome::Failed, error.to_string(), None),
            Err(_) => (Outcome::Late, String::new(), None),
        };
        self.handshakes.ended(outcome, peer, &why);
        stream
    }
}
