//! A received frame -> a datagram to one of our TFTP ports, or the reason why userspace looks at it.

use super::maps::Serving;
use super::stats::Leave;
use crate::maps::InterfaceValue;
use crate::packet::Packet;
use crate::wire::{be16, ethernet, ipv4, udp, vlan};

/// The frame's headers, as far as a reply needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Offset of the IPv4 header: 14, 18 or 22.
    pub l3: u16,
    /// Outer and inner VID; 0: none.
    pub vlan: [u16; 2],
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub source: [u8; 4],
    pub destination: [u8; 4],
    pub source_port: u16,
    pub destination_port: u16,
    /// Bytes of the UDP payload.
    pub length: u16,
}

impl Datagram {
    /// Nothing.
    pub const NONE: Self = Self {
        l3: 0,
        vlan: [0; 2],
        source_mac: [0; 6],
        destination_mac: [0; 6],
        source: [0; 4],
        destination: [0; 4],
        source_port: 0,
        destination_port: 0,
        length: 0,
    };

    /// Offset of the TFTP packet.
    #[inline(always)]
    pub const fn payload(&self) -> usize {
        self.l3 as usize + ipv4::HEADER + udp::HEADER
    }

    /// Untagged or with up to two tags, IPv4 without options or fragments, UDP to a port of ours.
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P, serving: &Serving) -> Result<Self, Leave> {
        let link: [u8; ethernet::HEADER] = packet.read(0).ok_or(Leave::NotTftp)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = link;
        let mut ethertype = be16([t0, t1]);
        let mut vids = [packet.offloaded_vlan(), 0];
        let mut l3 = ethernet::HEADER;
        let mut tags = 0;
        while vlan::is_tpid(ethertype) && tags < 2 {
            let [tci0, tci1, type0, type1] = packet.read(l3).ok_or(Leave::NotTftp)?;
            push_vid(&mut vids, vlan::vid(be16([tci0, tci1])))?;
            ethertype = be16([type0, type1]);
            l3 += vlan::TAG;
            tags += 1;
        }
        if vlan::is_tpid(ethertype) {
            return Err(Leave::Tags);
        }
        if ethertype != ethernet::TYPE_IPV4 {
            return Err(Leave::NotTftp);
        }
        let ip: [u8; ipv4::HEADER] = packet.read(l3).ok_or(Leave::NotTftp)?;
        if ip[ipv4::field::PROTOCOL] != ipv4::UDP {
            return Err(Leave::NotTftp);
        }
        if ip[ipv4::field::VERSION_IHL] != ipv4::VERSION_IHL {
            return Err(Leave::IpOptions);
        }
        if be16([ip[ipv4::field::FRAGMENT], ip[ipv4::field::FRAGMENT + 1]]) & ipv4::FRAGMENT != 0 {
            return Err(Leave::Fragment);
        }
        let [sp0, sp1, dp0, dp1, len0, len1, ..]: [u8; udp::HEADER] =
            packet.read(l3 + ipv4::HEADER).ok_or(Leave::NotTftp)?;
        let destination_port = be16([dp0, dp1]);
        if destination_port != serving.listen() && !serving.is_tid(destination_port) {
            return Err(Leave::NotTftp);
        }
        let total = be16([ip[ipv4::field::TOTAL_LENGTH], ip[ipv4::field::TOTAL_LENGTH + 1]]) as usize;
        let datagram = be16([len0, len1]) as usize;
        if l3 + total > packet.length() {
            return Err(Leave::Truncated);
        }
        if datagram + ipv4::HEADER > total || datagram < udp::HEADER {
            return Err(Leave::Lengths);
        }
        Ok(Self {
            l3: l3 as u16,
            vlan: vids,
            source_mac: [s0, s1, s2, s3, s4, s5],
            destination_mac: [d0, d1, d2, d3, d4, d5],
            source: [ip[12], ip[13], ip[14], ip[15]],
            destination: [ip[16], ip[17], ip[18], ip[19]],
            source_port: be16([sp0, sp1]),
            destination_port,
            length: (datagram - udp::HEADER) as u16,
        })
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

/// Adds a VID behind those found; a priority tag (VID 0) adds none.
#[inline(always)]
fn push_vid(vlan: &mut [u16; 2], vid: u16) -> Result<(), Leave> {
    match (vid, vlan[0], vlan[1]) {
        (0, _, _) => {}
        (_, 0, _) => vlan[0] = vid,
        (_, _, 0) => vlan[1] = vid,
        _ => return Err(Leave::Tags),
    }
    Ok(())
}
