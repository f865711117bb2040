//! Port 547 of one interface: the groups that clients and relay agents ask, and our own addresses.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::tables::Link;
use super::wire;

/// A socket, and whether it hears what is sent to a group.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) socket: UdpSocket,
    pub(super) is_group: bool,
}

/// A socket for each group and one for our own addresses: the kernel then tells us apart what was sent where. Replies leave from
/// the last.
///
/// # Errors
/// Above all `AddrInUse`: another DHCPv6 server serves this interface, even if it would share the port.
pub(super) fn open(link: &Link) -> io::Result<Vec<Port>> {
    drop(bind(link, Ipv6Addr::UNSPECIFIED, false)?);
    let mut ports = Vec::new();
    for group in [wire::ALL_AGENTS_AND_SERVERS, wire::ALL_SERVERS] {
        let socket = bind(link, group, true)?;
        socket.join_multicast_v6(&group, link.index)?;
        ports.push(Port { socket, is_group: true });
    }
    ports.push(Port { socket: bind(link, Ipv6Addr::UNSPECIFIED, true)?, is_group: false });
    Ok(ports)
}

fn bind(link: &Link, address: Ipv6Addr, is_shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.set_reuse_address(is_shared)?;
    socket.bind_device(Some(link.name.as_bytes()))?;
    // Only what is sent to the address that it is bound to, not all groups that anybody here has joined.
    socket.set_multicast_all_v6(false)?;
    socket.set_nonblocking(true)?;
    let scope = if address.is_multicast() { link.index } else { 0 };
    socket.bind(&SocketAddr::V6(SocketAddrV6::new(address, wire::SERVER, 0, scope)).into())?;
    Ok(socket.into())
}
