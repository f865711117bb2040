//! One interface: its sockets, and the frames between them and the machine.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netboot_common::Mac;
use netboot_common::maps::Kind;
use netboot_common::packet::Slice;
use netboot_common::reply::Scratch;
use netboot_common::request::Headers;
use netboot_common::stats::{Lane as StatsLane, Outcome};
use netboot_common::wire::{ethernet, udp};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::machine::{Actions, Arrival};
use super::tables::Served;
use super::{Error, Event, Shared, arp, ports};
use crate::sys::packet::{self, PacketSocket};

/// Frames handled between two commits of leases.
const BATCH: usize = 256;

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
    /// Bound, never read: while somebody listens on 67 and 4011, the kernel answers no client with "port unreachable".
    _ports: ports::Held,
}

/// One port for each interface, however many of its VLANs are served.
pub(super) fn open(served: &[Served], probe: Option<Duration>) -> Result<Vec<Port>, Error> {
    let mut open: Vec<Port> = Vec::new();
    for served in served {
        let double = served.key.vlan()[1] != 0;
        let index = served.link.index;
        if open.iter().any(|port| port.ifindex == index && (port.sockets.len() > 1 || !double)) {
            continue;
        }
        open.retain(|port| port.ifindex != index);
        open.push(Port::open(served, double, probe)?);
    }
    Ok(open)
}

/// The thread that serves an interface.
pub(super) struct Running {
    pub(super) interface: String,
    wake: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Running {
    pub(super) fn stop(self) {
        // An eventfd takes a one unless it is full, and then its reader is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        let _ = self.thread.join();
    }
}

/// Buffers of one thread, and the offers that wait for their probe.
struct Lane {
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
    vlan: u16,
    decided: Decided,
}

/// A frame that was decided.
pub(super) struct Decided {
    pub(super) actions: Actions,
    pub(super) reply: Vec<u8>,
}

impl Port {
    fn open(served: &Served, double: bool, probe: Option<Duration>) -> Result<Self, Error> {
        let link = &served.link;
        let failed = |source| Error::Socket { interface: link.name.clone(), source };
        let protocols: &[u16] = if double { &[packet::IPV4, packet::VLAN] } else { &[packet::IPV4] };
        let socket = |protocol: &u16| PacketSocket::open(link.index, *protocol, [udp::DHCP_SERVER, udp::PXE]);
        let arp = |_| PacketSocket::open(link.index, packet::ARP, [0, 0]);
        Ok(Self {
            interface: link.name.clone(),
            ifindex: link.index,
            mac: link.mac,
            sockets: protocols.iter().map(socket).collect::<io::Result<_>>().map_err(failed)?,
            arp: probe.map(arp).transpose().map_err(failed)?,
            wait: probe.unwrap_or_default(),
            observe: served.observe,
            _ports: if served.observe { ports::Held::nothing() } else { ports::hold(link.address) },
        })
    }

    /// Serves in a thread of its own, until it is stopped.
    pub(super) fn start(self, shared: Arc<Shared>) -> Result<Running, Error> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.map_err(|error| Error::Wake(error.into()))?);
        let (interface, woken) = (self.interface.clone(), wake.clone());
        let thread = std::thread::spawn(move || self.serve(&shared, &woken));
        Ok(Running { interface, wake, thread })
    }

    /// Until `wake` is readable.
    fn serve(&self, shared: &Shared, wake: &OwnedFd) {
        let (frame, out) = ([0; 4096], [0; 4096]);
        let mut lane = Lane { scratch: Scratch::new(), frame, out, probed: HashMap::new() };
        loop {
            match self.wait_for_frames(&lane, wake) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(interface = %self.interface, %error, "DHCP: waiting for frames");
                    return;
                }
            }
            self.read_arp(shared, &mut lane);
            for socket in 0..self.sockets.len() {
                self.batch(socket, shared, &mut lane);
            }
            self.end_probes(shared, &mut lane);
        }
    }

    /// False when it is time to end.
    fn wait_for_frames(&self, lane: &Lane, wake: &OwnedFd) -> io::Result<bool> {
        let sockets = self.sockets.iter().chain(&self.arp).map(AsFd::as_fd).chain([wake.as_fd()]);
        let mut waiting: Vec<PollFd<'_>> =
            sockets.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let next = lane.probed.values().map(|probed| probed.until).min();
        let left = next.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(waiting.last().is_none_or(|wake| wake.revents().is_empty()))
    }

    /// Reads what is there, decides, makes all leases durable in one commit, and only then answers.
    fn batch(&self, socket: usize, shared: &Shared, lane: &mut Lane) {
        let mut batch: Vec<Decided> = Vec::new();
        while batch.len() < BATCH {
            match self.sockets[socket].receive(&mut lane.frame) {
                Ok(Some(received)) => {
                    let request = lane.frame[..received.length.min(lane.frame.len())].to_vec();
                    let decided = self.decide(shared, lane, &request, received.vlan);
                    batch.extend(self.probe_first(lane, decided, socket, request, received.vlan));
                }
                Ok(None) => break,
                // Said by whoever watches interfaces.
                Err(error) if error.raw_os_error() == Some(Errno::NETDOWN.raw_os_error()) => break,
                Err(error) => {
                    tracing::warn!(interface = %self.interface, %error, "DHCP: receiving");
                    break;
                }
            }
        }
        self.carry_out(socket, shared, batch);
    }

    fn decide(&self, shared: &Shared, lane: &mut Lane, request: &[u8], vlan: u16) -> Decided {
        let arrival = Arrival { frame: request, ifindex: self.ifindex, vlan };
        let actions = shared.decide(arrival, &mut lane.scratch, &mut lane.out);
        let reply = actions.send.map(|length| lane.out[..length].to_vec()).unwrap_or_default();
        Decided { actions, reply }
    }

    /// Keeps an offer back while its address is probed. Gives it back where that is not needed.
    fn probe_first(
        &self,
        lane: &mut Lane,
        decided: Decided,
        socket: usize,
        request: Vec<u8>,
        vlan: u16,
    ) -> Option<Decided> {
        let ip = decided.actions.yiaddr;
        let offer = decided.actions.outcome == Outcome::Answered(Kind::Offer);
        if offer && let Some(waiting) = lane.probed.get_mut(&ip) {
            // The client asks again meanwhile: its last question is answered.
            (waiting.decided, waiting.request) = (decided, request);
            return None;
        }
        if !decided.actions.probe || self.observe {
            return Some(decided);
        }
        let tags = tags(&request, vlan);
        if let Some(arp) = &self.arp
            && arp.send(&arp::probe(ip, self.mac, &tags)).is_ok()
        {
            let until = Instant::now() + self.wait;
            lane.probed.insert(ip, Probed { until, socket, request, vlan, decided });
            return None;
        }
        Some(decided)
    }

    /// Whoever shows up with an address that is being probed has it.
    fn read_arp(&self, shared: &Shared, lane: &mut Lane) {
        let Some(arp) = &self.arp else { return };
        while let Ok(Some(received)) = arp.receive(&mut lane.frame) {
            let frame = &lane.frame[..received.length.min(lane.frame.len())];
            let Some((mac, ip)) = arp::user(frame) else { continue };
            let client = lane.probed.get(&ip).map(|probed| probed.decided.actions.mac);
            // The client itself may use it still: then it is what it should get.
            if client.is_none_or(|client| client == Some(mac)) {
                continue;
            }
            let Some(Probed { socket, request, vlan, .. }) = lane.probed.remove(&ip) else { continue };
            tracing::warn!(interface = %self.interface, %ip, %mac, "DHCP: the address is in use, and not leased by us");
            shared.conflict(ip);
            let decided = self.decide(shared, lane, &request, vlan);
            let decided = self.probe_first(lane, decided, socket, request, vlan);
            self.carry_out(socket, shared, decided.into_iter().collect());
        }
    }

    /// Sends the offers that nobody objected to.
    fn end_probes(&self, shared: &Shared, lane: &mut Lane) {
        let now = Instant::now();
        let due: Vec<Ipv4Addr> =
            lane.probed.iter().filter(|(_, probed)| probed.until <= now).map(|(ip, _)| *ip).collect();
        for ip in due {
            if let Some(Probed { socket, decided, .. }) = lane.probed.remove(&ip) {
                self.carry_out(socket, shared, vec![decided]);
            }
        }
    }

    /// Makes all leases durable in one commit, tells the kernel's lanes, and only then answers.
    fn carry_out(&self, socket: usize, shared: &Shared, mut batch: Vec<Decided>) {
        if !self.observe {
            make_durable(shared, &mut batch);
            let lessons: Vec<_> = batch.iter().filter_map(|decided| decided.actions.teach).collect();
            // First: once the client has its ACK, they may see its next request.
            if let Err(error) = shared.teach_leases(&lessons) {
                tracing::warn!(interface = %self.interface, %error, "DHCP: the kernel's lanes were not told");
            }
        }
        for Decided { actions, reply } in batch {
            self.answer(socket, shared, actions, &reply);
        }
    }

    fn answer(&self, socket: usize, shared: &Shared, actions: Actions, reply: &[u8]) {
        let Actions { outcome, mac, class, yiaddr: ip, send, chosen, notes, .. } = actions;
        if let (Some(_), false) = (send, self.observe)
            && let Err(error) = self.sockets[socket].send(reply)
        {
            tracing::warn!(interface = %self.interface, %error, "DHCP: sending");
        }
        shared.count(outcome.index());
        notes.iter().for_each(|note| shared.count(note.index()));
        if let (Outcome::Left(leave), Some(mac)) = (outcome, mac) {
            shared.refusals().note(mac, shared.now().unix, StatsLane::Userspace, leave, &self.interface);
        }
        (shared.observer)(Event { outcome, mac, class, ip, interface: self.interface.clone(), chosen });
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

/// The tags that a frame to the sender of `request` must carry: those in it, and the one that the kernel took out.
fn tags(request: &[u8], vlan: u16) -> Vec<u8> {
    let packet = Slice { bytes: request, offloaded_vlan: 0, ifindex: 0 };
    let Ok(headers) = Headers::read(&packet) else { return Vec::new() };
    let inside = request.get(ethernet::field::ETHERTYPE..usize::from(headers.l3) - 2).unwrap_or_default();
    let [high, low] = vlan.to_be_bytes();
    let outside: &[u8] = if vlan == 0 { &[] } else { &[0x81, 0, high, low] };
    [outside, inside].concat()
}
