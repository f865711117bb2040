//! Requests as UEFI firmware sends them, ready to be patched for each client.

use std::net::Ipv4Addr;

use netboot_common::wire::checksum;
use netboot_common::wire::dhcp::{self, option};

use crate::clients::mac;
use crate::layout::at;

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
/// Where the `xid` is.
const XID: usize = 46;
const FLAGS: usize = 52;
const GIADDR: usize = 66;

/// Whom to ask, and on whose behalf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) server: Ipv4Addr,
    pub(crate) server_mac: [u8; 6],
    /// A relay agent's address and MAC; without one, the client broadcasts.
    pub(crate) relay: Option<(Ipv4Addr, [u8; 6])>,
}

/// One request, but for what differs from client to client.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) frame: Vec<u8>,
    pub(crate) relayed: bool,
}

impl Request {
    pub(crate) fn discover(way: &Way) -> Self {
        Self::new(way, DISCOVER, &[])
    }

    /// In SELECTING: options 50, which is to be patched, and 54.
    pub(crate) fn selecting(way: &Way) -> Self {
        let [a, b, c, d] = way.server.octets();
        Self::new(
            way,
            REQUEST,
            &[option::REQUESTED_ADDRESS, 4, 0, 0, 0, 0, option::SERVER_IDENTIFIER, 4, a, b, c, d],
        )
    }

    fn new(way: &Way, message_type: u8, more: &[u8]) -> Self {
        let options =
            [&[option::MESSAGE_TYPE, 1, message_type], more, &firmware(), &agent(way), &[option::END]]
                .concat();
        let mut frame = headers(way, dhcp::FIXED + options.len());
        let mut fixed = [0; dhcp::FIXED];
        fixed[..3].copy_from_slice(&[dhcp::BOOTREQUEST, dhcp::ETHERNET, 6]);
        fixed[236..].copy_from_slice(&dhcp::COOKIE);
        frame.extend(fixed);
        frame.extend(options);
        match way.relay {
            Some((address, _)) => frame[GIADDR..GIADDR + 4].copy_from_slice(&address.octets()),
            // As UEFI firmware; and each server then needs to do no more than broadcast.
            None => frame[FLAGS] = 0x80,
        }
        Self { frame, relayed: way.relay.is_some() }
    }

    /// Makes it a client's.
    pub(crate) fn patch(&self, client: u32, xid: u32, address: Option<Ipv4Addr>, frame: &mut Vec<u8>) {
        frame.clear();
        frame.extend_from_slice(&self.frame);
        let mac = mac(client);
        frame[XID..XID + 4].copy_from_slice(&xid.to_be_bytes());
        frame[at::CHADDR..at::CHADDR + 6].copy_from_slice(&mac);
        if !self.relayed {
            frame[at::SOURCE_MAC..at::SOURCE_MAC + 6].copy_from_slice(&mac);
        }
        if let Some(address) = address {
            frame[at::REQUESTED..at::REQUESTED + 4].copy_from_slice(&address.octets());
        }
    }
}

/// What OVMF sends: sizes, the list of what it wants, its UUID, its network interface, its architecture, its class.
fn firmware() -> Vec<u8> {
    let wanted = [
        1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97,
        128, 129, 130, 131, 132, 133, 134, 135,
    ];
    let mut options = vec![option::MAX_MESSAGE_SIZE, 2, 5, 192, 55, wanted.len() as u8];
    options.extend(wanted);
    options.extend([option::CLIENT_UUID, 17, 0]);
    options.extend([0x77; 16]);
    options.extend([94, 3, 1, 3, 0, option::CLIENT_ARCH, 2, 0, 7]);
    let class = b"PXEClient:Arch:00007:UNDI:003000";
    options.extend([option::VENDOR_CLASS, class.len() as u8]);
    options.extend(class);
    options
}

/// Option 82 of a relay agent: circuit and remote identifiers.
fn agent(way: &Way) -> Vec<u8> {
    match way.relay {
        Some(_) => {
            [&[option::RELAY_AGENT, 20, 1, 10], &b"ge-0/0/1.7"[..], &[2, 6, 2, 0, 0, 0, 0, 9]].concat()
        }
        None => Vec::new(),
    }
}

/// Ethernet, IPv4 and UDP without a checksum, around `message` bytes. UDP needs none (RFC 768).
fn headers(way: &Way, message: usize) -> Vec<u8> {
    let (macs, source, destination, port) = match way.relay {
        Some((address, mac)) => ([way.server_mac, mac], address, way.server, 67_u16),
        None => ([[0xff; 6], [0; 6]], Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, 68),
    };
    let datagram = (8 + message) as u16;
    let mut frame = macs.concat();
    frame.extend([0x08, 0x00, 0x45, 0x00]);
    frame.extend((20 + datagram).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    let sum = checksum::finish(checksum::add(0, &frame[14..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    for word in [port, 67, datagram, 0] {
        frame.extend(word.to_be_bytes());
    }
    frame
}

/// A frame that is none of a DHCP server's business: a TCP segment.
pub(crate) fn foreign() -> Vec<u8> {
    let mut frame = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]].concat();
    frame.extend([0x08, 0x00, 0x45, 0x00, 0, 46, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 64, 0, 9, 10, 64, 0, 1]);
    frame.extend([0xc0, 0x00, 0x00, 0x50]);
    frame.resize(60, 0);
    frame
}
