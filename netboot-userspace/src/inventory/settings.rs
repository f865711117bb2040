//! What an operator adds to DHCP replies, on any level: site, subnet, profile, host. The nearer level wins.

use std::collections::BTreeMap;

use netboot_common::class::Class;

use super::options::Options;

/// One level's additions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    pub options: Options,
    /// The first file of each class of client, in place of ours: a path under the TFTP root, or a URL.
    pub boot_files: BTreeMap<Class, String>,
}

impl Settings {
    /// These, in place of what `base` says of the same things.
    pub fn over(&self, base: &Self) -> Self {
        let mut boot_files = base.boot_files.clone();
        boot_files.extend(self.boot_files.iter().map(|(class, file)| (*class, file.clone())));
        Self { options: self.options.over(&base.options), boot_files }
    }

    pub fn is_empty(&self) -> bool {
        self.options.is_empty() && self.boot_files.is_empty()
    }

    /// Adds the boot file of a class, by the class's name.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn set_boot_file(&mut self, class: &str, file: &str) -> Result<(), String> {
        let bootable = || Class::ALL.into_iter().filter(|class| class.boots());
        let Some(class) = bootable().find(|known| known.name() == class) else {
            let known = bootable().map(Class::name).collect::<Vec<_>>().join(", ");
            return Err(format!("{class:?} is no class of clients: there are {known}"));
        };
        if file.is_empty() || file.len() > 127 || !file.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{file:?} is no boot file: it takes 1 to 127 visible ASCII characters"));
        }
        self.boot_files.insert(class, file.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_files_are_checked_and_the_nearer_wins() {
        let (mut site, mut host) = (Settings::default(), Settings::default());
        site.set_boot_file("bios", "lpxelinux.0").unwrap();
        site.set_boot_file("efi-x64", "shimx64.efi").unwrap();
        host.set_boot_file("bios", "memtest").unwrap();
        let both = host.over(&site);
        assert_eq!(both.boot_files[&Class::Bios], "memtest");
        assert_eq!(both.boot_files[&Class::EfiX64], "shimx64.efi");
        assert!(site.set_boot_file("plain", "x").unwrap_err().contains("there are bios, efi-ia32"));
        assert!(site.set_boot_file("bios", "a b").unwrap_err().contains("visible ASCII"));
        assert!(site.set_boot_file("bios", &"x".repeat(128)).is_err());
    }
}
