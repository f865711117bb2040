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
pub(super) mod tests;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::maps::{HostKey, HostValue, InterfaceKey, InterfaceValue, Kind, Mode};
use netboot_common::packet::Slice;
use netboot_common::reply::{self, Scratch, Verdict};
use netboot_common::request::{OPTIONS_ALL, Request, Span};
use netboot_common::stats::{Leave, Note, Outcome};
use netboot_common::wire::dhcp::{MessageType, option};
use netboot_common::wire::pxe::{BootItem, LOCAL_BOOT};
use netboot_common::wire::{ipv4, udp};

pub use self::identify::{Hosts, NamedHost};
use self::identify::{client_id, heard, text};
use super::leases::{Book, Entry, Key, Offer, QUARANTINE, State};
use super::normal::normalize;
use super::tables::{Boots, Elsewhere, Plan, Served};

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
    /// What the answer lacks.
    pub notes: Vec<Note>,
    pub class: Option<Class>,
    pub mac: Option<Mac>,
    pub yiaddr: Ipv4Addr,
    /// What was chosen from a menu.
    pub chosen: Option<Boots>,
    /// The host that the message names by more than its MAC.
    pub host: Option<Arc<str>>,
    /// Ask the network whether somebody has `yiaddr` already. If so, tell [`Machine::conflict`], and bring the frame again.
    pub probe: bool,
    /// Leases that nobody may promise any more, by MAC: take them out of the kernel's lanes before another frame is handled.
    pub withdraw: Vec<(Mac, Ipv4Addr)>,
    /// Then make this durable. If that fails, none of the rest may happen.
    pub store: Option<(Key, Entry)>,
    /// Then tell the kernel's lanes.
    pub teach: Option<(HostKey, HostValue)>,
    /// Then send so many bytes of the output buffer.
    pub send: Option<usize>,
}

/// The lane's knowledge.
#[derive(Debug)]
pub struct Machine {
    pub plan: Plan,
    pub hosts: Hosts,
    pub book: Book,
    /// Hosts whose address is another machine's lease still: the kernel's lanes don't know them before that is over.
    pub withheld: HashSet<HostKey>,
    /// Whether machines without a host entry are served.
    pub serve_unknown: bool,
    /// Who may know those that the inventory does not.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
    pub authoritative: bool,
}

/// Where a frame came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// With all its tags: what the kernel takes out, [`crate::sys::packet`] puts back.
    pub frame: &'a [u8],
    pub ifindex: u32,
}

/// What a client is to be told, and on which grounds.
struct Grant {
    host: HostValue,
    /// Of a dynamic lease: who holds it.
    lease: Option<Key>,
    /// Nobody of ours had the address before.
    fresh: bool,
    /// Whose lease of it was over.
    displaced: Option<Mac>,
}

impl Grant {
    fn reserved(host: HostValue) -> Self {
        Self { host, lease: None, fresh: false, displaced: None }
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
        let packet = Slice { bytes: arrival.frame, offloaded_vlan: 0, ifindex: arrival.ifindex };
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

    /// Somebody has the address that was to be offered: nobody gets it for an hour. What is to be stored, and no more promised.
    pub fn conflict(&mut self, ip: Ipv4Addr, now: Now) -> Option<(Key, Entry)> {
        self.book.decline(None, ip, now.unix + QUARANTINE)
    }

    /// Whether the kernel's lanes may know this now: a reservation in force, or a lease that is durable for as long as it says, and says
    /// what its client is told now.
    pub fn may_be_taught(&mut self, key: &HostKey, value: &HostValue, now: Now) -> bool {
        let reserved = self.hosts.by_mac.get(key).filter(|host| host.yiaddr != [0; 4]);
        let in_force = reserved.filter(|_| !self.withheld.contains(key));
        if in_force.is_some() || !value.dynamic() {
            return in_force == Some(value);
        }
        let durable = self.book.at(value.yiaddr.into()).is_some_and(|(_, entry)| {
            let until = now.boot + entry.durable.saturating_sub(now.unix);
            entry.state == State::Bound && entry.mac == Mac(key.mac) && until >= value.valid_until()
        });
        // What it was decided by may have changed while the disk was waited for.
        let lesson = self.hosts.lesson(&mut self.plan, key, value.yiaddr.into());
        durable && lesson.map(|lesson| lesson.with_valid_until(value.valid_until())) == Some(*value)
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
        let (interface, networks, selects) = (served.value, self.networks(served, request), served.selects);
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
        let chosen = match boot_item(packet, request).filter(|_| template.has_menu()) {
            Some(item) => {
                let chosen = self.plan.chosen(scope, grant.host.group(), verdict.template_class, item);
                Some(chosen.ok_or(Leave::BootItem)?)
            }
            None => None,
        };
        let template = chosen.as_ref().map_or(template.as_ref(), |chosen| &chosen.template);
        let wish = Some(request.options.link).filter(|_| selects && request.options.link_is_wish);
        let extra = reply::Extra {
            v6_only: request.asks_for(packet, option::V6_ONLY),
            subnet: wish.unwrap_or(ipv4::UNSPECIFIED),
        };
        let host = &grant.host;
        let mut compose = |request: &Request| {
            reply::compose(packet, request, &interface, host, verdict, template, extra, scratch)
        };
        // RFC 3046 section 2.2: where option 82 has no room, the reply goes without it.
        let (reply, is_short) = match compose(request) {
            Err(Leave::TooLong) if !request.options.relay_agent.is_empty() => {
                (compose(&request.without_relay_agent())?, true)
            }
            reply => (reply?, false),
        };
        let length = write(packet, request, &reply, scratch, out).ok_or(Leave::TooLong)?;
        let mut actions = Actions::answered(request, &reply, length);
        actions.host = self.hosts.named(packet, request).map(|named| named.name.clone());
        actions.chosen = chosen.map(|chosen| chosen.boots);
        actions.withdraw.extend(grant.displaced.map(|mac| (mac, grant.host.yiaddr.into())));
        actions.notes.extend(is_short.then_some(Note::WithoutRelayAgent));
        match (&grant.lease, verdict.kind) {
            (Some(_), Kind::Offer) => {
                actions.probe = grant.fresh && self.may_probe(grant.host.yiaddr.into());
            }
            (Some(key), Kind::Ack) => self.bind(packet, request, key, &grant.host, now, &mut actions),
            (None, Kind::Offer | Kind::Ack) => actions.teach = self.no_longer_withheld(request),
            _ => {}
        }
        Ok(actions)
    }

    /// A host that has its address now: the kernel's lanes may know it again.
    fn no_longer_withheld(&mut self, request: &Request) -> Option<(HostKey, HostValue)> {
        let key = HostKey::new(request.chaddr, request.headers.vid());
        let host = self.hosts.by_mac.get(&key)?;
        self.withheld.remove(&key).then_some((key, *host))
    }

    fn served(&self, ifindex: u32, vlan: [u16; 2]) -> Option<&Served> {
        let key = InterfaceKey::new(ifindex, vlan);
        self.plan.served.iter().find(|served| served.key == key)
    }

    /// The networks that the client may be on: those that an option names (RFC 3011, 3527), its relay agent's, or the interface's.
    /// A client behind a relay agent that renews or releases comes without it: from the address that it has (RFC 2131 section
    /// 4.3.2, "trust the client's ciaddr").
    fn networks(&self, served: &Served, request: &Request) -> Vec<u16> {
        match (obeyed_link(served, request), request.giaddr) {
            ([0, 0, 0, 0], [0, 0, 0, 0]) => {
                let unicast = request.destination == served.value.address;
                let routed =
                    Some(Ipv4Addr::from(request.ciaddr)).filter(|ciaddr| unicast && !ciaddr.is_unspecified());
                match routed.and_then(|ciaddr| self.plan.network_of(ciaddr)) {
                    Some(network) if !served.networks.contains(&network) => vec![network],
                    _ => served.networks.clone(),
                }
            }
            ([0, 0, 0, 0], giaddr) => self.plan.networks_behind(giaddr.into()),
            (link, _) => self.plan.networks_behind(link.into()),
        }
    }

    /// Whether a client's templates are those of relay agents' clients: the network of the address that it gets is not one of this
    /// interface, or is one whose relay agents are known, and one of them speaks for it.
    fn is_elsewhere(&self, ifindex: u32, request: &Request, host: &HostValue) -> bool {
        let network = self.plan.network_of(host.yiaddr.into()).filter(|_| host.yiaddr != [0; 4]);
        match (network, self.served(ifindex, request.headers.vlan)) {
            (Some(network), Some(served)) => {
                let relayed = request.relayed() && self.plan.network(network).is_relayed();
                relayed || !served.networks.contains(&network)
            }
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
        let is_elsewhere =
            || self.elsewhere.as_ref().is_some_and(|other| other.knows(heard(packet, request)));
        let is_known = known.is_some() || self.serve_unknown || self.hosts.are_grouped(packet, request);
        if !is_known && !is_elsewhere() {
            return Err(Leave::UnknownIgnored);
        }
        let reserved = known.filter(|host| {
            let network = self.plan.network_of(host.yiaddr.into());
            let here = host.yiaddr != [0; 4] && network.is_some_and(|network| networks.contains(&network));
            here && !self.is_anothers(host, packet, request, networks, now)
        });
        let boot_server = interface.mode() == Mode::Proxy || request.headers.destination_port == udp::PXE;
        match reserved {
            Some(host) => Ok(Grant::reserved(host)),
            None if boot_server => Ok(Grant::reserved(self.known_or_stranger(known, packet, request))),
            // A BOOTP client can't give an address back (RFC 1534 section 2).
            None if request.options.message_type == MessageType::Absent => Err(Leave::NoAddress),
            None if networks.is_empty() => Err(Leave::WrongNetwork),
            None => self.lease(packet, request, interface, known, networks, now),
        }
    }

    fn known_or_stranger(
        &mut self,
        known: Option<HostValue>,
        packet: &Slice<'_>,
        request: &Request,
    ) -> HostValue {
        known.unwrap_or_else(|| self.plan.stranger_in_group(heard(packet, request)))
    }

    /// Whether the reserved address is somebody else's lease still. It ends, for it is not renewed.
    fn is_anothers(
        &self,
        host: &HostValue,
        packet: &Slice<'_>,
        request: &Request,
        networks: &[u16],
        now: Now,
    ) -> bool {
        self.book.leased(host.yiaddr.into(), now.unix).is_some_and(|(holder, entry)| {
            entry.mac != Mac(request.chaddr) && *holder != self.key(packet, request, networks)
        })
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
        let known = self.known_or_stranger(known, packet, request);
        let server = request.options.server;
        let Offer { ip, fresh, displaced } = match request.options.message_type {
            MessageType::Discover => {
                let requested =
                    Some(Ipv4Addr::from(request.options.requested)).filter(|ip| !ip.is_unspecified());
                let offer = self.book.offer(&key, Mac(request.chaddr), networks, requested, now.unix);
                offer.ok_or(Leave::NoFreeAddress)?
            }
            // RFC 2131 section 3.1: the client chose another server.
            MessageType::Request if server != [0; 4] && server != interface.address => {
                self.book.withdraw(&key);
                return Err(Leave::OtherServer);
            }
            // RFC 2131 section 4.3.5: no binding is asked for, and none is made.
            MessageType::Inform => Offer::known(request.ciaddr.into()),
            // RFC 2131 section 4.3.2: without a record of the client, silence.
            _ => match self.book.held(&key, networks, now.unix).map(Offer::known) {
                Some(held) => held,
                None => match self.again(&key, request, networks, now) {
                    Some(offer) => offer,
                    // Its address is a reservation now: it is to ask for another one.
                    None if self.book.gave_away(&key, now.unix) => return self.refusal(&known, networks),
                    None => return self.stray(request, interface, &known, networks),
                },
            },
        };
        let host = self.plan.lease_value(ip, &known).ok_or(Leave::WrongNetwork)?;
        Ok(Grant { host, lease: Some(key), fresh, displaced })
    }

    /// A client takes an offer of ours that is forgotten, by a restart or because it took its time: the same address, if it is
    /// still free.
    fn again(&mut self, key: &Key, request: &Request, networks: &[u16], now: Now) -> Option<Offer> {
        let asked = Ipv4Addr::from(request.options.requested);
        if request.options.server == [0; 4] || asked.is_unspecified() {
            return None;
        }
        let offer = self.book.offer(key, Mac(request.chaddr), networks, Some(asked), now.unix)?;
        if offer.ip == asked {
            return Some(offer);
        }
        self.book.withdraw(key);
        None
    }

    /// A REQUEST by a client that we know nothing of. One that chose us is refused, so that it begins anew. Where we are the
    /// authority, an address that can't be right here is refused at once (INIT-REBOOT on the wrong network); all else is another
    /// server's business (RFC 2131 section 4.3.2).
    fn stray(
        &mut self,
        request: &Request,
        interface: &InterfaceValue,
        known: &HostValue,
        networks: &[u16],
    ) -> Result<Grant, Leave> {
        let asked = Ipv4Addr::from(request.options.requested);
        let asks = !asked.is_unspecified() && request.ciaddr == [0; 4];
        let init_reboot = asks && request.options.server == [0; 4];
        let here = |network: &u16| self.plan.network(*network).subnet.contains(asked);
        let wrong = init_reboot && self.authoritative && !networks.iter().any(here);
        let ours = asks && request.options.server == interface.address;
        if !(wrong || ours) {
            return Err(Leave::UnknownHost);
        }
        self.refusal(known, networks)
    }

    /// An address on this network that the client did not ask for makes a NAK.
    fn refusal(&mut self, known: &HostValue, networks: &[u16]) -> Result<Grant, Leave> {
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
            actions.teach = Some((HostKey::new(request.chaddr, request.headers.vid()), value));
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
        Ok(Self::ended(request, ip, ended, Leave::Decline))
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
        Ok(Self::ended(request, ip, ended, Leave::Release))
    }

    fn ended(request: &Request, ip: Ipv4Addr, ended: Option<(Key, Entry)>, why: Leave) -> Actions {
        let mut actions = Actions::left(why, Some(request));
        actions.yiaddr = ip;
        actions.withdraw.extend(ended.as_ref().map(|(_, entry)| (entry.mac, ip)));
        actions.store = ended;
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

/// What the client chose from a menu; `None` also where that is its own disk, of which there is nothing to ask.
fn boot_item(packet: &Slice<'_>, request: &Request) -> Option<BootItem> {
    let Span { at, length } = request.options.vendor_options;
    let options = packet.bytes.get(usize::from(at)..usize::from(at) + usize::from(length))?;
    BootItem::read(options).filter(|item| item.kind != LOCAL_BOOT)
}

/// DECLINE and RELEASE are for the server that they name.
fn ours(request: &Request, interface: &InterfaceValue) -> Result<(), Leave> {
    match request.options.server {
        server if server == interface.address => Ok(()),
        _ => Err(Leave::OtherServer),
    }
}

impl Actions {
    /// The lease could not be made durable: nothing is promised. That one was given back is as true as before.
    pub fn not_durable(&mut self) {
        (self.store, self.send, self.teach) = (None, None, None);
        self.notes.clear();
        if let Outcome::Answered(_) = self.outcome {
            self.outcome = Outcome::Left(Leave::NotDurable);
        }
    }

    fn left(leave: Leave, request: Option<&Request>) -> Self {
        Self {
            outcome: Outcome::Left(leave),
            notes: Vec::new(),
            class: request.map(Request::class),
            mac: request.map(|request| Mac(request.chaddr)),
            yiaddr: Ipv4Addr::UNSPECIFIED,
            chosen: None,
            host: None,
            probe: false,
            withdraw: Vec::new(),
            store: None,
            teach: None,
            send: None,
        }
    }

    fn answered(request: &Request, reply: &reply::Reply<'_>, length: usize) -> Self {
        Self {
            outcome: Outcome::Answered(reply.kind),
            notes: reply.note().into_iter().collect(),
            class: Some(reply.class),
            yiaddr: reply.yiaddr.into(),
            send: Some(length),
            ..Self::left(Leave::NotDhcp, Some(request))
        }
    }
}

/// The network that an option names, where it is to be obeyed: a relay agent's always, a client's own wish where that is allowed.
fn obeyed_link(served: &Served, request: &Request) -> [u8; 4] {
    if request.options.link_is_wish && !served.selects { ipv4::UNSPECIFIED } else { request.options.link }
}

/// The reply as a frame, with the tags of the request.
fn write(
    packet: &Slice<'_>,
    request: &Request,
    reply: &reply::Reply<'_>,
    scratch: &Scratch,
    out: &mut [u8],
) -> Option<usize> {
    reply.write(packet.bytes, usize::from(request.headers.l3), scratch, out)
}
