//! The two ways in: the control socket, and connections that the HTTP data plane hands over.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpStream, UnixListener, UnixSocket};

use super::auth::Peer;
use super::request::{Progress, Request, Watched};
use crate::sys::{clock, ktls, net};

/// How long a client may take for a request's head.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Bytes that a client sends of its request or takes of an answer in each [`Times::whole`], or all that there is of it; else it is given up.
const LEAST: u64 = 32 * 1024;

/// What a handed-over connection may take of time.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A request and an answer that are small.
    pub whole: Duration,
    /// An ended connection waits so long for its client to close: were it closed before, a reset would take from the client what it has not
    /// read yet of the answer.
    pub linger: Duration,
}

impl Times {
    /// The usual ones: a minute, and what the data plane has for its own answers.
    pub fn lingering(linger: Duration) -> Self {
        Self { whole: Duration::from_secs(60), linger }
    }
}

/// Why the control socket can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("the control socket {path} is answered by another netboot already")]
    InUse { path: PathBuf },
    #[error("the control socket {path}: something else than a socket is there")]
    Occupied { path: PathBuf },
    #[error("the control socket {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Makes the control socket, for its owner only. Its folder is made; a socket that nobody answers is removed.
///
/// # Errors
/// Somebody answers there, or the system refuses.
pub fn bind_control(path: &Path) -> Result<UnixListener, ControlError> {
    let failed = |source| ControlError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    clear(path)?;
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(path).map_err(failed)?;
    // Nobody can connect before `listen`, so there is no moment in which others may.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    socket.listen(128).map_err(failed)
}

fn clear(path: &Path) -> Result<(), ControlError> {
    let owned = path.to_owned();
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ControlError::Io { path: owned, source }),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ControlError::Occupied { path: owned });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ControlError::InUse { path: owned }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| ControlError::Io { path: owned, source })
        }
        Err(source) => Err(ControlError::Io { path: owned, source }),
    }
}

/// Serves the control socket that [`bind_control`] made at `path` until `stop` resolves, then removes it. Followers are cut
/// off, not waited for.
///
/// # Errors
/// The system refuses to accept.
pub async fn serve_control(
    listener: UnixListener,
    path: &Path,
    router: Router,
    stop: impl Future<Output = ()>,
) -> Result<(), ControlError> {
    let failed = |source| ControlError::Io { path: path.to_owned(), source };
    let served = tokio::select! {
        served = async { axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await } => served.map_err(failed),
        () = stop => Ok(()),
    };
    // A successor may have it by now; then this removes nothing that answers us.
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path);
    }
    served
}

/// So much is read of what is still sent on an ended connection.
const LINGER_BYTES: u64 = 64 << 20;
/// How often is looked whether an answer was taken.
const LOOK: Duration = Duration::from_millis(50);

/// A connection that can go on, and what was read of it beyond the request that was answered.
pub(super) type Kept = (TcpStream, Vec<u8>);

/// Serves one request of a connection of the data plane, from the bytes that were `read` already. Where the request ends is known
/// (`whole`, in bytes), the connection is given back after the answer, unless that says otherwise: the next request may be for a static
/// file, which the routes here don't know. Elsewhere it is closed. Handlers see the peer as `ConnectInfo<SocketAddr>`, and our end as
/// [`Local`].
///
/// # Errors
/// The connection broke, or its client was too slow.
pub async fn serve_connection(
    stream: TcpStream,
    ends: Ends,
    read: Vec<u8>,
    whole: Option<u64>,
    times: Times,
    router: Router,
) -> Result<Option<Kept>, Box<dyn std::error::Error + Send + Sync>> {
    let progress = Arc::<Progress>::default();
    let service = with_ends(router, ends, progress.clone());
    let request = Request::new(stream, read, whole, progress.clone());
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(whole.is_some())
        .auto_date_header(clock::known().is_some())
        // Who has asked and closes its half waits for the answer.
        .half_close(true)
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(request), service);
    let served = poll_fn(|context| match Pin::new(&mut connection).poll(context) {
        Poll::Pending if progress.is_over() => Poll::Ready(Ok(true)),
        Poll::Pending => Poll::Pending,
        Poll::Ready(served) => Poll::Ready(served.map(|()| false)),
    });
    let mut served = pin!(served);
    let served = loop {
        match tokio::time::timeout(times.whole, &mut served).await {
            Ok(served) => break served,
            Err(late) if !progress.has_moved(LEAST) => return Err(late.into()),
            Err(_) => {}
        }
    };
    let (stream, read) = connection.into_parts().io.into_inner().into_kept();
    match served {
        Ok(true) => return Ok(Some((stream, read))),
        Ok(false) | Err(_) => linger(stream, times).await,
    }
    Ok(served.map(|_| None)?)
}

/// Says that nothing more comes, and waits for the client to say the same.
async fn linger(mut stream: TcpStream, times: Times) {
    let is_by_kernel = ktls::is_on(&stream);
    // Whatever comes of it, it has had its time.
    if is_by_kernel {
        let said = stream.async_io(Interest::WRITABLE, || ktls::say_end(&stream));
        let _ = tokio::time::timeout(times.whole, said).await;
    } else {
        let _ = stream.shutdown().await;
    }
    let (mut rest, mut nowhere) = ((&mut stream).take(LINGER_BYTES), tokio::io::sink());
    let drained = tokio::time::timeout(times.linger, tokio::io::copy(&mut rest, &mut nowhere)).await;
    // What the kernel has not enciphered is lost when the connection is closed.
    if is_by_kernel && drained.is_err() {
        taken(&stream, times.whole).await;
    }
}

/// Waits until the client has taken all, or in this time too little.
async fn taken(stream: &TcpStream, time: Duration) {
    let waiting = || net::unacknowledged(stream).unwrap_or(0);
    let (mut before, mut since) = (waiting(), Instant::now());
    while waiting() > 0 {
        if since.elapsed() >= time {
            if waiting().saturating_add(LEAST) > before {
                return;
            }
            (before, since) = (waiting(), Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub peer: SocketAddr,
    pub local: Local,
}

impl Ends {
    /// Of a connection without TLS.
    ///
    /// # Errors
    /// It is closed, or knows no addresses.
    pub fn of(stream: &TcpStream) -> io::Result<Self> {
        let local = Local { address: stream.local_addr()?, by_tls: false };
        Ok(Self { peer: stream.peer_addr()?, local })
    }
}

/// The end of the connection that is ours.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// Where we are reached by plain HTTP.
    pub address: SocketAddr,
    /// The connection itself came by TLS.
    pub by_tls: bool,
}

fn with_ends(
    router: Router,
    Ends { peer, local }: Ends,
    progress: Arc<Progress>,
) -> impl Service<
    hyper::Request<Incoming>,
    Response = hyper::Response<Watched>,
    Error = std::convert::Infallible,
    Future = impl Send,
> + Unpin {
    let service = TowerToHyperService::new(router);
    service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(local);
        request.extensions_mut().insert(progress.clone());
        // The host of a target in absolute form replaces the field's (RFC 9112 section 3.2.2).
        let authority = request.uri().authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
        if let Some(host) = authority {
            request.headers_mut().insert(header::HOST, host);
        }
        let (answer, progress) = (service.call(request), progress.clone());
        async move { Ok(Watched::answer(answer.await?, progress)) }
    })
}
