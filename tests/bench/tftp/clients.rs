//! The simulated machines: each transfer is another machine's, with an address of its own.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The address of client 0; the others follow.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 65, 0, 0);
/// So many addresses there are.
const ADDRESSES: u32 = 1 << 16;
/// Their ports: the second one is used when every address was.
pub(crate) const PORTS: [u16; 2] = [2070, 2071];
/// So many transfers have ends of their own.
pub(crate) const MOST: u32 = ADDRESSES * PORTS.len() as u32;

/// Where a client sends from.
pub(crate) fn end(number: u32) -> SocketAddrV4 {
    let address = Ipv4Addr::from(u32::from(FIRST) + number % ADDRESSES);
    SocketAddrV4::new(address, PORTS[(number / ADDRESSES) as usize % PORTS.len()])
}

/// Which client that is.
pub(crate) fn number(end: SocketAddrV4) -> Option<u32> {
    let address = u32::from(*end.ip()).checked_sub(u32::from(FIRST)).filter(|number| *number < ADDRESSES)?;
    let port = PORTS.iter().position(|port| *port == end.port())?;
    Some(port as u32 * ADDRESSES + address)
}
