//! The userspace lane of DHCP: a frame and the time in, what to do out.
//!
//! It answers what the kernel's lanes can't: machines without a reservation (dynamic leases), DECLINE, RELEASE. What it answers
//! it builds with the same `netboot_common::reply`, from the same templates.
//!
//! **Invariant:** nothing here reads a clock, a socket or a disk. **Invariant:** an ACK of a dynamic lease comes with the lease to
//! be stored; the caller sends it only once the lease is durable.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::maps::{HostKey, HostValue, InterfaceKey, Kind, Mode, TemplateKey};
use netboot_common::packet::Slice;
use netboot_common::reply::{self, Scratch};
use netboot_common::request::{OPTIONS_ALL, Request, Span};
use netboot_common::stats::{Leave, Outcome};
use netboot_common::wire::dhcp::MessageType;
use netboot_common::wire::udp;

use super::leases::{Book, ClientId, Entry, Pool};
use super::tables::{Plan, Served, Subnet};

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
    /// Make this durable first. If that fails, none of the rest may happen.
    pub store: Option<(ClientId, Entry)>,
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
    pub hosts: HashMap<HostKey, HostValue>,
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
    client: Option<ClientId>,
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
        let request = match Request::read(&packet, OPTIONS_ALL) {
            Ok(request) => request,
            Err(leave) => return Actions::left(leave, None),
        };
        match self.answer(&packet, &request, now, scratch, out) {
            Ok(actions) => actions,
            Err(leave) => Actions::left(leave, Some(&request)),
        }
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
        reply::addressed_to(request, &served.value)?;
        match request.options.message_type {
            MessageType::Decline => return self.decline(packet, request, now),
            MessageType::Release => return self.release(packet, request, now),
            _ => {}
        }
        let (interface, mode) = (served.value, served.value.mode());
        let grant = self.grant(packet, request, mode, now)?;
        let verdict = reply::decide(request, &interface, &grant.host, now.boot)?;
        let key =
            TemplateKey::new(interface.scope(), grant.host.group(), verdict.template_class, verdict.kind);
        let template = self.plan.templates.get(&key).ok_or(Leave::NoTemplate)?;
        let reply = reply::compose(packet, request, &interface, &grant.host, verdict, template, scratch)?;
        let length = write(packet, request, &reply, scratch, out).ok_or(Leave::TooLong)?;
        let mut actions = Actions::answered(request, &reply, length);
        if let (Kind::Ack, Some(client)) = (verdict.kind, grant.client) {
            self.bind(packet, request, &client, &grant.host, now, &mut actions);
        }
        Ok(actions)
    }

    fn served(&self, ifindex: u32, vlan: [u16; 2]) -> Option<&Served> {
        let key = InterfaceKey::new(ifindex, vlan);
        self.plan.served.iter().find(|served| served.key == key)
    }

    /// What the client may be promised: its reservation, a proxy's nothing, or a lease.
    fn grant(&mut self, packet: &Slice<'_>, request: &Request, mode: Mode, now: Now) -> Result<Grant, Leave> {
        let key = HostKey::new(request.chaddr, request.headers.vid());
        let known = self.hosts.get(&key).copied();
        if known.is_none() && !self.serve_unknown {
            return Err(Leave::UnknownIgnored);
        }
        let reserved = known.filter(|host| host.yiaddr != [0; 4]);
        let boot_server = mode == Mode::Proxy || request.headers.destination_port == udp::PXE;
        match reserved {
            Some(host) => Ok(Grant { host, client: None }),
            None if boot_server => {
                Ok(Grant { host: known.unwrap_or_else(|| self.plan.stranger()), client: None })
            }
            None => self.lease(packet, request, known, now),
        }
    }

    fn lease(
        &mut self,
        packet: &Slice<'_>,
        request: &Request,
        known: Option<HostValue>,
        now: Now,
    ) -> Result<Grant, Leave> {
        let client = client_id(packet, request);
        let mac = Mac(request.chaddr);
        let ip = match request.options.message_type {
            MessageType::Discover => {
                let pool = self.pool(packet.ifindex, request).ok_or(Leave::NoFreeAddress)?;
                let requested =
                    Some(Ipv4Addr::from(request.options.requested)).filter(|ip| !ip.is_unspecified());
                self.book.offer(&client, mac, pool, requested, now.unix).ok_or(Leave::NoFreeAddress)?
            }
            // RFC 2131 section 4.3.2: without a record of the client, silence.
            _ => match self.book.held(&client, now.unix) {
                Some(ip) => ip,
                None => return self.stray(packet.ifindex, request),
            },
        };
        let hostname = known.map(|host| hostname_of(&host)).unwrap_or_default();
        let ignored = known.is_some_and(|host| host.ignored());
        let host = self.plan.lease_value(ip, &hostname, ignored).ok_or(Leave::WrongNetwork)?;
        Ok(Grant { host, client: Some(client) })
    }

    /// A REQUEST by a client that we know nothing of. Where we are the authority, an address that can't be right here is refused
    /// at once (INIT-REBOOT on the wrong network, RFC 2131 section 4.3.2); all else is another server's business.
    fn stray(&self, ifindex: u32, request: &Request) -> Result<Grant, Leave> {
        let asked = Ipv4Addr::from(request.options.requested);
        let init_reboot =
            !asked.is_unspecified() && request.options.server == [0; 4] && request.ciaddr == [0; 4];
        let (_, subnet) = self.network(ifindex, request).ok_or(Leave::WrongNetwork)?;
        if !(init_reboot && self.authoritative) || subnet.contains(asked) {
            return Err(Leave::UnknownHost);
        }
        // A host value on this network with an address that the client did not ask for makes a NAK.
        let host = self.plan.lease_value(subnet.network, "", false).ok_or(Leave::WrongNetwork)?;
        Ok(Grant { host, client: None })
    }

    fn network(&self, ifindex: u32, request: &Request) -> Option<(u16, &Subnet)> {
        if request.relayed() {
            return self.plan.subnet_of(Ipv4Addr::from(request.giaddr));
        }
        let served = self.served(ifindex, request.headers.vlan)?;
        self.plan.subnet_of(served.subnet.as_ref()?.network)
    }

    fn pool(&self, ifindex: u32, request: &Request) -> Option<Pool> {
        let (first, last) = self.network(ifindex, request)?.1.range?;
        Some(Pool { first, last })
    }

    /// Twice the lease is made durable, so that the kernel's lanes can renew it once by themselves.
    fn bind(
        &mut self,
        packet: &Slice<'_>,
        request: &Request,
        client: &ClientId,
        host: &HostValue,
        now: Now,
        actions: &mut Actions,
    ) {
        let durable = 2 * u64::from(host.lease());
        let hostname = text(packet, request.options.hostname);
        actions.store =
            self.book.bind(client, now.unix + durable, &hostname).map(|entry| (client.clone(), entry));
        if reply::names_itself_by_mac(packet, request) {
            let value = host.with_valid_until(now.boot + durable);
            actions.teach.push(Lesson::Put(HostKey::new(request.chaddr, request.headers.vid()), value));
        }
    }

    /// RFC 2131 section 4.3.3: the address is in use by somebody else.
    fn decline(&mut self, packet: &Slice<'_>, request: &Request, now: Now) -> Result<Actions, Leave> {
        let ip = Ipv4Addr::from(request.options.requested);
        let client = client_id(packet, request);
        let entry = self.book.decline(&client, ip, now.unix + QUARANTINE);
        Ok(self.ended(request, client, entry, Leave::Decline))
    }

    /// RFC 2131 section 4.3.4: the client gives its address back.
    fn release(&mut self, packet: &Slice<'_>, request: &Request, now: Now) -> Result<Actions, Leave> {
        let client = client_id(packet, request);
        let entry = self.book.release(&client, Ipv4Addr::from(request.ciaddr), now.unix);
        Ok(self.ended(request, client, entry, Leave::Release))
    }

    fn ended(&self, request: &Request, client: ClientId, entry: Option<Entry>, why: Leave) -> Actions {
        let mut actions = Actions::left(why, Some(request));
        if let Some(entry) = entry {
            actions.yiaddr = entry.ip;
            actions.store = Some((client, entry));
            let key = HostKey::new(request.chaddr, request.headers.vid());
            // Back to what the inventory says of this machine, if anything.
            actions
                .teach
                .push(self.hosts.get(&key).map_or(Lesson::Remove(key), |host| Lesson::Put(key, *host)));
        }
        actions
    }
}

impl Actions {
    fn left(leave: Leave, request: Option<&Request>) -> Self {
        Self {
            outcome: Outcome::Left(leave),
            class: request.map(Request::class),
            mac: request.map(|request| Mac(request.chaddr)),
            yiaddr: Ipv4Addr::UNSPECIFIED,
            store: None,
            send: None,
            teach: Vec::new(),
        }
    }

    fn answered(request: &Request, reply: &reply::Reply<'_>, length: usize) -> Self {
        Self {
            outcome: Outcome::Answered(reply.kind),
            class: Some(reply.class),
            mac: Some(Mac(request.chaddr)),
            yiaddr: reply.yiaddr.into(),
            store: None,
            send: Some(length),
            teach: Vec::new(),
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
    use netboot_common::wire::{ethernet, vlan};
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

/// Option 61, else the hardware type and the MAC: what RFC 2132 section 9.14 suggests for option 61, so that a machine whose
/// firmware sends it and whose system does not is one client.
fn client_id(packet: &Slice<'_>, request: &Request) -> ClientId {
    let span = request.options.client_id;
    let sent = packet.bytes.get(usize::from(span.at)..usize::from(span.at) + usize::from(span.length));
    match sent {
        Some(id) if !span.is_empty() => id.to_vec(),
        _ => std::iter::once(1).chain(request.chaddr).collect(),
    }
}

/// Option 12, as far as it is a host name: letters, digits, dashes and dots (RFC 2132 section 3.14).
fn text(packet: &Slice<'_>, span: Span) -> String {
    let sent = packet.bytes.get(usize::from(span.at)..usize::from(span.at) + usize::from(span.length));
    let text = std::str::from_utf8(sent.unwrap_or_default()).unwrap_or_default().trim_end_matches('\0');
    let valid = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if valid { text.to_owned() } else { String::new() }
}

fn hostname_of(host: &HostValue) -> String {
    let (name, length) = host.hostname();
    String::from_utf8_lossy(&name[..usize::from(length)]).into_owned()
}
