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
    /// Where it begins with a MAC address in any of its spellings: below the folder that is called by it, with hyphens or with
    /// colons, in lower case; then without it.
    pub others: Vec<String>,
}

impl Candidates {
    /// Reads a name from a request.
    pub fn parse(name: &[u8]) -> Result<Self, BadName> {
        let name = std::str::from_utf8(trim(name)).map_err(|_| BadName::NotAName)?;
        if name.chars().any(char::is_control) {
            return Err(BadName::NotAName);
        }
        // Windows' loaders ask for `\boot\…`.
        let (mut parts, mut is_folder) = (Vec::new(), false);
        for part in name.split(['/', '\\']) {
            is_folder = matches!(part, "" | ".");
            match part {
                "" | "." => {}
                ".." => return Err(BadName::Climbs),
                part => parts.push(part),
            }
        }
        if parts.is_empty() || is_folder {
            return Err(BadName::NotAName);
        }
        let plain = parts.join("/");
        let mac = mac(parts[0]).filter(|_| parts.len() > 1);
        let others = mac.map_or_else(Vec::new, |mac| {
            let file = parts[1..].join("/");
            let mut others = vec![format!("{}/{file}", mac.hyphenated()), format!("{mac}/{file}"), file];
            others.retain(|other| *other != plain);
            others
        });
        Ok(Self { plain, others })
    }

    /// All candidates.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.plain.as_str()).chain(self.others.iter().map(String::as_str))
    }
}

/// Whether it is a name that clients try at each boot, whether there is such a file or not: the configurations of PXELINUX and
/// GRUB under the client's UUID, MAC and address, the lists of GRUB's modules for each of its platforms, iPXE's `autoexec.ipxe`, what shim
/// looks for beside its loader.
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
        || file.ends_with(".lst") && folder.rsplit('/').nth(1) == Some("grub")
}

/// Cuts what shim leaves behind a name: 0xFF bytes and spaces.
fn trim(mut name: &[u8]) -> &[u8] {
    while let Some((0xff | b' ', rest)) = name.split_last() {
        name = rest;
    }
    name
}

/// `52:54:00:12:34:56`, `52-54-00-12-34-56`, `525400123456` or `5254.0012.3456`, in any case.
pub(super) fn mac(text: &str) -> Option<Mac> {
    let text = text.as_bytes();
    let (digits, separator) = match (text.len(), text.get(2)?) {
        (17, separator @ (b':' | b'-')) => (2, *separator),
        (14, _) => (4, b'.'),
        (12, _) => (12, 0),
        _ => return None,
    };
    let mut bits = 0_u64;
    for (at, byte) in text.iter().enumerate() {
        match at % (digits + 1) == digits {
            true if *byte != separator => return None,
            true => {}
            false => bits = bits << 4 | u64::from(char::from(*byte).to_digit(16)?),
        }
    }
    let [_, _, mac @ ..] = bits.to_be_bytes();
    Some(Mac(mac))
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
    fn a_mac_as_first_folder_is_one_in_all_its_spellings_and_may_be_left_out() {
        for mac in ["52:54:00:12:34:ab", "52-54-00-12-34-AB", "5254001234ab", "5254.0012.34Ab"] {
            let candidates = Candidates::parse(format!("/{mac}/ipxe.efi").as_bytes()).unwrap();
            let all: Vec<&str> = candidates.iter().collect();
            assert_eq!(all[0], format!("{mac}/ipxe.efi"));
            for spelled in ["52-54-00-12-34-ab/ipxe.efi", "52:54:00:12:34:ab/ipxe.efi", "ipxe.efi"] {
                assert!(all.contains(&spelled), "{mac}: {all:?}");
            }
            assert_eq!(all.last(), Some(&"ipxe.efi"));
        }
        for name in [
            "52:54:00:12:34/x",
            "52:54:00:12:34:56",
            "52:54-00:12:34:56/x",
            "52540012345g/x",
            "boot/x",
            "52540012345\u{e9}/x",
            "52.54.00.12.34.56/x",
            "5254:0012:3456/x",
            "525400:123456/x",
            "5\u{e9}/x",
        ] {
            assert_eq!(Candidates::parse(name.as_bytes()).unwrap().others, Vec::<String>::new(), "{name}");
        }
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
            "boot/grub/i386-pc/fs.lst",
            "/grub/arm64-efi/terminal.lst",
            "EFI/BOOT/revocations.efi",
            "shim_certificate_0.efi",
        ] {
            assert!(may_be_missing(name), "{name}");
        }
        for name in [
            "pxelinux.0",
            "undionly.kpxe",
            "pxelinux.cfg",
            "grubx64.efi",
            "autoexec.ipxe/x",
            "x/kernel",
            "grub/x86_64-efi/normal.mod",
            "grub/command.lst",
            "x/i386-pc/fs.lst",
        ] {
            assert!(!may_be_missing(name), "{name}");
        }
    }

    #[test]
    fn bad_names_have_a_reason() {
        for name in ["../etc/passwd", "..\\..\\x", "a/../../b", "a/..", ".."] {
            assert_eq!(Candidates::parse(name.as_bytes()), Err(BadName::Climbs), "{name}");
        }
        for name in [
            &b""[..],
            b"./",
            b"/",
            b"\xff",
            b"a\nb",
            b"a\x1bb",
            b"\xc0\xaf",
            b"..%c0%af\xc0\xaf",
            b"boot/",
            b"file\\",
            b"file/.",
            b"file\\.",
            b"file//",
        ] {
            assert_eq!(Candidates::parse(name), Err(BadName::NotAName), "{name:?}");
        }
    }
}
