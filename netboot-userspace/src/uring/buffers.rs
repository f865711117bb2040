//! Receive buffers: one block of memory, cut into equal parts, of which each is either the engine's or leased out.
#![allow(unsafe_code)] // The kernel writes into this memory while we hold it: a safe slice type would claim otherwise.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::reactor::Lease;

/// The buffers of one engine.
#[derive(Debug)]
pub(super) struct Buffers {
    memory: NonNull<u8>,
    layout: Layout,
    count: u16,
    size: usize,
}

impl Buffers {
    pub(super) fn new(count: u16, size: usize) -> Self {
        let size = size.max(64).next_multiple_of(64);
        let bytes = size.saturating_mul(usize::from(count.max(1)));
        #[allow(clippy::expect_used)] // Only sizes from our own constants come here.
        let layout = Layout::from_size_align(bytes, 4096).expect("buffer sizes are constants");
        // SAFETY: the layout's size is not zero: both factors are at least one.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Self { memory, layout, count: count.max(1), size }
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Where a buffer starts.
    pub(super) fn address(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < self.count, "a buffer that was never given out");
        // SAFETY: `buffer < count`, so the offset stays inside the one allocation of `count * size` bytes.
        unsafe { self.memory.as_ptr().add(usize::from(buffer) * self.size) }
    }

    /// A whole buffer, to be filled by the caller, which must own it (epoll's engine does).
    pub(super) fn whole(&mut self, buffer: u16) -> &mut [u8] {
        let address = self.address(buffer);
        // SAFETY: the memory is initialised (zeroed at first) and inside the allocation; `&mut self` keeps others out,
        // and the only engine that calls this never shows its buffers to a ring.
        unsafe { std::slice::from_raw_parts_mut(address, self.size) }
    }

    /// The bytes of a lease. The kernel doesn't write to a leased buffer: it is given back only with the lease.
    pub(super) fn bytes(&self, lease: &Lease) -> &[u8] {
        let start = lease.start.min(self.size);
        let len = lease.len.min(self.size - start);
        // SAFETY: start + len stays within this buffer, whose memory is initialised; a leased buffer isn't in the ring,
        // so nobody writes to it while the borrow of `self` and the lease last.
        unsafe { std::slice::from_raw_parts(self.address(lease.buffer).add(start), len) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, and freed once.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) }
    }
}
