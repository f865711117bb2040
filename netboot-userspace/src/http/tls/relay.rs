//! Between a TLS connection and the pair of sockets whose other end a worker serves.
//!
//! All deadlines of HTTP are the worker's, who closes his end; here it is only made sure that nothing is left when he has done so, or
//! when the client takes nothing any more.

use std::io;

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
    let down = down(worker, to_client, patience);
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
    patience: &Patience,
) -> io::Result<()> {
    loop {
        worker.readable().await?;
        let mut buffer = Vec::with_capacity(DOWN);
        loop {
            buffer.clear();
            match worker.try_read_buf(&mut buffer) {
                Ok(0) => return timeout(patience.stall, to_client.shutdown()).await?,
                Ok(_) => send(&buffer, &mut to_client, patience).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

/// By the rule that the worker has, too: who takes less than that of it in that time is given up. The worker can't end this, for what
/// it has closed is read to its end first.
async fn send(
    bytes: &[u8],
    to_client: &mut (impl AsyncWrite + Unpin),
    patience: &Patience,
) -> io::Result<()> {
    let least = usize::try_from(patience.least).unwrap_or(usize::MAX).max(1);
    for part in bytes.chunks(least) {
        timeout(patience.stall, async {
            to_client.write_all(part).await?;
            to_client.flush().await
        })
        .await??;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// What a client gets of so many bytes that its worker has sent before it closed, when it `takes` them so. There is no end to the test
    /// unless there is one to the relay.
    async fn gets<F: Future<Output = usize>>(sent: usize, takes: impl FnOnce(DuplexStream) -> F) -> usize {
        let patience = Patience { stall: Duration::from_millis(100), ..Patience::default() };
        let (ours, mut workers) = UnixStream::pair().unwrap();
        let (client, tls) = duplex(64);
        let relay = async move { run(tls, ours, &patience).await };
        let worker = async move {
            workers.write_all(&vec![7; sent]).await.unwrap();
            drop(workers);
        };
        tokio::join!(relay, worker, takes(client)).2
    }

    #[tokio::test]
    async fn all_of_an_answer_arrives_before_its_end() {
        let takes = |mut client: DuplexStream| async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap()
        };
        assert_eq!(gets(150_000, takes).await, 150_000);
    }

    #[tokio::test]
    async fn a_client_that_takes_too_little_is_given_up_though_it_takes_some() {
        let takes = |mut client: DuplexStream| async move {
            let (mut took, mut some) = (0, [0; 64]);
            while let Ok(count @ 1..) = client.read(&mut some).await {
                took += count;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            took
        };
        assert!(gets(150_000, takes).await < 16 * 1024);
    }
}
