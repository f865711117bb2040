//! An interface's MTU, bringing it up and giving it an IPv4 address: the ioctls of `netdevice(7)`.
#![allow(unsafe_code)] // No safe crate that we use offers these ioctls.

use std::ffi::c_char;
use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

/// The ways to ask and to change an interface, over one socket.
#[derive(Debug)]
pub struct Control {
    /// Any AF_INET socket serves as the handle of the ioctls.
    socket: UdpSocket,
}

impl Control {
    /// # Errors
    /// If no socket can be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self { socket: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))? })
    }

    /// Bytes of the longest IPv4 datagram that the interface sends in one piece: 65,535 at most.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface.
    pub fn mtu(&self, interface: &str) -> io::Result<u16> {
        let mut request = request(interface)?;
        self.ioctl(libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: SIOCGIFMTU filled `ifru_mtu`, the union's active member.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Ok(mtu.clamp(0, u16::MAX.into()) as u16)
    }

    /// The same, by the interface's index.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface.
    pub fn mtu_of(&self, index: u32) -> io::Result<u16> {
        self.mtu(&rustix::net::netdevice::index_to_name(&self.socket, index)?)
    }

    /// Sets `IFF_UP`.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface, `EPERM` without `CAP_NET_ADMIN`.
    pub fn up(&self, interface: &str) -> io::Result<()> {
        let mut request = request(interface)?;
        self.ioctl(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS filled `ifru_flags`, the union's active member.
        unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
        self.ioctl(libc::SIOCSIFFLAGS, &mut request)
    }

    /// `IFF_RUNNING`: it is up, and its link too. Drivers that know nothing of links always say so.
    ///
    /// # Errors
    /// As for [`up`](Self::up).
    pub fn has_link(&self, interface: &str) -> io::Result<bool> {
        let mut request = request(interface)?;
        self.ioctl(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS filled `ifru_flags`, the union's active member.
        Ok(unsafe { request.ifr_ifru.ifru_flags } & libc::IFF_RUNNING as libc::c_short != 0)
    }

    /// Gives the interface its one address, in place of the one it had. `0.0.0.0` takes it away.
    ///
    /// # Errors
    /// As for [`up`](Self::up).
    pub fn set_address(&self, interface: &str, address: Ipv4Addr, netmask: Ipv4Addr) -> io::Result<()> {
        self.address_ioctl(libc::SIOCSIFADDR, interface, address)?;
        if address.is_unspecified() {
            return Ok(());
        }
        self.address_ioctl(libc::SIOCSIFNETMASK, interface, netmask)
    }

    /// The interface's address.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if it has none, `ENODEV` if there is no such interface.
    pub fn address(&self, interface: &str) -> io::Result<Ipv4Addr> {
        let mut request = request(interface)?;
        request.ifr_ifru.ifru_addr.sa_family = libc::AF_INET as libc::sa_family_t;
        self.ioctl(libc::SIOCGIFADDR, &mut request)?;
        // SAFETY: SIOCGIFADDR filled `ifru_addr`, the union's active member.
        let [_, _, octets @ ..] = unsafe { request.ifr_ifru.ifru_addr.sa_data }.map(|byte| byte as u8);
        Ok(octets
            .first_chunk()
            .map_or(Ipv4Addr::UNSPECIFIED, |octets: &[u8; 4]| Ipv4Addr::from_octets(*octets)))
    }

    /// Adds a default route by `gateway`. One that is there already is fine.
    ///
    /// # Errors
    /// `ENETUNREACH` if the gateway is not on the interface's own network.
    pub fn add_default_route(&self, interface: &str, gateway: Ipv4Addr) -> io::Result<()> {
        match self.route_ioctl(libc::SIOCADDRT, interface, gateway) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Removes the default route by `gateway`. One that is gone already is fine.
    ///
    /// # Errors
    /// As for [`up`](Self::up).
    pub fn remove_default_route(&self, interface: &str, gateway: Ipv4Addr) -> io::Result<()> {
        match self.route_ioctl(libc::SIOCDELRT, interface, gateway) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    fn route_ioctl(&self, code: libc::c_ulong, interface: &str, gateway: Ipv4Addr) -> io::Result<()> {
        let mut name = name(interface)?;
        // SAFETY: rtentry is plain data, for which all zeros is a valid value.
        let mut route: libc::rtentry = unsafe { zeroed() };
        route.rt_dst = sockaddr(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = sockaddr(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = sockaddr(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        route.rt_dev = name.as_mut_ptr();
        // SAFETY: both codes read one rtentry, which lives through the call, as does the terminated name it points to.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), code as _, &raw mut route) })
    }

    fn address_ioctl(&self, code: libc::c_ulong, interface: &str, address: Ipv4Addr) -> io::Result<()> {
        let mut request = request(interface)?;
        request.ifr_ifru.ifru_addr = sockaddr(address);
        self.ioctl(code, &mut request)
    }

    fn ioctl(&self, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the SIOC[GS]IF* ioctls read and write one ifreq, which lives through the call; its name is terminated.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), code as _, request as *mut libc::ifreq) })
    }
}

/// Confines a socket to one interface, which then needs no address of its own to send broadcasts (`socket(7)`).
///
/// # Errors
/// `ENODEV` if there is no such interface, `EPERM` without `CAP_NET_RAW`.
pub fn bind_to_device(socket: &UdpSocket, interface: &str) -> io::Result<()> {
    let name = name(interface)?;
    // SAFETY: the option's value is `name.len()` readable bytes, which the kernel copies.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    })
}

fn check(code: libc::c_int) -> io::Result<()> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn request(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain data, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    request.ifr_name = name(interface)?;
    Ok(request)
}

/// The interface's name, with at least one zero behind it.
fn name(interface: &str) -> io::Result<[c_char; libc::IFNAMSIZ]> {
    let mut name = [0; libc::IFNAMSIZ];
    if interface.is_empty() || interface.len() >= name.len() || interface.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, &from) in name.iter_mut().zip(interface.as_bytes()) {
        *to = from as c_char;
    }
    Ok(name)
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: sockaddr is plain data, for which all zeros is a valid value.
    let mut generic: libc::sockaddr = unsafe { zeroed() };
    generic.sa_family = libc::AF_INET as libc::sa_family_t;
    // struct sockaddr_in (`ip(7)`): two bytes of port, then the address in network order.
    for (to, from) in generic.sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = from as c_char;
    }
    generic
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_where_sockaddr_in_has_it() {
        let address = sockaddr(Ipv4Addr::new(10, 0, 2, 255));
        assert_eq!(address.sa_family, libc::AF_INET as libc::sa_family_t);
        assert_eq!(address.sa_data.map(|byte| byte as u8)[..6], [0, 0, 10, 0, 2, 255]);
    }

    #[test]
    fn the_loopback_devices_mtu_is_more_than_a_datagram_can_have() {
        assert_eq!(Control::new().unwrap().mtu("lo").unwrap(), u16::MAX);
    }

    #[test]
    fn an_interface_that_is_not_there_is_named_by_the_error() {
        let control = Control::new().unwrap();
        for name in ["", "no-such-if0", "a-name-longer-than-any"] {
            assert_eq!(control.up(name).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{name}");
        }
    }
}
