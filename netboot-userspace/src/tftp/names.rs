//! What a client asked for, as paths below a root: bytes in, candidates out.

use netboot_common::Mac;

/// Why a name can't be a file of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// Empty, not UTF-8, or with control characters: no such file can exist here.
    NotAName,
    /// It climbs with `..`.
    Climbs,
}

/// The paths to try, in this order, all relative and without `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// The name as it was asked for.
    pub plain: String,
    /// The name without the client's own MAC address as its first folder.
    pub without_mac: Option<String>,
}

impl Candidates {
    /// Reads a name from a request.
    pub fn parse(name: &[u8]) -> Result<Self, BadName> {
        let name = std::str::from_utf8(trim(name)).map_err(|_| BadName::NotAName)?;
        if name.chars().any(char::is_control) {
            return Err(BadName::NotAName);
        }
        // Windows' loaders ask for `\boot\…`.
        let mut parts = Vec::new();
        for part in name.split(['/', '\\']) {
            match part {
                "" | "." => {}
                ".." => return Err(BadName::Climbs),
                part => parts.push(part),
            }
        }
        if parts.is_empty() || name.ends_with('/') {
            return Err(BadName::NotAName);
        }
        let without_mac = (parts.len() > 1 && is_mac(parts[0])).then(|| parts[1..].join("/"));
        Ok(Self { plain: parts.join("/"), without_mac })
    }

    /// All candidates.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.plain.as_str()).chain(self.without_mac.as_deref())
    }
}

/// Whether it is a name that clients try at each boot, whether there is such a file or not: the configurations of PXELINUX and
/// GRUB under the client's UUID, MAC and address, iPXE's `autoexec.ipxe`, what shim looks for beside its loader.
pub fn may_be_missing(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let (folder, file) = lower.rsplit_once('/').unwrap_or(("", &lower));
    folder == "pxelinux.cfg"
        || folder.ends_with("/pxelinux.cfg")
        || file.starts_with("grub.cfg")
        || [
            "autoexec.ipxe",
            "revocations.efi",
            "revocations_sbat.efi",
            "revocations_sku.efi",
            "shim_certificate.efi",
        ]
        .contains(&file)
        || (file.starts_with("shim_certificate_") && file.ends_with(".efi"))
        || folder.ends_with("grub/x86_64-efi")
}

/// Cuts what shim leaves behind a name: 0xFF bytes and spaces.
fn trim(mut name: &[u8]) -> &[u8] {
    while let Some((0xff | b' ', rest)) = name.split_last() {
        name = rest;
    }
    name
}

fn is_mac(part: &str) -> bool {
    part.len() == 17 && part.replace('-', ":").parse::<Mac>().is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_become_relative_paths() {
        for (asked, plain) in [
            ("undionly.kpxe", "undionly.kpxe"),
            ("/undionly.kpxe", "undionly.kpxe"),
            ("//boot/./x", "boot/x"),
            ("\\boot\\bcd", "boot/bcd"),
            ("C:\\x", "C:/x"),
            ("%2e%2e/x", "%2e%2e/x"),
            ("grubx64.efi  ", "grubx64.efi"),
        ] {
            assert_eq!(Candidates::parse(asked.as_bytes()).unwrap().plain, plain, "{asked}");
        }
        assert_eq!(Candidates::parse(b"revocations.efi\xff\xff").unwrap().plain, "revocations.efi");
    }

    #[test]
    fn a_mac_as_first_folder_may_be_left_out() {
        for mac in ["52:54:00:12:34:56", "52-54-00-12-34-56", "52-54-00-AB-cd-EF"] {
            let candidates = Candidates::parse(format!("/{mac}/ipxe.efi").as_bytes()).unwrap();
            assert_eq!(candidates.iter().collect::<Vec<_>>(), [&*format!("{mac}/ipxe.efi"), "ipxe.efi"]);
        }
        assert_eq!(Candidates::parse(b"52:54:00:12:34/x").unwrap().without_mac, None);
        assert_eq!(Candidates::parse(b"52:54:00:12:34:56").unwrap().without_mac, None);
    }

    #[test]
    fn what_clients_try_at_each_boot_may_be_missing() {
        for name in [
            "pxelinux.cfg/01-52-54-00-12-34-56",
            "boot/pxelinux.cfg/C0A8",
            "autoexec.ipxe",
            "52-54-00-12-34-56/autoexec.ipxe",
            "grub/grub.cfg-01-52-54-00-12-34-56",
            "grub/x86_64-efi/command.lst",
            "EFI/BOOT/revocations.efi",
            "shim_certificate_0.efi",
        ] {
            assert!(may_be_missing(name), "{name}");
        }
        for name in
            ["pxelinux.0", "undionly.kpxe", "pxelinux.cfg", "grubx64.efi", "autoexec.ipxe/x", "x/kernel"]
        {
            assert!(!may_be_missing(name), "{name}");
        }
    }

    #[test]
    fn bad_names_have_a_reason() {
        for name in ["../etc/passwd", "..\\..\\x", "a/../../b", "a/..", ".."] {
            assert_eq!(Candidates::parse(name.as_bytes()), Err(BadName::Climbs), "{name}");
        }
        for name in
            [&b""[..], b"./", b"/", b"\xff", b"a\nb", b"a\x1bb", b"\xc0\xaf", b"..%c0%af\xc0\xaf", b"boot/"]
        {
            assert_eq!(Candidates::parse(name), Err(BadName::NotAName), "{name:?}");
        }
    }
}
