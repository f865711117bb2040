//! The body of a response, from page cache to socket without passing through us.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::Socket;
use super::open::Identity;

/// More than this isn't sent for one connection before the others get their turn. Half as much cost a sixth more of the CPU where the kernel
/// paces what it sends (BBR); what more than this holds up is others, behind a file that has to come from the disk.
const TURN: u64 = 2 << 20;

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
        while !self.left.is_empty() {
            let count = (self.left.end - self.left.start).min(TURN);
            // The end leaves only if it still belongs to the head and the beginning: a file that was written to meanwhile would be mixed.
            if self.left.start + count == self.left.end {
                self.identity.check_content(&self.file)?;
            }
            let mut position = self.left.start;
            match rustix::fs::sendfile(&self.socket, &self.file, Some(&mut position), count as usize) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => {
                    self.left.start += sent as u64;
                    break;
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Where less was taken than there is, the socket is full, or the file has an end or an error that the next call tells: who waits
        // until the socket takes more hears at once if it does.
        Ok(if self.left.is_empty() { Progress::Done } else { Progress::Waiting })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::FileExt as _;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::sys::open::RegularFile;

    /// Of a file that was written to after so many bytes of it had left (more fit into no socket at once): how its sending ends, and how
    /// much of it arrives.
    fn sent(size: usize, written_after_begin: bool) -> (io::Result<Progress>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![b'a'; size]).unwrap();
        let old = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let RegularFile { file, identity, .. } = RegularFile::open(&path).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut body = FileBody::new(Arc::new(file), identity, 0..size as u64, Arc::new(ours.into()));
        if written_after_begin {
            assert_eq!(body.advance().unwrap(), Progress::Waiting);
        }
        File::options().write(true).open(&path).unwrap().write_all_at(b"b", size as u64 - 1).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all.len()
        });
        let end = loop {
            match body.advance() {
                Ok(Progress::Waiting) => std::thread::yield_now(),
                end => break end,
            }
        };
        drop(body);
        (end, reader.join().unwrap())
    }

    #[test]
    fn what_was_written_to_since_its_head_never_leaves_whole() {
        for (size, written_after_begin) in [(3 << 20, true), (70_000, false), (3 << 20, false)] {
            let (end, arrived) = sent(size, written_after_begin);
            assert!(end.is_err() && arrived < size, "{end:?}, {arrived} of {size}");
        }
    }

    /// A file takes whatever is sent to it.
    #[test]
    fn no_more_is_sent_in_a_turn_than_others_should_wait_for() {
        let source = tempfile::NamedTempFile::new().unwrap();
        let size = TURN + 1000;
        source.as_file().set_len(size).unwrap();
        let RegularFile { file, identity, .. } = RegularFile::open(source.path()).unwrap();
        let target = tempfile::tempfile().unwrap();
        let mut body = FileBody::new(Arc::new(file), identity, 0..size, Arc::new(target.into()));
        assert_eq!((body.advance().unwrap(), body.sent()), (Progress::Waiting, TURN));
        assert_eq!((body.advance().unwrap(), body.sent()), (Progress::Done, size));
    }
}
