//! The two ends of a datagram: who sent it, and to which of our addresses (RFC 3542 section 6, ip(7)).
//!
//! A server that is reachable by several addresses must answer from the one that was asked, or clients and the firewalls in
//! between take the answer for a stranger's; only the kernel knows which that was.
#![allow(unsafe_code)] // recvmsg(2) and sendmsg(2) with control data: rustix knows no packet information.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};

use super::packet::set_option;

/// Where a datagram was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The kernel was not asked ([`ask`]).
    Unknown,
    /// One of our addresses, as a socket can be bound to it: port 0, and with the interface if it is link-local; and the index of
    /// the interface that it came by.
    Own(SocketAddr, u32),
    /// A broadcast or multicast address: many were asked.
    Group,
}

/// Has the kernel say of each datagram where it was sent to. `is_v6`: the socket is, and may take IPv4 as well.
pub(super) fn ask(socket: &OwnedFd, is_v6: bool) -> io::Result<()> {
    // On an IPv6 socket it is for datagrams of IPv4, whose broadcasts IPv6's packet information can't tell.
    set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, &1_i32)?;
    if is_v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &1_i32)?;
    }
    Ok(())
}

/// Room for a sockaddr of either family.
pub(crate) const NAME_LEN: usize = size_of::<libc::sockaddr_in6>();
/// Room for the control data of [`ask`]: a header and `in_pktinfo`, a header and `in6_pktinfo`, each padded.
pub(crate) const CONTROL_LEN: usize = (control::DATA + 16) + (control::DATA + 24);

/// Receives a datagram without waiting: its length, who sent it, and to where. Nobody is said to have sent one of which a part was cut
/// off for lack of room: it would be taken for a shorter one.
pub(crate) fn receive(
    socket: &OwnedFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SocketAddr>, Destination)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let (mut name, mut control) = ([0_u8; NAME_LEN], Control([0; CONTROL_LEN]));
    // SAFETY: all zeros are a msghdr that names nothing.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = NAME_LEN as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LEN as _;
    // SAFETY: `message` points to `name`, `part` and `control`, which have the lengths given and outlive the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        return Ok((len, None, Destination::Unknown));
    }
    let to = destination(control.0.get(..message.msg_controllen as usize).unwrap_or_default());
    Ok((len, read_name(name.get(..message.msg_namelen as usize).unwrap_or_default()), to))
}

/// How bytes leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: SocketAddr,
    /// From which of our addresses, with its interface if it is link-local; `None`: as the socket is bound.
    pub from: Option<SocketAddr>,
    /// They are several datagrams of this many bytes, the last of which may be shorter, and are divided on their way out
    /// (UDP_SEGMENT, Linux 4.18); `None`: they are one datagram.
    pub segment: Option<u16>,
}

impl Outgoing {
    /// How many datagrams may leave as one: what Linux 4.18 takes.
    pub const MOST_SEGMENTS: usize = 64;
    /// How many bytes may leave as one: what the length of an IPv4 datagram can say, without its headers.
    pub const MOST_BYTES: usize = 65_507;

    /// One datagram, from the socket's own address.
    pub fn to(to: SocketAddr) -> Self {
        Self { to, from: None, segment: None }
    }

    /// Whether the kernel, or the device, can't divide what was to leave as several datagrams: they may leave one by one.
    /// EINVAL: one of them is larger than the path takes. EIO: the device makes no checksums.
    pub fn is_not_divided(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EOPNOTSUPP | libc::EMSGSIZE))
    }

    /// Whether it was lost because its socket, or the device, had no room for it.
    pub fn is_lost(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
    }
}

/// Control data, aligned as the kernel's headers are.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control<const N: usize>(pub(crate) [u8; N]);

/// Room for the control data of an [`Outgoing`]: a header and a length, a header and `in6_pktinfo`, each padded.
pub(crate) const SEND_CONTROL_LEN: usize = (control::DATA + 8) + (control::DATA + 24);

/// Sends without waiting.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8], outgoing: &Outgoing) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let (mut name, mut control) = ([0_u8; NAME_LEN], Control([0; SEND_CONTROL_LEN]));
    // SAFETY: all zeros are a msghdr that names nothing.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_namelen = write_name(outgoing.to, &mut name) as libc::socklen_t;
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_controllen = write_control(outgoing, &mut control) as _;
    message.msg_control = control.0.as_mut_ptr().cast();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `message` points to `name`, `part` and `control`, which have the lengths given and outlive the call; sendmsg(2)
    // only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Writes what the kernel must know of an [`Outgoing`] beside its destination; its length.
pub(crate) fn write_control(outgoing: &Outgoing, out: &mut Control<SEND_CONTROL_LEN>) -> usize {
    let mut at = 0;
    let mut put = |level: i32, kind: i32, data: &[u8]| {
        let length = control::DATA + data.len();
        let Some(room) = out.0.get_mut(at..at + length.next_multiple_of(8)) else { return };
        room[control::LENGTH].copy_from_slice(&length.to_ne_bytes());
        room[control::LEVEL].copy_from_slice(&level.to_ne_bytes());
        room[control::KIND].copy_from_slice(&kind.to_ne_bytes());
        room[control::DATA..length].copy_from_slice(data);
        at += room.len();
    };
    if let Some(segment) = outgoing.segment {
        put(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }
    match outgoing.from {
        Some(SocketAddr::V4(own)) => {
            let mut data = [0; 12];
            data[control::V4_OWN].copy_from_slice(&own.ip().octets());
            put(libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
        }
        Some(SocketAddr::V6(own)) => {
            let mut data = [0; 20];
            data[control::V6].copy_from_slice(&own.ip().octets());
            data[control::V6_INTERFACE].copy_from_slice(&own.scope_id().to_ne_bytes());
            put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
        }
        None => {}
    }
    at
}

/// Where the fields of a cmsghdr, and of what follows it, are.
mod control {
    use std::ops::Range;

    pub(super) const LENGTH: Range<usize> = 0..8;
    pub(super) const LEVEL: Range<usize> = 8..12;
    pub(super) const KIND: Range<usize> = 12..16;
    pub(super) const DATA: usize = 16;
    /// in_pktinfo: interface, the address that we would answer from, the address in the packet.
    pub(super) const V4_INTERFACE: Range<usize> = 0..4;
    pub(super) const V4_OWN: Range<usize> = 4..8;
    pub(super) const V4: Range<usize> = 8..12;
    /// in6_pktinfo: the address in the packet, interface.
    pub(super) const V6: Range<usize> = 0..16;
    pub(super) const V6_INTERFACE: Range<usize> = 16..20;
}

/// Reads control data as the kernel wrote it.
pub(crate) fn destination(mut bytes: &[u8]) -> Destination {
    let mut found = Destination::Unknown;
    while let Some(length) = bytes.first_chunk().map(|length| usize::from_ne_bytes(*length)) {
        let (Some(level), Some(kind)) = (word(bytes, control::LEVEL), word(bytes, control::KIND)) else {
            break;
        };
        let Some(data) = bytes.get(control::DATA..length) else { break };
        match (level as i32, kind as i32) {
            // The last word on a datagram of IPv4, whatever the socket.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => return of_v4(data).unwrap_or(found),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => found = of_v6(data).unwrap_or(found),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    found
}

/// For a datagram to a group the kernel names another address to answer from than the one that it was sent to.
fn of_v4(data: &[u8]) -> Option<Destination> {
    let address = |at: Range<usize>| Some(Ipv4Addr::from(<[u8; 4]>::try_from(data.get(at)?).ok()?));
    let (own, asked) = (address(control::V4_OWN)?, address(control::V4)?);
    let interface = word(data, control::V4_INTERFACE)?;
    Some(if own == asked { Destination::Own((asked, 0).into(), interface) } else { Destination::Group })
}

fn of_v6(data: &[u8]) -> Option<Destination> {
    let asked = Ipv6Addr::from(<[u8; 16]>::try_from(data.get(control::V6)?).ok()?);
    let interface = word(data, control::V6_INTERFACE)?;
    Some(match asked.to_canonical() {
        address if address.is_multicast() => Destination::Group,
        IpAddr::V4(address) => Destination::Own((address, 0).into(), interface),
        IpAddr::V6(address) => {
            let scope = if address.is_unicast_link_local() { interface } else { 0 };
            Destination::Own(SocketAddrV6::new(address, 0, 0, scope).into(), interface)
        }
    })
}

/// Where the fields of a sockaddr are: family and port of both; address of sockaddr_in; flow, address and scope of sockaddr_in6.
mod name {
    use std::ops::Range;

    pub(super) const FAMILY: Range<usize> = 0..2;
    pub(super) const PORT: Range<usize> = 2..4;
    pub(super) const V4: Range<usize> = 4..8;
    pub(super) const FLOW: Range<usize> = 4..8;
    pub(super) const V6: Range<usize> = 8..24;
    pub(super) const SCOPE: Range<usize> = 24..28;
}

/// Writes a sockaddr; its length.
pub(crate) fn write_name(to: SocketAddr, out: &mut [u8; NAME_LEN]) -> usize {
    out[name::PORT].copy_from_slice(&to.port().to_be_bytes());
    let (family, length) = match to {
        SocketAddr::V4(to) => {
            out[name::V4].copy_from_slice(&to.ip().octets());
            (libc::AF_INET, size_of::<libc::sockaddr_in>())
        }
        SocketAddr::V6(to) => {
            out[name::FLOW].copy_from_slice(&to.flowinfo().to_ne_bytes());
            out[name::V6].copy_from_slice(&to.ip().octets());
            out[name::SCOPE].copy_from_slice(&to.scope_id().to_ne_bytes());
            (libc::AF_INET6, NAME_LEN)
        }
    };
    out[name::FAMILY].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
    length
}

/// Reads a sockaddr of either family.
pub(crate) fn read_name(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(name::FAMILY)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(name::PORT)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = bytes.get(name::V4)?.try_into().ok()?;
            Some(SocketAddr::from((Ipv4Addr::from(ip), port)))
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = bytes.get(name::V6)?.try_into().ok()?;
            let (flow, scope) = (word(bytes, name::FLOW)?, word(bytes, name::SCOPE)?);
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
        }
        _ => None,
    }
}

fn word(bytes: &[u8], at: Range<usize>) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at)?.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let length = control::DATA + data.len();
        let head = [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes()].concat();
        let mut bytes = [&head, data].concat();
        bytes.resize(length.next_multiple_of(8), 0xa5);
        bytes
    }

    fn v4(own: &str, asked: &str) -> Vec<u8> {
        let octets = |address: &str| address.parse::<Ipv4Addr>().unwrap().octets();
        let data = [&7_u32.to_ne_bytes()[..], &octets(own), &octets(asked)].concat();
        message(libc::IPPROTO_IP, libc::IP_PKTINFO, &data)
    }

    fn v6(asked: &str) -> Vec<u8> {
        let data = [&asked.parse::<Ipv6Addr>().unwrap().octets()[..], &7_u32.to_ne_bytes()].concat();
        message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data)
    }

    #[test]
    fn the_kernels_words_become_destinations() {
        let own = |address: &str| Destination::Own(address.parse().unwrap(), 7);
        for (control, want) in [
            (vec![], Destination::Unknown),
            (message(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &[0; 16]), Destination::Unknown),
            (v4("10.0.0.1", "10.0.0.1"), own("10.0.0.1:0")),
            (v4("10.0.0.1", "10.0.0.255"), Destination::Group),
            (v4("10.0.0.1", "239.1.1.1"), Destination::Group),
            (v6("2001:db8::1"), own("[2001:db8::1]:0")),
            (v6("fe80::1"), own("[fe80::1%7]:0")),
            (v6("ff02::1"), Destination::Group),
            (v6("::ffff:10.0.0.1"), own("10.0.0.1:0")),
            ([v6("::ffff:10.0.0.255"), v4("10.0.0.1", "10.0.0.255")].concat(), Destination::Group),
            ([v4("10.0.0.1", "10.0.0.255"), v6("::ffff:10.0.0.255")].concat(), Destination::Group),
        ] {
            assert_eq!(destination(&control), want, "{control:?}");
        }
    }

    #[test]
    fn control_data_cut_anywhere_names_nothing_wrong() {
        let whole = [message(libc::SOL_SOCKET, 1, &[1; 5]), v4("10.0.0.1", "10.0.0.1")].concat();
        for length in 0..whole.len() - 4 {
            assert_eq!(destination(&whole[..length]), Destination::Unknown, "{length}");
        }
        for length in [0_usize, 1, 15, 17, usize::MAX] {
            let mut garbled = v4("10.0.0.1", "10.0.0.1");
            garbled[..8].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(destination(&garbled), Destination::Unknown, "{length}");
        }
    }

    #[test]
    fn what_leaves_is_described_as_the_kernel_reads_it() {
        let outgoing = Outgoing::to("10.0.0.9:9".parse().unwrap());
        let segment = message(libc::SOL_UDP, libc::UDP_SEGMENT, &1472_u16.to_ne_bytes());
        let own6 = [&"fe80::1".parse::<Ipv6Addr>().unwrap().octets()[..], &7_u32.to_ne_bytes()].concat();
        for (from, mut want) in [
            (None, Vec::new()),
            (
                Some("10.0.0.1:0"),
                message(libc::IPPROTO_IP, libc::IP_PKTINFO, &[0, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0]),
            ),
            (Some("[fe80::1%7]:0"), message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &own6)),
        ] {
            let from = from.map(|from| from.parse().unwrap());
            for segmented in [None, Some(1472)] {
                let mut control = Control([0xa5; SEND_CONTROL_LEN]);
                let length = write_control(&Outgoing { from, segment: segmented, ..outgoing }, &mut control);
                if segmented.is_some() {
                    want.splice(..0, segment.clone());
                }
                assert_eq!(control.0[..length], want, "{from:?}");
            }
        }
    }

    #[test]
    fn what_leaves_as_one_arrives_as_many_from_the_address_that_was_named() {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let sender = OwnedFd::from(std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
        let outgoing = Outgoing {
            to: receiver.local_addr().unwrap(),
            from: Some("127.0.0.7:0".parse().unwrap()),
            segment: Some(100),
        };
        assert_eq!(send(&sender, &[7; 250], &outgoing).unwrap(), 250);
        for length in [100, 100, 50] {
            let (got, from) = receiver.recv_from(&mut [0; 512]).unwrap();
            assert_eq!((got, from.ip()), (length, "127.0.0.7".parse::<IpAddr>().unwrap()));
        }
    }

    #[test]
    fn the_room_for_control_data_is_what_both_need() {
        assert_eq!(CONTROL_LEN, v4("0.0.0.0", "0.0.0.0").len() + v6("::").len());
    }
}
