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
mod frame;
mod layout;
mod maps;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::layout::{REQUEST_MAX, Restore, at, mac};

/// The baseline that is subtracted, and what the near end of a veth needs for native XDP.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The least that sends a frame.
#[xdp]
pub fn swap(mut ctx: XdpContext) -> u32 {
    let Some(macs) = frame::window::<[[u16; 3]; 2]>(&mut ctx) else { return xdp_action::XDP_PASS };
    let [destination, source] = *macs;
    *macs = [source, destination];
    xdp_action::XDP_TX
}

/// The least that answers a DHCP client.
#[xdp]
pub fn bare(mut ctx: XdpContext) -> u32 {
    match bare::answer(&mut ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_PASS,
    }
}

/// Puts the request back, then runs the target. What it returns itself means that the harness is broken.
#[xdp]
pub fn restore(mut ctx: XdpContext) -> u32 {
    if prepare(&mut ctx).is_some() {
        maps::go_on_in_target(&ctx);
    }
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn prepare(ctx: &mut XdpContext) -> Option<()> {
    let request = maps::request()?;
    // VERIFIER (6.18, 2026-11): from a comparison with the maximum, LLVM makes one of another register: "invalid zero-sized read".
    let length = request.length & (REQUEST_MAX as u32 - 1);
    if length == 0 {
        return None;
    }
    let by = length as i32 - frame::length(ctx);
    frame::resize(ctx, by)?;
    frame::store(ctx, &request.frame, length)?;
    if request.hosts == 0 {
        return Some(());
    }
    let index = choose(request.hosts)?;
    become_client(ctx, request, index)
}

/// The MAC in words of two bytes: from single bytes the program that reads larger ones would have to wait.
#[inline(always)]
fn become_client(ctx: &mut XdpContext, request: &Restore, index: u32) -> Option<()> {
    let [m0, m1, m2, m3, m4, m5] = mac(index);
    let mac = [[m0, m1], [m2, m3], [m4, m5]].map(u16::from_ne_bytes);
    let words = frame::window::<[u16; at::CHADDR / 2 + 3]>(ctx)?;
    words[at::CHADDR / 2..].copy_from_slice(&mac);
    if request.relayed == 0 {
        words[at::SOURCE_MAC / 2..at::SOURCE_MAC / 2 + 3].copy_from_slice(&mac);
    }
    if request.first_address != 0 {
        let address = (request.first_address + index).to_be_bytes();
        frame::window::<[u8; at::REQUESTED + 4]>(ctx)?[at::REQUESTED..].copy_from_slice(&address);
    }
    Some(())
}

/// xorshift64*, scaled to 0..`hosts`.
#[inline(always)]
fn choose(hosts: u32) -> Option<u32> {
    let state = maps::random()?;
    let mut x = *state | 1;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    let high = x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
    Some(((high * u64::from(hosts)) >> 32) as u32)
}

/// There is no way to reach it: the verifier would not have loaded the program.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
