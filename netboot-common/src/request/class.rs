//! What tells a client's class, as the options have it.

use crate::class::Vendor;
use crate::packet::Packet;
use crate::wire::be16;
use crate::wire::pxe::{self, arch};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum UserClass {
    Other = 0,
    Ipxe = 1,
    Netboot = 2,
}

/// Option 93 is a list (RFC 4578 section 2.1): the first known value of its first four wins.
#[inline(always)]
pub(super) fn read_arch<P: Packet>(packet: &P, value: usize, length: u8) -> u16 {
    let first = be16(packet.read(value).unwrap_or_default());
    let mut found = first;
    let mut i = 1;
    while i < 4 {
        if !known_arch(found) && length as usize >= 2 * (i + 1) {
            found = be16(packet.read(value + 2 * i).unwrap_or_default());
        }
        i += 1;
    }
    if known_arch(found) { found } else { first }
}

#[inline(always)]
const fn known_arch(value: u16) -> bool {
    matches!(
        value,
        arch::BIOS
            | arch::EFI_IA32
            | arch::EFI_X64
            | arch::EFI_X64_ALTERNATE
            | arch::EFI_ARM64
            | arch::EFI_IA32_HTTP
            | arch::EFI_X64_HTTP
            | arch::EFI_ARM64_HTTP
    )
}

#[inline(always)]
pub(super) fn read_vendor<P: Packet>(packet: &P, value: usize, length: u8) -> Vendor {
    if length >= 9 && packet.read(value) == Some(pxe::PXE_CLIENT) {
        return Vendor::Pxe;
    }
    if length >= 10 && packet.read(value) == Some(pxe::HTTP_CLIENT) {
        return Vendor::Http;
    }
    Vendor::Other
}

/// A bare string (iPXE), or the first entry of a list (RFC 3004 section 4).
#[inline(always)]
pub(super) fn read_user_class<P: Packet>(packet: &P, value: usize, length: u8) -> UserClass {
    let (text, size) = match packet.read(value) {
        Some([entry]) if entry as u16 + 1 == length as u16 || entry < 32 => (value + 1, entry),
        _ => (value, length),
    };
    if size as u16 + (text - value) as u16 > length as u16 {
        return UserClass::Other;
    }
    if size == 4 && packet.read(text) == Some(pxe::USER_CLASS_IPXE) {
        return UserClass::Ipxe;
    }
    if size == 7 && packet.read(text) == Some(pxe::USER_CLASS_NETBOOT) {
        return UserClass::Netboot;
    }
    UserClass::Other
}
