//! Reads replies, and is strict about them: what is wrong with one is a server's fault that the bench reports.

use std::net::Ipv4Addr;

use netboot_common::wire::checksum;
use netboot_common::wire::dhcp::{self, option};

use crate::wire::Room;

const L3: usize = 14;
const L4: usize = L3 + 20;
const MESSAGE: usize = L4 + 8;

/// Where clients and relay agents hear.
pub(crate) const PORTS: [u16; 2] = [68, 67];
/// For them.
pub(crate) const ROOM: Room = Room { frame: 2048, waiting: 4 << 20 };

/// The kind of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Offer,
    Ack,
    Nak,
}

/// What of a reply the bench compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    pub(crate) xid: u32,
    pub(crate) chaddr: [u8; 6],
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
}

/// A BOOTREPLY to a client or a relay agent; `None`: another frame.
pub(crate) fn read(frame: &[u8]) -> Option<Reply> {
    let reply = frame.len() >= MESSAGE + dhcp::FIXED
        && frame[12..15] == [0x08, 0x00, 0x45]
        && frame[L3 + 9] == 17
        && frame[L4..L4 + 2] == 67_u16.to_be_bytes()
        && frame[MESSAGE] == dhcp::BOOTREPLY
        && frame[MESSAGE + dhcp::field::COOKIE..MESSAGE + dhcp::FIXED] == dhcp::COOKIE;
    if !reply {
        return None;
    }
    let message = &frame[MESSAGE..];
    let word = |at: usize| [message[at], message[at + 1], message[at + 2], message[at + 3]];
    let options = &message[dhcp::FIXED..];
    let kind = match find(options, option::MESSAGE_TYPE)? {
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        [6] => Kind::Nak,
        _ => return None,
    };
    let server: [u8; 4] = find(options, option::SERVER_IDENTIFIER)?.try_into().ok()?;
    Some(Reply {
        kind,
        xid: u32::from_be_bytes(word(dhcp::field::XID)),
        chaddr: message[dhcp::field::CHADDR..dhcp::field::CHADDR + 6].try_into().ok()?,
        yiaddr: word(dhcp::field::YIADDR).into(),
        server: server.into(),
    })
}

fn find(options: &[u8], code: u8) -> Option<&[u8]> {
    let mut rest = options;
    loop {
        match rest {
            [option::PAD, more @ ..] => rest = more,
            [option::END, ..] | [] | [_] => return None,
            [this, length, more @ ..] => {
                let (value, more) = more.split_at_checked(usize::from(*length))?;
                if *this == code {
                    return Some(value);
                }
                rest = more;
            }
        }
    }
}

/// Whether lengths and checksums of a reply's headers are right.
pub(crate) fn sound(frame: &[u8]) -> bool {
    let half = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let (total, datagram) = (half(L3 + 2), half(L4 + 4));
    let Some(payload) = frame.get(L4..L3 + total) else { return false };
    if total != 20 + datagram || datagram < 8 + dhcp::FIXED {
        return false;
    }
    let header = checksum::fold(checksum::add(0, &frame[L3..L4]));
    let pseudo = checksum::add(17 + datagram as u32, &frame[L3 + 12..L4]);
    let whole = checksum::fold(checksum::add(pseudo, payload));
    header == 0xffff && (whole == 0xffff || half(L4 + 6) == 0)
}
