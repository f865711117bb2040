//! For development: says of each DHCP message that a lane left why it did (CONTRIBUTING.md).

use aya_ebpf::EbpfContext;
use aya_log_ebpf::info;
use netboot_common::stats::{Lane, Leave, Outcome};

#[inline(always)]
pub fn left<C: EbpfContext>(ctx: &C, lane: Lane, outcome: Outcome) {
    match outcome {
        // All the traffic that is not ours.
        Outcome::Answered(_) | Outcome::Left(Leave::NotDhcp | Leave::NoInterface) => {}
        Outcome::Left(leave) => {
            info!(ctx, "lane {}: left for reason {} of Leave::ALL", lane as u8, leave as u8)
        }
    }
}
