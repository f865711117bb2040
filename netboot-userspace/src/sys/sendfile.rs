//! The body of a response, from page cache to socket without passing through us.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::Socket;
use super::open::Identity;

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
    file: Arc<File>,
    socket: Socket,
    left: Range<u64>,
    length: u64,
    /// What the file was when its head was written.
    identity: Identity,
}

impl FileBody {
    /// These bytes of `file`, which was `identity` when it was opened. The socket must not block.
    pub fn new(file: Arc<File>, identity: Identity, bytes: Range<u64>, socket: Socket) -> Self {
        Self { file, socket, length: bytes.end - bytes.start, left: bytes, identity }
    }

    /// Bytes that the socket has taken.
    pub fn sent(&self) -> u64 {
        self.length - (self.left.end - self.left.start)
    }

    /// Sends what the socket takes now.
    ///
    /// # Errors
    /// The client is gone, or the file is no longer what was promised: the connection must then be closed, as the length, or the
    /// content, can't be kept.
    pub fn advance(&mut self) -> io::Result<Progress> {
        let turn = self.left.start.saturating_add(TURN);
        while !self.left.is_empty() {
            if self.left.start >= turn {
                return Ok(Progress::Waiting);
            }
            let count = (self.left.end - self.left.start).min(TURN);
            // The end leaves only if it still belongs to the head and the beginning: a file that was written to meanwhile would be mixed.
            if self.left.start + count == self.left.end {
                self.identity.check_content(&self.file)?;
            }
            let mut position = self.left.start;
            match rustix::fs::sendfile(&self.socket, &self.file, Some(&mut position), count as usize) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => self.left.start += sent as u64,
                Err(rustix::io::Errno::AGAIN) => return Ok(Progress::Waiting),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Progress::Done)
    }
}
