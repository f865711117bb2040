//! The ring of receive buffers that the kernel may take from: memory that it reads while we write to it.
#![allow(unsafe_code)] // Memory that is shared with the kernel, and its registration.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::buffers::Buffers;

/// The buffer group of every receive.
pub(super) const BUFFER_GROUP: u16 = 0;

/// The ring of buffers that the kernel may take from.
#[derive(Debug)]
pub(super) struct BufferRing {
    pub(super) entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    tail: u16,
}

impl BufferRing {
    pub(super) fn register(ring: &IoUring, buffers: &Buffers) -> io::Result<Self> {
        let count = buffers.count();
        if !count.is_power_of_two() || count > 1 << 15 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let layout = Layout::from_size_align(usize::from(count) * size_of::<BufRingEntry>(), 4096)
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the layout's size is not zero, as `count` is a power of two.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else { handle_alloc_error(layout) };
        let mut this = Self { entries, layout, mask: count - 1, tail: 0 };
        // SAFETY: page-aligned memory for `count` entries, which stays until the kernel was told to forget it (`Ring` sees
        // to that, and leaks it otherwise).
        unsafe {
            ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, BUFFER_GROUP, 0)?;
        }
        (0..count).for_each(|buffer| this.add(buffers, buffer));
        Ok(this)
    }

    /// Lets the kernel write to a buffer.
    pub(super) fn add(&mut self, buffers: &Buffers, buffer: u16) {
        let index = usize::from(self.tail & self.mask);
        // SAFETY: `index <= mask` lies inside the allocation; between the kernel's head and our tail an entry is ours,
        // and there are as many entries as buffers, so this one has been taken. The setters write addr, len and bid
        // only, never the tail, which shares the first entry's memory.
        let entry = unsafe { &mut *self.entries.as_ptr().add(index) };
        entry.set_addr(buffers.address(buffer) as u64);
        entry.set_len(buffers.size() as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `tail` wants the address of the first entry of a registered ring; the field is two bytes, aligned to
        // two, and only ever touched atomically here; release makes the entry visible before the new tail.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `register` with this layout; the ring that knew it has unregistered it, or refused it.
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}
