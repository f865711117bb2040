//! One request of a connection, and how far its answer is: what is needed to take the connection back after it.
//!
//! What holds true: who reads from a [`Request`] gets the bytes of that request, and not one more, however much came. So its reader and
//! ours can't differ over where the next request begins.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::{Extensions, StatusCode, header};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How far a request and its answer are. One task sees to both.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// All bytes of the request were read.
    is_read: AtomicBool,
    /// All of the answer was given to its writer.
    is_answered: AtomicBool,
    /// And has left it since.
    is_flushed: AtomicBool,
    /// The answer says that the connection ends.
    is_last: AtomicBool,
    /// The answer's next part is not there yet.
    is_waiting: AtomicBool,
    /// What was asked for is under way, and its client has nothing to do but wait.
    is_working: AtomicBool,
    /// Bytes that were read or written since somebody looked.
    moved: AtomicU64,
}

fn is(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Acquire)
}

fn set(flag: &AtomicBool) {
    flag.store(true, Ordering::Release);
}

impl Progress {
    /// Whether the connection is free for the next request.
    pub(super) fn is_over(&self) -> bool {
        is(&self.is_read) && is(&self.is_flushed) && !is(&self.is_last)
    }

    /// Whether, since this was asked last, so much of the request came or of the answer was taken, or all that there was of it; or it is our
    /// turn.
    pub(super) fn has_moved(&self, least: u64) -> bool {
        self.moved.swap(0, Ordering::AcqRel) >= least || is(&self.is_waiting) || is(&self.is_working)
    }
}

/// As long as this is there, the client of a request waits for us.
#[derive(Debug)]
pub(super) struct Working(Option<Arc<Progress>>);

impl Working {
    /// On a request that has come whole.
    pub(super) fn on(extensions: &Extensions) -> Self {
        let progress = extensions.get::<Arc<Progress>>().cloned();
        progress.iter().for_each(|progress| set(&progress.is_working));
        Self(progress)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            progress.is_working.store(false, Ordering::Release);
        }
    }
}

/// A connection that ends with one request, as far as its reader knows.
#[derive(Debug)]
pub(super) struct Request {
    read: Vec<u8>,
    at: usize,
    stream: TcpStream,
    /// Bytes of the request that were not read yet; `None`: all that comes is its reader's.
    left: Option<u64>,
    progress: Arc<Progress>,
}

impl Request {
    pub(super) fn new(stream: TcpStream, read: Vec<u8>, whole: Option<u64>, progress: Arc<Progress>) -> Self {
        Self { read, at: 0, stream, left: whole, progress }
    }

    /// The connection, and what was read of it beyond the request.
    pub(super) fn into_kept(mut self) -> (TcpStream, Vec<u8>) {
        self.read.drain(..self.at);
        (self.stream, self.read)
    }

    fn took(&mut self, count: usize) {
        let Some(left) = &mut self.left else { return };
        *left = left.saturating_sub(count as u64);
        if *left == 0 {
            set(&self.progress.is_read);
        }
    }

    /// Behind the request there is nothing, until its client leaves: its handler need not go on then.
    fn poll_end(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.at < self.read.len() {
            return Poll::Pending;
        }
        let mut next = [0];
        match ready!(self.stream.poll_peek(context, &mut ReadBuf::new(&mut next)))? {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

impl AsyncRead for Request {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let most = most.min(buffer.remaining());
        if self.left == Some(0) {
            return self.poll_end(context);
        }
        let kept = &self.read[self.at..];
        let count = kept.len().min(most);
        if !kept.is_empty() {
            buffer.put_slice(&kept[..count]);
            self.at += count;
        } else {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
            let count = part.filled().len();
            buffer.advance(count);
            self.progress.moved.fetch_add(count as u64, Ordering::AcqRel);
            self.took(count);
            return Poll::Ready(Ok(()));
        }
        self.took(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Request {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.progress.moved.fetch_add(count as u64, Ordering::AcqRel);
        Poll::Ready(Ok(count))
    }

    /// Called when all that was written to hyper's own buffer was written here.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if is(&self.progress.is_answered) {
            set(&self.progress.is_flushed);
        }
        Poll::Ready(Ok(()))
    }

    /// Who has the connection then says its end.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The body of an answer that says when it has ended.
#[derive(Debug)]
pub(super) struct Watched {
    body: Body,
    progress: Arc<Progress>,
}

impl Watched {
    pub(super) fn answer(answer: Response, progress: Arc<Progress>) -> hyper::Response<Self> {
        let mut connection = answer.headers().get_all(header::CONNECTION).iter();
        let closes = |value: &header::HeaderValue| {
            let value = value.to_str().unwrap_or("close");
            value.split(',').any(|token| token.trim().eq_ignore_ascii_case("close"))
        };
        if connection.any(closes) || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            set(&progress.is_last);
        }
        answer.map(|body| Self { body, progress })
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.progress.is_waiting.store(frame.is_pending(), Ordering::Release);
        let frame = ready!(frame);
        if matches!(frame, Some(Err(_))) {
            set(&self.progress.is_last);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// hyper drops a body when it has written its end, and before it flushes.
impl Drop for Watched {
    fn drop(&mut self) {
        set(&self.progress.is_answered);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
