//! Four XDP programs for `cargo xtask bench dhcp`: the limits that ours is measured beside, and the harness.
//!
//! `pass` lets everything pass; `swap` sends a frame back with its MACs exchanged; `bare` is the least that answers a DHCP
//! client: a host look-up and a ready reply, written by direct packet access. `restore` is the harness: under
//! `BPF_PROG_TEST_RUN` with repetitions the buffer is used again, so that from the second run on a program would see its own
//! reply; `restore` puts the request back, chooses the client, and tail-calls the program that is measured.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bare;
mod layout;

use core::arch::asm;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_tail, bpf_xdp_store_bytes};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::programs::XdpContext;

use crate::layout::{REQUEST_MAX, Restore, at, mac};

/// The baseline that is subtracted, and what the near end of a veth needs for native XDP.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The least that sends a frame.
#[xdp]
pub fn swap(ctx: XdpContext) -> u32 {
    let Some(macs) = window::<[[u16; 3]; 2]>(&ctx) else { return xdp_action::XDP_PASS };
    let [destination, source] = *macs;
    *macs = [source, destination];
    xdp_action::XDP_TX
}

/// The least that answers a DHCP client.
#[xdp]
pub fn bare(ctx: XdpContext) -> u32 {
    match bare::answer(&ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_PASS,
    }
}

#[map]
static REQUEST: Array<Restore> = Array::with_max_entries(1, 0);

/// The state of the random numbers that choose clients.
#[map]
static RANDOM: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The program that is measured.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Puts the request back, then runs the target. What it returns itself means that the harness is broken.
#[xdp]
pub fn restore(ctx: XdpContext) -> u32 {
    if prepare(&ctx).is_some() {
        // SAFETY: nothing here has a destructor.
        unsafe { TARGET.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn prepare(ctx: &XdpContext) -> Option<()> {
    let request = REQUEST.get(0)?;
    // VERIFIER (6.18, 2026-11): from a comparison with the maximum, LLVM makes one of another register: "invalid zero-sized read".
    let length = request.length & (REQUEST_MAX as u32 - 1);
    if length == 0 {
        return None;
    }
    let by = length as i32 - frame_length(ctx);
    let bytes = request.frame.as_ptr().cast_mut().cast();
    // SAFETY: windows are taken after this; `length` bytes of the map's value are there, and the helper only reads them.
    let failed = unsafe {
        bpf_xdp_adjust_tail(ctx.as_ptr().cast(), by) != 0
            || bpf_xdp_store_bytes(ctx.as_ptr().cast(), 0, bytes, length) != 0
    };
    if failed {
        return None;
    }
    if request.hosts == 0 {
        return Some(());
    }
    let index = choose(request.hosts)?;
    become_client(ctx, request, index)
}

/// The MAC in words of two bytes: from single bytes the program that reads larger ones would have to wait.
#[inline(always)]
fn become_client(ctx: &XdpContext, request: &Restore, index: u32) -> Option<()> {
    let [m0, m1, m2, m3, m4, m5] = mac(index);
    let mac = [[m0, m1], [m2, m3], [m4, m5]].map(u16::from_ne_bytes);
    let words = window::<[u16; at::CHADDR / 2 + 3]>(ctx)?;
    words[at::CHADDR / 2..].copy_from_slice(&mac);
    if request.relayed == 0 {
        words[at::SOURCE_MAC / 2..at::SOURCE_MAC / 2 + 3].copy_from_slice(&mac);
    }
    if request.first_address != 0 {
        let address = (request.first_address + index).to_be_bytes();
        window::<[u8; at::REQUESTED + 4]>(ctx)?[at::REQUESTED..].copy_from_slice(&address);
    }
    Some(())
}

/// xorshift64*, scaled to 0..`hosts`.
#[inline(always)]
fn choose(hosts: u32) -> Option<u32> {
    let state = RANDOM.get_ptr_mut(0)?;
    // SAFETY: per CPU, and this program is not re-entered on a CPU while it runs.
    let state = unsafe { &mut *state };
    let mut x = *state | 1;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    let high = x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
    Some(((high * u64::from(hosts)) >> 32) as u32)
}

/// Bytes of the frame.
#[inline(always)]
fn frame_length(ctx: &XdpContext) -> i32 {
    let mut length = ctx.data_end() - ctx.data();
    // VERIFIER (6.18, 2026-11): LLVM adds what follows in another order: "pointer arithmetic on pkt_end prohibited". An instruction
    // that changes nothing makes the difference opaque.
    // SAFETY: adds zero.
    unsafe { asm!("{0} += 0", inout(reg) length) };
    length as i32
}

/// The first bytes of the frame.
#[inline(always)]
fn window<T>(ctx: &XdpContext) -> Option<&mut T> {
    let start = ctx.data();
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: within the packet, checked above; `T` is an array of numbers. Frames start at even addresses, and the machines that
    // this runs on read larger numbers from any.
    Some(unsafe { &mut *(start as *mut T) })
}

/// There is no way to reach it: the verifier would not have loaded the program.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
