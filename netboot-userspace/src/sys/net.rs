//! Sockets that workers share a port with.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::datagram;

/// UDP sockets on one address, one for each worker; the kernel spreads clients over them by address and port, and says of each
/// datagram where it was sent to ([`datagram::Destination`]). `[::]` is both families.
///
/// Fails with `AddrInUse` when anybody else holds the port, even if they would share it.
pub fn udp_sockets(address: SocketAddr, count: usize) -> io::Result<Vec<OwnedFd>> {
    let alone = patiently(|| udp_socket(address))?;
    let address = local_address(&alone)?;
    drop(alone);
    (0..count.max(1))
        .map(|_| {
            let socket = open_udp(address)?;
            sockopt::set_socket_reuseport(&socket, true)?;
            widen(&socket);
            datagram::ask(&socket, address.is_ipv6())?;
            rustix::net::bind(&socket, &address)?;
            Ok(socket)
        })
        .collect()
}

/// How many bytes may wait in a socket that many clients share: of the kernel's 208 KiB, 300 small datagrams at once are more
/// than enough, and the rest of a rack would be dropped.
const SHARED_BUFFER: usize = 8 << 20;

/// Gives it room; where we may not, as much as the site's limits allow (`net.core.rmem_max`).
fn widen(socket: &OwnedFd) {
    let widened = sockopt::set_socket_recv_buffer_size_force(socket, SHARED_BUFFER)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(socket, SHARED_BUFFER));
    let widened = widened.and_then(|()| {
        sockopt::set_socket_send_buffer_size_force(socket, SHARED_BUFFER)
            .or_else(|_| sockopt::set_socket_send_buffer_size(socket, SHARED_BUFFER))
    });
    // With too little room datagrams are lost, and sent again: slower, but right.
    let _ = widened;
}

/// A UDP socket that many clients share, on a port of its own; port 0 lets the kernel choose one. It says of each datagram where it
/// was sent to.
pub fn udp_port(address: SocketAddr) -> io::Result<OwnedFd> {
    patiently(|| {
        let socket = open_udp(address)?;
        widen(&socket);
        datagram::ask(&socket, address.is_ipv6())?;
        rustix::net::bind(&socket, &address)?;
        Ok(socket)
    })
}

/// A UDP socket of its own; port 0 lets the kernel choose one.
pub fn udp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = open_udp(address)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// How many bytes may wait in a socket that does little more than hold its port: a few dozen small datagrams.
const HELD_BUFFER: usize = 16 << 10;

/// Sockets that hold the `count` ports from the address's on, all of them or none, and say of each datagram where it was sent to. Nobody
/// else may use them meanwhile.
pub fn udp_range(first: SocketAddr, count: u16) -> io::Result<Vec<OwnedFd>> {
    let hold = |port| {
        let address = SocketAddr::new(first.ip(), port);
        // Whoever has it would share it, perhaps.
        drop(udp_socket(address)?);
        let socket = udp_socket_beside(address)?;
        // With too much room nothing is wrong but its price.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, HELD_BUFFER);
        datagram::ask(&socket, address.is_ipv6())?;
        Ok(socket)
    };
    (0..count).map(|n| hold(first.port().checked_add(n).ok_or(io::ErrorKind::InvalidInput)?)).collect()
}

/// A UDP socket on a port that another one of ours may hold as well.
fn udp_socket_beside(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = open_udp(address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn open_udp(address: SocketAddr) -> io::Result<OwnedFd> {
    open(address, SocketType::DGRAM)
}

fn open_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    open(address, SocketType::STREAM)
}

/// An IPv6 address that was just given to an interface is not to be had until nobody else was found to have it; and `[::]` is IPv4's, too,
/// whatever `net.ipv6.bindv6only` says.
fn open(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = socket(family(address), kind)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_freebind(&socket, true)?;
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    Ok(socket)
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// Listening TCP sockets on one address, one for each worker.
///
/// Fails with `AddrInUse` when anybody else listens there, even if they would share it.
pub fn tcp_listeners(address: SocketAddr, count: usize) -> io::Result<Vec<OwnedFd>> {
    let alone = patiently(|| {
        let alone = open_tcp(address)?;
        sockopt::set_socket_reuseaddr(&alone, true)?;
        rustix::net::bind(&alone, &address)?;
        Ok(alone)
    })?;
    let address = local_address(&alone)?;
    drop(alone);
    (0..count.max(1))
        .map(|_| {
            let socket = open_tcp(address)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            sockopt::set_socket_reuseport(&socket, true)?;
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, 1024)?;
            Ok(socket)
        })
        .collect()
}

/// What the connections that a listener accepts have from it: heads and last segments leave at once (a head waits for its body by
/// `MSG_MORE`), at most `pace` bytes in a second.
pub fn prepare_accepted(listener: &OwnedFd, pace: Option<u64>) -> io::Result<()> {
    sockopt::set_tcp_nodelay(listener, true)?;
    pace.map_or(Ok(()), |pace| set_pace(listener, pace))
}

/// Has a connection sent at most `pace` bytes in a second, unless it is slower already. Where the system does not do so, it is faster.
pub fn slow(connection: &impl AsRawFd, pace: u64) {
    if pace_of(connection).is_ok_and(|now| now > pace) {
        let _ = set_pace(connection, pace);
    }
}

/// `SO_MAX_PACING_RATE`, which no safe crate has. Without a limit it is [`u64::MAX`].
///
/// # Errors
/// It is no socket.
#[allow(unsafe_code)]
fn pace_of(socket: &impl AsRawFd) -> io::Result<u64> {
    let (mut pace, mut length) = (0_u64, size_of::<u64>() as libc::socklen_t);
    let value = (&raw mut pace).cast();
    // SAFETY: the kernel writes at most `length` bytes, to a local integer of as many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            value,
            &raw mut length,
        )
    };
    if result == 0 { Ok(pace) } else { Err(io::Error::last_os_error()) }
}

/// The same option.
#[allow(unsafe_code)]
fn set_pace(socket: &impl AsRawFd, pace: u64) -> io::Result<()> {
    let (value, length) = ((&raw const pace).cast(), size_of::<u64>() as libc::socklen_t);
    // SAFETY: the option takes an integer of 4 or 8 bytes; `value` and `length` are those of a local one.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, value, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many of the bytes that were written to a connection its client has not acknowledged.
#[allow(unsafe_code)]
pub fn unacknowledged(stream: &impl AsRawFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int, to a local one.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(bytes.max(0) as u64) } else { Err(io::Error::last_os_error()) }
}

/// Whether an error of writing to a connection says that its client is gone.
pub fn is_gone(error: i32) -> bool {
    matches!(error, libc::EPIPE | libc::ECONNRESET | libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH)
}

/// Whether an error of accepting is about one connection, which failed before it was accepted: the next one may be accepted at once.
pub fn is_of_one_connection(error: i32) -> bool {
    let is_refused = matches!(error, libc::ECONNABORTED | libc::EPERM | libc::EPROTO | libc::ENOPROTOOPT);
    let is_unreachable = matches!(error, libc::EHOSTDOWN | libc::ENETDOWN | libc::ENONET | libc::EOPNOTSUPP);
    is_refused || is_unreachable || is_gone(error)
}

/// For a second, as long as the port is in use: of a server that was killed, the kernel ends the rings, and with them the sockets,
/// some time after the process.
fn patiently(bind: impl Fn() -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    for _ in 0..40 {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                std::thread::sleep(Duration::from_millis(25));
            }
            bound => return bound,
        }
    }
    bind()
}

/// The address that a socket is bound to.
pub fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(socket)?)?)
}

/// Who is at the other end of a connection.
pub fn peer_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let peer = rustix::net::getpeername(socket)?.ok_or(io::ErrorKind::NotConnected)?;
    Ok(SocketAddr::try_from(peer)?)
}

/// Non-blocking: io_uring waits for readiness by itself, and plain calls on the same socket must not block a worker.
fn socket(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_held_whole_or_not_at_all() {
        let at = |port| SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
        let holds = |first: u16| udp_range(at(first), 4);
        let first = (61_440..65_500).step_by(4).find(|first| holds(*first).is_ok()).unwrap();
        let stranger = udp_socket(at(first + 3)).unwrap();
        assert_eq!(holds(first).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(stranger);
        let held = holds(first).unwrap();
        assert_eq!(udp_socket(at(first)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // The kernel doubles it, for what it needs itself.
        assert_eq!(sockopt::socket_recv_buffer_size(&held[0]).unwrap(), 2 * HELD_BUFFER);
        let beside = udp_socket_beside(at(first + 1)).unwrap();
        assert_eq!(local_address(&beside).unwrap(), local_address(&held[1]).unwrap());
    }

    #[test]
    fn what_is_accepted_has_its_listeners_pace_and_waits_for_nothing() {
        for pace in [None, Some(1 << 20)] {
            let listener = tcp_listeners((std::net::Ipv4Addr::LOCALHOST, 0).into(), 1).unwrap().remove(0);
            prepare_accepted(&listener, pace).unwrap();
            let listener = std::net::TcpListener::from(listener);
            listener.set_nonblocking(false).unwrap();
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            assert!(accepted.nodelay().unwrap());
            assert_eq!(pace_of(&accepted).unwrap(), pace.unwrap_or(u64::MAX));
            for (slower, now) in [(2 << 20, 2 << 20), (3 << 20, 2 << 20), (9000, 9000)] {
                slow(&accepted, slower);
                assert_eq!(pace_of(&accepted).unwrap(), pace.unwrap_or(u64::MAX).min(now), "never faster");
            }
        }
    }

    #[test]
    fn what_a_client_has_not_taken_is_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = OwnedFd::from(listener.accept().unwrap().0);
        rustix::io::ioctl_fionbio(&accepted, true).unwrap();
        let mut written = 0;
        while let Ok(more) = rustix::io::write(&accepted, &[0; 65_536]) {
            written += more;
        }
        assert!(unacknowledged(&accepted).unwrap() > 0, "of {written}");
        let mut left = vec![0; written];
        std::io::Read::read_exact(&mut client, &mut left).unwrap();
        // It is acknowledged at the latest when the client says something.
        std::io::Write::write_all(&mut client, b"x").unwrap();
        while rustix::io::read(&accepted, &mut [0; 1]).is_err() {}
        assert_eq!(unacknowledged(&accepted).unwrap(), 0);
    }

    #[test]
    fn what_listens_on_all_addresses_of_ipv6_has_those_of_ipv4_and_an_address_may_be_yet_to_come() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let all = tcp_listeners(at("[::]:0"), 1).unwrap().remove(0);
        assert!(!sockopt::ipv6_v6only(&all).unwrap());
        let port = local_address(&all).unwrap().port();
        std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).unwrap();
        // Of a network that is for documents alone (RFC 3849).
        assert_eq!(tcp_listeners(at("[2001:db8::1]:0"), 2).unwrap().len(), 2);
    }

    #[test]
    fn a_port_that_another_server_shares_is_in_use() {
        let any = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let ours = udp_sockets(any, 2).unwrap();
        let taken = local_address(&ours[0]).unwrap();
        assert_eq!(local_address(&ours[1]).unwrap().port(), taken.port());
        assert_eq!(udp_sockets(taken, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);

        let ours = tcp_listeners(any, 2).unwrap();
        let taken = local_address(&ours[1]).unwrap();
        assert_eq!(tcp_listeners(taken, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
