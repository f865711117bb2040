//! The body of a response, from page cache to socket without passing through us.
#![allow(unsafe_code)] // The `sendfile` crate leaves it to its caller that the two descriptors fit the call.

use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use sendfile::{SendFile, send_file};

use super::Socket;

/// Whole files up to this size go by the `sendfile` crate, which sends until the socket is full or the file ends.
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
    Whole(SendFile<File, Socket>),
    Range { file: File, socket: Socket, offset: u64, sent: u64 },
}

impl FileBody {
    /// `length` bytes of `file` from `offset`; `size` is the file's. The socket must not block.
    pub fn new(file: File, socket: Socket, offset: u64, length: u64, size: u64) -> Self {
        let whole = offset == 0 && length == size && size <= WHOLE_MAX;
        let lane = if whole {
            // SAFETY: sendfile(2) wants a file that can be read at an offset and any descriptor to write to; `file` is a
            // regular file (its opener checked), `socket` a stream socket; both are owned by the future while it lives.
            Lane::Whole(unsafe { send_file(file, socket) })
        } else {
            Lane::Range { file, socket, offset, sent: 0 }
        };
        Self { lane, length }
    }

    /// Bytes that the socket has taken.
    pub fn sent(&self) -> u64 {
        match &self.lane {
            Lane::Whole(future) => future.written() as u64,
            Lane::Range { sent, .. } => *sent,
        }
    }

    /// Sends what the socket takes now. `UnexpectedEof` when the file is no longer what was promised: the connection must
    /// then be closed, as the length can't be kept.
    pub fn advance(&mut self) -> io::Result<Progress> {
        match &mut self.lane {
            Lane::Whole(future) => match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => Ok(Progress::Waiting),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) if self.sent() == self.length => Ok(Progress::Done),
                Poll::Ready(Ok(())) => Err(io::ErrorKind::UnexpectedEof.into()),
            },
            Lane::Range { file, socket, offset, sent } => {
                advance_range(file, socket, *offset, self.length, sent)
            }
        }
    }
}

fn advance_range(
    file: &File,
    socket: &Socket,
    offset: u64,
    length: u64,
    sent: &mut u64,
) -> io::Result<Progress> {
    let turn = *sent + TURN;
    while *sent < length {
        if *sent >= turn {
            return Ok(Progress::Waiting);
        }
        let mut position = offset + *sent;
        let count = (length - *sent).min(TURN) as usize;
        match rustix::fs::sendfile(socket, file, Some(&mut position), count) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => *sent += n as u64,
            Err(rustix::io::Errno::AGAIN) => return Ok(Progress::Waiting),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Progress::Done)
}
