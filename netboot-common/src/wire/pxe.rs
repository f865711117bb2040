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

/// Sub-options of option 43 in PXE messages (PXE 2.1, table 2-1).
pub mod sub {
    pub const DISCOVERY_CONTROL: u8 = 6;
    pub const BOOT_SERVERS: u8 = 8;
    pub const BOOT_MENU: u8 = 9;
    pub const MENU_PROMPT: u8 = 10;
    pub const BOOT_ITEM: u8 = 71;
    pub const END: u8 = 255;
}

/// PXE_DISCOVERY_CONTROL: neither broadcast (bit 0) nor multicast (bit 1), and nobody but who is in PXE_BOOT_SERVERS (bit 2).
pub const DISCOVER_LISTED: u8 = 7;
/// PXE_MENU_PROMPT: no time runs out.
pub const WAIT_FOR_EVER: u8 = 255;
/// The boot server type of a menu item that boots from the machine's own disk.
pub const LOCAL_BOOT: u16 = 0;
/// The first of the boot server types that are a vendor's own.
pub const FIRST_OWN_TYPE: u16 = 0x8000;

/// PXE_BOOT_ITEM: what was chosen from a menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootItem {
    /// The boot server type.
    pub kind: u16,
    pub layer: u16,
}

impl BootItem {
    /// From option 43; `None` where it has no such sub-option, or one that is not 4 bytes long.
    pub fn read(options: &[u8]) -> Option<Self> {
        let mut rest = options;
        loop {
            match rest {
                [0, more @ ..] => rest = more,
                [sub::END, ..] | [] | [_] => return None,
                [code, length, more @ ..] => {
                    let (value, more) = more.split_at_checked(*length as usize)?;
                    match (*code, value) {
                        (sub::BOOT_ITEM, &[k0, k1, l0, l1]) => {
                            let (kind, layer) = (u16::from_be_bytes([k0, k1]), u16::from_be_bytes([l0, l1]));
                            return Some(Self { kind, layer });
                        }
                        (sub::BOOT_ITEM, _) => return None,
                        _ => rest = more,
                    }
                }
            }
        }
    }

    /// As an ACK gives it back: option 43, its end mark inside.
    pub const fn to_wire(self) -> [u8; 7] {
        let ([k0, k1], [l0, l1]) = (self.kind.to_be_bytes(), self.layer.to_be_bytes());
        [sub::BOOT_ITEM, 4, k0, k1, l0, l1, sub::END]
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_item_is_found_among_other_sub_options() {
        let item = BootItem { kind: 0x8001, layer: 0x8000 };
        assert_eq!(BootItem::read(&item.to_wire()), Some(item));
        let own = [71, 4, 0x80, 1, 0x80, 0];
        let (mut behind, mut pads) = ([0; 16], [0; 16]);
        behind[..3].copy_from_slice(&[6, 1, 8]);
        behind[3..9].copy_from_slice(&own);
        pads[2..8].copy_from_slice(&own);
        for options in [&own[..], &behind, &pads] {
            assert_eq!(BootItem::read(options), Some(item), "{options:?}");
        }
        for wrong in [
            &[][..],
            &[71],
            &[71, 4, 0x80, 1, 0],
            &[71, 3, 0x80, 1, 0],
            &[255, 71, 4, 0, 0, 0, 0],
            &[6, 200, 1],
        ] {
            assert_eq!(BootItem::read(wrong), None, "{wrong:?}");
        }
    }
}
