//! The userspace lane as one more executor: what the kernel's lanes answer, it answers with the same bytes.

use std::sync::{LazyLock, Mutex};

use netboot_common::reply::Scratch;
use netboot_common::stats::{Note, Outcome};
use netboot_userspace::dhcp::leases::Book;
use netboot_userspace::dhcp::machine::{Arrival, Hosts, Machine, Now};

use crate::lab::{IFINDEX, Made, NOW};
use crate::site::{site, site_plan};

/// What the machine makes of a frame. It has no pool, and serves no strangers: it answers from the hosts that the kernel has.
pub(crate) fn userspace(frame: &[u8]) -> Made {
    userspace_noted(frame).0
}

/// As [`userspace`], with what the answer was noted to lack.
pub(crate) fn userspace_noted(frame: &[u8]) -> (Made, Vec<Note>) {
    // The one machine of this process: without pools it has nothing to remember.
    static MACHINE: LazyLock<Mutex<Machine>> = LazyLock::new(|| Mutex::new(machine()));
    let mut machine = MACHINE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let arrival = Arrival { frame, ifindex: IFINDEX };
    let mut out = vec![0xa5; 4096];
    let actions = machine.handle(arrival, Now { unix: NOW, boot: NOW }, &mut Scratch::new(), &mut out);
    let made = match (actions.outcome, actions.send) {
        (Outcome::Left(leave), _) => Err(leave),
        (Outcome::Answered(_), length) => {
            out.truncate(length.expect("an answer is sent"));
            Ok(out)
        }
    };
    (made, actions.notes)
}

fn machine() -> Machine {
    let hosts = Hosts { by_mac: site().hosts.clone(), ..Hosts::default() };
    let (plan, book) = (site_plan(), Book::default());
    let (withheld, elsewhere) = Default::default();
    Machine { plan, hosts, book, withheld, serve_unknown: false, elsewhere, authoritative: true }
}
