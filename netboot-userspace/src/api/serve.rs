//! The two ways in: the control socket, and connections that the HTTP data plane hands over.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixListener, UnixSocket};

/// How long a client may take for a request's head.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a handed-over request may take in all: its body, our work and the answer are small.
const WHOLE_TIME: Duration = Duration::from_secs(60);

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
        served = async { axum::serve(listener, router).await } => served.map_err(failed),
        () = stop => Ok(()),
    };
    // A successor may have it by now; then this removes nothing that answers us.
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path);
    }
    served
}

/// Serves one request of a connection of the data plane, from the bytes that were `read` already, and closes it: the next
/// request may be for a static file, which the routes here don't know. Handlers see the peer as `ConnectInfo<SocketAddr>`, and our end as [`Local`].
///
/// # Errors
/// The connection broke, or its client was too slow.
pub async fn serve_connection(
    stream: TcpStream,
    read: Vec<u8>,
    router: Router,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let ends = (ConnectInfo(stream.peer_addr()?), Local(stream.local_addr()?));
    let service = with_ends(router, ends);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(Replayed { read, at: 0, stream }), service);
    Ok(tokio::time::timeout(WHOLE_TIME, served).await??)
}

/// The end of the connection that is ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local(pub(super) SocketAddr);

fn with_ends(
    router: Router,
    (peer, local): (ConnectInfo<SocketAddr>, Local),
) -> impl Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future = impl Send,
> {
    let service = TowerToHyperService::new(router);
    service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(local);
        service.call(request)
    })
}

/// A stream whose first bytes were read by somebody else.
#[derive(Debug)]
struct Replayed {
    read: Vec<u8>,
    at: usize,
    stream: TcpStream,
}

impl AsyncRead for Replayed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.read[self.at..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        self.at += count;
        if self.at == self.read.len() {
            (self.read, self.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replayed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
