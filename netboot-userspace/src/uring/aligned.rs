//! [`Aligned`]: memory that `O_DIRECT` takes.
#![allow(unsafe_code)] // An alignment above that of `u8` takes the allocator's own interface.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// No disk has a larger logical block that Linux accepts without large-block support; also the page size.
pub const ALIGNMENT: usize = 4096;

/// A fixed run of initialized bytes that starts at a multiple of [`ALIGNMENT`].
///
/// Its bytes stay where they are while the value moves, so a ring may hold it while the kernel writes into it.
pub struct Aligned {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned by this value alone and is plain bytes; no thread-local state is involved.
unsafe impl Send for Aligned {}

impl Aligned {
    /// `len` zeros. `len` is rounded up to a multiple of [`ALIGNMENT`], and to one at least.
    pub fn zeroed(len: usize) -> Self {
        let len = len.max(1).next_multiple_of(ALIGNMENT);
        let Ok(layout) = Layout::from_size_align(len, ALIGNMENT) else {
            panic!("a buffer of {len} bytes exceeds the address space")
        };
        // SAFETY: the layout's size is not zero (one multiple of ALIGNMENT at least).
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is valid for `layout.size()` bytes, all initialized by alloc_zeroed, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only borrow.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: `start` came from alloc_zeroed with this very layout, and is freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl std::fmt::Debug for Aligned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Aligned({} bytes)", self.layout.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_rounded_up_and_zero() {
        for (asked, got) in [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192)] {
            let buffer = Aligned::zeroed(asked);
            assert_eq!(buffer.len(), got);
            assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
    }
}
