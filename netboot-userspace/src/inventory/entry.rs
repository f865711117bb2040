//! One host as JSON (in the store, in the API and in `--json` output), and what each of its fields may be.
//!
//! The readers of single values are also those of the configuration files: one rule, one wording.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use netboot_common::Mac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::menu::MenuEntry;
use super::settings::Settings;
use super::typed::{Typed, Values, merge};
use super::{Bind, Boot, Host, Profile, ProfileBoot, group, keys, options};
use crate::image::protocol::{Disk, OnFailure};
use crate::render::Boot as Given;

/// A [`Host`], as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    pub name: String,
    #[serde(default)]
    pub macs: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip6: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default)]
    pub boot: Boot,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_authorized_keys: Vec<String>,
    /// DHCP options, by name or by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: Typed,
    /// Sub-options of option 43, by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vendor_options: Typed,
    /// Boot files, by class of client.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub boot_files: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pxe_menu: Option<MenuEntry>,
}

impl HostEntry {
    /// The host as meant.
    ///
    /// # Errors
    /// All that is wrong, a line each, each beginning with its field.
    pub fn check(&self, origin: &str) -> Result<Host, Vec<String>> {
        if self.is_known() {
            return self.read(origin);
        }
        let mut faults = self.read(origin).err().unwrap_or_default();
        faults.push("macs: at least one is needed, or a client_id, uuid, circuit or duid".to_owned());
        Err(faults)
    }

    /// Whether there is anything that its machine could be told by.
    pub fn is_known(&self) -> bool {
        let others = [&self.client_id, &self.uuid, &self.circuit, &self.duid];
        !self.macs.is_empty() || others.iter().any(|identity| identity.is_some())
    }

    /// The fields as meant, whether its machine could be told by them or not.
    pub(super) fn read(&self, origin: &str) -> Result<Host, Vec<String>> {
        let mut faults = Vec::new();
        let mut note = |field: &str, message: String| faults.push(format!("{field}: {message}"));
        let name = host_name(&self.name).map_err(|m| note("name", m)).unwrap_or_default();
        let macs = self.macs.iter().filter_map(|text| mac(text).map_err(|m| note("mac", m)).ok()).collect();
        let client_id =
            self.client_id.as_ref().and_then(|text| text.parse().map_err(|m| note("client_id", m)).ok());
        let uuid = self.uuid.as_ref().and_then(|text| text.parse().map_err(|m| note("uuid", m)).ok());
        let circuit =
            self.circuit.as_ref().and_then(|text| text.parse().map_err(|m| note("circuit", m)).ok());
        let duid = self.duid.as_ref().and_then(|text| text.parse().map_err(|m| note("duid", m)).ok());
        let serial = self.serial.as_deref().and_then(|text| serial(text).map_err(|m| note("serial", m)).ok());
        let ip = self.ip.as_deref().and_then(|text| address(text).map_err(|m| note("ip", m)).ok());
        let ip6 = self.ip6.as_deref().and_then(|text| address6(text).map_err(|m| note("ip6", m)).ok());
        let cmdline = cmdline(&self.cmdline).map_err(|m| note("cmdline", m)).unwrap_or_default();
        let _ = group::metadata(&self.metadata).map_err(|m| note("metadata", m));
        let key = |text: &String| keys::public_key(text).map_err(|m| note("ssh_authorized_keys", m)).ok();
        let ssh_authorized_keys = self.ssh_authorized_keys.iter().filter_map(key).collect();
        let settings =
            Settings::read(&self.options, &self.vendor_options, &self.boot_files, self.pxe_menu.as_ref());
        let settings = settings.map_err(|more| faults.extend(more)).unwrap_or_default();
        if !faults.is_empty() {
            return Err(faults);
        }
        let (profile, boot, labels) = (self.profile.clone(), self.boot, self.labels.clone());
        let (metadata, origin) = (self.metadata.clone(), origin.to_owned());
        Ok(Host {
            name,
            macs,
            client_id,
            uuid,
            circuit,
            duid,
            serial,
            ip,
            ip6,
            profile,
            boot,
            cmdline,
            labels,
            metadata,
            ssh_authorized_keys,
            settings,
            origin,
        })
    }
}

/// What to change of a host: `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs: Option<Vec<String>>,
    /// `Some(None)`, JSON's `null`: not known by it any more. The same for the three that follow.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub client_id: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub uuid: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub circuit: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub duid: Option<Option<String>>,
    /// `Some(None)`, JSON's `null`: none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub serial: Option<Option<String>>,
    /// `Some(None)`, JSON's `null`: no reservation any more.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub ip: Option<Option<String>>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub ip6: Option<Option<String>>,
    /// `Some(None)`, JSON's `null`: the site's default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub profile: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// All of them: those that are not named go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Some of them; JSON's `null` takes one away. The others stay.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub relabel: BTreeMap<String, Option<String>>,
    /// All of it. The same for the keys that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_authorized_keys: Option<Vec<String>>,
    /// All of them, as with labels. The same for the two that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Typed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_options: Option<Typed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_files: Option<BTreeMap<String, String>>,
    /// Some of them; JSON's `null` takes one away. The same for the two that follow.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set_options: BTreeMap<String, Option<Values>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set_vendor_options: BTreeMap<String, Option<Values>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set_boot_files: BTreeMap<String, Option<String>>,
    /// `Some(None)`, JSON's `null`: none of its own.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub pxe_menu: Option<Option<MenuEntry>>,
    /// Forget that it was installed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reinstall: bool,
}

/// Tells `null` from a key that isn't there.
fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

impl HostPatch {
    /// Whether it changes nothing but what the machine boots next.
    pub fn is_of_boot(&self) -> bool {
        *self == Self { boot: self.boot, reinstall: self.reinstall, ..Self::default() }
    }

    /// `host` with the changes made.
    pub fn apply(&self, mut host: HostEntry) -> HostEntry {
        let Self {
            macs,
            client_id,
            uuid,
            circuit,
            duid,
            serial,
            ip,
            ip6,
            profile,
            boot,
            cmdline,
            labels,
            relabel,
            metadata,
            ssh_authorized_keys,
            options,
            vendor_options,
            boot_files,
            set_options,
            set_vendor_options,
            set_boot_files,
            pxe_menu,
            reinstall: _,
        } = self.clone();
        host.macs = macs.unwrap_or(host.macs);
        host.client_id = client_id.unwrap_or(host.client_id);
        host.uuid = uuid.unwrap_or(host.uuid);
        host.circuit = circuit.unwrap_or(host.circuit);
        host.duid = duid.unwrap_or(host.duid);
        host.serial = serial.unwrap_or(host.serial);
        host.ip = ip.unwrap_or(host.ip);
        host.ip6 = ip6.unwrap_or(host.ip6);
        host.profile = profile.unwrap_or(host.profile);
        host.boot = boot.unwrap_or(host.boot);
        host.cmdline = cmdline.unwrap_or(host.cmdline);
        host.labels = labels.unwrap_or(host.labels);
        merge(&mut host.labels, relabel);
        host.metadata = metadata.unwrap_or(host.metadata);
        host.ssh_authorized_keys = ssh_authorized_keys.unwrap_or(host.ssh_authorized_keys);
        host.options = options.unwrap_or(host.options);
        host.vendor_options = vendor_options.unwrap_or(host.vendor_options);
        host.boot_files = boot_files.unwrap_or(host.boot_files);
        let by_name = |key: String| options::canonical(&key).unwrap_or(key);
        merge(&mut host.options, set_options.into_iter().map(|(key, value)| (by_name(key), value)).collect());
        merge(&mut host.vendor_options, set_vendor_options);
        merge(&mut host.boot_files, set_boot_files);
        host.pxe_menu = pxe_menu.unwrap_or(host.pxe_menu);
        host
    }
}

impl From<&Host> for HostEntry {
    fn from(host: &Host) -> Self {
        Self {
            name: host.name.clone(),
            macs: host.macs.iter().map(Mac::to_string).collect(),
            client_id: host.client_id.as_ref().map(ToString::to_string),
            uuid: host.uuid.map(|uuid| uuid.to_string()),
            circuit: host.circuit.as_ref().map(ToString::to_string),
            duid: host.duid.as_ref().map(ToString::to_string),
            serial: host.serial.clone(),
            ip: host.ip.map(|ip| ip.to_string()),
            ip6: host.ip6.map(|ip| ip.to_string()),
            profile: host.profile.clone(),
            boot: host.boot,
            cmdline: host.cmdline.clone(),
            labels: host.labels.clone(),
            metadata: host.metadata.clone(),
            ssh_authorized_keys: host.ssh_authorized_keys.clone(),
            options: host.settings.options.typed(),
            vendor_options: host.settings.options.vendor_typed(),
            boot_files: host.settings.boot_files_typed(),
            pxe_menu: host.settings.menu.as_ref().map(MenuEntry::from),
        }
    }
}

/// A machine's own address: neither a group nor all zeros.
pub fn mac(text: &str) -> Result<Mac, String> {
    let mac: Mac = text.parse().map_err(|error| format!("{text:?} is {error}"))?;
    if mac.is_unicast() { Ok(mac) } else { Err(format!("{mac} is a group's address, not one machine's")) }
}

/// An IPv4 address.
pub fn address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IPv4 address: write it as in 10.10.0.21"))
}

/// An IPv6 address of one machine.
pub fn address6(text: &str) -> Result<Ipv6Addr, String> {
    let ip: Ipv6Addr = text.parse().map_err(|_| {
        format!("{text:?} is not an IPv6 address: write it as in 2001:db8::21, without brackets")
    })?;
    if ip.is_multicast() || ip.is_unspecified() || ip.is_loopback() {
        return Err(format!("{ip} is not one machine's address: write it as in 2001:db8::21"));
    }
    Ok(ip)
}

/// A host name (RFC 1123 section 2.1), 63 characters at most.
pub fn host_name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let ok = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(ok) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() <= 63 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not a host name: it takes letters, digits and inner hyphens, 63 at most, as in node-1"
    ))
}

/// The name of a profile: what fits into a URL as it is.
pub fn profile_name(text: &str) -> Result<String, String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.len() <= 63 && text.chars().all(ok) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a profile's name: it takes letters, digits, `-`, `_` and `.`, 63 at most"))
}

/// A serial number: what firmware can say, and a URL can carry.
pub fn serial(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().find(|c| c.is_control()) {
        None if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?} is no serial number: it takes plain text, as the machine's firmware shows it"
        )),
    }
}

/// One line of kernel arguments.
pub fn cmdline(text: &str) -> Result<String, String> {
    let text = text.trim();
    // iPXE's separators of commands, and the start of its comments.
    let own = |word: &&str| matches!(*word, "&&" | "||" | ";") || word.starts_with('#');
    if let Some(word) = text.split_whitespace().find(own) {
        return Err(format!("has the word {word} in it, which iPXE takes for its own"));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("has {c:?} in it: a kernel command line is one line of plain text")),
        None => Ok(text.to_owned()),
    }
}

/// A whole iPXE script: its first line is the shebang that iPXE asks for.
pub fn ipxe_script(text: &str) -> Result<String, String> {
    if text.lines().next().is_some_and(|line| line.trim_end() == "#!ipxe") {
        return Ok(text.to_owned());
    }
    Err("is not an iPXE script: its first line must be `#!ipxe`".to_owned())
}

/// `Some(path)` under the assets folder, or `None` for a URL.
pub fn asset(text: &str) -> Result<Option<&str>, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        return match scheme {
            "http" | "https" | "tftp" if !text.chars().any(|c| c.is_whitespace() || c.is_control()) => {
                Ok(None)
            }
            "http" | "https" | "tftp" => Err(format!("{text:?} is not a URL: it has a space in it")),
            _ => Err(format!("{scheme}:// can't be booted from: use http://, https:// or tftp://")),
        };
    }
    let inside = text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if inside && !text.chars().any(char::is_control) {
        return Ok(Some(text));
    }
    Err(format!(
        "{text:?} is not a path under the assets folder: write it without `/` in front and without `..`"
    ))
}

/// 64 hex digits, made lower case.
pub fn sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    let found = text.chars().count();
    Err(format!(
        "is not a SHA-256: it takes 64 hex digits (as `sha256sum` prints for the decompressed image), not {found} characters"
    ))
}

/// Bytes: a number, or one with `K`, `M`, `G` or `T` (powers of 1024).
pub fn size(text: &str) -> Result<u64, String> {
    let shape = || format!("{text:?} is not a size: write bytes, or 512M, 4G");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let count: u64 = digits.parse().map_err(|_| shape())?;
    count.checked_mul(1 << shift).filter(|size| *size > 0).ok_or_else(shape)
}

/// `only`, `/dev/…`, or `serial:…`.
pub fn disk(text: &str) -> Result<Disk, String> {
    match text.split_once(':') {
        _ if text == "only" => Ok(Disk::Only),
        _ if text.starts_with("/dev/") && text.len() > 5 => Ok(Disk::Path(text.to_owned())),
        Some(("serial", serial)) if !serial.trim().is_empty() => Ok(Disk::Serial(serial.trim().to_owned())),
        _ => Err(format!("{text:?} names no disk: write only, /dev/vda, or serial:WD-1234")),
    }
}

/// A profile as JSON, with the keys of the configuration.
pub fn profile_json(profile: &Profile) -> serde_json::Value {
    let mut value = match &profile.boot {
        ProfileBoot::Linux { kernel, initrd, cmdline } => {
            json!({ "kernel": kernel, "initrd": initrd, "cmdline": cmdline })
        }
        ProfileBoot::Ipxe(script) => json!({ "ipxe": script }),
        ProfileBoot::Efi { binary, cmdline } => json!({ "efi": binary, "cmdline": cmdline }),
        ProfileBoot::Given(Given { kernel, initrd, args }) => {
            json!({ "kernel": kernel, "initrd": initrd, "cmdline": args.join(" ") })
        }
        ProfileBoot::Broken(fault) => json!({ "fault": fault }),
        ProfileBoot::Local => json!({ "local": true }),
    };
    value["name"] = json!(profile.name);
    if let Some(live) = &profile.live {
        value["live"] = json!(live);
    }
    if !profile.configs.is_empty() {
        value["configs"] = json!(profile.configs);
    }
    if profile.bind != Bind::default() {
        value["bind"] = json!(profile.bind);
    }
    if !profile.metadata.is_empty() {
        value["metadata"] = json!(profile.metadata);
    }
    profile.settings.show_in(&mut value);
    value["origin"] = json!(profile.origin);
    if let Some(install) = &profile.install {
        let disk = match &install.disk {
            Disk::Only => "only".to_owned(),
            Disk::Path(path) => path.clone(),
            Disk::Serial(serial) => format!("serial:{serial}"),
        };
        value["install"] =
            json!({ "image": install.image, "sha256": install.sha256, "size": install.size, "disk": disk });
        match install.on_failure {
            OnFailure::Reboot => value["install"]["on_failure"] = json!("reboot"),
            OnFailure::Retry { retry_seconds } => {
                value["install"]["on_failure"] = json!("retry");
                value["install"]["retry"] = json!(format!("{retry_seconds}s"));
            }
        }
    }
    value
}
