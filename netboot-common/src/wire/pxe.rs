//! What PXE puts into DHCP: vendor class strings, option 43 (PXE 2.1), option 175 (iPXE).

/// The start of option 60 of a PXE client, and the whole of it in a reply to one.
pub const PXE_CLIENT: [u8; 9] = *b"PXEClient";
/// The same for UEFI HTTP Boot (UEFI specification, section 24.7).
pub const HTTP_CLIENT: [u8; 10] = *b"HTTPClient";
/// Option 77 of iPXE: a bare string, not a list as in RFC 3004.
pub const USER_CLASS_IPXE: [u8; 4] = *b"iPXE";
/// Option 77 of the iPXE that we built ourselves.
pub const USER_CLASS_NETBOOT: [u8; 7] = *b"netboot";

/// Option 43 for BIOS clients: PXE_DISCOVERY_CONTROL (6) with bit 3, "boot what the offer names, discover nothing",
/// and the end mark (PXE 2.1, table 2-1). EFI clients get no option 43: many ignore offers that carry one.
pub const BOOT_AT_ONCE: [u8; 4] = [6, 1, 8, 255];

/// Sub-options of iPXE's option 175.
pub mod ipxe {
    /// "I can fetch by HTTP."
    pub const FEATURE_HTTP: u8 = 19;
    /// "Don't wait for a ProxyDHCP offer": 3 s saved at a site that has none.
    pub const NO_PXEDHCP: u8 = 176;
}

/// Client architectures: option 93, as IANA lists them (RFC 4578 section 2.1 and its errata).
pub mod arch {
    pub const BIOS: u16 = 0;
    pub const EFI_IA32: u16 = 6;
    /// Named "EFI BC" by RFC 4578; what x86-64 firmware sends.
    pub const EFI_X64: u16 = 7;
    /// Named "EFI x86-64" by RFC 4578; some firmware sends this.
    pub const EFI_X64_ALTERNATE: u16 = 9;
    pub const EFI_ARM64: u16 = 11;
    pub const EFI_IA32_HTTP: u16 = 15;
    pub const EFI_X64_HTTP: u16 = 16;
    pub const EFI_ARM64_HTTP: u16 = 19;
}
