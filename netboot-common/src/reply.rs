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
use crate::wire::checksum::{self, Sum};
use crate::wire::dhcp::{self, MessageType, option};
use crate::wire::{ethernet, ipv4, udp};

/// What a lane looks up. In the kernel: BPF maps.
pub trait Tables {
    /// Who we are where a request came in.
    fn interface(&self, vlan: [u16; 2]) -> Option<&InterfaceValue>;
    /// What may be promised to a client.
    fn host(&self, key: &HostKey) -> Option<&HostValue>;
    fn template(&self, key: &TemplateKey) -> Option<&Template>;
    /// Seconds of the boot-time clock: asked for leases only.
    fn now(&self) -> u64;
}

/// Bytes before the template: IPv4, UDP, and BOOTP up to `sname`.
pub const HEAD: usize = ipv4::HEADER + udp::HEADER + dhcp::HEAD;

/// The longest tail, its padding included.
pub const TAIL_MAX: usize = 504;
const TAIL_ROOM: usize = 1024;

/// Working memory of one reply at a time. Reused: only what a reply's lengths cover counts. The caller's, because a BPF
/// program has 512 bytes of stack.
// VERIFIER (6.18, 2026-11): the MACs, too: the stack, unlike a map, takes words at aligned addresses only.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    /// IPv4, UDP, and BOOTP up to `sname`, written by the word, as it is read again: a processor waits where a word is put together
    /// from the bytes of several writes.
    pub head: [[u8; 8]; HEAD / 8],
    /// Destination and source.
    pub macs: [[u8; 6]; 2],
    /// Bytes of the tail that count.
    length: u16,
    kind: Kind,
    /// The options that depend on the client. Longer than [`TAIL_MAX`]: every write of at most 255 bytes that starts below it fits.
    pub tail: [u8; TAIL_ROOM],
}

impl Scratch {
    pub const fn new() -> Self {
        Self {
            head: [[0; 8]; HEAD / 8],
            macs: [[0; 6]; 2],
            length: 0,
            kind: Kind::Offer,
            tail: [0; TAIL_ROOM],
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A reply, ready to be copied into a frame: [`Scratch::macs`], the request's own tags, [`Scratch::head`], the template's body,
/// [`Scratch::tail`].
#[derive(Clone, Copy, Debug)]
pub struct Reply<'t> {
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
            scratch.macs.as_flattened(),
            request.get(ethernet::field::ETHERTYPE..l3)?,
            scratch.head.as_flattened(),
            body,
            scratch.tail.get(..self.tail)?,
        ] {
            frame.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        Some(at)
    }
}

/// The whole decision of a lane that knows its hosts.
pub fn answer<'t, P: Packet, T: Tables>(
    packet: &P,
    request: &Request,
    tables: &'t T,
    scratch: &mut Scratch,
) -> Result<Reply<'t>, Leave> {
    let interface = tables.interface(request.headers.vlan).ok_or(Leave::NoInterface)?;
    addressed_to(request, interface)?;
    let host = tables.host(&request.host_key()).ok_or(Leave::UnknownHost)?;
    answer_host(packet, request, interface, host, tables, scratch)
}

/// The part of it that follows the look-ups, for a lane that has a use for what they find.
#[inline(always)]
pub fn answer_host<'t, P: Packet, T: Tables>(
    packet: &P,
    request: &Request,
    interface: &InterfaceValue,
    host: &HostValue,
    tables: &'t T,
    scratch: &mut Scratch,
) -> Result<Reply<'t>, Leave> {
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
    // A reservation has no end: the clock need not be read.
    let now = if host.valid_until() == 0 { 0 } else { tables.now() };
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
    compose(packet, request, interface, host, verdict, template, Extra::NONE, scratch)
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
    if request.source_mac == interface.mac || request.source == interface.address {
        return Err(Leave::Ours);
    }
    let ours = request.destination == interface.address || request.destination == ipv4::BROADCAST;
    let mac = request.destination_mac;
    if !ours || (mac != interface.mac && mac != ethernet::Mac::BROADCAST.0) {
        return Err(Leave::NotForUs);
    }
    if !request.options.relay_agent.is_empty() && !request.relayed() && !interface.trusts_option_82() {
        return Err(Leave::UntrustedRelay);
    }
    Ok(())
}

/// What goes into a reply by userspace alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra {
    /// The client asks for option 108: one more walk over a list is more than the verifier follows.
    pub v6_only: bool,
    /// Option 118, which the client sent and we obeyed (RFC 3011 section 2: it discards a reply without it); 0.0.0.0: neither.
    pub subnet: [u8; 4],
}

impl Extra {
    pub const NONE: Self = Self { v6_only: false, subnet: ipv4::UNSPECIFIED };
}

/// What stands in place of a reply's UDP checksum where a device is to go on from there: the pseudo header's sum (RFC 768).
#[inline(always)]
pub fn begun(head: &[[u8; 8]; HEAD / 8]) -> [u8; 2] {
    let [_, [.., s0, s1, s2, s3], [d0, d1, d2, d3, ..], [u0, u1, ..], ..] = *head;
    let words = [[s0, s1], [s2, s3], [d0, d1], [d2, d3], [u0, u1], [0, ipv4::UDP]];
    let sum = words.into_iter().fold(0, |sum, word| sum + u32::from(u16::from_be_bytes(word)));
    checksum::fold(sum).to_be_bytes()
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
        _ if request.source == ipv4::UNSPECIFIED => Err(Leave::Contradiction),
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
    !request.relayed() && request.destination == interface.address
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

/// Puts the reply together.
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
    extra: Extra,
    scratch: &mut Scratch,
) -> Result<Reply<'t>, Leave> {
    write_tail(packet, request, host, verdict, template, extra, scratch)?;
    scratch.kind = verdict.kind;
    scratch.destine(request, verdict, interface.mac);
    write_message(&mut scratch.head, request, verdict, template);
    packet.forget();
    let sum = template.sum().plus(sum_of_tail(&scratch.tail, scratch.length as usize));
    packet.forget();
    let length = scratch.length as usize;
    if length > TAIL_MAX {
        return Err(Leave::TooLong);
    }
    let payload = dhcp::HEAD + template.length() + length;
    let datagram = udp::HEADER + payload;
    let total = ipv4::HEADER + datagram;
    // RFC 2132 section 9.10: the client's limit is for the whole datagram. The interface's comes first: we send no fragments.
    let limit = request.options.max_size as usize;
    let too_long = total > dhcp::DATAGRAM_MIN && total > limit;
    if too_long || total > interface.mtu() as usize {
        return Err(Leave::TooLong);
    }
    write_headers(&mut scratch.head, interface.address, datagram as u16, sum);
    let [_, _, _, _, y0, y1, y2, y3] = scratch.head[head::ADDRESSES];
    Ok(Reply { template, tail: length, kind: scratch.kind, class: request.class(), yiaddr: [y0, y1, y2, y3] })
}

impl Scratch {
    /// Where a reply goes: RFC 2131 section 4.1. A unicast reply to an address that is in use goes back to the machine that sent
    /// the frame: the client, or the router before it. 4011: back to where it came from, because firmware asks from 68 or from 4011.
    #[inline(always)]
    fn destine(&mut self, request: &Request, verdict: Verdict, source_mac: [u8; 6]) {
        let broadcast = (ethernet::Mac::BROADCAST.0, ipv4::BROADCAST, udp::DHCP_SERVER, udp::DHCP_CLIENT);
        let (mac, address, source_port, port) = match verdict.kind {
            Kind::ProxyAck => (request.source_mac, request.source, udp::PXE, request.source_port),
            _ if request.relayed() => {
                (request.source_mac, request.giaddr, udp::DHCP_SERVER, udp::DHCP_SERVER)
            }
            Kind::Nak => broadcast,
            _ if verdict.ciaddr != ipv4::UNSPECIFIED => {
                (request.source_mac, verdict.ciaddr, udp::DHCP_SERVER, udp::DHCP_CLIENT)
            }
            // A ProxyDHCP offer has no address to send to (PXE 2.1: it is broadcast).
            _ if request.wants_broadcast() || verdict.yiaddr == ipv4::UNSPECIFIED => broadcast,
            _ => (request.chaddr, verdict.yiaddr, udp::DHCP_SERVER, udp::DHCP_CLIENT),
        };
        let [[p0, p1], [q0, q1]] = [source_port.to_be_bytes(), port.to_be_bytes()];
        self.head[head::DESTINATION] = words(address, [p0, p1, q0, q1]);
        self.macs = [mac, source_mac];
    }
}

/// Words of [`Scratch::head`].
mod head {
    /// Version, total length, flags.
    pub(super) const VERSION: usize = 0;
    /// TTL, protocol, checksum, source.
    pub(super) const SOURCE: usize = 1;
    /// Destination, and the two ports.
    pub(super) const DESTINATION: usize = 2;
    /// UDP length and checksum, then the message's first four bytes.
    pub(super) const UDP: usize = 3;
    /// `xid` to `chaddr`.
    pub(super) const MESSAGE: usize = 4;
    /// `ciaddr` and `yiaddr`.
    pub(super) const ADDRESSES: usize = MESSAGE + 1;
}

/// What begins a message of ours, up to `hops`, which is zero.
const OP: [u8; 4] = [dhcp::BOOTREPLY, dhcp::ETHERNET, 6, 0];

/// RFC 2131 table 3, up to `chaddr`: `secs` is zero; `xid`, `flags`, `giaddr` and `chaddr` are the client's.
#[inline(always)]
fn write_message(head: &mut [[u8; 8]; HEAD / 8], request: &Request, verdict: Verdict, template: &Template) {
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
    head[head::MESSAGE] = words(request.xid, [0, 0, flags[0], flags[1]]);
    head[head::ADDRESSES] = words(verdict.ciaddr, verdict.yiaddr);
    head[head::MESSAGE + 2] = words(siaddr, request.giaddr);
    head[head::MESSAGE + 3] = words([h0, h1, h2, h3], [h4, h5, 0, 0]);
    head[head::MESSAGE + 4] = [0; 8];
}

/// The IPv4 and UDP headers, around what is in `head` already. `datagram`: bytes from the UDP header on; `sum`: of the message from
/// `sname` on.
#[inline(always)]
fn write_headers(head: &mut [[u8; 8]; HEAD / 8], source: [u8; 4], datagram: u16, sum: Sum) {
    let [_, _, _, _, message @ .., _] = &*head;
    let sum = message.iter().fold(sum.word(OP), |sum, pair| sum.pair(*pair));
    let [a0, a1, a2, a3, p0, p1, q0, q1] = head[head::DESTINATION];
    // RFC 768: the pseudo header has the addresses, the protocol, and the length once more.
    let addresses = Sum::ZERO.word(source).word([a0, a1, a2, a3]);
    let ports = Sum::ZERO.word([p0, p1, q0, q1]);
    let lengths = Sum::ZERO.number(datagram).number(datagram);
    let [u0, u1] = addresses.number(ipv4::UDP as u16).plus(ports).plus(lengths).plus(sum).udp_checksum();
    let [[t0, t1], [l0, l1]] = [(ipv4::HEADER as u16 + datagram).to_be_bytes(), datagram.to_be_bytes()];
    let [df0, df1] = ipv4::DONT_FRAGMENT.to_be_bytes();
    let version = words([ipv4::VERSION_IHL, 0, t0, t1], [0, 0, df0, df1]);
    let [c0, c1] = addresses.pair(version).word([ipv4::TTL, ipv4::UDP, 0, 0]).checksum();
    head[head::VERSION] = version;
    head[head::SOURCE] = words([ipv4::TTL, ipv4::UDP, c0, c1], source);
    head[head::UDP] = words([l0, l1, u0, u1], OP);
}

/// Eight bytes, written at once.
#[inline(always)]
const fn words(first: [u8; 4], second: [u8; 4]) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (first, second);
    u64::from_ne_bytes([a, b, c, d, e, f, g, h]).to_ne_bytes()
}

/// The sum of the first `length` bytes, which zeros follow.
#[inline(always)]
fn sum_of_tail(tail: &[u8; TAIL_ROOM], length: usize) -> Sum {
    let mut sum = Sum::ZERO;
    let mut at = 0;
    while at < TAIL_MAX && at < length {
        let mut pair = [0; 8];
        pair.copy_from_slice(&tail[at..at + 8]);
        sum = sum.pair(pair);
        at += 8;
    }
    sum
}

/// The client's own options, END, and zeros up to [`dhcp::REPLY_MIN`].
#[inline(always)]
fn write_tail<P: Packet>(
    packet: &P,
    request: &Request,
    host: &HostValue,
    verdict: Verdict,
    template: &Template,
    extra: Extra,
    scratch: &mut Scratch,
) -> Result<(), Leave> {
    let options = &request.options;
    scratch.length = 0;
    if matches!(verdict.kind, Kind::Offer | Kind::Ack) {
        let [l0, l1, l2, l3] = host.lease().to_be_bytes();
        scratch.put(&[option::LEASE_TIME, 4, l0, l1, l2, l3])?;
    }
    if matches!(verdict.kind, Kind::Offer | Kind::Ack | Kind::Bootp) {
        scratch.put_hostname(host)?;
    }
    if extra.v6_only && template.v6_only_wait() != [0; 4] && verdict.yiaddr != ipv4::UNSPECIFIED {
        let [w0, w1, w2, w3] = template.v6_only_wait();
        scratch.put(&[option::V6_ONLY, 4, w0, w1, w2, w3])?;
    }
    if extra.subnet != ipv4::UNSPECIFIED && matches!(verdict.kind, Kind::Offer | Kind::Ack | Kind::InformAck)
    {
        let [s0, s1, s2, s3] = extra.subnet;
        scratch.put(&[option::SUBNET_SELECTION, 4, s0, s1, s2, s3])?;
    }
    packet.forget();
    echo(packet, scratch, option::CLIENT_IDENTIFIER, options.client_id)?;
    if verdict.class.boots() && !matches!(verdict.kind, Kind::Nak) {
        echo(packet, scratch, option::CLIENT_UUID, options.uuid)?;
    }
    // RFC 3046 section 2.2: the last option before END.
    echo(packet, scratch, option::RELAY_AGENT, options.relay_agent)?;
    scratch.put(&[option::END])?;
    // Zeros behind the end, over what copies by the word left there: enough for the shortest reply (300 - 240 = 60) and for sums and copies of whole words.
    let end = scratch.length;
    scratch.put(&[0; 64])?;
    let missing = (dhcp::REPLY_MIN - dhcp::HEAD).saturating_sub(template.length() + end as usize);
    scratch.length = end + missing as u16;
    Ok(())
}

impl Scratch {
    /// Writes `bytes` behind the tail.
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: &[u8; N]) -> Result<(), Leave> {
        let at = self.length as usize;
        if at > TAIL_MAX {
            return Err(Leave::TooLong);
        }
        let room = self.tail.get_mut(at..at + N).ok_or(Leave::TooLong)?;
        room.copy_from_slice(bytes);
        self.length = (at + N) as u16;
        Ok(())
    }

    #[inline(always)]
    fn put_hostname(&mut self, host: &HostValue) -> Result<(), Leave> {
        let (name, length) = host.hostname();
        if length == 0 || length as usize > HOSTNAME_MAX {
            return Ok(());
        }
        self.put(&[option::HOST_NAME, length])?;
        // The whole field, for its size is a constant; what follows overwrites the rest.
        let at = self.length;
        self.put(name)?;
        self.length = at + length as u16;
        Ok(())
    }
}

#[inline(always)]
fn echo<P: Packet>(packet: &P, scratch: &mut Scratch, code: u8, span: Span) -> Result<(), Leave> {
    if !span.is_empty() {
        scratch.put(&[code, span.length])?;
        let at = scratch.length as usize;
        if at > TAIL_MAX || !packet.copy_to_tail(span.at as usize, span.length, scratch, at) {
            return Err(Leave::TooLong);
        }
        scratch.length = (at + span.length as usize) as u16;
    }
    packet.forget();
    Ok(())
}
