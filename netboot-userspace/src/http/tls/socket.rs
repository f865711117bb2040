//! A client's connection, which knows how much of what was sent the client has taken.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::records::Records;
use crate::sys::net;

/// Clones are the same connection; one of them reads.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    inner: Arc<Inner>,
    /// Where a single record is read at a time.
    records: Option<Records>,
}

#[derive(Debug)]
struct Inner {
    stream: TcpStream,
    written: AtomicU64,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { inner: Arc::new(Inner { stream, written: AtomicU64::new(0) }), records: None }
    }

    /// From the first of its bytes on, no two records are read at once.
    pub(super) fn by_records(self) -> Self {
        Self { records: Some(Records::default()), ..self }
    }

    /// What comes is read as it comes.
    pub(super) fn at_will(&mut self) {
        self.records = None;
    }

    /// Whether what was read ends with a record.
    pub(super) fn is_between_records(&self) -> bool {
        self.records.is_some_and(|records| records.is_between())
    }

    /// The connection itself, unless there is a clone.
    pub(super) fn into_inner(self) -> Option<TcpStream> {
        Arc::into_inner(self.inner).map(|inner| inner.stream)
    }

    /// Bytes of ciphertext that the client has acknowledged. What waits for it in our buffer tells nothing: the system calls a socket
    /// writable only when a third of that is free, which takes a slow client minutes.
    pub(super) fn taken(&self) -> u64 {
        let waiting = net::unacknowledged(&self.inner.stream).unwrap_or(0);
        self.inner.written.load(Relaxed).saturating_sub(waiting)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.stream.as_raw_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, records } = self.get_mut();
        let most = records.map_or(usize::MAX, |records| records.most()).min(into.remaining());
        loop {
            ready!(inner.stream.poll_read_ready(context))?;
            let bytes = into.initialize_unfilled_to(most);
            match inner.stream.try_read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    if let Some(records) = records {
                        records.took(&bytes[..count]);
                    }
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Inner { stream, written } = &*self.inner;
        loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(count) => {
                    written.fetch_add(count as u64, Relaxed);
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&self.inner.stream, Shutdown::Write).map_err(io::Error::from))
    }
}
