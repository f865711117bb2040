//! The userspace lane of DHCP: a frame and the time in, what to do out.
//!
//! It answers what the kernel's lanes can't: machines without a reservation (dynamic leases), hosts known by something else than
//! their MAC, BOOTP clients, networks that an option names, messages in parts, DECLINE, RELEASE. What it answers it builds with
//! the same `netboot_common::reply`, from the same templates.
//!
//! **Invariant:** nothing here reads a clock, a socket or a disk. **Invariant:** an ACK of a dynamic lease comes with the lease to
//! be stored; the caller sends it only once the lease is durable.

mod identify;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::Arc;

use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::maps::{HostKey, HostValue, InterfaceKey, InterfaceValue, Kind, Mode};
use netboot_common::packet::Slice;
use netboot_common::reply::{self, Scratch, Verdict};
use netboot_common::request::{OPTIONS_ALL, Request};
use netboot_common::stats::{Leave, Outcome};
use netboot_common::wire::dhcp::{MessageType, option};
use netboot_common::wire::{ethernet, udp, vlan};

pub use self::identify::{Hosts, NamedHost};
use self::identify::{client_id, text};
use super::leases::{Book, Entry, Key};
use super::normal::normalize;
use super::tables::{Plan, Served};

/// How long a declined address is kept from everybody, in seconds.
const QUARANTINE: u64 = 3600;

/// The two clocks that leases live by, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since 1970: what is on disk.
    pub unix: u64,
    /// `CLOCK_BOOTTIME`: what the kernel's lanes compare with.
    pub boot: u64,
}

/// What the caller has to do for one frame, in this order.
#[derive(Debug)]
pub struct Actions {
    pub outcome: Outcome,
    pub class: Option<Class>,
    pub mac: Option<Mac>,
    pub yiaddr: Ipv4Addr,
    /// The host that the message names by more than its MAC.
    pub host: Option<Arc<str>>,
    /// Ask the network whether somebody has `yiaddr` already. If so, tell [`Machine::conflict`], and bring the frame again.
    pub probe: bool,
    /// Make this durable first. If that fails, none of the rest may happen.
    pub store: Option<(Key, Entry)>,
    /// Then send so many bytes of the output buffer.
    pub send: Option<usize>,
    /// Then tell the kernel's lanes.
    pub teach: Vec<Lesson>,
}

/// A change of the kernel's host table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    Put(HostKey, HostValue),
    Remove(HostKey),
}

/// The lane's knowledge.
#[derive(Debug)]
pub struct Machine {
    pub plan: Plan,
    pub hosts: Hosts,
    pub book: Book,
    /// Whether machines without a host entry are served.
    pub serve_unknown: bool,
    pub authoritative: bool,
}

/// Where a frame came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub frame: &'a [u8],
    pub ifindex: u32,
    /// The tag that the kernel took out of the frame, 0 for none.
    pub vlan: u16,
}

/// What a client is to be told, and on which grounds.
struct Grant {
    host: HostValue,
    /// Of a dynamic lease: who holds it.
    lease: Option<Key>,
    /// Nobody of ours had the address before.
    fresh: bool,
}

impl Grant {
    fn reserved(host: HostValue) -> Self {
        Self { host, lease: None, fresh: false }
    }
}

impl Machine {
    /// One frame. `out` takes the reply: 2 KiB are enough.
    pub fn handle(
        &mut self,
        arrival: Arrival<'_>,
        now: Now,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Actions {
        let packet = Slice { bytes: arrival.frame, offloaded_vlan: arrival.vlan, ifindex: arrival.ifindex };
        match Request::read(&packet, OPTIONS_ALL) {
            Ok(request) => self.answer_or_leave(&packet, &request, now, scratch, out),
            Err(leave @ (Leave::Overload | Leave::LongOption)) => {
                let Some(frame) = normalize(&packet) else { return Actions::left(leave, None) };
                let packet = Slice { bytes: &frame, ..packet };
                match Request::read(&packet, OPTIONS_ALL) {
                    Ok(request) => self.answer_or_leave(&packet, &request, now, scratch, out),
                    Err(leave) => Actions::left(leave, None),
                }
            }
            Err(leave) => Actions::left(leave, None),
        }
    }

    /// Somebody has the address that was to be offered: nobody gets it for an hour. What is to be stored.
    pub fn conflict(&mut self, ip: Ipv4Addr, now: Now) -> Option<(Key, Entry)> {
        self.book.decline(None, ip, now.unix + QUARANTINE)
    }

    fn answer_or_leave(
        &mut self,
        packet: &Slice<'_>,
        request: &Request,
        now: Now,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Actions {
        self.answer(packet, request, now, scratch, out)
            .unwrap_or_else(|leave| Actions::left(leave, Some(request)))
    }

    fn answer(
        &mut self,
        packet: &Slice<'_>,
        request: &Request,
        now: Now,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<Actions, Leave> {
        let served = self.served(packet.ifindex, request.headers.vlan).ok_or(Leave::NoInterface)?;
        let (interface, networks) = (served.value, self.networks(served, request));
        reply::addressed_to(request, &interface)?;
        match request.options.message_type {
            MessageType::Decline => return self.decline(packet, request, &interface, &networks, now),
            MessageType::Release => return self.release(packet, request, &interface, &networks, now),
            _ => {}
        }
        let grant = self.grant(packet, request, &interface, &networks, now)?;
        let verdict = decide(request, &interface, &grant.host, now)?;
        let scope = interface.scope(self.is_elsewhere(packet.ifindex, request, &grant.host));
        let template = self
            .plan
            .template(scope, grant.host.group(), verdict.template_class, verdict.kind)
            .ok_or(Leave::NoTemplate)?;
        let v6_only = request.asks_for(packet, option::V6_ONLY);
        let reply =
            reply::compose(packet, request, &interface, &grant.host, verdict, &template, v6_only, scratch)?;
        let length = write(packet, request, &reply, scratch, out).ok_or(Leave::TooLong)?;
        let mut actions = Actions::answered(request, &reply, length);
        actions.host = self.hosts.named(packet, request).map(|named| named.name.clone());
        if let Some(key) = &grant.lease {
            match verdict.kind {
                Kind::Offer => actions.probe = grant.fresh && self.may_probe(grant.host.yiaddr.into()),
                Kind::Ack => self.bind(packet, request, key, &grant.host, now, &mut actions),
                _ => {}
            }
        }
        Ok(actions)
    }

    fn served(&self, ifindex: u32, vlan: [u16; 2]) -> Option<&Served> {
        let key = InterfaceKey::new(ifindex, vlan);
        self.plan.served.iter().find(|served| served.key == key)
    }

    /// The networks that the client may be on: those that an option names (RFC 3011, 3527), its relay agent's, or the interface's.
    fn networks(&self, served: &Served, request: &Request) -> Vec<u16> {
        match (request.options.link, request.giaddr) {
            ([0, 0, 0, 0], [0, 0, 0, 0]) => served.networks.clone(),
            ([0, 0, 0, 0], giaddr) => self.plan.networks_behind(giaddr.into()),
            (link, _) => self.plan.networks_behind(link.into()),
        }
    }

    /// Whether the network of the address that a client gets is not one of this interface: then its templates are those of relay
    /// agents' clients.
    fn is_elsewhere(&self, ifindex: u32, request: &Request, host: &HostValue) -> bool {
        let network = self.plan.network_of(host.yiaddr.into()).filter(|_| host.yiaddr != [0; 4]);
        match (network, self.served(ifindex, request.headers.vlan)) {
            (Some(network), Some(served)) => !served.networks.contains(&network),
            _ => request.relayed(),
        }
    }

    /// What the client may be promised: its reservation, a proxy's nothing, or a lease.
    fn grant(
        &mut self,
        packet: &Slice<'_>,
        request: &Request,
        interface: &InterfaceValue,
        networks: &[u16],
        now: Now,
    ) -> Result<Grant, Leave> {
        let known = self.hosts.find(packet, request);
        if known.is_none() && !self.serve_unknown {
            return Err(Leave::UnknownIgnored);
        }
        let reserved = known.filter(|host| {
            let network = self.plan.network_of(host.yiaddr.into());
            host.yiaddr != [0; 4] && network.is_some_and(|network| networks.contains(&network))
        });
        let boot_server = interface.mode() == Mode::Proxy || request.headers.destination_port == udp::PXE;
        match reserved {
            Some(host) => Ok(Grant::reserved(host)),
            None if boot_server => Ok(Grant::reserved(known.unwrap_or_else(|| self.plan.stranger()))),
            // A BOOTP client can't give an address back (RFC 1534 section 2).
            None if request.options.message_type == MessageType::Absent => Err(Leave::NoAddress),
            None if networks.is_empty() => Err(Leave::WrongNetwork),
            None => self.lease(packet, request, interface, known, networks, now),
        }
    }

    fn lease(
        &mut self,
        packet: &Slice<'_>,
        request: &Request,
        interface: &InterfaceValue,
        known: Option<HostValue>,
        networks: &[u16],
        now: Now,
    ) -> Result<Grant, Leave> {
        let key = self.key(packet, request, networks);
        let known = known.unwrap_or_else(|| self.plan.stranger());
        let server = request.options.server;
        let (ip, fresh) = match request.options.message_type {
            MessageType::Discover => {
                let requested =
                    Some(Ipv4Addr::from(request.options.requested)).filter(|ip| !ip.is_unspecified());
                let offer = self.book.offer(&key, Mac(request.chaddr), networks, requested, now.unix);
                offer.map(|offer| (offer.ip, offer.fresh)).ok_or(Leave::NoFreeAddress)?
            }
            // RFC 2131 section 3.1: the client chose another server.
            MessageType::Request if server != [0; 4] && server != interface.address => {
                self.book.withdraw(&key);
                return Err(Leave::OtherServer);
            }
            // RFC 2131 section 4.3.5: no binding is asked for, and none is made.
            MessageType::Inform => (request.ciaddr.into(), false),
            // RFC 2131 section 4.3.2: without a record of the client, silence.
            _ => match self.book.held(&key, networks, now.unix) {
                Some(ip) => (ip, false),
                None => return self.stray(request, &known, networks),
            },
        };
        let host = self.plan.lease_value(ip, &known).ok_or(Leave::WrongNetwork)?;
        Ok(Grant { host, lease: Some(key), fresh })
    }

    /// A REQUEST by a client that we know nothing of. Where we are the authority, an address that can't be right here is refused
    /// at once (INIT-REBOOT on the wrong network, RFC 2131 section 4.3.2); all else is another server's business.
    fn stray(&mut self, request: &Request, known: &HostValue, networks: &[u16]) -> Result<Grant, Leave> {
        let asked = Ipv4Addr::from(request.options.requested);
        let init_reboot =
            !asked.is_unspecified() && request.options.server == [0; 4] && request.ciaddr == [0; 4];
        let here = |network: &u16| self.plan.network(*network).subnet.contains(asked);
        if !(init_reboot && self.authoritative) || networks.iter().any(here) {
            return Err(Leave::UnknownHost);
        }
        // An address on this network that the client did not ask for makes a NAK.
        let network = self.plan.network(networks[0]).subnet.network;
        let host = self.plan.lease_value(network, known).ok_or(Leave::WrongNetwork)?;
        Ok(Grant::reserved(host))
    }

    fn key(&self, packet: &Slice<'_>, request: &Request, networks: &[u16]) -> Key {
        let link = networks.first().map_or(u16::MAX, |network| self.plan.network(*network).link);
        Key { link, client: client_id(packet, request) }
    }

    /// An ARP request reaches the network of `ip`, and probing is wanted.
    fn may_probe(&self, ip: Ipv4Addr) -> bool {
        let direct = self.plan.network_of(ip).is_some_and(|network| self.plan.network(network).direct);
        direct && self.plan.probe.is_some()
    }

    /// Twice the lease is made durable, so that the kernel's lanes can renew it once by themselves.
    fn bind(
        &mut self,
        packet: &Slice<'_>,
        request: &Request,
        key: &Key,
        host: &HostValue,
        now: Now,
        actions: &mut Actions,
    ) {
        let durable = 2 * u64::from(host.lease());
        let hostname = text(packet, request.options.hostname);
        let bound = self.book.bind(key, now.unix + durable, &hostname);
        let until = bound.as_ref().map_or(0, |entry| entry.until.saturating_sub(now.unix));
        actions.store = bound.map(|entry| (key.clone(), entry));
        if reply::names_itself_by_mac(packet, request) {
            let value = host.with_valid_until(now.boot + until);
            actions.teach.push(Lesson::Put(HostKey::new(request.chaddr, request.headers.vid()), value));
        }
    }

    /// RFC 2131 section 4.3.3: the address is in use by somebody else.
    fn decline(
        &mut self,
        packet: &Slice<'_>,
        request: &Request,
        interface: &InterfaceValue,
        networks: &[u16],
        now: Now,
    ) -> Result<Actions, Leave> {
        ours(request, interface)?;
        let key = self.key(packet, request, networks);
        let ip = Ipv4Addr::from(request.options.requested);
        let ended = self.book.decline(Some(&key), ip, now.unix + QUARANTINE);
        Ok(self.ended(request, ip, ended, Leave::Decline))
    }

    /// RFC 2131 section 4.3.4: the client gives its address back.
    fn release(
        &mut self,
        packet: &Slice<'_>,
        request: &Request,
        interface: &InterfaceValue,
        networks: &[u16],
        now: Now,
    ) -> Result<Actions, Leave> {
        ours(request, interface)?;
        let key = self.key(packet, request, networks);
        let ip = Ipv4Addr::from(request.ciaddr);
        let ended = self.book.release(&key, ip, now.unix).map(|entry| (key, entry));
        Ok(self.ended(request, ip, ended, Leave::Release))
    }

    fn ended(&self, request: &Request, ip: Ipv4Addr, ended: Option<(Key, Entry)>, why: Leave) -> Actions {
        let mut actions = Actions::left(why, Some(request));
        actions.yiaddr = ip;
        if ended.is_some() {
            actions.store = ended;
            let key = HostKey::new(request.chaddr, request.headers.vid());
            // Back to what the inventory says of this machine, if anything.
            let lesson =
                self.hosts.by_mac.get(&key).map_or(Lesson::Remove(key), |host| Lesson::Put(key, *host));
            actions.teach.push(lesson);
        }
        actions
    }
}

/// As all lanes decide; a BOOTP client, which no other lane answers, gets its reservation.
fn decide(
    request: &Request,
    interface: &InterfaceValue,
    host: &HostValue,
    now: Now,
) -> Result<Verdict, Leave> {
    let bootp = request.options.message_type == MessageType::Absent && interface.mode() == Mode::Server;
    if !bootp || request.headers.destination_port == udp::PXE {
        return reply::decide(request, interface, host, now.boot);
    }
    let (class, yiaddr, ciaddr) = (Class::Plain, host.yiaddr, request.ciaddr);
    Ok(Verdict { kind: Kind::Bootp, class, template_class: class, yiaddr, ciaddr })
}

/// DECLINE and RELEASE are for the server that they name.
fn ours(request: &Request, interface: &InterfaceValue) -> Result<(), Leave> {
    match request.options.server {
        server if server == interface.address => Ok(()),
        _ => Err(Leave::OtherServer),
    }
}

impl Actions {
    fn left(leave: Leave, request: Option<&Request>) -> Self {
        Self {
            outcome: Outcome::Left(leave),
            class: request.map(Request::class),
            mac: request.map(|request| Mac(request.chaddr)),
            yiaddr: Ipv4Addr::UNSPECIFIED,
            host: None,
            probe: false,
            store: None,
            send: None,
            teach: Vec::new(),
        }
    }

    fn answered(request: &Request, reply: &reply::Reply<'_>, length: usize) -> Self {
        Self {
            outcome: Outcome::Answered(reply.kind),
            class: Some(reply.class),
            yiaddr: reply.yiaddr.into(),
            send: Some(length),
            ..Self::left(Leave::NotDhcp, Some(request))
        }
    }
}

/// The reply as a frame. A tag that the kernel took out of the request is put back: a packet socket sends frames as they are.
fn write(
    packet: &Slice<'_>,
    request: &Request,
    reply: &reply::Reply<'_>,
    scratch: &Scratch,
    out: &mut [u8],
) -> Option<usize> {
    let l3 = usize::from(request.headers.l3);
    let length = reply.write(packet.bytes, l3, scratch, out)?;
    if packet.offloaded_vlan == 0 {
        return Some(length);
    }
    let tag_at = ethernet::field::ETHERTYPE;
    out.get_mut(..length + vlan::TAG)?.copy_within(tag_at..length, tag_at + vlan::TAG);
    out[tag_at..tag_at + 2].copy_from_slice(&vlan::TPID_8021Q.to_be_bytes());
    out[tag_at + 2..tag_at + 4].copy_from_slice(&packet.offloaded_vlan.to_be_bytes());
    Some(length + vlan::TAG)
}
