//! Packet memory: the only door to it here, as `netboot-ebpf/src/frame.rs` is there.
#![allow(unsafe_code, reason = "packet memory is raw pointers between `data` and `data_end`")]

use core::arch::asm;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_tail, bpf_xdp_store_bytes};
use aya_ebpf::programs::XdpContext;

/// What any bytes of a packet are a value of.
///
/// # Safety
///
/// Every pattern of bits is a value, and no byte is padding.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: numbers, without padding.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: one behind the other, without a gap.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Bytes of the frame.
#[inline(always)]
pub(crate) fn length(ctx: &XdpContext) -> i32 {
    let mut length = ctx.data_end() - ctx.data();
    // VERIFIER (6.18, 2026-11): LLVM adds what follows in another order: "pointer arithmetic on pkt_end prohibited". An instruction
    // that changes nothing makes the difference opaque.
    // SAFETY: adds zero.
    unsafe { asm!("{0} += 0", inout(reg) length) };
    length as i32
}

/// The first bytes of the frame.
#[inline(always)]
pub(crate) fn window<T: Plain>(ctx: &mut XdpContext) -> Option<&mut T> {
    let start = ctx.data();
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: within the packet, checked above, and `T` is any bytes. No other window is held: this one borrows the context.
    // Frames start at even addresses, and the machines that this runs on read larger numbers from any.
    Some(unsafe { &mut *(start as *mut T) })
}

/// Longer or shorter by so many bytes at its end.
#[inline(always)]
pub(crate) fn resize(ctx: &mut XdpContext, by: i32) -> Option<()> {
    // SAFETY: no window is held: they borrow the context.
    let failed = unsafe { bpf_xdp_adjust_tail(ctx.as_ptr().cast(), by) };
    (failed == 0).then_some(())
}

/// Writes the first `length` bytes of `from` over the beginning of the frame.
///
/// VERIFIER (6.18, 2026-11): it holds `length` to the size of the map's value that `from` is in, and to the frame.
#[inline(always)]
pub(crate) fn store(ctx: &mut XdpContext, from: &[u8], length: u32) -> Option<()> {
    let from = from.as_ptr().cast_mut().cast();
    // SAFETY: no window is held; the helper only reads `from`, and a program that gave it more than is there would not load.
    let failed = unsafe { bpf_xdp_store_bytes(ctx.as_ptr().cast(), 0, from, length) };
    (failed == 0).then_some(())
}
