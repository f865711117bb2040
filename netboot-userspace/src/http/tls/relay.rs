//! Between a TLS connection and the pair of sockets whose other end a worker serves.
//!
//! All deadlines of HTTP are the worker's, who closes his end; here it is only made sure that nothing is left when he has done so, or
//! when the client takes nothing any more.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::http::Patience;

/// What is read of requests at once.
const UP: usize = 4096;
/// And of answers: four records of the largest size (RFC 8446 section 5.1).
const DOWN: usize = 64 * 1024;

/// Carries bytes both ways until the worker's end is closed, or the client is gone.
pub(super) async fn run<T: AsyncRead + AsyncWrite>(tls: T, pair: UnixStream, patience: &Patience) {
    let (client, to_client) = tokio::io::split(tls);
    let (worker, to_worker) = pair.into_split();
    let up = up(client, to_worker);
    let down = down(worker, to_client, patience.stall);
    tokio::pin!(up, down);
    tokio::select! {
        // The answer to what was asked before is still on its way.
        () = &mut up => drop(down.await),
        sent = &mut down => {
            // Who has all of its answer says so by closing; a client that is cut off has nothing to say.
            if sent.is_ok() {
                let _ = timeout(patience.linger, up).await;
            }
        }
    }
}

/// Requests. A client that is gone without the alert that says so (RFC 8446 section 6.1) has sent no less: HTTP has lengths.
async fn up(mut client: impl AsyncRead + Unpin, mut to_worker: OwnedWriteHalf) {
    let mut buffer = [0; UP];
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        if to_worker.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = to_worker.shutdown().await;
}

/// Answers, and at their end the alert that says so. There is no buffer while there is nothing to send.
async fn down(
    worker: OwnedReadHalf,
    mut to_client: impl AsyncWrite + Unpin,
    stall: Duration,
) -> io::Result<()> {
    loop {
        worker.readable().await?;
        let mut buffer = Vec::with_capacity(DOWN);
        loop {
            buffer.clear();
            match worker.try_read_buf(&mut buffer) {
                Ok(0) => return timeout(stall, to_client.shutdown()).await?,
                Ok(_) => send(&buffer, &mut to_client, stall).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        timeout(stall, to_client.flush()).await??;
    }
}

/// As long as the client takes anything at all: whether that is enough, the worker sees.
async fn send(
    mut bytes: &[u8],
    to_client: &mut (impl AsyncWrite + Unpin),
    stall: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match timeout(stall, to_client.write(bytes)).await?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}
