//! Which client is this: architecture, firmware, iPXE, HTTP Boot.

use core::fmt;

use crate::wire::pxe::arch;

/// The kind of client: decides which boot file it is told. Part of a template's key, so its numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Not a network boot client: an operating system.
    Plain = 0,
    Bios = 1,
    EfiIa32 = 2,
    EfiX64 = 3,
    EfiArm64 = 4,
    EfiX64Http = 5,
    EfiArm64Http = 6,
    IpxeBios = 7,
    IpxeEfiIa32 = 8,
    IpxeEfiX64 = 9,
    IpxeEfiArm64 = 10,
    /// Our own iPXE, which knows its script.
    NetbootIpxe = 11,
    /// It says that it boots from the network, on an architecture that we have no loader for.
    Unknown = 12,
    EfiIa32Http = 13,
}

impl Class {
    /// Every class, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Plain,
        Self::Bios,
        Self::EfiIa32,
        Self::EfiX64,
        Self::EfiArm64,
        Self::EfiX64Http,
        Self::EfiArm64Http,
        Self::IpxeBios,
        Self::IpxeEfiIa32,
        Self::IpxeEfiX64,
        Self::IpxeEfiArm64,
        Self::NetbootIpxe,
        Self::Unknown,
        Self::EfiIa32Http,
    ];

    /// The class with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(byte as usize).copied()
    }

    /// From what the client said of itself.
    #[inline(always)]
    pub const fn of(hints: Hints) -> Self {
        match (hints.vendor, hints.ipxe) {
            (_, Ipxe::Ours) => Self::NetbootIpxe,
            // An iPXE without HTTP gets the firmware's loader: a full iPXE.
            (_, Ipxe::WithHttp) => match hints.arch {
                arch::EFI_IA32 => Self::IpxeEfiIa32,
                arch::EFI_X64 | arch::EFI_X64_ALTERNATE => Self::IpxeEfiX64,
                arch::EFI_ARM64 => Self::IpxeEfiArm64,
                arch::BIOS | NO_ARCH => Self::IpxeBios,
                _ => Self::Unknown,
            },
            (Vendor::Http, Ipxe::No) => match hints.arch {
                arch::EFI_IA32_HTTP => Self::EfiIa32Http,
                arch::EFI_X64_HTTP => Self::EfiX64Http,
                arch::EFI_ARM64_HTTP => Self::EfiArm64Http,
                _ => Self::Unknown,
            },
            (Vendor::Pxe, Ipxe::No) => match hints.arch {
                arch::BIOS | NO_ARCH => Self::Bios,
                arch::EFI_IA32 => Self::EfiIa32,
                arch::EFI_X64 | arch::EFI_X64_ALTERNATE => Self::EfiX64,
                arch::EFI_ARM64 => Self::EfiArm64,
                _ => Self::Unknown,
            },
            (Vendor::Other, Ipxe::No) => Self::Plain,
        }
    }

    /// True for every class that asked for a boot file and can be given one.
    #[inline(always)]
    pub const fn boots(self) -> bool {
        !matches!(self, Self::Plain | Self::Unknown)
    }

    /// Whether it is firmware that boots by HTTP (UEFI specification section 24.7).
    #[inline(always)]
    pub const fn boots_by_http(self) -> bool {
        matches!(self, Self::EfiIa32Http | Self::EfiX64Http | Self::EfiArm64Http)
    }

    /// The class's name in templates, logs and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Bios => "bios",
            Self::EfiIa32 => "efi-ia32",
            Self::EfiX64 => "efi-x64",
            Self::EfiArm64 => "efi-arm64",
            Self::EfiIa32Http => "efi-ia32-http",
            Self::EfiX64Http => "efi-x64-http",
            Self::EfiArm64Http => "efi-arm64-http",
            Self::IpxeBios => "ipxe-bios",
            Self::IpxeEfiIa32 => "ipxe-efi-ia32",
            Self::IpxeEfiX64 => "ipxe-efi-x64",
            Self::IpxeEfiArm64 => "ipxe-efi-arm64",
            Self::NetbootIpxe => "netboot-ipxe",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No option 93. Some old ROMs leave it out: they are BIOS.
pub const NO_ARCH: u16 = u16::MAX;

/// What a message says about its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Option 93: the first value that is known, else the first, else [`NO_ARCH`].
    pub arch: u16,
    pub vendor: Vendor,
    pub ipxe: Ipxe,
}

/// Option 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Vendor {
    /// Absent, or of no interest.
    #[default]
    Other = 0,
    /// Starts with `PXEClient`.
    Pxe = 1,
    /// Starts with `HTTPClient`.
    Http = 2,
}

/// Options 77 and 175.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ipxe {
    /// The firmware's own stack, or an iPXE too small to fetch by HTTP.
    No = 0,
    /// iPXE (option 77) that can fetch by HTTP (option 175, sub-option 19).
    WithHttp = 1,
    /// `netboot` in option 77.
    Ours = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_positions_in_all() {
        for (i, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, i);
            assert_eq!(Class::from_byte(i as u8), Some(class));
        }
        assert_eq!(Class::from_byte(Class::ALL.len() as u8), None);
    }

    #[test]
    fn classifies() {
        use Class::*;
        for (arch, vendor, ipxe, class, source) in [
            (NO_ARCH, Vendor::Other, Ipxe::No, Plain, "an operating system"),
            (0, Vendor::Pxe, Ipxe::No, Bios, "RFC 4578 2.1"),
            (NO_ARCH, Vendor::Pxe, Ipxe::No, Bios, "old ROMs without option 93"),
            (6, Vendor::Pxe, Ipxe::No, EfiIa32, "RFC 4578 2.1"),
            (7, Vendor::Pxe, Ipxe::No, EfiX64, "OVMF"),
            (9, Vendor::Pxe, Ipxe::No, EfiX64, "RFC 4578 errata"),
            (11, Vendor::Pxe, Ipxe::No, EfiArm64, "AAVMF"),
            (15, Vendor::Http, Ipxe::No, EfiIa32Http, "IANA"),
            (16, Vendor::Http, Ipxe::No, EfiX64Http, "OVMF HTTP Boot"),
            (19, Vendor::Http, Ipxe::No, EfiArm64Http, "IANA"),
            (16, Vendor::Pxe, Ipxe::No, Unknown, "an HTTP architecture that asks for PXE"),
            (10, Vendor::Pxe, Ipxe::No, Unknown, "rfc4578_5: no loader for 32-bit ARM"),
            (0, Vendor::Pxe, Ipxe::WithHttp, IpxeBios, "QEMU's ROM, undionly.kpxe"),
            (7, Vendor::Pxe, Ipxe::WithHttp, IpxeEfiX64, "snponly.efi"),
            (7, Vendor::Pxe, Ipxe::Ours, NetbootIpxe, "ours"),
        ] {
            assert_eq!(Class::of(Hints { arch, vendor, ipxe }), class, "{source}");
        }
    }
}
