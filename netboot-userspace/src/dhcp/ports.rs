//! Holding the DHCP ports without reading them.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use netboot_common::maps::Mode;
use netboot_common::wire::udp;
use socket2::{Domain, Protocol, Socket, Type};

/// Sockets that are bound and never read.
#[derive(Debug)]
pub(super) struct Held {
    _sockets: Vec<UdpSocket>,
}

impl Held {
    /// Another server's clients are answered by it alone.
    pub(super) fn nothing() -> Self {
        Self { _sockets: Vec::new() }
    }
}

/// Binds the ports that clients send to at `address`, as far as nobody else has them. Requests are read from a packet socket;
/// without a listener the kernel would answer those sent to our address with "port unreachable", and some clients give up on that.
///
/// Beside another server 67 is its own: a socket for this address would be given the renewals that are meant for it.
pub(super) fn hold(address: Ipv4Addr, mode: Mode) -> Held {
    let ports: &[u16] = match mode {
        Mode::Server => &[udp::DHCP_SERVER, udp::PXE],
        Mode::Proxy => &[udp::PXE],
    };
    let sockets = ports.iter().filter_map(|&port| {
        bind(SocketAddrV4::new(address, port))
            // Somebody else's port is answered by somebody else.
            .inspect_err(|error| tracing::debug!(%address, port, %error, "not held"))
            .ok()
    });
    Held { _sockets: sockets.collect() }
}

fn bind(address: SocketAddrV4) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    // As little as the kernel allows: nobody reads.
    socket.set_recv_buffer_size(1)?;
    socket.bind(&SocketAddr::V4(address).into())?;
    Ok(socket.into())
}
