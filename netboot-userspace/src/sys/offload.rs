//! Features of a device, by the names that the kernel gives them: `ethtool(8)`, linux/ethtool.h.
#![allow(unsafe_code, reason = "no safe crate that we use offers the ethtool ioctl")]

use std::ffi::c_char;
use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

/// Takes the outer tag out of received frames: 802.1Q, and 802.1ad.
pub const TAKES_TAGS_OUT: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
/// The set of the features' names.
const FEATURES: u32 = 4;
/// Bytes of a name.
const NAME: usize = 32;

/// Switches these features of a device off. Which of them were on; an error names those that stay on.
///
/// # Errors
/// `ENODEV` if there is no such interface, `EPERM` without `CAP_NET_ADMIN`.
pub fn switch_off(interface: &str, features: &[&str]) -> io::Result<Vec<String>> {
    let device = Device { socket: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, interface };
    let names = device.names()?;
    let wanted = |name: &str| features.contains(&name);
    let on = |active: Vec<u32>| -> Vec<usize> {
        let bit = |at: &usize| active[at / 32] & 1 << (at % 32) != 0;
        (0..names.len()).filter(|at| wanted(&names[*at])).filter(bit).collect()
    };
    let named = |bits: &[usize]| -> Vec<String> { bits.iter().map(|at| names[*at].clone()).collect() };
    let before = on(device.active(names.len())?);
    if before.is_empty() {
        return Ok(Vec::new());
    }
    device.clear(names.len(), &before)?;
    match named(&on(device.active(names.len())?)) {
        left if left.is_empty() => Ok(named(&before)),
        left => Err(io::Error::other(format!("{} can't be switched off", left.join(" and ")))),
    }
}

struct Device<'a> {
    /// Any AF_INET socket serves as the handle of the ioctl.
    socket: UdpSocket,
    interface: &'a str,
}

impl Device<'_> {
    /// The names of all features, at the index of their bits.
    fn names(&self) -> io::Result<Vec<String>> {
        // cmd, reserved, the mask of sets (64 bits), the length of the one set.
        let mut info = [GSSET_INFO, 0, 1 << FEATURES, 0, 0];
        self.call(&mut info)?;
        let count = info[4] as usize;
        // cmd, set, length, the names.
        let mut strings = vec![0; 3 + count * NAME / 4];
        strings[..3].copy_from_slice(&[GSTRINGS, FEATURES, info[4]]);
        self.call(&mut strings)?;
        let bytes: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let name = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        Ok(bytes.chunks(NAME).map(name).collect())
    }

    /// The bits of those that are on, of `count`.
    fn active(&self, count: usize) -> io::Result<Vec<u32>> {
        // cmd, how many blocks; a block: available, requested, active, never changed.
        let blocks = count.div_ceil(32);
        let mut features = vec![0; 2 + 4 * blocks];
        features[..2].copy_from_slice(&[GFEATURES, blocks as u32]);
        self.call(&mut features)?;
        Ok(features[2..].chunks(4).map(|block| block[2]).collect())
    }

    /// Asks for these bits to be off.
    fn clear(&self, count: usize, bits: &[usize]) -> io::Result<()> {
        // cmd, how many blocks; a block: which bits are meant, and what they shall be.
        let blocks = count.div_ceil(32);
        let mut features = vec![0; 2 + 2 * blocks];
        features[..2].copy_from_slice(&[SFEATURES, blocks as u32]);
        for at in bits {
            features[2 + 2 * (at / 32)] |= 1 << (at % 32);
        }
        self.call(&mut features)
    }

    /// `command` begins with one, and says in its own words how long it is.
    fn call(&self, command: &mut [u32]) -> io::Result<()> {
        // SAFETY: ifreq is plain data, for which all zeros is a valid value.
        let mut request: libc::ifreq = unsafe { zeroed() };
        if self.interface.len() >= request.ifr_name.len() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (to, &from) in request.ifr_name.iter_mut().zip(self.interface.as_bytes()) {
            *to = from as c_char;
        }
        request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
        // SAFETY: SIOCETHTOOL reads one ifreq, whose name is terminated, and of what it points to reads and writes no more than
        // the command's own counts say, for which its builders above made room; both live through the call.
        match unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) } {
            code if code < 0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}
