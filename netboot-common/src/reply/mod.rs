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

mod compose;
mod decide;

pub use self::compose::{Extra, begun, compose};
pub use self::decide::{Verdict, decide};
use crate::class::Class;
use crate::maps::{HostKey, HostValue, InterfaceValue, Kind, Template, TemplateKey};
use crate::packet::Packet;
use crate::request::Request;
use crate::stats::{Leave, Note};
use crate::wire::{dhcp, ethernet, ipv4, udp};

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
