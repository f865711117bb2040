//! The configurations that PXELINUX asks for, one name after the other until there is one: `pxelinux.cfg/` and the client's UUID,
//! its MAC behind the hardware type, its address in hex, that without its last digits, `default`. Pure: a name in, a machine out.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use netboot_common::Mac;

use super::names;
use crate::inventory::identity::Uuid;

/// Whose configuration is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Uuid(Told),
    Mac(Mac),
    Address(Ipv4Addr),
    /// Of whoever asks.
    Default,
}

/// A UUID as PXELINUX writes it: the bytes of option 97 as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told(pub Uuid);

impl Told {
    /// What it may be: as most firmware tells it, whose first three fields are little-endian, and as it is written.
    pub fn as_told(self) -> [Uuid; 2] {
        [Uuid::from_wire(self.0.0), self.0]
    }
}

impl Asked {
    /// Reads a name. A part of an address names no machine, but many.
    pub fn parse(name: &str) -> Option<Self> {
        let (folder, file) = name.rsplit_once('/')?;
        if folder.rsplit('/').next() != Some("pxelinux.cfg") {
            return None;
        }
        if file == "default" {
            return Some(Self::Default);
        }
        if let Some(mac) = file.strip_prefix("01-") {
            return names::mac(mac).map(Self::Mac);
        }
        let is_address = file.len() == 8 && file.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        if is_address {
            return u32::from_str_radix(file, 16).ok().map(|bits| Self::Address(bits.into()));
        }
        file.parse().ok().filter(|_| file.len() == 36).map(|uuid| Self::Uuid(Told(uuid)))
    }
}

/// iPXE in place of a kernel, which asks what the machine boots and knows HTTP. `about`: for who looks at the screen.
pub fn chain(about: &str) -> String {
    let about: String = about.chars().filter(|c| !c.is_control()).collect();
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(text, "# {about}");
    text.push_str("DEFAULT netboot\nPROMPT 0\nLABEL netboot\n  KERNEL ::ipxe.lkrn\n");
    text
}

/// The machine's own disk.
pub const LOCAL: &str = "DEFAULT local\nPROMPT 0\nLABEL local\n  LOCALBOOT 0\n";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_pxelinux_tries_are_machines_and_nothing_else_is() {
        let mac = "52:54:00:12:34:ab".parse().unwrap();
        let uuid = "b8945908-d6a6-41a9-611d-74a6ab80b83d".parse().unwrap();
        for (name, asked) in [
            ("pxelinux.cfg/b8945908-d6a6-41a9-611d-74a6ab80b83d", Some(Asked::Uuid(Told(uuid)))),
            ("pxelinux.cfg/01-52-54-00-12-34-ab", Some(Asked::Mac(mac))),
            ("boot/pxelinux.cfg/01-52-54-00-12-34-AB", Some(Asked::Mac(mac))),
            ("pxelinux.cfg/C0A8025B", Some(Asked::Address([192, 168, 2, 91].into()))),
            ("pxelinux.cfg/C0A8025", None),
            ("pxelinux.cfg/C", None),
            ("pxelinux.cfg/default", Some(Asked::Default)),
            ("pxelinux.cfg/20-52-54-00-12-34-ab", None),
            ("pxelinux.cfg", None),
            ("default", None),
            ("x/pxelinux.cfg2/default", None),
        ] {
            assert_eq!(Asked::parse(name), asked, "{name}");
        }
    }

    #[test]
    fn a_uuid_is_what_the_firmware_has_or_as_it_is_written() {
        let written: Uuid = "00000077-0000-0040-8000-000000000001".parse().unwrap();
        let [firmware, other] = Told(written).as_told();
        assert_eq!((firmware.to_string().as_str(), other), ("77000000-0000-4000-8000-000000000001", written));
    }

    #[test]
    fn a_name_of_a_host_stays_within_its_line() {
        let text = chain("a\nLABEL b");
        assert!(text.starts_with("# aLABEL b\nDEFAULT netboot\n"), "{text}");
        assert!(text.ends_with("  KERNEL ::ipxe.lkrn\n"));
    }
}
