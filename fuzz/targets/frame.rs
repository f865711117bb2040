//! DHCPv4 frames: a sound one around any message, and what must hold for every frame that leaves us.

use dhcproto::v4::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable as _, Decoder};
use netboot_common::wire::checksum;

/// Ethernet, IPv4 and UDP headers.
pub(crate) const HEADERS: usize = 14 + 20 + 8;
/// BOOTP's fields and the cookie.
pub(crate) const FIXED: usize = 240;

/// A message as a client broadcasts it, with headers that agree.
pub(crate) fn around(
    message: &[u8],
    mac: [u8; 6],
    source: [u8; 4],
    destination: [u8; 4],
    ports: (u16, u16),
) -> Vec<u8> {
    let message = &message[..message.len().min(1472)];
    let (total, datagram) = ((28 + message.len()) as u16, (8 + message.len()) as u16);
    let mut frame = [&[0xff; 6][..], &mac, &[8, 0, 0x45, 0]].concat();
    frame.extend(total.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([source, destination].concat());
    frame.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes(), datagram.to_be_bytes(), [0, 0]].concat());
    frame.extend(message);
    frame
}

/// Checks a reply to `request`, whose message is sound, and reads it with dhcproto: it shares nothing with our own writer.
pub(crate) fn check_reply(request: &[u8], largest: usize, reply: &[u8]) -> Message {
    let l3 = 14;
    assert_eq!(reply[12..14], [8, 0], "the tests' frames have no tags");
    let total = usize::from(u16::from_be_bytes([reply[l3 + 2], reply[l3 + 3]]));
    assert_eq!(total, reply.len() - l3, "IPv4 length");
    assert_eq!(usize::from(u16::from_be_bytes([reply[38], reply[39]])), total - 20, "UDP length");
    assert!(total <= largest.clamp(576, 1500), "{total} bytes for a client that takes {largest}");
    assert_eq!(checksum::fold(checksum::add(0, &reply[l3..l3 + 20])), 0xffff, "IPv4 checksum");
    let udp = &reply[l3 + 20..];
    let pseudo = [&reply[l3 + 12..l3 + 20], &[0, 17], &udp[4..6]].concat();
    let sum = checksum::add(checksum::add(0, &pseudo), udp);
    assert!(udp[6..8] == [0, 0] || checksum::fold(sum) == 0xffff, "UDP checksum");
    let (asked, told) = (&request[HEADERS..], &reply[HEADERS..]);
    assert_eq!(told[0], 2, "op");
    assert_eq!(told[3], 0, "hops");
    assert_eq!(told[4..8], asked[4..8], "xid");
    assert_eq!(told[24..28], asked[24..28], "giaddr");
    assert_eq!(told[28..34], asked[28..34], "chaddr");
    check_options(&told[FIXED..]);
    Message::decode(&mut Decoder::new(told)).expect("dhcproto reads our replies")
}

/// Each option whole, 255 behind them, and option 43 ended within itself (RFC 2132 section 8.4) where it is PXE's.
fn check_options(mut area: &[u8]) {
    let mut relay_agent_is_last = false;
    loop {
        match area {
            [255, rest @ ..] => {
                assert!(rest.iter().all(|pad| *pad == 0), "behind the end there are pads: {rest:?}");
                return;
            }
            [0, rest @ ..] => area = rest,
            [code, length, rest @ ..] if rest.len() >= usize::from(*length) => {
                assert!(!relay_agent_is_last, "option {code} behind option 82 (RFC 3046 section 2.1)");
                relay_agent_is_last = *code == 82;
                area = &rest[usize::from(*length)..];
            }
            cut => panic!("cut, or without an end: {cut:?}"),
        }
    }
}

/// What dhcproto says of an option of four bytes.
pub(crate) fn address(message: &Message, code: OptionCode) -> Option<[u8; 4]> {
    match message.opts().get(code)? {
        DhcpOption::ServerIdentifier(ip) | DhcpOption::RequestedIpAddress(ip) => Some(ip.octets()),
        other => panic!("{other:?} has no address"),
    }
}
