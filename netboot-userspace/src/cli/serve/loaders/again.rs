//! Sends again what the clients of the kernel's transfers wait for: a thread of its own, so that no slow disk keeps them waiting.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::Timespec;

use crate::cli::serve::watch::wait;
use crate::fastpath::files::{Waiting, boot_time};
use crate::sys::stoppable::Stoppable;
use crate::tftp::again::packets;
use crate::tftp::strays::Tids;

/// Between two looks, at least.
const LOOK: Duration = Duration::from_millis(100);
/// A look at thousands of transfers takes its time: there are as many such times between two of them.
const SHARE: u32 = 20;

/// Starts the thread.
pub(super) fn start(mut waiting: Waiting, tids: Tids) -> io::Result<Stoppable> {
    Stoppable::start("tftp-again", move |wake| {
        let (mut pause, mut is_failing) = (LOOK, false);
        while wait([wake.as_fd()], Timespec::try_from(pause).ok().as_ref()).is_continue() {
            let begin = Instant::now();
            let looked = waiting.look(boot_time(), |client, session, content| {
                let own = Ipv4Addr::from(session.own());
                let mut sent = 0;
                packets(session, content, |packet| {
                    sent += u32::from(tids.send(own, session.port(), client, packet));
                });
                sent
            });
            pause = LOOK.max(begin.elapsed() * SHARE);
            let failed = looked.err();
            is_failing = match failed {
                Some(error) if !is_failing => {
                    let error = anyhow::Error::from(error);
                    tracing::warn!("TFTP in the kernel: what is lost is not sent again: {error:#}");
                    true
                }
                other => other.is_some(),
            };
        }
    })
}
