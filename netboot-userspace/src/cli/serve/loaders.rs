//! Which files the kernel serves by TFTP: those below the roots that are small enough, as they are now. They are looked at once in
//! a [`LOOK`]; userspace, which serves what the kernel does not have, looks at each request.

mod again;
mod library;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netboot_common::limit::Budget;
use netboot_common::tftp::maps::{SESSIONS_MAX, Serving};

use arc_swap::ArcSwap;
use serde::Serialize;

pub(super) use self::library::Library;
use super::watch::Watch;
use crate::fastpath;
use crate::fastpath::files::{self, Files, Placed, boot_time};
use crate::sys::stoppable::Stoppable;
use crate::tftp::strays::Strays;
use crate::tftp::{Limits, Sources};

const LOOK: Duration = Duration::from_secs(1);
/// So often is looked for transfers whose clients fell silent.
const SWEEP: Duration = Duration::from_secs(5);

/// Requests that an address may make without acknowledging what it gets: so many a second, and so many at once. What is over it
/// goes to userspace, whose own bounds are stricter.
///
/// Two thousand machines behind one address (NAT: a relay agent hides nobody from TFTP) that are switched on together. EFI asks for the
/// size first, and gives that back by its ERROR; the next loader is asked for seconds later. Whoever forges requests in somebody's name takes an eighth of the sessions that are remembered, and has 64 packets in a
/// second sent there, 36 kB without options, and each up to three times more.
const REQUESTS: Budget = Budget::new(64, 2048);

/// Those of all addresses together: half of the sessions that the kernel remembers. So many clients may ask at the same moment; a flood of
/// forged requests, of any number of addresses, adds 4,000 in the minute until they are swept out, and evicts none that is under way.
const ALL_REQUESTS: Budget = Budget::new(64, SESSIONS_MAX / 2);

/// The thread that looks.
#[derive(Debug)]
pub(super) struct Loaders {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    strays: Option<Strays>,
    again: Option<Stoppable>,
    placed: Shown,
}

/// What the kernel serves now, for `netboot status`.
pub(super) type Shown = Arc<ArcSwap<InKernel>>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct InKernel {
    #[serde(flatten)]
    placed: Placed,
    /// What the operator wants there, and is not: see [`Library::missing`].
    missing: Vec<String>,
    transfers: files::Counts,
}

impl Loaders {
    /// Serves what is below `roots`, and `files`, of which those that come first hide others of their name.
    /// Transfers have `tids` ports. Strays are answered to `sources`.
    pub(super) fn start(
        mut files: Files,
        (listen, tids): (SocketAddr, u16),
        limits: Limits,
        library: Library,
        sources: Sources,
        watch: Watch,
    ) -> io::Result<Self> {
        let address = if library.is_off { None } else { v4(listen) };
        let strays = address.and_then(|address| hold(&files, (address, tids), sources));
        let serving = address.zip(strays.as_ref()).map(|(address, strays)| {
            let Limits { block_size, window_size, .. } = limits;
            let serving = Serving::new(listen.port(), strays.first(), block_size, window_size, REQUESTS);
            serving.with_tids(strays.first(), tids).with_all(ALL_REQUESTS).on(address.octets())
        });
        let serving = serving.unwrap_or(Serving::NOTHING);
        let waiting = strays.as_ref().zip(files.take_waiting());
        let again = waiting.map(|(strays, waiting)| again::start(waiting, strays.tids())).transpose()?;
        let (begin, placed) = (Instant::now(), Shown::default());
        let mut look = Look { library, files, serving, served: None, begin, swept: begin, placed, watch };
        // What is offered first is there before the first request is taken.
        look.look();
        let (placed, (stop, stopped)) = (look.placed.clone(), channel());
        let thread = std::thread::Builder::new().name("loaders".to_owned()).spawn(move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                look.look();
            }
        })?;
        Ok(Self { stop, thread, strays, again, placed })
    }

    /// What the kernel serves, now and later.
    pub(super) fn placed(&self) -> Shown {
        self.placed.clone()
    }

    /// Where no program is attached, there is nothing to look at; one that is attached later leaves all to userspace.
    pub(super) fn none(mut files: Files) {
        if let Err(error) = files.serve(Serving::NOTHING) {
            tracing::warn!("TFTP in the kernel: {:#}", anyhow::Error::from(error));
        }
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
        if let Some(again) = self.again {
            again.stop();
        }
        if let Some(strays) = self.strays {
            strays.stop();
        }
    }
}

impl InKernel {
    /// Says what is other than it was.
    fn tell(&self, before: &Self) {
        let Placed { files, bytes, left } = &self.placed;
        if self.placed != before.placed {
            tracing::info!("TFTP in the kernel: {files} files of {bytes} bytes");
        }
        if !left.is_empty() && *left != before.placed.left {
            tracing::warn!("no room in the kernel for {}: userspace serves them", left.join(", "));
        }
        if !self.missing.is_empty() && self.missing != before.missing {
            let missing = self.missing.join(", ");
            tracing::warn!("tftp: kernel: {missing}: no such files, or none that the kernel can serve");
        }
    }
}

/// What the thread works with.
struct Look {
    library: Library,
    files: Files,
    /// Where and how, once its files are there.
    serving: Serving,
    /// What the kernel has of that; `None`: what an earlier server left.
    served: Option<Serving>,
    begin: Instant,
    swept: Instant,
    placed: Shown,
    watch: Watch,
}

impl Look {
    fn look(&mut self) {
        self.follow();
        if self.swept.elapsed() >= SWEEP {
            self.swept = Instant::now();
            self.sweep();
        }
    }

    /// Has the kernel serve what is there now; nothing, where that fails, until it succeeds: nobody knows what its names lead to.
    fn follow(&mut self) {
        let Err(error) = self.place().and_then(|()| self.serve(self.serving)) else { return };
        if self.served != Some(Serving::NOTHING) {
            tracing::warn!("no TFTP in the kernel, for now: {:#}", anyhow::Error::from(error));
        }
        self.library.is_new = true;
        self.placed.store(Arc::default());
        if let Err(error) = self.serve(Serving::NOTHING) {
            tracing::warn!("the kernel goes on serving old files by TFTP: {:#}", anyhow::Error::from(error));
        }
    }

    fn serve(&mut self, serving: Serving) -> Result<(), fastpath::Error> {
        if self.served != Some(serving) {
            self.files.serve(serving)?;
            self.served = Some(serving);
        }
        Ok(())
    }

    /// Puts the files that are there now into the maps.
    fn place(&mut self) -> Result<(), fastpath::Error> {
        let now = self.begin.elapsed();
        let before = self.placed.load_full();
        // What found no room is offered again: old versions may have gone.
        if !self.library.changed() && before.placed.left.is_empty() {
            return self.files.tidy(now);
        }
        let placed = self.files.replace(&self.library.offered(), now)?;
        let (missing, transfers) = (self.library.missing.clone(), self.files.transfers());
        let there = InKernel { placed, missing, transfers };
        there.tell(&before);
        self.placed.store(Arc::new(there));
        Ok(())
    }

    /// Tells of transfers that the kernel can't tell of.
    fn sweep(&mut self) {
        match self.files.sweep(boot_time()) {
            Ok(silent) => {
                silent.iter().for_each(|one| self.watch.kernel_tftp_silent(one, &self.files.catalogue()))
            }
            Err(error) => tracing::warn!("TFTP in the kernel: {:#}", anyhow::Error::from(error)),
        }
        let there = InKernel { transfers: self.files.transfers(), ..(**self.placed.load()).clone() };
        self.placed.store(Arc::new(there));
    }
}

/// The address that clients of IPv4 ask.
fn v4(listen: SocketAddr) -> Option<Ipv4Addr> {
    match listen.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => address.is_unspecified().then_some(Ipv4Addr::UNSPECIFIED),
    }
}

/// The ports for transfers: those of the earlier server's, if they are to be had. `None`, with the reason said, where none are.
fn hold(files: &Files, (address, count): (Ipv4Addr, u16), sources: Sources) -> Option<Strays> {
    let before = files.serving().map(|serving| serving.tids()).unwrap_or_default();
    let wish = Some(before).filter(|first| *first > 0 && first.is_multiple_of(count));
    Strays::start(address.into(), count, wish, sources)
        .inspect_err(|error| tracing::warn!("no TFTP in the kernel: holding ports for transfers: {error}"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's program asks of the budget of one address.
    #[test]
    fn a_storm_behind_one_address_is_served_and_a_forged_one_is_bounded() {
        const SECOND: u64 = 1_000_000_000;
        let (mut even, begin) = (0, 60 * SECOND);
        let mut asks = |now: u64| REQUESTS.admit(even, now).map(|next| even = next).is_some();
        assert!((0..2000).all(|_| asks(begin)), "at once");
        let forged = (0..600_000).filter(|n| asks(begin + n * SECOND / 10_000)).count();
        assert!(forged <= 48 + 60 * 64, "{forged} of 600,000 in a minute");
        assert!((0..2000).all(|_| asks(begin + 120 * SECOND)), "and later again");
    }

    #[test]
    fn a_flood_in_the_name_of_many_leaves_room_for_transfers_that_are_under_way() {
        const SECOND: u64 = 1_000_000_000;
        let (mut even, begin) = (0, 60 * SECOND);
        let mut asks = |now: u64| ALL_REQUESTS.admit(even, now).map(|next| even = next).is_some();
        assert!((0..5000).all(|_| asks(begin)), "a crowd at once");
        // Until they are swept out.
        let forged = (0..6_500_000).filter(|n| asks(begin + n * SECOND / 100_000)).count();
        let all = u32::try_from(5000 + forged).unwrap();
        assert!(all <= SESSIONS_MAX * 3 / 4 + 100, "{all} of {SESSIONS_MAX}");
    }
}
