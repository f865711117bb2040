//! The network interfaces of this machine (of this network namespace).
#![allow(unsafe_code, reason = "no safe crate that we use lists link-layer and IP addresses together")]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use netboot_common::Mac;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Interface {
    pub index: u32,
    pub mac: Mac,
    pub up: bool,
    pub loopback: bool,
    /// Addresses and prefix lengths, in the kernel's order.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// The same of IPv6, link-local ones among them.
    pub addresses6: Vec<(Ipv6Addr, u8)>,
}

/// Every interface, by name.
pub fn interfaces() -> io::Result<BTreeMap<String, Interface>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: writes one pointer.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is an element of the list that getifaddrs made, which is freed only below.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        // SAFETY: `ifa_name` is a C string of that list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        let interface = found.entry(name).or_default();
        interface.up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
        interface.loopback = entry.ifa_flags & libc::IFF_LOOPBACK as u32 != 0;
        add_address(interface, entry);
    }
    // SAFETY: the list is not used after this.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

fn add_address(interface: &mut Interface, entry: &libc::ifaddrs) {
    if entry.ifa_addr.is_null() {
        return;
    }
    // SAFETY: a sockaddr of the list, whose family says how long it is.
    match i32::from(unsafe { (*entry.ifa_addr).sa_family }) {
        libc::AF_PACKET => {
            // SAFETY: of family AF_PACKET: a sockaddr_ll.
            let address = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_ll>() };
            interface.index = address.sll_ifindex as u32;
            if let Some(mac) = address.sll_addr.first_chunk() {
                interface.mac = Mac(*mac);
            }
        }
        libc::AF_INET => {
            // SAFETY: of family AF_INET: a sockaddr_in.
            let address = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in>() };
            // SAFETY: the mask of such an address, where there is one, is a sockaddr_in of that list too.
            let mask = unsafe { entry.ifa_netmask.cast::<libc::sockaddr_in>().as_ref() };
            let prefix = mask.map_or(32, |mask| mask.sin_addr.s_addr.count_ones() as u8);
            interface.addresses.push((u32::from_be(address.sin_addr.s_addr).into(), prefix));
        }
        libc::AF_INET6 => {
            // SAFETY: of family AF_INET6: a sockaddr_in6.
            let address = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in6>() };
            // SAFETY: the mask of such an address, where there is one, is a sockaddr_in6 of that list too.
            let mask = unsafe { entry.ifa_netmask.cast::<libc::sockaddr_in6>().as_ref() };
            let ones = |mask: &libc::sockaddr_in6| u128::from_be_bytes(mask.sin6_addr.s6_addr).count_ones();
            interface.addresses6.push((address.sin6_addr.s6_addr.into(), mask.map_or(128, ones) as u8));
        }
        _ => {}
    }
}
