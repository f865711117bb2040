//! What the lanes did, as observations of machines.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV4};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use netboot_common::class::Class;
use netboot_common::stats::{Lane as DhcpLane, Outcome};
use netboot_common::tftp::event::Transfer;
use netboot_common::tftp::maps::FileRef;
use netboot_common::tftp::stats::Done;
use netboot_common::{Mac, event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::field::display;

use super::refused::Refused;
use super::repeats::{Line, Over, Repeats, Sum};
use super::transfers::{Transfer as Ended, Transfers};
use crate::fastpath::files::{Catalogue, Silent};
use crate::fastpath::{Events, Record};
use crate::inventory::events::Lane;
use crate::inventory::machines::{Machines, Who};
use crate::inventory::menu::Boots;
use crate::inventory::observed::{Named, Observation};
use crate::sys::stoppable::Stoppable;
use crate::{dhcp, dhcp6, http, tftp};

/// Turns what happened into what the site knows: notes it, for the [`Observer`](super::observer::Observer) to take in.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    machines: Arc<Machines>,
    transfers: Arc<Transfers>,
    observer: Thread,
    unanswered: Arc<Unanswered>,
}

/// Messages that got no answer, as far as the log has not said so.
#[derive(Debug)]
struct Unanswered {
    began: Instant,
    repeats: Repeats<Unserved>,
    /// Of HTTP: answers, but none that their clients wanted.
    refused: Refused,
}

/// Whose messages get no answer, where, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Unserved {
    protocol: &'static str,
    /// None: unknown.
    mac: Option<Mac>,
    interface: String,
    reason: &'static str,
}

/// How often the log is told what is over.
const SUMS: Duration = Duration::from_secs(30);

impl Unanswered {
    fn note(&self, whose: Unserved, class: Class) {
        let line = self.repeats.note(whose.clone(), self.now());
        let (protocol, mac) = (whose.protocol, whose.mac.map(display));
        match line {
            Some(Line::First) => {
                let Unserved { interface, reason, .. } = whose;
                tracing::info!(mac, %class, %interface, reason, "{protocol}: not answered");
            }
            Some(Line::Again(sum)) => whose.again(sum),
            None => {}
        }
    }

    fn say_what_is_over(&self) {
        self.refused.say_what_is_over(self.now());
        let Over { sums, others } = self.repeats.over(self.now());
        for (whose, sum) in sums {
            whose.again(sum);
        }
        if others > 0 {
            tracing::info!(count = others, "DHCP: not answered, of more machines than are told apart");
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

impl Unserved {
    fn again(&self, Sum { count, seconds }: Sum) {
        let Self { protocol, mac, interface, reason } = self;
        let mac = mac.map(display);
        tracing::info!(mac, %interface, reason, count, seconds, "{protocol}: not answered, again");
    }
}

impl Watch {
    /// In a runtime, which tells the log what is over for as long as anybody watches.
    pub(super) fn new(machines: Arc<Machines>, transfers: Arc<Transfers>, observer: Thread) -> Self {
        let (began, repeats, refused) = (Instant::now(), Repeats::default(), Refused::default());
        let unanswered = Arc::new(Unanswered { began, repeats, refused });
        let (watched, told) = (Arc::downgrade(&unanswered), Arc::downgrade(&transfers));
        tokio::spawn(async move {
            let mut clock = tokio::time::interval(SUMS);
            loop {
                clock.tick().await;
                let (Some(unanswered), Some(told)) = (watched.upgrade(), told.upgrade()) else { return };
                unanswered.say_what_is_over();
                told.say_what_is_over();
            }
        });
        Self { machines, transfers, observer, unanswered }
    }

    /// An answer, or its absence, in userspace.
    pub(super) fn dhcp(&self, event: &dhcp::Event) {
        let (Some(mac), Some(class)) = (event.mac, event.class) else { return };
        match event.outcome {
            Outcome::Answered(kind) => {
                match &event.chosen {
                    Some(Boots::Profile(profile)) => self.machines.choose(mac, Some(profile)),
                    Some(Boots::File(_) | Boots::Local) => self.machines.choose(mac, None),
                    None => {}
                }
                let named = Named::V4(event.host.as_deref().map(str::to_owned));
                self.answered(mac, Lane::Userspace, kind.name(), class.name(), event.ip.into(), named);
                self.observer.unpark();
            }
            Outcome::Left(leave) => {
                let (interface, reason) = (event.interface.clone(), leave.name());
                self.unanswered.note(Unserved { protocol: "DHCP", mac: Some(mac), interface, reason }, class);
            }
        }
    }

    /// An answer that left from the kernel, or a message that was dropped there. The observer is told by whoever reads many.
    fn kernel(&self, event: &event::Event, dhcp: &dhcp::Server) {
        if let (Some(leave), Some(lane)) = (event.leave(), event.lane()) {
            return dhcp.note_refusal(Mac(event.mac), lane, leave, event.ifindex());
        }
        let lane = match event.lane() {
            Some(DhcpLane::Tcx) => Lane::Tcx,
            _ => Lane::Xdp,
        };
        if let (Some(kind), Some(class)) = (event.kind(), event.class()) {
            let ip = IpAddr::from(event.yiaddr);
            self.answered(Mac(event.mac), lane, kind.name(), class.name(), ip, Named::Unasked);
        }
    }

    /// The same of DHCPv6. What gives an address back, or asks whether it is right, says nothing about a boot.
    pub(super) fn dhcp6(&self, event: &dhcp6::Event) {
        use dhcp6::wire::MessageType;
        let interface = &event.interface;
        let Some(class) = event.class else { return };
        match event.outcome {
            dhcp6::Outcome::Answered(asked) => {
                let ip = IpAddr::from(event.ip.unwrap_or(Ipv6Addr::UNSPECIFIED));
                let kind = match asked {
                    MessageType::Solicit => "advertise",
                    MessageType::Request | MessageType::Renew | MessageType::Rebind => "reply",
                    MessageType::InformationRequest => "information",
                    _ => return tracing::debug!(?event.mac, %interface, asked = asked.name(), "DHCPv6"),
                };
                let named = Named::V6(event.host.clone());
                match event.mac {
                    Some(mac) => {
                        self.answered(mac, Lane::Userspace, kind, class.name(), ip, named);
                        self.observer.unpark();
                    }
                    None => tracing::debug!(%class, %interface, kind, %ip, "DHCPv6: a machine without a MAC"),
                }
            }
            dhcp6::Outcome::Left(leave) => {
                let (mac, interface, reason) = (event.mac, interface.clone(), leave.name());
                self.unanswered.note(Unserved { protocol: "DHCPv6", mac, interface, reason }, class);
            }
        }
    }

    /// Notes an answer. A lost one would leave its machine without the address that its next requests come from.
    fn answered(
        &self,
        mac: Mac,
        lane: Lane,
        kind: &'static str,
        class: &'static str,
        ip: IpAddr,
        named: Named,
    ) {
        let ip = Some(ip).filter(|ip| !ip.is_unspecified());
        self.machines.note_surely(Who::Mac(mac), lane, Observation::Dhcp { kind, class, ip, named });
    }

    /// A transfer has ended. Called by workers: takes no lock.
    pub(super) fn tftp(&self, lane: Lane, event: tftp::Event) {
        let tftp::Event { client, file, bytes, direction, outcome, .. } = &event;
        let is_done = matches!(outcome, tftp::Outcome::Done | tftp::Outcome::Unconfirmed);
        if is_done && *direction == tftp::Direction::Read {
            let seen = Observation::Loader { file: file.clone(), bytes: *bytes };
            self.fetched(Who::Address(client.ip().to_canonical()), lane, seen);
        }
        self.transfers.push(Ended::Tftp(lane, event));
        self.observer.unpark();
    }

    /// A transfer that the kernel served has ended.
    fn kernel_tftp(&self, transfer: &Transfer, catalogue: &Catalogue) {
        let client = SocketAddrV4::new(transfer.address.into(), transfer.port());
        let duration = Duration::from_nanos(transfer.duration());
        let resent = transfer.resent() + catalogue.take_again(client, transfer.began());
        let told = (transfer.bytes(), resent, duration);
        self.tftp(Lane::Tcx, served(catalogue, transfer.file, client, told, outcome(transfer)));
    }

    /// One whose client fell silent: a while ago, by the time that it is told.
    pub(super) fn kernel_tftp_silent(&self, Silent { client, session }: &Silent, catalogue: &Catalogue) {
        let outcome = match session.answered() {
            true if session.sent() == session.blocks() => tftp::Outcome::Unconfirmed,
            true => tftp::Outcome::Failed(format!(
                "the client fell silent after block {} of {}",
                session.acked(),
                session.blocks()
            )),
            false => tftp::Outcome::Failed("the client never answered".to_owned()),
        };
        let duration = Duration::from_nanos(session.time().saturating_sub(session.began()));
        let resent = session.resent() + catalogue.take_again(*client, session.began());
        let told = (session.bytes(), resent, duration);
        self.tftp(Lane::Tcx, served(catalogue, session.file, *client, told, outcome));
    }

    /// An answer goes on, or has ended. Called by workers: takes no lock but that of the refused.
    pub(super) fn http(&self, event: http::Event) {
        if event.stage == http::Stage::Progress {
            return;
        }
        if event.status >= 400 || event.stage == http::Stage::Broken {
            self.unanswered.refused.note(&event, self.unanswered.now());
        }
        if let Some(seen) = seen_in(&event) {
            // IPv4 clients also come by an IPv6 socket.
            let peer = event.peer.ip().to_canonical();
            let who = event.boot.map_or(Who::Address(peer), |id| Who::Boot { id: id.into(), peer });
            self.fetched(who, Lane::Http, seen);
        }
        self.transfers.push(Ended::Http(event));
        self.observer.unpark();
    }

    /// Called by the workers of the data planes, which must not wait, and tell the observer themselves. A `boot: once` whose kernel was lost here ends with its boot, as
    /// where the kernel is not ours to serve.
    fn fetched(&self, by: Who, lane: Lane, seen: Observation) {
        let is_noted = self.machines.note(by, lane, seen);
        if !is_noted && self.machines.lost().is_power_of_two() {
            let lost = self.machines.lost();
            tracing::warn!(
                ?by,
                lost,
                "more is fetched than can be noted: what machines fetch is shown late, or not at all"
            );
        }
    }
}

/// How a transfer ended that the kernel served.
fn outcome(transfer: &Transfer) -> tftp::Outcome {
    match transfer.done() {
        Some(Done::Finished) => tftp::Outcome::Done,
        // Firmware asks for the size first; GRUB closes what it has read enough of.
        Some(Done::Aborted) => tftp::Outcome::Aborted,
        Some(Done::Failed) if transfer.code() == 0 => tftp::Outcome::Aborted,
        Some(Done::InVain) => {
            let bytes = transfer.bytes();
            tftp::Outcome::Failed(format!("what follows byte {bytes} does not get through to the client"))
        }
        Some(Done::Guessed) => tftp::Outcome::Failed(
            "an ACK came to a port that this transfer does not have: somebody forges the client's".to_owned(),
        ),
        _ => tftp::Outcome::Failed(format!("the client sent error {}", transfer.code())),
    }
}

/// An event of a transfer from the kernel.
fn served(
    catalogue: &Catalogue,
    file: FileRef,
    client: SocketAddrV4,
    (bytes, resent, duration): (u32, u32, Duration),
    outcome: tftp::Outcome,
) -> tftp::Event {
    let bytes = bytes.into();
    tftp::Event {
        client: client.into(),
        file: catalogue.name(file).unwrap_or_else(|| "a file that is gone".to_owned()),
        // What it was the kernel doesn't say of one that was given up.
        size: if outcome == tftp::Outcome::Done { bytes } else { 0 },
        bytes,
        resent: resent.into(),
        duration,
        direction: tftp::Direction::Read,
        outcome,
    }
}

/// What an answer says of a machine. That it asked, and got nothing, or not all, is no fruit of its boot, and no lack of it either.
fn seen_in(event: &http::Event) -> Option<Observation> {
    let http::Event { path, status, bytes, .. } = event;
    let (file, bytes, is_loader) = (path.clone(), *bytes, path.starts_with("/loaders/"));
    match is_fetched(event) {
        true if is_loader => Some(Observation::Loader { file, bytes }),
        true => Some(Observation::Kernel { file, bytes }),
        false if is_loader || path.is_empty() => None,
        false => Some(Observation::Unserved { file, status: *status }),
    }
}

/// Whether this brought a client a file, or the rest of one that it has the beginning of. Whoever asks for a file's size, whether it has
/// changed, for a byte of it, or for what a folder holds, does not boot it: that must end no `boot: once`.
fn is_fetched(event: &http::Event) -> bool {
    let http::Event { path, status, bytes, total, range, .. } = event;
    let is_whole = *status == 200 && !path.ends_with('/');
    let is_rest = *status == 206 && range.is_some_and(|(start, _)| start > 0);
    *bytes > 0 && bytes == total && (is_whole || is_rest)
}

/// Events that are read between two looks at the wake-up. All of them have room where they are noted, so that the observer need not
/// hear of each.
const ROUND: usize = 1024;
/// How long the first event of a burst waits for the rest of it. While one waits, the kernel wakes nobody for the next: an interrupt
/// for each answer costs the core that answers more than the answer does.
const BURST: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Starts the thread that reads the kernel's ring.
pub(super) fn read_kernel_events(
    mut events: Events,
    watch: Watch,
    dhcp: Arc<dhcp::Server>,
    catalogue: Catalogue,
) -> io::Result<Stoppable> {
    Stoppable::start("events", move |wake| {
        loop {
            // Not all at once: in a storm there is always one more, and we may be told to stop.
            let mut read = 0;
            for record in events.by_ref().take(ROUND) {
                read += 1;
                match record {
                    Record::Answer(event) => watch.kernel(&event, &dhcp),
                    Record::Transfer(transfer) => watch.kernel_tftp(&transfer, &catalogue),
                }
            }
            watch.observer.unpark();
            let told = wait([wake.as_fd(), events.as_fd()], None);
            // Behind a full round there is more, and the ring has little room.
            let pause = if read == ROUND { NO_TIME } else { BURST };
            if told.is_break() || wait([wake.as_fd()], Some(&pause)).is_break() {
                return;
            }
        }
    })
}

/// Waits until one of them is readable. Break: it is the first, or they can't be waited for.
pub(super) fn wait<const N: usize>(on: [BorrowedFd<'_>; N], at_most: Option<&Timespec>) -> ControlFlow<()> {
    let mut on = on.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let is_over = match poll(&mut on, at_most) {
        Ok(_) => on.first().is_some_and(|wake| !wake.revents().is_empty()),
        Err(error) => error != rustix::io::Errno::INTR,
    };
    if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use netboot_common::tftp::event::Client;
    use netboot_common::tftp::session::Session;

    use super::*;

    #[test]
    fn a_client_of_the_kernel_s_that_names_no_error_has_read_enough() {
        let ended = |done, code| {
            let client = Client { ifindex: 1, address: [10, 0, 0, 9], port: 1024, code };
            outcome(&Transfer::new(0, client, &Session::NONE, done, 0))
        };
        let failed = |code| tftp::Outcome::Failed(format!("the client sent error {code}"));
        assert_eq!(ended(Done::Failed, 0), tftp::Outcome::Aborted);
        assert_eq!((ended(Done::Failed, 3), ended(Done::Failed, 8)), (failed(3), failed(8)));
        assert_eq!(
            (ended(Done::Aborted, 8), ended(Done::Finished, 0)),
            (tftp::Outcome::Aborted, tftp::Outcome::Done)
        );
    }

    #[test]
    fn what_ends_a_boot_once_is_a_file_that_was_fetched_to_its_end() {
        let fetched = |path: &str, status, bytes, total, range| {
            let (peer, path, duration, stage) =
                (SocketAddr::from(([10, 0, 0, 9], 1024)), path.to_owned(), Duration::ZERO, http::Stage::Done);
            let (boot, pace, cause) = (None, None, None);
            is_fetched(&http::Event {
                peer,
                path,
                boot,
                status,
                bytes,
                total,
                duration,
                range,
                pace,
                stage,
                cause,
            })
        };
        assert!(fetched("/assets/vmlinuz", 200, 7, 7, None));
        assert!(fetched("/assets/vmlinuz", 206, 4, 4, Some((3, 7))), "the rest of one that broke off");
        for (what, path, status, bytes, total, range) in [
            ("a HEAD", "/assets/vmlinuz", 200, 0, 0, None),
            ("a HEAD that counts", "/assets/vmlinuz", 200, 0, 7, None),
            ("unchanged", "/assets/vmlinuz", 304, 0, 0, None),
            ("one byte", "/assets/vmlinuz", 206, 1, 1, Some((0, 1))),
            ("a list", "/assets/folder/", 200, 7, 7, None),
        ] {
            assert!(!fetched(path, status, bytes, total, range), "{what}");
        }
    }
}
