//! Packet sockets: whole frames, beside the kernel's own stack, of the DHCP ports only.
#![allow(unsafe_code, reason = "rustix and socket2 offer neither AF_PACKET's address nor its auxiliary data")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::filter;

/// EtherType of IPv4.
pub const IPV4: u16 = libc::ETH_P_IP as u16;
/// EtherType of ARP.
pub const ARP: u16 = libc::ETH_P_ARP as u16;
/// TPID of 802.1Q: frames that still carry a tag after the kernel took the outer one out.
pub const VLAN: u16 = libc::ETH_P_8021Q as u16;
/// TPID of 802.1ad.
pub(super) const VLAN_SERVICE: u16 = libc::ETH_P_8021AD as u16;
/// Every protocol: frames as they come in, before any tc program.
pub const ALL: u16 = libc::ETH_P_ALL as u16;

/// Bytes of a tag, and where the outermost one is.
const TAG: usize = 4;
const TAG_AT: usize = 12;

/// linux/if_packet.h.
const PACKET_OTHERHOST: u8 = 3;
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// Frames of one protocol on one device.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    ifindex: u32,
    /// Whether frames of others come, too.
    overhears: bool,
}

/// What a socket lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// UDP over IPv4 to one of two ports, no fragments.
    Udp([u16; 2]),
    Arp,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A frame of so many bytes, with all its tags.
    Frame(usize),
    /// A frame of a VLAN whose tag is lost, of a VLAN device above this one, or of another host.
    Foreign,
    /// Nothing more now.
    Nothing,
}

impl PacketSocket {
    /// Opens a socket for frames of `protocol` that the device receives.
    ///
    /// A socket for one protocol sees frames behind tc, and none of those that a kernel program answered. But the kernel clears
    /// the tag that it took out before it delivers there: such a socket knows a frame's outer tag only if a tc program left it in
    /// `skb->mark` ([`outer_tag`]). A socket for [`ALL`] sees every tag, and every frame, answered or not.
    pub fn open(ifindex: u32, protocol: u16, only: Only) -> io::Result<Self> {
        Self::new(ifindex, protocol, only, false)
    }

    /// Opens a socket for all frames that come by the device: also those to and from others, and what this machine sends.
    pub fn overhearing(ifindex: u32, only: Only) -> io::Result<Self> {
        let socket = Self::new(ifindex, ALL, only, true)?;
        let kind = libc::PACKET_MR_PROMISC as u16;
        let all =
            libc::packet_mreq { mr_ifindex: ifindex as i32, mr_type: kind, mr_alen: 0, mr_address: [0; 8] };
        set_option(&socket.fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &all)?;
        Ok(socket)
    }

    fn new(ifindex: u32, protocol: u16, only: Only, overhears: bool) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes numbers. Protocol 0: nothing arrives before the filter is on and the socket is bound.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: `fd` was just opened and is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        attach_filter(&fd, only)?;
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
        set_option(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &i32::from(!overhears))?;
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVMARK, &1_i32)?;
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &(4 << 20))?;
        bind(&fd, ifindex, protocol)?;
        Ok(Self { fd, ifindex, overhears })
    }

    /// The next frame.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        // Room for the tag that is put back.
        let room = buffer.len().saturating_sub(TAG);
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: room };
        let mut control = [0_u64; 16];
        // SAFETY: all zeros are a sockaddr_ll.
        let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
        // SAFETY: all zeros are a msghdr that names nothing.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = mem::size_of_val(&from) as _;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(&control) as _;
        // SAFETY: `message` points to `from`, `part` and `control`, which point to memory of the lengths given; all outlive the call.
        let length = match check_long(unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) }) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        Ok(match outer_tag(&message) {
            Some(tag) => put_back(buffer, length, tag),
            None if from.sll_pkttype == PACKET_OTHERHOST && !self.overhears => Received::Foreign,
            None if from.sll_ifindex != self.ifindex as i32 => Received::Foreign,
            None => Received::Frame(length),
        })
    }

    /// Sends a whole frame, as it is.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: `frame` is readable for its length.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        check_long(sent).map(|_| ())
    }
}

/// Makes room for a tag in the frame of `length` bytes, and writes it there.
fn put_back(buffer: &mut [u8], length: usize, tag: u32) -> Received {
    if length < TAG_AT {
        return Received::Foreign;
    }
    buffer.copy_within(TAG_AT..length, TAG_AT + TAG);
    buffer[TAG_AT..TAG_AT + TAG].copy_from_slice(&tag.to_be_bytes());
    Received::Frame(length + TAG)
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn bind(fd: &OwnedFd, ifindex: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: all zeros are a sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = ifindex as i32;
    let size = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a sockaddr_ll of `size` bytes.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) }).map(|_| ())
}

fn attach_filter(fd: &OwnedFd, only: Only) -> io::Result<()> {
    let mut program = match only {
        Only::Udp(ports) => filter::udp(ports),
        Only::Arp => filter::arp(),
    };
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

pub(super) fn set_option<T>(fd: &impl AsRawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let size = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is readable for its own size; the kernel copies it (and the program that a sock_fprog points to, which
    // lives until this returns).
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), size) })
        .map(|_| ())
}

/// The tag, TPID and TCI, that the kernel took out of the frame: from the auxiliary data, or from the mark, where our tc program
/// puts it for sockets that are given it no more. A mark without a VLAN is somebody else's.
fn outer_tag(message: &libc::msghdr) -> Option<u32> {
    let mut tag = None;
    // SAFETY: `message` was filled by recvmsg, and its control buffer is still there.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a header within the control buffer, as CMSG_FIRSTHDR and CMSG_NXTHDR give it.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        tag = tag.or(match (level, kind) {
            // SAFETY: the kernel writes a whole tpacket_auxdata behind this header.
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => tag_of(&unsafe { data(header) }),
            // SAFETY: the kernel writes four bytes behind this header.
            (libc::SOL_SOCKET, libc::SO_MARK) => Some(unsafe { data(header) }).filter(is_vlan),
            _ => None,
        });
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    tag
}

fn tag_of(data: &libc::tpacket_auxdata) -> Option<u32> {
    let valid = data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
    valid.then(|| u32::from(data.tp_vlan_tpid) << 16 | u32::from(data.tp_vlan_tci))
}

fn is_vlan(tag: &u32) -> bool {
    [VLAN, VLAN_SERVICE].contains(&((tag >> 16) as u16)) && tag & 0x0fff != 0
}

/// What stands behind a header of control data.
///
/// # Safety
/// A `T`, for which any bytes will do, must be there.
unsafe fn data<T: Copy>(header: *const libc::cmsghdr) -> T {
    // SAFETY: it is there, says the caller; it may be unaligned.
    unsafe { libc::CMSG_DATA(header).cast::<T>().read_unaligned() }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
