//! Request + interface + host + template -> the one reply, or the reason why there is none.
//!
//! A reply is three parts, so that each lane copies as little as it can:
//!
//! ```text
//! IPv4, UDP, BOOTP up to chaddr   72 bytes   computed: [`Scratch::head`]
//! sname, file, cookie, options    template   rendered once by userspace: [`Template`]
//! options of this client, END     tail       lease, host name, echoed 61, 97 and 82: [`Scratch::tail`]
//! ```
//!
//! **Invariant:** nothing here writes to the packet: a lane that leaves after this hands on what it was given.

use crate::class::Class;
use crate::maps::{HOSTNAME_MAX, HostKey, HostValue, InterfaceValue, Kind, Mode, Template, TemplateKey};
use crate::packet::Packet;
use crate::request::{Request, Span};
use crate::stats::{Leave, Note};
use crate::wire::dhcp::{self, MessageType, option};
use crate::wire::{checksum, ethernet, ipv4, udp};

/// What a lane looks up. In the kernel: BPF maps.
pub trait Tables {
    /// Who we are where a request came in.
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue>;
    /// What may be promised to a client.
    fn host(&self, key: &HostKey) -> Option<&HostValue>;
    fn template(&self, key: &TemplateKey) -> Option<&Template>;
}

/// Bytes before the template: IPv4, UDP, and BOOTP up to `sname`.
pub const HEAD: usize = ipv4::HEADER + udp::HEADER + dhcp::HEAD;

/// The longest tail, its padding included.
pub const TAIL_MAX: usize = 504;

/// Working memory of one reply at a time. Reused: only what a reply's lengths cover counts. The caller's, because a BPF
/// program has 512 bytes of stack.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    /// IPv4, UDP, and BOOTP up to `sname`.
    pub head: [u8; HEAD],
    /// The options that depend on the client. Longer than [`TAIL_MAX`]: every write of at most 255 bytes that starts below it
    /// fits.
    pub tail: [u8; 1024],
}

impl Scratch {
    pub const fn new() -> Self {
        Self { head: [0; HEAD], tail: [0; 1024] }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A reply, ready to be copied into a frame: the addresses, the request's own tags, [`Scratch::head`], the template's body,
/// [`Scratch::tail`].
#[derive(Clone, Copy, Debug)]
pub struct Reply<'t> {
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    pub template: &'t Template,
    /// Bytes of [`Scratch::tail`] that count.
    pub tail: usize,
    pub kind: Kind,
    pub class: Class,
    /// For events: 0.0.0.0 when no address is given.
    pub yiaddr: [u8; 4],
}

impl Reply<'_> {
    /// Bytes from the IPv4 header on.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        HEAD + self.template.length() + self.tail
    }

    /// What it lacks that it would have had, could we give it.
    #[inline(always)]
    pub const fn note(&self) -> Option<Note> {
        match (self.class, self.kind) {
            (Class::Unknown, Kind::Offer | Kind::Ack | Kind::InformAck) => Some(Note::WithoutLoader),
            _ => None,
        }
    }

    /// Writes the whole reply behind `frame`, from the Ethernet header on, with the request's own tags.
    ///
    /// `None` if `frame` is too short; [`Reply::length`] plus the request's `l3` bytes are enough.
    pub fn write(&self, request: &[u8], l3: usize, scratch: &Scratch, frame: &mut [u8]) -> Option<usize> {
        let body = &self.template.body()[..self.template.length()];
        let mut at = 0;
        for part in [
            &self.destination_mac[..],
            &self.source_mac,
            request.get(ethernet::field::ETHERTYPE..l3)?,
            &scratch.head,
            body,
            scratch.tail.get(..self.tail)?,
        ] {
            frame.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        Some(at)
    }
}

/// The whole decision of a lane that knows its hosts. `now`: seconds of the boot-time clock.
#[inline(always)]
pub fn answer<'t, P: Packet, T: Tables>(
    packet: &P,
    request: &Request,
    tables: &'t T,
    now: u64,
    scratch: &mut Scratch,
) -> Result<Reply<'t>, Leave> {
    let interface = tables.interface(request.headers.vlan).ok_or(Leave::NoInterface)?;
    addressed_to(request, interface)?;
    let key = HostKey::new(request.chaddr, request.headers.vid());
    let host = tables.host(&key).ok_or(Leave::UnknownHost)?;
    if host.dynamic() && !names_itself_by_mac(packet, request) {
        return Err(Leave::OtherClient);
    }
    // Another network than its relay agent's is named: or another of the same relay agent's.
    if request.options.link != ipv4::UNSPECIFIED {
        return Err(Leave::SubnetSelection);
    }
    let has_address = host.yiaddr != ipv4::UNSPECIFIED;
    if request.relayed() && has_address && !ipv4::same_network(request.giaddr, host.yiaddr, host.prefix) {
        return Err(Leave::WrongNetwork);
    }
    let verdict = decide(request, interface, host, now)?;
    let scope = interface.scope(request.relayed());
    let key = TemplateKey::new(scope, host.group(), verdict.template_class, verdict.kind);
    // That of a network which is not the client's is not there either.
    let template = tables.template(&key).ok_or(Leave::NoTemplate)?;
    if template.has_menu() && !request.options.vendor_options.is_empty() {
        return Err(Leave::BootItem);
    }
    if template.v6_only_wait() != [0; 4] && !request.options.parameter_list.is_empty() {
        return Err(Leave::V6Only);
    }
    compose(packet, request, interface, host, verdict, template, false, scratch)
}

/// Whether the client's identifier is its MAC: no option 61, or one of the form that RFC 2132 section 9.14 suggests.
#[inline(always)]
pub fn names_itself_by_mac<P: Packet>(packet: &P, request: &Request) -> bool {
    let span = request.options.client_id;
    if span.is_empty() {
        return true;
    }
    let [c0, c1, c2, c3, c4, c5] = request.chaddr;
    span.length == 7 && packet.read(span.at as usize) == Some([dhcp::ETHERNET, c0, c1, c2, c3, c4, c5])
}

/// Whether a frame was sent to us, by somebody else.
#[inline(always)]
pub fn addressed_to(request: &Request, interface: &InterfaceValue) -> Result<(), Leave> {
    let headers = &request.headers;
    if headers.source_mac == interface.mac || headers.source == interface.address {
        return Err(Leave::Ours);
    }
    let ours = headers.destination == interface.address || headers.destination == ipv4::BROADCAST;
    let mac = headers.destination_mac;
    if !ours || (mac != interface.mac && mac != ethernet::Mac::BROADCAST.0) {
        return Err(Leave::NotForUs);
    }
    if !request.options.relay_agent.is_empty() && !request.relayed() && !interface.trusts_option_82() {
        return Err(Leave::UntrustedRelay);
    }
    Ok(())
}

/// Which reply a request deserves, before any of its bytes is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub kind: Kind,
    pub class: Class,
    /// NAKs are the same for every class; an ignored host is told no boot file.
    pub template_class: Class,
    pub yiaddr: [u8; 4],
    pub ciaddr: [u8; 4],
}

/// What `host`, which is on the network of its address, is owed: RFC 2131 section 4.3 and its tables 4 and 5; PXE 2.1 section 2.2.
#[inline(always)]
pub fn decide(
    request: &Request,
    interface: &InterfaceValue,
    host: &HostValue,
    now: u64,
) -> Result<Verdict, Leave> {
    match (interface.mode(), request.headers.destination_port) {
        (_, udp::PXE) => decide_boot_server(request, host),
        (Mode::Proxy, _) => decide_proxy(request, host),
        (Mode::Server, _) => decide_server(request, interface, host, now),
    }
}

/// Port 4011 (PXE 2.1 section 2.2.1): every class that was offered is answered.
#[inline(always)]
fn decide_boot_server(request: &Request, host: &HostValue) -> Result<Verdict, Leave> {
    match request.options.message_type {
        // The answer goes to the client's own address.
        _ if request.headers.source == ipv4::UNSPECIFIED => Err(Leave::Contradiction),
        MessageType::Request | MessageType::Inform => proxied(request, host, Kind::ProxyAck),
        _ => Err(Leave::MessageType),
    }
}

#[inline(always)]
fn decide_proxy(request: &Request, host: &HostValue) -> Result<Verdict, Leave> {
    match request.options.message_type {
        MessageType::Discover => proxied(request, host, Kind::ProxyOffer),
        _ => Err(Leave::NotProxied),
    }
}

#[inline(always)]
fn proxied(request: &Request, host: &HostValue, kind: Kind) -> Result<Verdict, Leave> {
    let class = request.class();
    match class {
        Class::Plain => return Err(Leave::NotPxe),
        Class::Unknown => return Err(Leave::NoLoader),
        _ => {}
    }
    if host.ignored() {
        return Err(Leave::Ignored);
    }
    let ciaddr = match kind {
        Kind::ProxyAck => request.ciaddr,
        _ => [0; 4],
    };
    Ok(Verdict { kind, class, template_class: class, yiaddr: [0; 4], ciaddr })
}

#[inline(always)]
fn decide_server(
    request: &Request,
    interface: &InterfaceValue,
    host: &HostValue,
    now: u64,
) -> Result<Verdict, Leave> {
    let message_type = request.options.message_type;
    match message_type {
        MessageType::Discover | MessageType::Request | MessageType::Inform => {}
        MessageType::Decline => return Err(Leave::Decline),
        MessageType::Release => return Err(Leave::Release),
        _ => return Err(Leave::MessageType),
    }
    if host.yiaddr == ipv4::UNSPECIFIED {
        return Err(Leave::NoAddress);
    }
    // Before the network is looked at: a client of another server is that server's.
    let selecting = request.options.server != ipv4::UNSPECIFIED;
    if message_type as u8 == MessageType::Request as u8
        && selecting
        && request.options.server != interface.address
    {
        return Err(Leave::OtherServer);
    }
    let class = request.class();
    let template_class = if host.ignored() { Class::Plain } else { class };
    let (yiaddr, ciaddr) = (host.yiaddr, request.ciaddr);
    let verdict = |kind, yiaddr, ciaddr| Verdict { kind, class, template_class, yiaddr, ciaddr };
    match message_type {
        MessageType::Discover => fresh(host, now, verdict(Kind::Offer, yiaddr, [0; 4])),
        MessageType::Inform if ciaddr == ipv4::UNSPECIFIED => Err(Leave::Contradiction),
        MessageType::Inform => Ok(verdict(Kind::InformAck, [0; 4], ciaddr)),
        _ => match asked_address(request, selecting)? {
            asked if asked == yiaddr => fresh(host, now, verdict(Kind::Ack, yiaddr, ciaddr)),
            // INIT-REBOOT and REBINDING name no server: of a machine that has a reservation, and no lease of ours, it may be
            // another one's.
            _ if !(selecting
                || interface.authoritative()
                || host.dynamic()
                || renews_with_us(request, interface)) =>
            {
                Err(Leave::OtherServer)
            }
            // A lane that can't promise this address any more does not know of a newer one either.
            _ => {
                let nak = Verdict { template_class: Class::Plain, ..verdict(Kind::Nak, [0; 4], [0; 4]) };
                fresh(host, now, nak)
            }
        },
    }
}

/// RENEWING is sent to the server itself. What a relay agent sends there, its client broadcast.
#[inline(always)]
fn renews_with_us(request: &Request, interface: &InterfaceValue) -> bool {
    !request.relayed() && request.headers.destination == interface.address
}

/// The address that a REQUEST is about, by the client's state (RFC 2131 table 4).
#[inline(always)]
fn asked_address(request: &Request, selecting: bool) -> Result<[u8; 4], Leave> {
    let requested = request.options.requested;
    match (requested != ipv4::UNSPECIFIED, request.ciaddr != ipv4::UNSPECIFIED) {
        // SELECTING (with option 54) and INIT-REBOOT (without).
        (true, false) => Ok(requested),
        // RENEWING and REBINDING.
        (false, true) if !selecting => Ok(request.ciaddr),
        // Some clients fill in both, or name the server while they renew: taken where they agree.
        (true, true) if requested == request.ciaddr => Ok(requested),
        (false, true) => Ok(request.ciaddr),
        _ => Err(Leave::Contradiction),
    }
}

/// A dynamic lease is promised no longer than it is durable.
#[inline(always)]
fn fresh(host: &HostValue, now: u64, verdict: Verdict) -> Result<Verdict, Leave> {
    let until = host.valid_until();
    if until != 0 && now + host.lease() as u64 > until {
        return Err(Leave::Stale);
    }
    Ok(verdict)
}

/// Puts the reply together. `v6_only`: the client asks for option 108, which only userspace looks for: one more walk over a
/// list is more than the verifier follows.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "what a reply is made of; a struct of them would cost the kernel its stack"
)]
pub fn compose<'t, P: Packet>(
    packet: &P,
    request: &Request,
    interface: &InterfaceValue,
    host: &HostValue,
    verdict: Verdict,
    template: &'t Template,
    v6_only: bool,
    scratch: &mut Scratch,
) -> Result<Reply<'t>, Leave> {
    let length = write_tail(packet, request, host, verdict, template, v6_only, scratch)?;
    let payload = dhcp::HEAD + template.length() + length;
    let datagram = udp::HEADER + payload;
    let total = ipv4::HEADER + datagram;
    // RFC 2132 section 9.10: the client's limit is for the whole datagram. The interface's comes first: we send no fragments.
    let limit = request.options.max_size as usize;
    let too_long = total > dhcp::DATAGRAM_MIN && total > limit;
    if too_long || total > interface.mtu() as usize {
        return Err(Leave::TooLong);
    }
    let to = destination(request, verdict);
    let sum = template.sum() + packet.sum_of_tail(scratch, length);
    let sum = write_message_head(&mut scratch.head, request, verdict, template, sum);
    write_datagram_head(&mut scratch.head, interface.address, &to, datagram as u16, sum);
    Ok(Reply {
        destination_mac: to.mac,
        source_mac: interface.mac,
        template,
        tail: length,
        kind: verdict.kind,
        class: verdict.class,
        yiaddr: verdict.yiaddr,
    })
}

/// Where a reply goes.
struct Destination {
    mac: [u8; 6],
    address: [u8; 4],
    source_port: u16,
    port: u16,
}

/// RFC 2131 section 4.1. A unicast reply to an address that is in use goes back to the machine that sent the frame: the
/// client, or the router before it. 4011: back to where it came from, because firmware asks from 68 or from 4011.
#[inline(always)]
fn destination(request: &Request, verdict: Verdict) -> Destination {
    let headers = &request.headers;
    let (mac, address, source_port, port) = match verdict.kind {
        Kind::ProxyAck => (headers.source_mac, headers.source, udp::PXE, headers.source_port),
        _ if request.relayed() => (headers.source_mac, request.giaddr, udp::DHCP_SERVER, udp::DHCP_SERVER),
        Kind::Nak => broadcast(),
        _ if verdict.ciaddr != ipv4::UNSPECIFIED => {
            (headers.source_mac, verdict.ciaddr, udp::DHCP_SERVER, udp::DHCP_CLIENT)
        }
        // A ProxyDHCP offer has no address to send to (PXE 2.1: it is broadcast).
        _ if request.wants_broadcast() || verdict.yiaddr == ipv4::UNSPECIFIED => broadcast(),
        _ => (request.chaddr, verdict.yiaddr, udp::DHCP_SERVER, udp::DHCP_CLIENT),
    };
    Destination { mac, address, source_port, port }
}

#[inline(always)]
const fn broadcast() -> ([u8; 6], [u8; 4], u16, u16) {
    (ethernet::Mac::BROADCAST.0, ipv4::BROADCAST, udp::DHCP_SERVER, udp::DHCP_CLIENT)
}

/// RFC 2131 table 3. `hops` and `secs` are zero; `xid`, `flags`, `giaddr` and `chaddr` are the client's. Returns `sum` plus
/// what was written.
#[inline(always)]
fn write_message_head(
    head: &mut [u8; HEAD],
    request: &Request,
    verdict: Verdict,
    template: &Template,
    sum: u32,
) -> u32 {
    let mut flags = request.flags;
    // RFC 2131 section 4.3.2: a relay agent must broadcast a NAK, for the client may have no address.
    if verdict.kind as u8 == Kind::Nak as u8 && request.relayed() {
        flags[0] |= (dhcp::FLAG_BROADCAST >> 8) as u8;
    }
    let siaddr = match verdict.kind {
        Kind::Nak => [0; 4],
        _ => template.siaddr,
    };
    let [h0, h1, h2, h3, h4, h5] = request.chaddr;
    let [f0, f1] = flags;
    let mut writer = Writer { head, at: ipv4::HEADER + udp::HEADER, sum };
    writer.put([dhcp::BOOTREPLY, dhcp::ETHERNET, 6, 0]);
    writer.put(request.xid);
    writer.put([0, 0, f0, f1]);
    writer.put(verdict.ciaddr);
    writer.put(verdict.yiaddr);
    writer.put(siaddr);
    writer.put(request.giaddr);
    writer.put([h0, h1, h2, h3]);
    writer.put([h4, h5, 0, 0]);
    writer.put([0; 4]);
    writer.put([0; 4]);
    writer.sum
}

/// The IPv4 and UDP headers. `datagram`: bytes from the UDP header on; `sum`: of the whole UDP payload.
#[inline(always)]
fn write_datagram_head(head: &mut [u8; HEAD], source: [u8; 4], to: &Destination, datagram: u16, sum: u32) {
    let [t0, t1] = (ipv4::HEADER as u16 + datagram).to_be_bytes();
    let [l0, l1] = datagram.to_be_bytes();
    let [p0, p1] = to.source_port.to_be_bytes();
    let [q0, q1] = to.port.to_be_bytes();
    let [df0, df1] = ipv4::DONT_FRAGMENT.to_be_bytes();
    let addresses = checksum::add(checksum::add(0, &source), &to.address);
    // RFC 768: the pseudo header has the addresses, the protocol, and the length once more.
    let pseudo = addresses + ipv4::UDP as u32 + 2 * datagram as u32;
    let [u0, u1] = checksum::finish_udp(pseudo + to.source_port as u32 + to.port as u32 + sum).to_be_bytes();
    let mut writer = Writer { head, at: 0, sum: 0 };
    writer.put([ipv4::VERSION_IHL, 0, t0, t1]);
    writer.put([0, 0, df0, df1]);
    writer.put([ipv4::TTL, ipv4::UDP, 0, 0]);
    writer.put(source);
    writer.put(to.address);
    let [c0, c1] = checksum::finish(writer.sum).to_be_bytes();
    writer.put([p0, p1, q0, q1]);
    writer.put([l0, l1, u0, u1]);
    head[ipv4::field::CHECKSUM] = c0;
    head[ipv4::field::CHECKSUM + 1] = c1;
}

/// Writes words one behind the other, and sums them.
struct Writer<'a> {
    head: &'a mut [u8; HEAD],
    at: usize,
    sum: u32,
}

impl Writer<'_> {
    #[inline(always)]
    fn put(&mut self, word: [u8; 4]) {
        if let Some(room) = self.head.get_mut(self.at..self.at + 4) {
            room.copy_from_slice(&word);
        }
        self.sum = checksum::add(self.sum, &word);
        self.at += 4;
    }
}

/// The client's own options, END, and zeros up to [`dhcp::REPLY_MIN`]. Returns how many bytes count.
#[inline(always)]
fn write_tail<P: Packet>(
    packet: &P,
    request: &Request,
    host: &HostValue,
    verdict: Verdict,
    template: &Template,
    v6_only: bool,
    scratch: &mut Scratch,
) -> Result<usize, Leave> {
    let options = &request.options;
    let mut at = 0;
    if matches!(verdict.kind, Kind::Bootp) {
        at = put_hostname(scratch, at, host)?;
    }
    if matches!(verdict.kind, Kind::Offer | Kind::Ack) {
        let [l0, l1, l2, l3] = host.lease().to_be_bytes();
        at = put(scratch, at, &[option::LEASE_TIME, 4, l0, l1, l2, l3])?;
        at = put_hostname(scratch, at, host)?;
    }
    if v6_only && template.v6_only_wait() != [0; 4] && verdict.yiaddr != ipv4::UNSPECIFIED {
        let [w0, w1, w2, w3] = template.v6_only_wait();
        at = put(scratch, at, &[option::V6_ONLY, 4, w0, w1, w2, w3])?;
    }
    at = echo(packet, scratch, at, option::CLIENT_IDENTIFIER, options.client_id)?;
    if verdict.class.boots() && !matches!(verdict.kind, Kind::Nak) {
        at = echo(packet, scratch, at, option::CLIENT_UUID, options.uuid)?;
    }
    // RFC 3046 section 2.2: the last option before END.
    at = echo(packet, scratch, at, option::RELAY_AGENT, options.relay_agent)?;
    at = put(scratch, at, &[option::END])?;
    // Zeros behind the end, enough for the shortest reply (300 - 240 = 60) and for an odd end.
    put(scratch, at, &[0; 64])?;
    let missing = (dhcp::REPLY_MIN - dhcp::HEAD).saturating_sub(template.length() + at);
    if at + missing > TAIL_MAX { Err(Leave::TooLong) } else { Ok(at + missing) }
}

/// Writes `bytes` at `at`; returns what follows them.
#[inline(always)]
fn put<const N: usize>(scratch: &mut Scratch, at: usize, bytes: &[u8; N]) -> Result<usize, Leave> {
    if at > TAIL_MAX {
        return Err(Leave::TooLong);
    }
    let room = scratch.tail.get_mut(at..at + N).ok_or(Leave::TooLong)?;
    room.copy_from_slice(bytes);
    Ok(at + N)
}

#[inline(always)]
fn put_hostname(scratch: &mut Scratch, at: usize, host: &HostValue) -> Result<usize, Leave> {
    let (name, length) = host.hostname();
    if length == 0 || length as usize > HOSTNAME_MAX {
        return Ok(at);
    }
    let at = put(scratch, at, &[option::HOST_NAME, length])?;
    // The whole field, for its size is a constant; what follows overwrites the rest.
    put(scratch, at, name)?;
    Ok(at + length as usize)
}

#[inline(always)]
fn echo<P: Packet>(
    packet: &P,
    scratch: &mut Scratch,
    at: usize,
    code: u8,
    span: Span,
) -> Result<usize, Leave> {
    if span.is_empty() {
        return Ok(at);
    }
    let at = put(scratch, at, &[code, span.length])?;
    if at > TAIL_MAX || !packet.copy_to_tail(span.at as usize, span.length, scratch, at) {
        return Err(Leave::TooLong);
    }
    Ok(at + span.length as usize)
}
