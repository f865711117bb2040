//! One interface: its sockets, and the frames between them and the machine.
//!
//! Two threads: one reads, decides, and answers what rests on no new lease; the other makes leases durable, all that were decided
//! during one sync of the disk with the next, and then answers those. Nobody who only asks waits for the disk.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netboot_common::Mac;
use netboot_common::maps::Kind;
use netboot_common::reply::Scratch;
use netboot_common::stats::{Lane as StatsLane, Leave, Outcome};
use netboot_common::wire::{ethernet, udp, vlan};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::machine::{Actions, Arrival};
use super::tables::Served;
use super::{Error, Event, Shared, arp, observed, ports};
use crate::sys::packet::{self, Only, PacketSocket, Received};
use crate::sys::stoppable::Stoppable;

/// Frames read at a time.
const BATCH: usize = 256;

/// Answers that wait for the disk, at most: then reading waits, too.
const WAITING: usize = 4 * BATCH;

/// The sockets of one interface.
pub(super) struct Port {
    interface: String,
    ifindex: u32,
    mac: Mac,
    sockets: Vec<PacketSocket>,
    /// Whether somebody has an address that is to be offered.
    arp: Option<PacketSocket>,
    wait: Duration,
    /// Nothing is sent, and nothing is stored.
    observe: bool,
    /// What other servers answer, where we only observe.
    theirs: Option<PacketSocket>,
    /// Bound, never read: while somebody listens on 67 and 4011, the kernel answers no client with "port unreachable".
    _ports: ports::Held,
}

/// One port for each interface, however many of its VLANs are served. `behind_tc`: our program at tc says which tag a frame had.
pub(super) fn open(served: &[Served], probe: Option<Duration>, behind_tc: bool) -> Result<Vec<Port>, Error> {
    let mut open: Vec<Port> = Vec::new();
    for first in served {
        let index = first.link.index;
        if open.iter().all(|port| port.ifindex != index) {
            let here: Vec<&Served> = served.iter().filter(|other| other.link.index == index).collect();
            open.push(Port::open(&here, behind_tc, probe)?);
        }
    }
    Ok(open)
}

/// The threads that serve an interface.
pub(super) struct Running {
    pub(super) interface: String,
    thread: Stoppable,
}

impl Running {
    pub(super) fn stop(self) {
        self.thread.stop();
    }
}

/// The protocols under which the frames of these VLANs come, and their ARP. Without tc only a socket for everything sees tags;
/// with it, such a socket would see what tc answers.
fn protocols(here: &[&Served], behind_tc: bool) -> (&'static [u16], u16) {
    let tagged = here.iter().any(|served| served.key.vlan() != [0, 0]);
    let double = here.iter().any(|served| served.key.vlan()[1] != 0);
    let dhcp: &[u16] = match (tagged && !behind_tc, double) {
        (true, _) => &[packet::ALL],
        (false, true) => &[packet::IPV4, packet::VLAN],
        (false, false) => &[packet::IPV4],
    };
    (dhcp, if tagged { packet::ALL } else { packet::ARP })
}

/// Answers that wait for the disk, each with the number of the socket by which it leaves.
type Leases = SyncSender<(usize, Decided)>;

/// Buffers of the thread that reads, the offers that wait for their probe, and where answers wait for the disk.
struct Lane {
    leases: Leases,
    scratch: Scratch,
    frame: [u8; 4096],
    out: [u8; 4096],
    probed: HashMap<Ipv4Addr, Probed>,
}

/// An offer that is sent when nobody said that he has the address.
struct Probed {
    until: Instant,
    socket: usize,
    request: Vec<u8>,
    decided: Decided,
}

/// A frame that was decided.
pub(super) struct Decided {
    pub(super) actions: Actions,
    pub(super) reply: Vec<u8>,
}

impl Port {
    /// `here`: all that is served on one interface, one at least.
    fn open(here: &[&Served], behind_tc: bool, probe: Option<Duration>) -> Result<Self, Error> {
        let Served { link, observe, value, .. } = here[0];
        let failed = |source| Error::Socket { interface: link.name.clone(), source };
        let (dhcp, arp) = protocols(here, behind_tc);
        let only = Only::Udp([udp::DHCP_SERVER, udp::PXE]);
        let sockets = dhcp.iter().map(|protocol| PacketSocket::open(link.index, *protocol, only));
        let arp = probe.map(|_| PacketSocket::open(link.index, arp, Only::Arp));
        let replies = Only::Udp([udp::DHCP_CLIENT, udp::DHCP_SERVER]);
        let theirs = observe.then(|| PacketSocket::overhearing(link.index, replies));
        Ok(Self {
            interface: link.name.clone(),
            ifindex: link.index,
            mac: link.mac,
            sockets: sockets.collect::<io::Result<_>>().map_err(failed)?,
            arp: arp.transpose().map_err(failed)?,
            wait: probe.unwrap_or_default(),
            observe: *observe,
            theirs: theirs.transpose().map_err(failed)?,
            _ports: if *observe { ports::Held::nothing() } else { ports::hold(link.address, value.mode()) },
        })
    }

    /// Serves in threads of its own until it is stopped, and what was decided is answered.
    pub(super) fn start(self, shared: Arc<Shared>) -> Result<Running, Error> {
        let (interface, port) = (self.interface.clone(), Arc::new(self));
        let (leases, decided) = sync_channel(WAITING);
        let (giver, known) = (port.clone(), shared.clone());
        let giving = std::thread::Builder::new().name("dhcp-leases".to_owned());
        let giving = giving.spawn(move || giver.give_leases(&known, &decided)).map_err(Error::Thread)?;
        let reading = Stoppable::start("dhcp", move |wake| {
            port.read(&shared, leases, &giving, wake);
            // Its panic was told when it came.
            let _ = giving.join();
        });
        Ok(Running { interface, thread: reading.map_err(Error::Thread)? })
    }

    /// Until `wake` is readable.
    fn read(self: &Arc<Self>, shared: &Arc<Shared>, leases: Leases, giving: &JoinHandle<()>, wake: &OwnedFd) {
        let (frame, out) = ([0; 4096], [0; 4096]);
        let mut lane = Lane { leases, scratch: Scratch::new(), frame, out, probed: HashMap::new() };
        // A server that offers and never acknowledges is worse than none: another may answer.
        while !giving.is_finished() {
            match self.wait_for_frames(&lane, wake) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(interface = %self.interface, %error, "DHCP: waiting for frames");
                    return;
                }
            }
            self.read_arp(shared, &mut lane);
            // Before the questions are read: an answer that is here was asked for before.
            let answers = self.overheard(&mut lane);
            for socket in 0..self.sockets.len() {
                self.batch(socket, shared, &mut lane);
            }
            self.end_probes(shared, &mut lane);
            answers.iter().for_each(|answer| shared.heard(answer));
            if self.observe
                && let Some(pending) = shared.remember_observed(Instant::now())
            {
                pending.forget();
            }
        }
    }

    /// False when it is time to end.
    fn wait_for_frames(&self, lane: &Lane, wake: &OwnedFd) -> io::Result<bool> {
        let sockets =
            self.sockets.iter().chain(&self.arp).chain(&self.theirs).map(AsFd::as_fd).chain([wake.as_fd()]);
        let mut waiting: Vec<PollFd<'_>> =
            sockets.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let next = lane.probed.values().map(|probed| probed.until).min();
        let left = next.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.or(self.observe.then_some(observed::PACE));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(waiting.last().is_none_or(|wake| wake.revents().is_empty()))
    }

    /// Reads what is there, and decides. What needs no disk is answered at once.
    fn batch(self: &Arc<Self>, socket: usize, shared: &Arc<Shared>, lane: &mut Lane) {
        let mut batch: Vec<Decided> = Vec::new();
        for _ in 0..BATCH {
            match self.sockets[socket].receive(&mut lane.frame) {
                Ok(Received::Frame(length)) => {
                    let request = lane.frame[..length].to_vec();
                    let decided = self.decide(shared, lane, &request);
                    if self.observe {
                        // And nobody hears of it: what is remembered of machines is what they were really told.
                        shared.asked(&request, &decided, &self.interface);
                        continue;
                    }
                    let decided = self.ask_first(socket, shared, decided);
                    batch
                        .extend(decided.and_then(|decided| self.probe_first(lane, decided, socket, request)));
                }
                Ok(Received::Foreign) => shared.count(Outcome::Left(Leave::NoInterface).index()),
                Ok(Received::Nothing) => break,
                // Said by whoever watches interfaces.
                Err(error) if error.raw_os_error() == Some(Errno::NETDOWN.raw_os_error()) => break,
                Err(error) => {
                    tracing::warn!(interface = %self.interface, %error, "DHCP: receiving");
                    break;
                }
            }
        }
        self.carry_out(socket, shared, &lane.leases, batch);
    }

    /// Frames of other servers.
    fn overheard(&self, lane: &mut Lane) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let Some(theirs) = &self.theirs else { return frames };
        while frames.len() < BATCH {
            match theirs.receive(&mut lane.frame) {
                Ok(Received::Frame(length)) => frames.push(lane.frame[..length].to_vec()),
                Ok(Received::Foreign) => {}
                Ok(Received::Nothing) | Err(_) => break,
            }
        }
        frames
    }

    fn decide(&self, shared: &Shared, lane: &mut Lane, request: &[u8]) -> Decided {
        let arrival = Arrival { frame: request, ifindex: self.ifindex };
        let actions = shared.decide(arrival, &mut lane.scratch, &mut lane.out);
        let reply = actions.send.map(|length| lane.out[..length].to_vec()).unwrap_or_default();
        Decided { actions, reply }
    }

    /// Keeps what tells a machine to boot back until the one who is asked for each machine has said that it does. Gives back what needs
    /// no asking.
    fn ask_first(
        self: &Arc<Self>,
        socket: usize,
        shared: &Arc<Shared>,
        mut decided: Decided,
    ) -> Option<Decided> {
        let asked = shared.gate.as_ref().zip(decided.actions.asks_for());
        let Some((gate, (mac, class))) = asked else { return Some(decided) };
        let (port, shared) = (self.clone(), shared.clone());
        gate.ask(
            mac,
            class,
            Box::new(move |boots| {
                if !boots {
                    decided.actions.boots_nothing();
                }
                port.answer(socket, &shared, decided.actions, &decided.reply);
            }),
        );
        None
    }

    /// Keeps an offer back while its address is probed. Gives it back where that is not needed.
    fn probe_first(
        &self,
        lane: &mut Lane,
        decided: Decided,
        socket: usize,
        request: Vec<u8>,
    ) -> Option<Decided> {
        let ip = decided.actions.yiaddr;
        let offer = decided.actions.outcome == Outcome::Answered(Kind::Offer);
        if offer && let Some(waiting) = lane.probed.get_mut(&ip) {
            // The client asks again meanwhile: its last question is answered.
            (waiting.decided, waiting.request) = (decided, request);
            return None;
        }
        if !decided.actions.probe {
            return Some(decided);
        }
        if let Some(arp) = &self.arp
            && arp.send(&arp::probe(ip, self.mac, tags(&request))).is_ok()
        {
            let until = Instant::now() + self.wait;
            lane.probed.insert(ip, Probed { until, socket, request, decided });
            return None;
        }
        Some(decided)
    }

    /// Whoever shows up with an address that is being probed has it.
    fn read_arp(&self, shared: &Shared, lane: &mut Lane) {
        let Some(arp) = &self.arp else { return };
        loop {
            let length = match arp.receive(&mut lane.frame) {
                Ok(Received::Frame(length)) => length,
                Ok(Received::Foreign) => continue,
                Ok(Received::Nothing) | Err(_) => return,
            };
            let frame = &lane.frame[..length];
            let Some((mac, ip)) = arp::user(frame) else { continue };
            let Some(probed) = lane.probed.get(&ip) else { continue };
            // The client itself may use it still: then it is what it should get. The same address on another VLAN is another.
            if probed.decided.actions.mac == Some(mac) || !vids(tags(&probed.request)).eq(vids(tags(frame))) {
                continue;
            }
            let Some(Probed { socket, request, .. }) = lane.probed.remove(&ip) else { continue };
            tracing::warn!(interface = %self.interface, %ip, %mac, "DHCP: the address is in use, and not leased by us");
            shared.conflict(ip);
            let decided = self.decide(shared, lane, &request);
            let decided = self.probe_first(lane, decided, socket, request);
            self.carry_out(socket, shared, &lane.leases, decided.into_iter().collect());
        }
    }

    /// Sends the offers that nobody objected to.
    fn end_probes(&self, shared: &Shared, lane: &mut Lane) {
        let now = Instant::now();
        let due: Vec<Ipv4Addr> =
            lane.probed.iter().filter(|(_, probed)| probed.until <= now).map(|(ip, _)| *ip).collect();
        for ip in due {
            if let Some(Probed { socket, decided, .. }) = lane.probed.remove(&ip) {
                self.carry_out(socket, shared, &lane.leases, vec![decided]);
            }
        }
    }

    /// Answers, or has those leases made durable first on which the answer rests.
    fn carry_out(&self, socket: usize, shared: &Shared, leases: &Leases, batch: Vec<Decided>) {
        let of_socket = batch.into_iter().map(|decided| (socket, decided));
        let (waiting, ready): (Vec<_>, Vec<_>) =
            of_socket.partition(|(_, decided)| decided.actions.store.is_some());
        // First: where very much waits for the disk, the other way is where we wait, too.
        self.teach_and_answer(shared, ready);
        for answer in waiting {
            // That thread ends after us, unless it panicked: then we end with it.
            let _ = leases.send(answer);
        }
    }

    /// Makes leases durable, those in one commit that were decided during the last one, until there will be no more.
    fn give_leases(&self, shared: &Shared, decided: &Receiver<(usize, Decided)>) {
        while let Ok(first) = decided.recv() {
            let all = std::iter::once(first).chain(decided.try_iter().take(WAITING));
            let (sockets, mut batch): (Vec<_>, Vec<_>) = all.unzip();
            make_durable(shared, &mut batch);
            self.teach_and_answer(shared, sockets.into_iter().zip(batch).collect());
        }
    }

    /// Tells the kernel's lanes, and only then the clients: once one has its ACK, they may see its next request.
    fn teach_and_answer(&self, shared: &Shared, batch: Vec<(usize, Decided)>) {
        let lessons: Vec<_> = batch.iter().filter_map(|(_, decided)| decided.actions.teach).collect();
        if let Err(error) = shared.teach_leases(&lessons) {
            tracing::warn!(interface = %self.interface, %error, "DHCP: the kernel's lanes were not told");
        }
        for (socket, Decided { actions, reply }) in batch {
            self.answer(socket, shared, actions, &reply);
        }
    }

    fn answer(&self, socket: usize, shared: &Shared, actions: Actions, reply: &[u8]) {
        let Actions { outcome, mac, class, yiaddr: ip, host, send, chosen, notes, .. } = actions;
        if send.is_some()
            && let Err(error) = self.sockets[socket].send(reply)
        {
            tracing::warn!(interface = %self.interface, %error, "DHCP: sending");
        }
        shared.count(outcome.index());
        notes.iter().for_each(|note| shared.count(note.index()));
        if let (Outcome::Left(leave), Some(mac)) = (outcome, mac) {
            shared.refusals().note(mac, shared.now().unix, StatsLane::Userspace, leave, &self.interface);
        }
        let interface = self.interface.clone();
        (shared.observer)(Event { outcome, mac, class, ip, host, interface, chosen });
    }
}

/// One commit for all leases of a batch. An answer that rests on one which is not durable becomes the reason why there is none.
pub(super) fn make_durable(shared: &Shared, batch: &mut [Decided]) {
    let stored: Vec<_> = batch.iter().filter_map(|decided| decided.actions.store.clone()).collect();
    let durable = shared.commit(&stored);
    let storing = batch.iter_mut().filter(|decided| decided.actions.store.is_some());
    for (decided, _) in storing.zip(durable).filter(|(_, durable)| !durable) {
        decided.actions.not_durable();
    }
}

/// The tags of a frame, outermost first.
fn tags(frame: &[u8]) -> &[u8] {
    let from = ethernet::field::ETHERTYPE;
    let tags = frame.get(from..).unwrap_or_default().chunks_exact(vlan::TAG);
    let count = tags.take_while(|tag| vlan::is_tpid(u16::from_be_bytes([tag[0], tag[1]]))).count();
    frame.get(from..from + count * vlan::TAG).unwrap_or_default()
}

/// The VLANs that tags name.
fn vids(tags: &[u8]) -> impl Iterator<Item = u16> {
    let vids = tags.chunks_exact(vlan::TAG).map(|tag| vlan::vid(u16::from_be_bytes([tag[2], tag[3]])));
    vids.filter(|vid| *vid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_s_tags_are_those_before_its_type_and_a_priority_names_no_vlan() {
        let frame = |tags: &[u8]| [&[0; 12], tags, &[8, 6, 0, 1, 8, 0]].concat();
        for (bytes, want) in [
            (&[][..], &[][..]),
            (&[0x81, 0, 0xe0, 0], &[]),
            (&[0x81, 0, 0xe0, 77], &[77]),
            (&[0x88, 0xa8, 0, 100, 0x81, 0, 0, 88], &[100, 88]),
        ] {
            let frame = frame(bytes);
            assert_eq!(tags(&frame), bytes);
            assert_eq!(vids(tags(&frame)).collect::<Vec<_>>(), want);
        }
        assert_eq!(tags(&[0; 13]), [0; 0]);
    }
}
