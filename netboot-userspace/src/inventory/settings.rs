//! What an operator adds to DHCP replies, on any level: site, subnet, profile, host. The nearer level wins.

use std::collections::BTreeMap;

use netboot_common::class::Class;
use serde_json::json;

use super::menu::{Menu, MenuEntry};
use super::options::Options;
use super::typed::Typed;

/// One level's additions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    pub options: Options,
    /// The first file of each class of client, in place of ours: a path under the TFTP root, or a URL.
    pub boot_files: BTreeMap<Class, String>,
    /// What a BIOS client shows before it boots; whole, or the outer level's.
    pub menu: Option<Menu>,
}

impl Settings {
    /// These, in place of what `base` says of the same things.
    pub fn over(&self, base: &Self) -> Self {
        let mut boot_files = base.boot_files.clone();
        boot_files.extend(self.boot_files.iter().map(|(class, file)| (*class, file.clone())));
        let menu = self.menu.as_ref().or(base.menu.as_ref()).cloned();
        Self { options: self.options.over(&base.options), boot_files, menu }
    }

    /// From what was typed.
    ///
    /// # Errors
    /// All that is wrong, a line each, each beginning with its key.
    pub fn read(
        options: &Typed,
        vendor_options: &Typed,
        boot_files: &BTreeMap<String, String>,
        menu: Option<&MenuEntry>,
    ) -> Result<Self, Vec<String>> {
        let (mut settings, mut faults) = (Self::default(), Vec::new());
        let mut note = |section: &str, key: &str, read: Result<(), String>| {
            faults.extend(read.err().map(|fault| format!("{section}.{key}: {fault}")));
        };
        for (key, values) in options {
            note("options", key, settings.options.set(key, &values.as_strs()));
        }
        for (key, values) in vendor_options {
            note("vendor_options", key, settings.options.set_vendor(key, &values.as_strs()));
        }
        for (class, file) in boot_files {
            note("boot_files", class, settings.set_boot_file(class, file));
        }
        match menu.map(MenuEntry::check).transpose() {
            Ok(menu) => settings.menu = menu,
            Err(fault) => faults.push(format!("pxe_menu: {fault}")),
        }
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }

    /// The boot files, by the names of their classes.
    pub fn boot_files_typed(&self) -> BTreeMap<String, String> {
        self.boot_files.iter().map(|(class, file)| (class.name().to_owned(), file.clone())).collect()
    }

    /// Adds the keys of the configuration that are set here.
    pub fn show_in(&self, value: &mut serde_json::Value) {
        let (options, vendor) = (self.options.typed(), self.options.vendor_typed());
        if !options.is_empty() {
            value["options"] = json!(options);
        }
        if !vendor.is_empty() {
            value["vendor_options"] = json!(vendor);
        }
        if !self.boot_files.is_empty() {
            value["boot_files"] = json!(self.boot_files_typed());
        }
        if let Some(menu) = &self.menu {
            value["pxe_menu"] = json!(MenuEntry::from(menu));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.options.is_empty() && self.boot_files.is_empty() && self.menu.is_none()
    }

    /// Adds the boot file of a class, by the class's name.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn set_boot_file(&mut self, class: &str, file: &str) -> Result<(), String> {
        let class = bootable(class)?;
        self.boot_files.insert(class, boot_file(file)?);
        Ok(())
    }
}

/// What fits into `file`.
pub(super) fn boot_file(file: &str) -> Result<String, String> {
    if file.is_empty() || file.len() > 127 || !file.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{file:?} is no boot file: it takes 1 to 127 visible ASCII characters"));
    }
    Ok(file.to_owned())
}

/// A class that boots from the network, by its name.
///
/// # Errors
/// Which there are.
pub fn bootable(name: &str) -> Result<Class, String> {
    let bootable = || Class::ALL.into_iter().filter(|class| class.boots());
    bootable().find(|known| known.name() == name).ok_or_else(|| {
        let known = bootable().map(Class::name).collect::<Vec<_>>().join(", ");
        format!("{name:?} is no class of clients: there are {known}")
    })
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
