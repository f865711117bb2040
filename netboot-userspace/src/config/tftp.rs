//! The `tftp` section.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use netboot_common::class::Class;

use super::check::{folder, listen, truth};
use super::errors::Errors;
use super::reader::{Field, Section};
use super::{any, check6};
use crate::inventory::{entry, settings};

/// How files go by TFTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tftp {
    /// The operator's own files (iPXE's binaries are served besides).
    pub root: PathBuf,
    pub listen: SocketAddr,
    /// All transfers have the port of `listen`.
    pub one_port: bool,
    /// The ports of transfers; `None`: any that are free.
    pub ports: Option<RangeInclusive<u16>>,
    /// The largest block that is granted (RFC 2348).
    pub blksize: u16,
    /// The largest window that is granted (RFC 7440).
    pub windowsize: u16,
    /// The block number after 65535: 0 or 1.
    pub rollover: u16,
    /// Transfers at once of one client address, for each worker.
    pub transfers_per_client: u16,
    /// What is served from inside the kernel.
    pub kernel: KernelFiles,
    /// Where clients may write to; `None`: nowhere.
    pub upload: Option<Upload>,
    /// What names mean, before the folders are looked into: the first that fits.
    pub map: Vec<Rule>,
}

/// Which files of TFTP are served from inside the kernel, by its programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KernelFiles {
    /// Those that fit.
    #[default]
    Auto,
    /// None: userspace serves all.
    Off,
    /// Of these, by their paths below the root, those that fit.
    Only(Vec<String>),
}

/// Where clients may write to, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub folder: PathBuf,
    /// Bytes of one file.
    pub most: u64,
    /// Bytes that stay free on the disk.
    pub keep_free: u64,
    /// Of one client.
    pub files_per_client: usize,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As clients ask for it, without a `/` in front; one `*` is any characters.
    pub name: String,
    /// Of these clients only.
    pub class: Option<Class>,
    /// The file below the folders; a `*` is what that of `name` was.
    pub file: String,
}

impl Rule {
    /// The file that it makes of a name; `None`: it is about others.
    pub fn file_of(&self, name: &str) -> Option<String> {
        let star = match self.name.split_once('*') {
            Some((before, after)) => name.strip_prefix(before)?.strip_suffix(after)?,
            None if name == self.name => "",
            None => return None,
        };
        Some(self.file.replace('*', star))
    }
}

/// The name under which each class of clients finds its loader, whatever it is called.
const LOADER: &str = "loader";

impl Tftp {
    /// The usual settings, with files from `root`.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            listen: any(69),
            one_port: false,
            ports: None,
            blksize: 1468,
            windowsize: 16,
            rollover: 0,
            transfers_per_client: 64,
            kernel: KernelFiles::Auto,
            upload: None,
            map: loaders().collect(),
        }
    }
}

/// `loader` is each class's loader, as DHCP names it where nothing else is said.
fn loaders() -> impl Iterator<Item = Rule> {
    [
        (Class::Bios, "undionly.kpxe"),
        (Class::EfiIa32, "ipxe32.efi"),
        (Class::EfiX64, "snponly.efi"),
        (Class::EfiArm64, "snponly-arm64.efi"),
    ]
    .into_iter()
    .map(|(class, file)| Rule { name: LOADER.to_owned(), class: Some(class), file: file.to_owned() })
}

pub(super) fn read(top: &mut Section<'_>, base: &Path, is_v6: bool, errors: &mut Errors) -> Tftp {
    let mut tftp = Tftp::new("/var/lib/netboot/tftp".into());
    let mut typed = None;
    if let Some(mut section) = top.take("tftp").and_then(|field| field.section(errors)) {
        tftp.root = folder(section.take("root"), base, "/var/lib/netboot/tftp", errors);
        typed = section.take("listen");
        if let Some(address) = typed.as_ref().and_then(|field| field.parse(errors, listen)) {
            tftp.listen = address;
        }
        settings_of_transfers(&mut tftp, &mut section, errors);
        if let Some(field) = section.take("ports") {
            let free = |text: &str| ports(text, &tftp);
            tftp.ports = field.parse(errors, free);
        }
        if let Some(field) = section.take("kernel") {
            tftp.kernel = kernel_files(&field, errors);
        }
        tftp.upload = section.take("upload").and_then(|field| upload(&field, base, errors));
        let rules = section.take("map").map(|field| field.list(errors)).unwrap_or_default();
        let rules: Vec<Rule> = rules.iter().filter_map(|field| rule(field, errors)).collect();
        tftp.map.splice(..0, rules);
        section.finish(errors);
    }
    check6::listen(&mut tftp.listen, typed, is_v6, errors);
    tftp
}

/// `auto`, `off`, or names.
fn kernel_files(field: &Field<'_>, errors: &mut Errors) -> KernelFiles {
    let named = field.one_or_more(errors);
    let names: Vec<String> = named.iter().filter_map(|name| name.text(errors)).map(str::to_owned).collect();
    match names[..] {
        [ref word] if word == "auto" => KernelFiles::Auto,
        [ref word] if word == "off" => KernelFiles::Off,
        _ => KernelFiles::Only(names),
    }
}

fn settings_of_transfers(tftp: &mut Tftp, section: &mut Section<'_>, errors: &mut Errors) {
    if let Some(one_port) = section.take("one_port").and_then(|field| truth(&field, errors)) {
        tftp.one_port = one_port;
    }
    let blksize =
        |text: &str| number(text, 512..=65464, "the bytes of a block: 1468 fits into an MTU of 1500");
    if let Some(blksize) = section.take("blksize").and_then(|field| field.parse(errors, blksize)) {
        tftp.blksize = blksize;
    }
    let windowsize = |text: &str| number(text, 1..=256, "the blocks of a window");
    if let Some(windowsize) = section.take("windowsize").and_then(|field| field.parse(errors, windowsize)) {
        tftp.windowsize = windowsize;
    }
    let transfers = |text: &str| {
        number(text, 1..=TRANSFERS_MOST, "the transfers at once of one address; a rack behind NAT is one")
    };
    if let Some(most) = section.take("transfers_per_client").and_then(|field| field.parse(errors, transfers))
    {
        tftp.transfers_per_client = most;
    }
    if let Some(rollover) =
        section.take("rollover").and_then(|field| field.word(errors, &[("0", 0), ("1", 1)]))
    {
        tftp.rollover = rollover;
    }
}

/// The ports of transfers, beside that of the requests.
fn ports(text: &str, tftp: &Tftp) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (1 <= first && first <= last && last - first < PORTS_MOST).then_some(first..=last)
    });
    let range = range.ok_or_else(|| {
        format!("{text:?} are no ports: write the first and the last of at most {PORTS_MOST}, as 50000-50063")
    })?;
    match tftp.listen.port() {
        _ if tftp.one_port => {
            Err("`one_port` says that there is one alone: take away one of both".to_owned())
        }
        listen if range.contains(&listen) => Err(format!("{listen} is among them, the port of the requests")),
        _ => Ok(range),
    }
}

/// Each takes a descriptor.
const PORTS_MOST: u16 = 1024;

/// There are no more in all.
const TRANSFERS_MOST: u16 = 32_768;

fn number(text: &str, range: RangeInclusive<u16>, what: &str) -> Result<u16, String> {
    let (first, last) = (range.start(), range.end());
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{text:?} is no number from {first} to {last}: {what}"))
}

fn upload(field: &Field<'_>, base: &Path, errors: &mut Errors) -> Option<Upload> {
    let mut section = field.section(errors)?;
    let place = section.required("folder", "/var/lib/netboot/uploads", errors);
    let most = section.take("most").and_then(|field| field.parse(errors, entry::size)).unwrap_or(64 << 20);
    let keep_free =
        section.take("keep_free").and_then(|field| field.parse(errors, entry::size)).unwrap_or(1 << 30);
    let files = |text: &str| number(text, 1..=1000, "the files of one client");
    let files = section.take("files_per_client").and_then(|field| field.parse(errors, files)).unwrap_or(32);
    section.finish(errors);
    let folder = folder(Some(place?), base, "", errors);
    Some(Upload { folder, most, keep_free, files_per_client: files.into() })
}

fn rule(field: &Field<'_>, errors: &mut Errors) -> Option<Rule> {
    let mut section = field.section(errors)?;
    let name = section.required("name", "grubx64.efi", errors);
    let file = section.required("file", "debian/grubx64.efi", errors);
    let class = section.take("class").map(|field| field.parse(errors, settings::bootable));
    section.finish(errors);
    let (name, file) = (name?.parse(errors, |text| path(text, "name"))?, file?);
    let stars = name.matches('*').count();
    let file = file.parse(errors, |text| match text.matches('*').count() {
        count if count > stars => Err(format!("{text:?} has a `*`, but {name:?} has none that it could be")),
        _ => path(text, "file"),
    })?;
    // A class that is wrong is a fault of its own.
    let class = match class {
        Some(class) => Some(class?),
        None => None,
    };
    Some(Rule { name, class, file })
}

/// A path as it is compared and opened: relative, and without what would climb.
fn path(text: &str, what: &str) -> Result<String, String> {
    let path = text.trim_start_matches('/');
    let is_part = |part: &str| !["", ".", ".."].contains(&part) && !part.contains('\\');
    if path.split('/').all(is_part) && path.matches('*').count() < 2 && !path.chars().any(char::is_control) {
        return Ok(path.to_owned());
    }
    Err(format!(
        "{text:?} is no {what}: write a path below the TFTP root, as debian/grubx64.efi, with one `*` at most"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_about_whole_names_and_a_star_is_any_characters() {
        let file_of = |rule: (&str, &str), name: &str| {
            Rule { name: rule.0.to_owned(), class: None, file: rule.1.to_owned() }.file_of(name)
        };
        for (rule, name, file) in [
            (("grubx64.efi", "debian/grubx64.efi"), "grubx64.efi", Some("debian/grubx64.efi")),
            (("grubx64.efi", "debian/grubx64.efi"), "x/grubx64.efi", None),
            (("shim/*", "debian/*"), "shim/boot/x.efi", Some("debian/boot/x.efi")),
            (("shim/*", "debian/*"), "shim", None),
            (("shim/*", "one"), "shim/a", Some("one")),
            (("*.efi", "efi/*.signed"), "a.efi", Some("efi/a.signed")),
            (("a*a", "x"), "a", None),
            (("*", "all/*"), "anything", Some("all/anything")),
        ] {
            assert_eq!(file_of(rule, name).as_deref(), file, "{rule:?} {name}");
        }
    }
}
