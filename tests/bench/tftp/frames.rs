//! UDP over IPv4 in Ethernet frames, written and read.

use std::net::{Ipv4Addr, SocketAddrV4};

use netboot_common::wire::checksum;

const L3: usize = 14;
const L4: usize = L3 + 20;
/// Where a datagram's bytes begin.
const PAYLOAD: usize = L4 + 8;
/// More than any frame has, also one that the kernel has not cut up yet.
pub(crate) const LONGEST: usize = L3 + 65_535;

/// Two stations on one Ethernet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stations {
    pub(crate) own: [u8; 6],
    pub(crate) other: [u8; 6],
}

/// A datagram, as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    pub(crate) payload: &'a [u8],
}

/// Writes a datagram that `fill` puts the payload of into `frame`.
pub(crate) fn write(
    frame: &mut Vec<u8>,
    stations: &Stations,
    [from, to]: [SocketAddrV4; 2],
    fill: impl FnOnce(&mut Vec<u8>),
) {
    frame.clear();
    frame.extend_from_slice(&stations.other);
    frame.extend_from_slice(&stations.own);
    frame.extend_from_slice(&[0x08, 0x00, 0x45, 0x00, 0, 0, 0, 0, 0x40, 0x00, 64, 17, 0, 0]);
    frame.extend_from_slice(&from.ip().octets());
    frame.extend_from_slice(&to.ip().octets());
    frame.extend_from_slice(&from.port().to_be_bytes());
    frame.extend_from_slice(&to.port().to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    fill(frame);
    let length = (frame.len() - L4) as u16;
    put(frame, L3 + 2, 20 + length);
    put(frame, L4 + 4, length);
    let sum = checksum::finish(checksum::add(0, &frame[L3..L4]));
    put(frame, L3 + 10, sum);
    let sum = checksum::finish_udp(checksum::add(pseudo(frame, length), &frame[L4..]));
    put(frame, L4 + 6, sum);
}

/// Reads a frame; `None`: it has something else than a whole datagram.
pub(crate) fn read(frame: &[u8]) -> Option<Datagram<'_>> {
    if frame.get(12..15)? != [0x08, 0x00, 0x45] || frame.get(L3 + 9)? != &17 {
        return None;
    }
    let length = usize::from(word(frame, L4 + 4)?);
    let end = |at, port| Some(SocketAddrV4::new(address(frame, at)?, word(frame, port)?));
    Some(Datagram {
        from: end(L3 + 12, L4)?,
        to: end(L3 + 16, L4 + 2)?,
        payload: frame.get(PAYLOAD..L4 + length)?,
    })
}

/// Whether the checksums of what [`read`] has read are right. A datagram that never left this machine may have none, or only the
/// sum of its pseudo header, which a device would go on from.
pub(crate) fn is_sound(frame: &[u8]) -> bool {
    let (Some(head), Some(length), Some(sum)) = (frame.get(L3..L4), word(frame, L4 + 4), word(frame, L4 + 6))
    else {
        return false;
    };
    let Some(datagram) = frame.get(L4..L4 + usize::from(length)) else { return false };
    let pseudo = pseudo(frame, length);
    let udp =
        sum == 0 || sum == checksum::fold(pseudo) || checksum::finish(checksum::add(pseudo, datagram)) == 0;
    udp && checksum::finish(checksum::add(0, head)) == 0
}

/// The sum of the pseudo header (RFC 768): addresses, protocol, length.
fn pseudo(frame: &[u8], length: u16) -> u32 {
    checksum::add(17 + u32::from(length), &frame[L3 + 12..L4])
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

fn address(frame: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?))
}
