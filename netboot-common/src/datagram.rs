//! A received frame -> the UDP datagram in it, or the reason why no fast lane looks at it.

use crate::packet::Packet;
use crate::wire::{be16, ethernet, ipv4, udp, vlan};

/// The frame's headers, as far as anybody needs them.
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
    /// Of UDP, as it stands there.
    pub checksum: u16,
}

/// Why a frame has no datagram for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is for somebody else, or nothing that we know.
    NotOurs,
    /// More than two VLAN tags.
    Tags,
    /// An IPv4 header with options.
    IpOptions,
    /// A fragment.
    Fragment,
    /// The frame ends before its IPv4 header says so.
    Truncated,
    /// The datagram reaches past the IPv4 packet.
    Lengths,
    /// The datagram is shorter than its header.
    Short,
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
        checksum: 0,
    };

    /// Offset of the UDP payload.
    #[inline(always)]
    pub const fn payload(&self) -> usize {
        self.l3 as usize + ipv4::HEADER + udp::HEADER
    }

    /// Untagged or with up to two tags, IPv4 without options or fragments, UDP to a port that `is_ours`.
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P, is_ours: impl FnOnce(u16) -> bool) -> Result<Self, Fault> {
        let Link { l3, vlan } = Link::read(packet)?;
        let ip: [u8; ipv4::HEADER] = packet.read(l3).ok_or(Fault::NotOurs)?;
        if ip[ipv4::field::PROTOCOL] != ipv4::UDP {
            return Err(Fault::NotOurs);
        }
        if ip[ipv4::field::VERSION_IHL] != ipv4::VERSION_IHL {
            return Err(Fault::IpOptions);
        }
        if be16([ip[ipv4::field::FRAGMENT], ip[ipv4::field::FRAGMENT + 1]]) & ipv4::FRAGMENT != 0 {
            return Err(Fault::Fragment);
        }
        let [sp0, sp1, dp0, dp1, len0, len1, sum0, sum1]: [u8; udp::HEADER] =
            packet.read(l3 + ipv4::HEADER).ok_or(Fault::NotOurs)?;
        let destination_port = be16([dp0, dp1]);
        if !is_ours(destination_port) {
            return Err(Fault::NotOurs);
        }
        let total = be16([ip[ipv4::field::TOTAL_LENGTH], ip[ipv4::field::TOTAL_LENGTH + 1]]) as usize;
        let datagram = be16([len0, len1]) as usize;
        if l3 + total > packet.length() {
            return Err(Fault::Truncated);
        }
        if datagram + ipv4::HEADER > total {
            return Err(Fault::Lengths);
        }
        if datagram < udp::HEADER {
            return Err(Fault::Short);
        }
        Ok(Self {
            l3: l3 as u16,
            vlan,
            source_mac: packet.read(ethernet::field::SOURCE).ok_or(Fault::NotOurs)?,
            destination_mac: packet.read(ethernet::field::DESTINATION).ok_or(Fault::NotOurs)?,
            source: [ip[12], ip[13], ip[14], ip[15]],
            destination: [ip[16], ip[17], ip[18], ip[19]],
            source_port: be16([sp0, sp1]),
            destination_port,
            length: (datagram - udp::HEADER) as u16,
            checksum: be16([sum0, sum1]),
        })
    }
}

/// What is before the IPv4 header.
struct Link {
    l3: usize,
    vlan: [u16; 2],
}

impl Link {
    #[inline(always)]
    fn read<P: Packet>(packet: &P) -> Result<Self, Fault> {
        let first = be16(packet.read(ethernet::field::ETHERTYPE).ok_or(Fault::NotOurs)?);
        let mut link = Self { l3: ethernet::HEADER, vlan: [packet.offloaded_vlan(), 0] };
        let outer = link.tag(packet, first)?;
        let ethertype = link.tag(packet, outer)?;
        if vlan::is_tpid(ethertype) {
            return Err(Fault::Tags);
        }
        if ethertype != ethernet::TYPE_IPV4 {
            return Err(Fault::NotOurs);
        }
        Ok(link)
    }

    /// Reads the tag that this type announces; the type behind it, or of what is no tag.
    #[inline(always)]
    fn tag<P: Packet>(&mut self, packet: &P, ethertype: u16) -> Result<u16, Fault> {
        if !vlan::is_tpid(ethertype) {
            return Ok(ethertype);
        }
        let [tci0, tci1, type0, type1] = packet.read(self.l3).ok_or(Fault::NotOurs)?;
        // A priority tag (VID 0) adds none.
        match (vlan::vid(be16([tci0, tci1])), self.vlan[0], self.vlan[1]) {
            (0, _, _) => {}
            (vid, 0, _) => self.vlan[0] = vid,
            (vid, _, 0) => self.vlan[1] = vid,
            _ => return Err(Fault::Tags),
        }
        self.l3 += vlan::TAG;
        Ok(be16([type0, type1]))
    }
}
