//! How a stream is received: with one operation for many requests, where the kernel can be told when it has brought enough.
//!
//! **Invariant:** between two waits a stream brings less than two buffers' worth, so that who has enough of it can say so in time. A
//! multishot receive without a bound would bring all that its peer has sent.
#![allow(unsafe_code)] // The crate has no name for the field that bounds a receive.

use std::io;

use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};

use crate::uring::buffer_ring::BUFFER_GROUP;

/// IORING_RECVSEND_POLL_FIRST: who has just been heard has rarely said more, so don't try before the socket is readable.
const POLL_FIRST: u16 = 1;

/// What one operation brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    /// One buffer.
    Once,
    /// This many bytes, and what else fits into the buffer of the last (Linux 6.17).
    UpTo(u32),
}

impl Receiving {
    /// Asks the kernel whether it knows the bound. It reads an entry before it looks for the descriptor, and there is none.
    pub(super) fn probe(ring: &mut IoUring, buffer_size: usize) -> io::Result<Self> {
        let most = u32::try_from(buffer_size).unwrap_or(u32::MAX);
        let entry = Self::UpTo(most).entry(Fd(-1));
        // SAFETY: nothing in the entry leads anywhere: there is neither a buffer nor a descriptor.
        unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
        ring.submit_and_wait(1)?;
        let result = ring.completion().next().map(|completion| completion.result());
        Ok(if result == Some(-libc::EBADF) { Self::UpTo(most) } else { Self::Once })
    }

    pub(super) fn entry(self, socket: Fd) -> squeue::Entry {
        match self {
            Self::Once => opcode::Recv::new(socket, std::ptr::null_mut(), 0)
                .buf_group(BUFFER_GROUP)
                .ioprio(POLL_FIRST)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
            Self::UpTo(most) => bounded(opcode::RecvMulti::new(socket, BUFFER_GROUP).build(), most),
        }
    }
}

/// Sets `optlen` of struct io_uring_sqe.
fn bounded(mut entry: squeue::Entry, most: u32) -> squeue::Entry {
    const OPTLEN: usize = 44;
    const _: () =
        assert!(size_of::<squeue::Entry>() == 64 && align_of::<squeue::Entry>() >= align_of::<u32>());
    // SAFETY: an entry is the kernel's structure of 64 bytes and nothing else (`repr(C)`, asserted above), `optlen` is its u32 at byte 44
    // (linux/io_uring.h), and any value is valid there.
    unsafe { (&raw mut entry).byte_add(OPTLEN).cast::<u32>().write(most) };
    entry
}
