//! Reads and writes of one open file, several at a time.
//!
//! **Invariant:** a [`Transfer`]'s buffer belongs to the ring from [`DiskRing::submit`] until [`DiskRing::complete`]
//! gives it back; a dropped ring waits for the kernel first. A full ring is no error: it hands the transfer back.
#![allow(unsafe_code)] // The kernel reads and writes memory that the type system can't see it holding.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode, types};

use super::aligned::Aligned;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// Bytes of a buffer, and their place in the file.
#[derive(Debug)]
pub struct Transfer {
    pub direction: Direction,
    /// Where in the file `range.start` belongs.
    pub offset: u64,
    /// Which bytes of `buffer`.
    pub range: Range<usize>,
    pub buffer: Aligned,
}

/// A transfer that the kernel has let go of.
#[derive(Debug)]
pub struct Completion {
    pub transfer: Transfer,
    /// Bytes done: fewer than asked for is not an error here.
    pub result: io::Result<usize>,
}

/// As many transfers as fit are under way: here is yours back.
#[derive(Debug)]
pub struct Full(pub Transfer);

/// A ring for one file.
pub struct DiskRing {
    ring: IoUring,
    file: File,
    /// Indexed by the `user_data` of the entry; `None`: free.
    slots: Vec<Option<Transfer>>,
}

impl DiskRing {
    /// A ring for `depth` transfers at once over a duplicate of `file`'s descriptor.
    ///
    /// # Errors
    /// What the kernel answered: `ENOSYS` and `EPERM` mean that it has no io_uring, or forbids it here.
    pub fn new(file: &File, depth: u8) -> io::Result<Self> {
        let ring = IoUring::new(u32::from(depth).max(1))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Read::CODE) || !probe.is_supported(opcode::Write::CODE) {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        let slots = (0..depth.max(1)).map(|_| None).collect();
        Ok(Self { ring, file: file.try_clone()?, slots })
    }

    /// Starts one transfer.
    ///
    /// # Errors
    /// [`Full`], with the transfer, when `depth` of them are under way: [`complete`](Self::complete) one first.
    ///
    /// # Panics
    /// If the range lies outside the buffer: a fault of the caller's.
    pub fn submit(&mut self, transfer: Transfer) -> Result<(), Full> {
        let Some(slot) = self.slots.iter().position(Option::is_none) else { return Err(Full(transfer)) };
        let entry = entry(&self.file, &transfer).user_data(slot as u64);
        self.slots[slot] = Some(transfer);
        // SAFETY: the entry's memory is `slots[slot].buffer`, which stays where it is when the value moves and is
        // freed only after its completion was popped (`complete`, `drop`); the descriptor is `self.file`'s, which
        // outlives the ring's use of it because `drop` waits.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            let transfer = self.slots[slot].take();
            return transfer.map_or(Ok(()), |transfer| Err(Full(transfer)));
        }
        // Refused for now (EAGAIN, EBUSY, EINTR): the entry stays queued, and `complete` submits it again.
        let _ = self.ring.submit();
        Ok(())
    }

    /// Waits until one transfer is over. `None`: none is under way.
    ///
    /// # Errors
    /// `io_uring_enter` itself failed; failed transfers are [`Completion`]s.
    pub fn complete(&mut self) -> io::Result<Option<Completion>> {
        loop {
            let popped = self.ring.completion().next();
            if let Some(entry) = popped {
                let slot = self.slots.get_mut(entry.user_data() as usize).and_then(Option::take);
                let Some(transfer) = slot else { continue };
                return Ok(Some(Completion { transfer, result: result(entry.result()) }));
            }
            if self.slots.iter().all(Option::is_none) {
                return Ok(None);
            }
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn entry(file: &File, transfer: &Transfer) -> io_uring::squeue::Entry {
    let bytes = &transfer.buffer[transfer.range.clone()];
    let fd = types::Fd(file.as_raw_fd());
    // A transfer is far below 4 GiB; a longer one would be cut to what fits and come back short.
    let len = u32::try_from(bytes.len()).unwrap_or(!0xfff);
    match transfer.direction {
        Direction::Read => {
            opcode::Read::new(fd, bytes.as_ptr().cast_mut(), len).offset(transfer.offset).build()
        }
        Direction::Write => opcode::Write::new(fd, bytes.as_ptr(), len).offset(transfer.offset).build(),
    }
}

fn result(code: i32) -> io::Result<usize> {
    usize::try_from(code).map_err(|_| io::Error::from_raw_os_error(-code))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

impl Drop for DiskRing {
    fn drop(&mut self) {
        while let Ok(Some(_)) = self.complete() {}
        // Only after a failed `complete`: the kernel may still hold these, so they must never be freed.
        for slot in &mut self.slots {
            std::mem::forget(slot.take());
        }
    }
}

impl std::fmt::Debug for DiskRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let busy = self.slots.iter().filter(|slot| slot.is_some()).count();
        write!(f, "DiskRing({busy} of {} under way)", self.slots.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(offset: u64, byte: u8) -> Transfer {
        let mut buffer = Aligned::zeroed(4096);
        buffer.fill(byte);
        Transfer { direction: Direction::Write, offset, range: 0..4096, buffer }
    }

    #[test]
    fn a_full_ring_gives_the_transfer_back_and_every_byte_arrives() {
        let file = tempfile::tempfile().unwrap();
        let mut ring = DiskRing::new(&file, 2).unwrap();
        ring.submit(write(0, 1)).unwrap();
        ring.submit(write(4096, 2)).unwrap();
        let Full(third) = ring.submit(write(8192, 3)).unwrap_err();
        assert_eq!(ring.complete().unwrap().unwrap().result.unwrap(), 4096);
        ring.submit(third).unwrap();
        while ring.complete().unwrap().is_some() {}
        let read = Transfer {
            direction: Direction::Read,
            offset: 8192,
            range: 0..8192,
            buffer: Aligned::zeroed(8192),
        };
        ring.submit(read).unwrap();
        let done = ring.complete().unwrap().unwrap();
        assert_eq!(done.result.unwrap(), 4096, "the file ends there");
        assert!(done.transfer.buffer[..4096].iter().all(|&byte| byte == 3));
    }

    #[test]
    fn a_failed_transfer_is_a_completion_with_its_error() {
        let file = File::open("/dev/null").unwrap(); // read-only
        let mut ring = DiskRing::new(&file, 1).unwrap();
        ring.submit(write(0, 1)).unwrap();
        let done = ring.complete().unwrap().unwrap();
        assert_eq!(done.result.unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
