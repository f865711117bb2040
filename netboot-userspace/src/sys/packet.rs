//! Packet sockets: whole frames, beside the kernel's own stack, of the DHCP ports only.
#![allow(unsafe_code, reason = "rustix and socket2 offer neither AF_PACKET's address nor its auxiliary data")]

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// EtherType of IPv4.
pub const IPV4: u16 = libc::ETH_P_IP as u16;
/// EtherType of ARP.
pub const ARP: u16 = libc::ETH_P_ARP as u16;
/// TPID of 802.1Q: frames that still carry a tag after the kernel took the outer one out.
pub const VLAN: u16 = libc::ETH_P_8021Q as u16;

/// Frames of one protocol on one device.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

/// A received frame.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub length: usize,
    /// The VLAN identifier that the kernel took out of the frame; 0: none.
    pub vlan: u16,
}

impl PacketSocket {
    /// Opens a socket for frames of `protocol` that the device receives, of UDP to one of `ports` only (IPv4 without options:
    /// other frames are not DHCP messages that any lane answers).
    ///
    /// A socket for one protocol sees frames behind tc, and none of those that a kernel program answered.
    pub fn open(ifindex: u32, protocol: u16, ports: [u16; 2]) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes numbers. Protocol 0: nothing arrives before the filter is on and the socket is bound.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: `fd` was just opened and is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if protocol == IPV4 {
            attach_filter(&fd, ports)?;
        }
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &(4 << 20))?;
        bind(&fd, ifindex, protocol)?;
        Ok(Self { fd })
    }

    /// The next frame, or `None` when there is none now.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = [0_u64; 16];
        // SAFETY: all zeros are a msghdr that names nothing.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(&control) as _;
        // SAFETY: `message` points to `part` and `control`, which point to memory of the lengths given; all outlive the call.
        match check_long(unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) }) {
            Ok(length) => Ok(Some(Received { length, vlan: vlan(&message) })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a whole frame, as it is.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: `frame` is readable for its length.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        check_long(sent).map(|_| ())
    }
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

/// Classic BPF: IPv4 (by the frame's type), UDP, no fragment, destination one of `ports`.
fn attach_filter(fd: &OwnedFd, [first, second]: [u16; 2]) -> io::Result<()> {
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const LOAD_HALF_X: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
    const HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(LOAD_BYTE, 0, 0, 23),
        step(EQUAL, 0, 6, libc::IPPROTO_UDP as u32),
        step(LOAD_HALF, 0, 0, 20),
        step(ANY_BIT, 4, 0, 0x3fff),
        step(HEADER_LENGTH, 0, 0, 14),
        step(LOAD_HALF_X, 0, 0, 16),
        step(EQUAL, 2, 0, u32::from(first)),
        step(EQUAL, 1, 0, u32::from(second)),
        step(RETURN, 0, 0, 0),
        step(RETURN, 0, 0, u32::MAX),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

pub(super) fn set_option<T>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let size = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is readable for its own size; the kernel copies it (and the program that a sock_fprog points to, which
    // lives until this returns).
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), size) })
        .map(|_| ())
}

/// The VLAN identifier in the auxiliary data.
fn vlan(message: &libc::msghdr) -> u16 {
    // SAFETY: `message` was filled by recvmsg, and its control buffer is still there.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    if header.is_null() {
        return 0;
    }
    // SAFETY: CMSG_FIRSTHDR gives a header within the control buffer.
    let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
    if (level, kind) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return 0;
    }
    let mut data = MaybeUninit::<libc::tpacket_auxdata>::zeroed();
    // SAFETY: the kernel writes a whole tpacket_auxdata behind this header; it may be unaligned, so it is copied as bytes.
    let data = unsafe {
        let from = libc::CMSG_DATA(header);
        std::ptr::copy_nonoverlapping(
            from,
            data.as_mut_ptr().cast(),
            mem::size_of::<libc::tpacket_auxdata>(),
        );
        data.assume_init()
    };
    if data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 { 0 } else { data.tp_vlan_tci & 0x0fff }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
