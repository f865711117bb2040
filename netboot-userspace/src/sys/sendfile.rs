//! The body of a response, from page cache to socket without passing through us.
#![allow(unsafe_code)] // The `sendfile` crate leaves it to its caller that the two descriptors fit the call.

use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use sendfile::{SendFile, send_file};

use super::Socket;
use super::open::Identity;

/// Whole files up to this size may go by the `sendfile` crate, which sends until the socket is full or the file ends.
const WHOLE_MAX: u64 = 8 << 20;
/// More than this isn't sent for one connection before the others get their turn.
const TURN: u64 = 1 << 20;

/// What a call to [`FileBody::advance`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All bytes are in the socket.
    Done,
    /// Go on when the socket takes more.
    Waiting,
}

/// Part of a file, on its way into a socket.
#[derive(Debug)]
pub struct FileBody {
    lane: Lane,
    length: u64,
}

#[derive(Debug)]
enum Lane {
    Whole(SendFile<Arc<File>, Socket>),
    Range(Box<Part>),
}

/// What is left of a part of a file.
#[derive(Debug)]
struct Part {
    file: Arc<File>,
    socket: Socket,
    left: Range<u64>,
    /// Some of it was sent.
    begun: bool,
    /// What the file was when its head was written.
    identity: Identity,
}

impl FileBody {
    /// These bytes of `file`, which was `identity` when it was opened. `is_last` says that the connection ends with them. The socket
    /// must not block.
    pub fn new(
        file: Arc<File>,
        identity: Identity,
        bytes: Range<u64>,
        socket: Socket,
        is_last: bool,
    ) -> Self {
        let length = bytes.end - bytes.start;
        // The crate sends all there is by the time of the call: of a file that has grown, more than was promised. Where nothing
        // follows, that harms nobody, as the client counts; elsewhere it would be taken for the next answer.
        let whole = is_last && bytes == (0..identity.size) && length <= WHOLE_MAX;
        let lane = if whole {
            // SAFETY: sendfile(2) wants a file that can be read at an offset and any descriptor to write to; `file` is a
            // regular file (its opener checked), `socket` a stream socket; both are owned by the future while it lives.
            Lane::Whole(unsafe { send_file(file, socket) })
        } else {
            Lane::Range(Box::new(Part { file, socket, left: bytes, begun: false, identity }))
        };
        Self { lane, length }
    }

    /// Bytes that the socket has taken.
    pub fn sent(&self) -> u64 {
        match &self.lane {
            Lane::Whole(future) => future.written() as u64,
            Lane::Range(part) => self.length - (part.left.end - part.left.start),
        }
    }

    /// Sends what the socket takes now.
    ///
    /// # Errors
    /// The client is gone, or the file is no longer what was promised: the connection must then be closed, as the length, or the
    /// content, can't be kept.
    pub fn advance(&mut self) -> io::Result<Progress> {
        match &mut self.lane {
            Lane::Range(part) => part.advance(),
            Lane::Whole(future) => match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => Ok(Progress::Waiting),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) if self.sent() == self.length => Ok(Progress::Done),
                Poll::Ready(Ok(())) => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }
}

impl Part {
    fn advance(&mut self) -> io::Result<Progress> {
        let turn = self.left.start.saturating_add(TURN);
        while !self.left.is_empty() {
            if self.left.start >= turn {
                return Ok(Progress::Waiting);
            }
            let count = (self.left.end - self.left.start).min(TURN);
            // The end leaves only if it still belongs to the beginning: a file that was written to meanwhile would be mixed.
            if self.begun && self.left.start + count == self.left.end {
                self.identity.check_content(&self.file)?;
            }
            let mut position = self.left.start;
            match rustix::fs::sendfile(&self.socket, &self.file, Some(&mut position), count as usize) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => (self.left.start, self.begun) = (self.left.start + sent as u64, true),
                Err(rustix::io::Errno::AGAIN) => return Ok(Progress::Waiting),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Progress::Done)
    }
}
