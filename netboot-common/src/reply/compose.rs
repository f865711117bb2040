//! The bytes of a reply: what is computed, and the options of its client.

use super::{HEAD, Reply, Scratch, TAIL_MAX, TAIL_ROOM, Verdict};
use crate::maps::{HOSTNAME_MAX, HostValue, InterfaceValue, Kind, Template};
use crate::packet::Packet;
use crate::request::{Request, Span};
use crate::stats::Leave;
use crate::wire::checksum::{self, Sum};
use crate::wire::dhcp::{self, option};
use crate::wire::{ethernet, ipv4, udp};

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

/// What stands in place of a reply's UDP checksum where a device is to go on from there: the pseudo header's sum (RFC 768).
#[inline(always)]
pub fn begun(head: &[[u8; 8]; HEAD / 8]) -> [u8; 2] {
    let [_, [.., s0, s1, s2, s3], [d0, d1, d2, d3, ..], [u0, u1, ..], ..] = *head;
    let words = [[s0, s1], [s2, s3], [d0, d1], [d2, d3], [u0, u1], [0, ipv4::UDP]];
    let sum = words.into_iter().fold(0, |sum, word| sum + u32::from(u16::from_be_bytes(word)));
    checksum::fold(sum).to_be_bytes()
}
