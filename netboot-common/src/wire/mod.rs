//! Bytes to meaning and back, a file per protocol.

pub mod checksum;
pub mod dhcp;
pub mod ethernet;
pub mod ipv4;
pub mod pxe;
pub mod tftp;
pub mod udp;
pub mod vlan;

/// The big-endian 16-bit number at the start of `bytes`.
#[inline(always)]
pub const fn be16(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}
