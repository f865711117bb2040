//! Between a TLS connection and the pair of sockets whose other end a worker serves.
//!
//! The deadline of an answer is kept here, all others of HTTP by the worker, who closes his end: nothing is left when he has done so.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::socket::Socket;
use crate::http::Patience;

/// What is read of requests at once.
const UP: usize = 4096;
/// And of answers: four records of the largest size (RFC 8446 section 5.1).
const DOWN: usize = 64 * 1024;

/// What ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The worker's end was closed, or the client is gone.
    Closed,
    /// The client took too little.
    GivenUp,
}

/// Carries bytes both ways until one side ends it. `tls` is on `socket`. The worker hears of the end when `pair` is dropped.
pub(super) async fn run<T: AsyncRead + AsyncWrite>(
    tls: T,
    socket: &Socket,
    pair: &mut UnixStream,
    patience: &Patience,
) -> End {
    let (client, to_client) = tokio::io::split(tls);
    let (worker, to_worker) = pair.split();
    let up = up(client, to_worker);
    let down = down(worker, to_client, socket, patience);
    tokio::pin!(up, down);
    let sent = tokio::select! {
        // The answer to what was asked before is still on its way.
        () = &mut up => down.await,
        sent = &mut down => {
            // Who has all of its answer says so by closing; a client that is cut off has nothing to say.
            if sent.is_ok() {
                let _ = timeout(patience.linger, up).await;
            }
            sent
        }
    };
    match sent {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => End::GivenUp,
        _ => End::Closed,
    }
}

/// Requests. A client that is gone without the alert that says so (RFC 8446 section 6.1) has sent no less: HTTP has lengths.
async fn up(mut client: impl AsyncRead + Unpin, mut to_worker: WriteHalf<'_>) {
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
    worker: ReadHalf<'_>,
    mut to_client: impl AsyncWrite + Unpin,
    socket: &Socket,
    patience: &Patience,
) -> io::Result<()> {
    loop {
        worker.readable().await?;
        let mut buffer = Vec::with_capacity(DOWN);
        loop {
            buffer.clear();
            match worker.try_read_buf(&mut buffer) {
                Ok(0) => return taken(to_client.shutdown(), socket, patience).await,
                Ok(_) => taken(send(&buffer, &mut to_client), socket, patience).await?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

async fn send(bytes: &[u8], to_client: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to_client.write_all(bytes).await?;
    to_client.flush().await
}

/// What sends, unless the client is given up by the rule that HTTP has: it took less than that in that time. A worker can't tell what is
/// taken behind a pair of sockets, and what it has closed is read to its end first.
async fn taken(
    sends: impl Future<Output = io::Result<()>>,
    socket: &Socket,
    patience: &Patience,
) -> io::Result<()> {
    tokio::pin!(sends);
    let mut before = socket.taken();
    loop {
        match timeout(patience.stall, &mut sends).await {
            Ok(sent) => return sent,
            Err(late) => {
                let taken = socket.taken();
                if taken.saturating_sub(before) < patience.least {
                    return Err(late.into());
                }
                before = taken;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use rustix::net::sockopt;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::task::yield_now;
    use tokio::time::sleep;

    use super::*;

    /// Both ends of a connection on which little is on its way at a time, while much of it waits in our buffer.
    async fn connection() -> (Socket, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::TcpMaxSeg, &536).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(client.connect(address), listener.accept());
        let ours = accepted.unwrap().0;
        sockopt::set_socket_send_buffer_size(&ours, 1 << 20).unwrap();
        (Socket::new(ours), client.unwrap())
    }

    /// What a client gets of so many bytes that its worker has sent before it closed, when it takes that `much` in a second. The clock stands
    /// still while anything is on its way in the kernel, and goes on by itself when the client waits for the next second.
    async fn gets(sent: usize, much: usize) -> (usize, End) {
        let patience = Patience::default();
        let (mut ours, mut workers) = UnixStream::pair().unwrap();
        let (socket, client) = connection().await;
        let open = RefCell::new(Some(socket.clone()));
        let relay = async {
            let end = run(socket.clone(), &socket, &mut ours, &patience).await;
            drop((socket, ours));
            open.take();
            end
        };
        let worker = async move {
            // It is given up with the relay.
            let _ = workers.write_all(&vec![7; sent]).await;
        };
        let takes = async {
            let (client, mut took, mut some) = (client, 0, vec![0; much]);
            loop {
                match client.try_read(&mut some) {
                    Ok(count @ 1..) => took += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        yield_now().await;
                        continue;
                    }
                    _ => return took,
                }
                // What is read has arrived; its acknowledgement is on its way.
                while open.borrow().as_ref().is_some_and(|socket| socket.taken() < took as u64) {
                    yield_now().await;
                }
                sleep(Duration::from_secs(1)).await;
            }
        };
        let (end, (), took) = tokio::join!(relay, worker, takes);
        (took, end)
    }

    #[tokio::test]
    async fn all_of_an_answer_arrives_before_its_end() {
        tokio::time::pause();
        assert_eq!(gets(150_000, 64 << 10).await, (150_000, End::Closed));
    }

    #[tokio::test]
    async fn a_client_that_takes_enough_is_never_given_up_however_much_waits_for_it() {
        tokio::time::pause();
        assert_eq!(gets(3_000_000, 2048).await, (3_000_000, End::Closed));
    }

    #[tokio::test]
    async fn a_client_that_takes_too_little_is_given_up_though_it_takes_some() {
        tokio::time::pause();
        // What the system has taken from us it keeps for the client.
        let (took, end) = gets(9_000_000, 200).await;
        assert!(took < 4_000_000 && end == End::GivenUp, "{took}, {end:?}");
    }
}
