//! The userspace lane as one more executor: what the kernel's lanes answer, it answers with the same bytes.

use netboot_common::reply::Scratch;
use netboot_common::stats::Outcome;
use netboot_userspace::dhcp::leases::Book;
use netboot_userspace::dhcp::machine::{Arrival, Hosts, Machine, Now};

use crate::lab::{IFINDEX, Made};
use crate::site::{site, site_plan};

/// What the machine makes of a frame that the kernel's lanes answer.
pub(crate) fn userspace(frame: &[u8]) -> Made {
    let hosts = Hosts { by_mac: site().hosts, ..Hosts::default() };
    let mut machine = Machine {
        plan: site_plan(),
        hosts,
        book: Book::default(),
        serve_unknown: false,
        authoritative: true,
    };
    let arrival = Arrival { frame, ifindex: IFINDEX };
    let mut out = vec![0xa5; 4096];
    let now = Now { unix: 1_000_000, boot: 1_000_000 };
    let actions = machine.handle(arrival, now, &mut Scratch::new(), &mut out);
    match (actions.outcome, actions.send) {
        (Outcome::Left(leave), _) => Err(leave),
        (Outcome::Answered(_), length) => {
            out.truncate(length.expect("an answer is sent"));
            Ok(out)
        }
    }
}
