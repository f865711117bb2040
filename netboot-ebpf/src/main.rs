//! Netboot in the kernel: DHCP and ProxyDHCP answered where the frame arrives, and loaders sent from there ([`tftp`]).
//!
//! For DHCP, two programs from one source. XDP answers in place whatever fits into the frame (`XDP_TX`); what it can't answer it passes
//! on untouched. The tcx program behind it sees the same frame as an skb, which can always grow; it also serves devices
//! that have no XDP. What neither knows goes to userspace.
//!
//! **Invariant:** after the first write to a frame there is no way back: [`dhcp::answer`] checks everything, then commits.
//! **Invariant:** nothing here allocates an address or renders an option: hosts and templates come from userspace.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod dhcp;
mod frame;
mod limit;
#[cfg(feature = "log")]
mod log;
mod maps;
mod tftp;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use netboot_common::stats::{Lane, Leave, Outcome};

use crate::frame::{Skb, Xdp};

/// First lane.
#[xdp]
pub fn netboot_xdp(ctx: XdpContext) -> u32 {
    let mut frame = Xdp::new(ctx);
    let outcome = dhcp::answer(&mut frame, Lane::Xdp);
    maps::count(Lane::Xdp, outcome.index());
    #[cfg(feature = "log")]
    log::left(&frame.ctx, Lane::Xdp, outcome);
    match outcome {
        Outcome::Answered(_) => xdp_action::XDP_TX,
        Outcome::Left(Leave::RateLimited) => xdp_action::XDP_DROP,
        Outcome::Left(_) => xdp_action::XDP_PASS,
    }
}

/// Second lane, behind XDP.
#[classifier]
pub fn netboot_tcx(ctx: TcContext) -> i32 {
    let mut frame = Skb::new(ctx);
    let outcome = dhcp::answer(&mut frame, Lane::Tcx);
    maps::count(Lane::Tcx, outcome.index());
    #[cfg(feature = "log")]
    log::left(&frame.ctx, Lane::Tcx, outcome);
    match outcome {
        Outcome::Answered(_) => frame.send_back(),
        Outcome::Left(Leave::RateLimited) => TC_ACT_SHOT,
        // Other programs on the same hook, then the stack.
        Outcome::Left(Leave::NotDhcp | Leave::Tags | Leave::IpOptions | Leave::Fragment) => TC_ACT_UNSPEC,
        Outcome::Left(_) => {
            frame.keep_tag();
            TC_ACT_UNSPEC
        }
    }
}

/// There is no way to reach it: the verifier would not have loaded the program.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
