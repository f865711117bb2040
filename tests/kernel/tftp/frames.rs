//! Frames of a TFTP client, and what is read from those that answer it.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use netboot_common::wire::{checksum, tftp};

use crate::site::{self, OUR_MAC};

/// A client's datagram, to be changed before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) vlan: [u16; 2],
    pub(crate) source_mac: [u8; 6],
    pub(crate) destination_mac: [u8; 6],
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    pub(crate) ports: [u16; 2],
    pub(crate) payload: Vec<u8>,
}

impl Draft {
    /// From host `number` of the site, on a VLAN.
    pub(crate) fn new(vlan: [u16; 2], number: u8, ports: [u16; 2], payload: Vec<u8>) -> Self {
        let [a, b, c, _] = site::our_address(vlan);
        Self {
            vlan,
            source_mac: site::mac(number),
            destination_mac: OUR_MAC,
            source: [a, b, c, 50 + number],
            destination: site::our_address(vlan),
            ports,
            payload,
        }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = [self.destination_mac, self.source_mac].concat();
        for vid in self.vlan.into_iter().filter(|vid| *vid != 0) {
            frame.extend([[0x81, 0], vid.to_be_bytes()].concat());
        }
        frame.extend([8, 0]);
        let datagram = 8 + self.payload.len() as u16;
        let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0].to_vec();
        ip[2..4].copy_from_slice(&(20 + datagram).to_be_bytes());
        ip.extend(self.source);
        ip.extend(self.destination);
        let sum = checksum::finish(checksum::add(0, &ip));
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(ip);
        frame.extend(self.ports.map(u16::to_be_bytes).concat());
        frame.extend(datagram.to_be_bytes());
        // IPv4 allows to leave it out.
        frame.extend([0, 0]);
        frame.extend(&self.payload);
        frame.resize(frame.len().max(60), 0);
        frame
    }
}

/// Writes the UDP checksum that this many bytes of tags and all that follows make.
pub(crate) fn add_checksum(frame: &mut [u8], tags: usize) {
    let l3 = 14 + tags;
    let length = u16::from_be_bytes([frame[l3 + 24], frame[l3 + 25]]);
    let pseudo = checksum::add(17 + u32::from(length), &frame[l3 + 12..l3 + 20]);
    let sum = checksum::finish_udp(checksum::add(pseudo, &frame[l3 + 20..][..length.into()]));
    frame[l3 + 26..l3 + 28].copy_from_slice(&sum.to_be_bytes());
}

/// A read request with these strings behind the name.
pub(crate) fn rrq(name: &str, strings: &[&str]) -> Vec<u8> {
    let mut packet = vec![0, 1];
    for string in std::iter::once(&name).chain(strings) {
        packet.extend(string.as_bytes());
        packet.push(0);
    }
    packet
}

pub(crate) fn ack(block: u16) -> Vec<u8> {
    [tftp::opcode::ACK.to_be_bytes(), block.to_be_bytes()].concat()
}

pub(crate) fn error(code: u16) -> Vec<u8> {
    [&tftp::opcode::ERROR.to_be_bytes()[..], &code.to_be_bytes(), b"enough\0"].concat()
}

/// The ports and the payload of an answer, whose headers and checksums must be right: by a parser that is not ours.
pub(crate) fn sound(frame: &[u8]) -> ([u16; 2], Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).expect("sound headers");
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("the answer is not IPv4") };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 checksum");
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("the answer is not UDP") };
    let right = udp.to_header().calc_checksum_ipv4(&header, udp.payload()).expect("a payload that fits");
    assert_eq!(udp.checksum(), right, "UDP checksum");
    assert_ne!(udp.checksum(), 0, "an answer has a checksum");
    assert!(header.dont_fragment && header.time_to_live == 64);
    ([udp.source_port(), udp.destination_port()], udp.payload().to_vec())
}
