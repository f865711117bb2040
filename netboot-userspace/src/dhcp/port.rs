//! One interface: its sockets, and the frames between them and the machine.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use netboot_common::Mac;
use netboot_common::maps::Kind;
use netboot_common::packet::Slice;
use netboot_common::reply::Scratch;
use netboot_common::request::Headers;
use netboot_common::stats::{Lane as StatsLane, Outcome};
use netboot_common::wire::{ethernet, udp};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::machine::{Actions, Arrival};
use super::persist::to_lease;
use super::tables::{Plan, Served};
use super::{Error, Event, Shared, arp, now, ports};
use crate::store::Lease;
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
pub(super) fn open(plan: &Plan) -> Result<Vec<Port>, Error> {
    let mut open: Vec<Port> = Vec::new();
    for served in &plan.served {
        let double = served.key.vlan()[1] != 0;
        let index = served.link.index;
        if open.iter().any(|port| port.ifindex == index && (port.sockets.len() > 1 || !double)) {
            continue;
        }
        open.retain(|port| port.ifindex != index);
        open.push(Port::open(served, double, plan.probe)?);
    }
    Ok(open)
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

struct Decided {
    actions: Actions,
    reply: Vec<u8>,
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

    /// Until `wake` is readable.
    pub(super) fn serve(&self, shared: &Shared, wake: &OwnedFd) {
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
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
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
        let actions = shared.machine().handle(arrival, now(), &mut lane.scratch, &mut lane.out);
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
            let declined = shared.machine().conflict(ip, now());
            let declined: Vec<Lease> = declined.iter().map(|(key, entry)| to_lease(key, entry)).collect();
            self.commit(shared, &declined);
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

    fn carry_out(&self, socket: usize, shared: &Shared, batch: Vec<Decided>) {
        let leases: Vec<Lease> =
            batch.iter().filter_map(|d| d.actions.store.as_ref()).map(|(k, e)| to_lease(k, e)).collect();
        let durable = self.observe || self.commit(shared, &leases);
        for Decided { actions, reply } in batch {
            if actions.store.is_none() || durable {
                self.answer(socket, shared, actions, &reply);
            }
        }
    }

    fn commit(&self, shared: &Shared, leases: &[Lease]) -> bool {
        if leases.is_empty() {
            return true;
        }
        match shared.store.put_leases(leases) {
            Ok(()) => true,
            Err(error) => {
                let count = leases.len();
                tracing::error!(interface = %self.interface, count, %error, "DHCP: leases are not durable, so not given");
                false
            }
        }
    }

    fn answer(&self, socket: usize, shared: &Shared, actions: Actions, reply: &[u8]) {
        let Actions { outcome, mac, class, yiaddr: ip, host, teach, .. } = actions;
        if !self.observe {
            // The kernel's lanes first: once the client has its ACK, they may see its next request.
            if let Err(error) = shared.teach_leases(&teach) {
                tracing::warn!(interface = %self.interface, %error, "DHCP: the kernel's lanes were not told");
            }
            if !reply.is_empty()
                && let Err(error) = self.sockets[socket].send(reply)
            {
                tracing::warn!(interface = %self.interface, %error, "DHCP: sending");
            }
        }
        shared.count(outcome);
        if let (Outcome::Left(leave), Some(mac)) = (outcome, mac) {
            shared.refusals().note(mac, now().unix, StatsLane::Userspace, leave, &self.interface);
        }
        (shared.observer)(Event { outcome, mac, class, ip, host, interface: self.interface.clone() });
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
