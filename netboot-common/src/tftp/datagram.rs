//! Which datagrams are ours to answer, and which have arrived as they were sent.

use super::maps::Serving;
use super::stats::Leave;
use crate::datagram::{Datagram, Fault};
use crate::maps::InterfaceValue;
use crate::packet::{Packet, Slice};
use crate::wire::{checksum, ipv4, udp};

/// Bytes of a payload that are summed at most: what is longer is no request that is read here.
pub const SUM_MOST: usize = 512;

/// A frame whose checksum can be verified.
pub trait Summed: Packet {
    /// Whether the device has verified it.
    fn is_verified(&self) -> bool;

    /// The sum of up to [`SUM_MOST`] bytes at an offset, as [`checksum::add`] has it; `None` past the end. `room`: to work in.
    fn sum(&self, at: usize, length: u16, room: &mut [u8; SUM_MOST]) -> Option<u32>;
}

impl Summed for Slice<'_> {
    fn is_verified(&self) -> bool {
        false
    }

    fn sum(&self, at: usize, length: u16, _room: &mut [u8; SUM_MOST]) -> Option<u32> {
        Some(checksum::add(0, self.bytes.get(at..at + usize::from(length))?))
    }
}

impl Datagram {
    /// One to the port for requests, or to one of those for transfers.
    #[inline(always)]
    pub fn of_tftp<P: Packet>(packet: &P, serving: &Serving) -> Result<Self, Leave> {
        let is_ours = |port| port == serving.listen() || serving.is_tid(port);
        Self::read(packet, is_ours).map_err(Leave::from)
    }

    /// Whether the checksums of IPv4 and UDP are right, as RFC 1122, sections 3.2.1.2 and 4.1.3.4, has it. `room`: to work in.
    ///
    /// That of UDP may be left out (RFC 768). A datagram from the same machine, or from a guest of it, may have the pseudo header's sum
    /// in its place, for a device to go on from that will never see it. Of those that came by a wire one in 65,536 damaged ones looks
    /// like this, which is how many a right checksum lets through as well.
    #[inline(always)]
    pub fn is_intact<P: Summed>(&self, packet: &P, room: &mut [u8; SUM_MOST]) -> Result<(), Leave> {
        let header: [u8; ipv4::HEADER] = packet.read(self.l3 as usize).ok_or(Leave::Truncated)?;
        if checksum::fold(checksum::add(0, &header)) != 0xffff {
            return Err(Leave::Checksum);
        }
        let length = self.length + udp::HEADER as u16;
        let pseudo = self.pseudo(length);
        if self.checksum == 0 || self.checksum == checksum::fold(pseudo) || packet.is_verified() {
            return Ok(());
        }
        if self.length as usize > SUM_MOST {
            return Err(Leave::Odd);
        }
        let payload = packet.sum(self.payload(), self.length, room).ok_or(Leave::Truncated)?;
        let header =
            self.source_port as u32 + self.destination_port as u32 + length as u32 + self.checksum as u32;
        match checksum::fold(pseudo + header + payload) {
            0xffff => Ok(()),
            _ => Err(Leave::Checksum),
        }
    }

    /// The sum of the pseudo header (RFC 768): addresses, protocol, length.
    #[inline(always)]
    fn pseudo(&self, length: u16) -> u32 {
        let ([a, b, c, d], [e, f, g, h]) = (self.source, self.destination);
        let words = [[a, b], [c, d], [e, f], [g, h]];
        let [a, b, c, d] = words.map(|word| u16::from_be_bytes(word) as u32);
        a + b + c + d + ipv4::UDP as u32 + length as u32
    }

    /// Whether it is from a machine of our network to us: only then its source may be sent what it asks for.
    #[inline(always)]
    pub fn is_ours(&self, interface: &InterfaceValue, serving: &Serving) -> Result<(), Leave> {
        if self.source_mac == interface.mac || self.source == interface.address {
            return Err(Leave::Ours);
        }
        if self.source_port == serving.listen() || serving.is_tid(self.source_port) {
            return Err(Leave::Ours);
        }
        if self.destination != interface.address || self.destination_mac != interface.mac {
            return Err(Leave::NotForUs);
        }
        if serving.address != ipv4::UNSPECIFIED && self.destination != serving.address {
            return Err(Leave::NotForUs);
        }
        if !is_host(self.source, interface) || self.source_port == 0 || self.source_mac[0] & 1 == 1 {
            return Err(Leave::Source);
        }
        Ok(())
    }
}

/// An address of the interface's network that a machine can have: neither the network's own nor its broadcast address.
#[inline(always)]
fn is_host(address: [u8; 4], interface: &InterfaceValue) -> bool {
    let prefix = if interface.prefix > 32 { 32 } else { interface.prefix };
    // 64-bit, so that a prefix of 0 shifts everything out in place of overflowing.
    let mask = (0xffff_ffff_u64 << (32 - prefix)) as u32;
    let (theirs, ours) = (u32::from_be_bytes(address), u32::from_be_bytes(interface.address));
    let inside = (theirs ^ ours) & mask == 0;
    // RFC 3021: a /31 has no addresses of its own.
    inside && (prefix >= 31 || (theirs & !mask != 0 && theirs | mask != u32::MAX))
}

impl From<Fault> for Leave {
    #[inline(always)]
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotOurs => Self::NotTftp,
            Fault::Tags => Self::Tags,
            Fault::IpOptions => Self::IpOptions,
            Fault::Fragment => Self::Fragment,
            Fault::Truncated => Self::Truncated,
            Fault::Lengths | Fault::Short => Self::Lengths,
        }
    }
}
