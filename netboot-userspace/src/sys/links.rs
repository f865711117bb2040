//! Word of interfaces and addresses that come, go and change: not of what they are now, which [`interface`](super::interface)
//! lists.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// Multicast groups of `rtnetlink(7)`: links, IPv4 and IPv6 addresses.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Its descriptor is readable when something may have changed.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// Of this network namespace, from now on.
    ///
    /// # Errors
    /// There is no netlink.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Of netlink's protocols, NETLINK_ROUTE is the first: 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    /// Forgets what was told until now. That more was told than the socket holds (`ENOBUFS`) is a change like any other.
    pub fn clear(&self) {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        loop {
            match recv(&self.0, &mut buffer, RecvFlags::empty()) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
