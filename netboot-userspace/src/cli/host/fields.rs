//! What is said of one host: the fields of `add` and `set`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, json};

use crate::inventory::entry::{self, HostEntry, HostPatch};
use crate::inventory::identity::{Duid, Identifier, Uuid};
use crate::inventory::settings::{Settings, bootable};
use crate::inventory::typed::Values;
use crate::inventory::{Boot, keys, options};

/// What the help of `add` and `set` says of DHCP options.
pub(super) const HELP: &str = "\
DHCP options: --option by name or number, with commas between several values, and with the
type before the value where a number has no type here; --vendor-option for the parts of
option 43, which firmware is never sent; --boot-file for the first file of a class of clients
(bios, efi-x64, efi-arm64, ipxe-bios …). What a host sets goes before what its profile, its
subnet and the site set, option by option.
  --option ntp-servers=10.0.0.1,10.0.0.2 --option domain-search=lab.example
  --option 252=text:http://wpad/wpad.dat --vendor-option 1=ip:10.0.0.7
  --boot-file bios=lpxelinux.0
Types: ip, ips, text, u8, u16, u16s, u32, i32, bool, names, hex,
routes (10.0.0.0/8 via 10.1.0.1).";

#[derive(Debug, Args)]
pub(in crate::cli) struct Fields {
    /// A MAC address of it; repeat for more ports
    #[arg(long = "mac", value_name = "MAC", value_parser = mac)]
    macs: Vec<String>,
    /// Its client identifier (option 61): pairs of hex digits, or text
    #[arg(long, value_name = "ID", value_parser = identifier)]
    client_id: Option<String>,
    /// Its UUID (option 97)
    #[arg(long, value_parser = uuid)]
    uuid: Option<String>,
    /// The circuit of the relay agent that it is plugged in to (option 82): pairs of hex digits, or text
    #[arg(long, value_name = "ID", value_parser = identifier)]
    circuit: Option<String>,
    /// Its DHCP unique identifier (DHCPv6): pairs of hex digits
    #[arg(long, value_parser = duid)]
    duid: Option<String>,
    /// Its serial number, as its firmware tells it: groups select by it
    #[arg(long, value_name = "NUMBER", value_parser = entry::serial)]
    serial: Option<String>,
    /// Its reserved address [default: a dynamic one]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    ip: Option<String>,
    /// Its reserved IPv6 address [default: a dynamic one]
    #[arg(long, value_name = "ADDRESS", value_parser = address6)]
    ip6: Option<String>,
    /// What it boots [default: the site's default profile]
    #[arg(long)]
    profile: Option<String>,
    /// What its next boot does: as its profile says, from its disk, as its profile says once (also when installed), or
    /// nothing
    #[arg(long, value_parser = ["profile", "local", "once", "ignore"])]
    boot: Option<String>,
    /// Appended to the profile's kernel command line
    #[arg(long, allow_hyphen_values = true, value_parser = entry::cmdline)]
    cmdline: Option<String>,
    /// A label; repeat for more
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A public key that may log in, as a .pub file has it; repeat for more. `set` puts them in the place of those there
    #[arg(long = "ssh-key", value_name = "LINE", value_parser = keys::public_key)]
    ssh_keys: Vec<String>,
    /// A DHCP option, by name or number; repeat for more
    #[arg(long = "option", value_name = "OPTION=VALUE", value_parser = options::pair)]
    options: Vec<(String, Values)>,
    /// A part of option 43 (vendor options), with its type; repeat for more
    #[arg(long = "vendor-option", value_name = "NUMBER=TYPE:VALUE", value_parser = options::vendor_pair)]
    vendor_options: Vec<(String, Values)>,
    /// The first file of a class of clients, in place of ours: a path under the TFTP root, or a URL; repeat for more
    #[arg(long = "boot-file", value_name = "CLASS=FILE", value_parser = boot_file)]
    boot_files: Vec<(String, String)>,
}

/// What `set` takes away.
#[derive(Debug, Args)]
pub(in crate::cli) struct Without {
    /// No client identifier
    #[arg(long, conflicts_with = "client_id")]
    no_client_id: bool,
    /// No UUID
    #[arg(long, conflicts_with = "uuid")]
    no_uuid: bool,
    /// No relay agent's circuit
    #[arg(long, conflicts_with = "circuit")]
    no_circuit: bool,
    /// No DHCP unique identifier
    #[arg(long, conflicts_with = "duid")]
    no_duid: bool,
    /// No serial number
    #[arg(long, conflicts_with = "serial")]
    no_serial: bool,
    /// No public keys
    #[arg(long, conflicts_with = "ssh_keys")]
    no_ssh_keys: bool,
    /// A dynamic address instead of a reservation
    #[arg(long, conflicts_with = "ip")]
    no_ip: bool,
    /// A dynamic IPv6 address instead of a reservation
    #[arg(long, conflicts_with = "ip6")]
    no_ip6: bool,
    /// The site's default profile
    #[arg(long, conflicts_with = "profile")]
    no_profile: bool,
    /// No such label any more; repeat for more
    #[arg(long = "no-label", value_name = "KEY")]
    no_labels: Vec<String>,
    /// No such DHCP option of its own any more; repeat for more
    #[arg(long = "no-option", value_name = "OPTION", value_parser = options::canonical)]
    no_options: Vec<String>,
    /// No such part of option 43 of its own any more; repeat for more
    #[arg(long = "no-vendor-option", value_name = "NUMBER")]
    no_vendor_options: Vec<u8>,
    /// No boot file of its own for this class any more; repeat for more
    #[arg(long = "no-boot-file", value_name = "CLASS", value_parser = class)]
    no_boot_files: Vec<String>,
}

fn mac(text: &str) -> Result<String, String> {
    entry::mac(text).map(|mac| mac.to_string())
}

fn address(text: &str) -> Result<String, String> {
    entry::address(text).map(|ip| ip.to_string())
}

fn address6(text: &str) -> Result<String, String> {
    entry::address6(text).map(|ip| ip.to_string())
}

fn duid(text: &str) -> Result<String, String> {
    text.parse().map(|duid: Duid| duid.to_string())
}

fn identifier(text: &str) -> Result<String, String> {
    text.parse().map(|id: Identifier| id.to_string())
}

fn uuid(text: &str) -> Result<String, String> {
    text.parse().map(|uuid: Uuid| uuid.to_string())
}

/// `KEY=VALUE`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is written KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn boot_file(text: &str) -> Result<(String, String), String> {
    let (class, file) = text.split_once('=').ok_or("is written CLASS=FILE, as in bios=lpxelinux.0")?;
    Settings::default().set_boot_file(class, file)?;
    Ok((class.to_owned(), file.to_owned()))
}

fn class(text: &str) -> Result<String, String> {
    bootable(text).map(|class| class.name().to_owned())
}

/// # Errors
/// A key that is given twice: which of its values was meant, nobody knows.
fn once<V>(flag: &str, pairs: Vec<(String, V)>) -> anyhow::Result<BTreeMap<String, V>> {
    let mut all = BTreeMap::new();
    for (key, value) in pairs {
        if all.contains_key(&key) {
            bail!("{flag} {key} is given twice");
        }
        all.insert(key, value);
    }
    Ok(all)
}

/// Set, or taken away, or neither: clap refuses both.
fn either(set: Option<String>, gone: bool) -> Option<Option<String>> {
    if gone { Some(None) } else { set.map(Some) }
}

/// What is set, and what is taken away.
fn changes<V>(set: BTreeMap<String, V>, gone: Vec<String>) -> BTreeMap<String, Option<V>> {
    let gone = gone.into_iter().map(|key| (key, None));
    gone.chain(set.into_iter().map(|(key, value)| (key, Some(value)))).collect()
}

impl Fields {
    /// A new host.
    pub(super) fn entry(self, name: String) -> anyhow::Result<HostEntry> {
        let boot = self.boot()?.unwrap_or_default();
        let (cmdline, labels) = (self.cmdline.unwrap_or_default(), self.labels.into_iter().collect());
        Ok(HostEntry {
            name,
            macs: self.macs,
            client_id: self.client_id,
            uuid: self.uuid,
            circuit: self.circuit,
            duid: self.duid,
            serial: self.serial,
            ip: self.ip,
            ip6: self.ip6,
            profile: self.profile,
            boot,
            cmdline,
            labels,
            metadata: Map::new(),
            ssh_authorized_keys: self.ssh_keys,
            options: once("--option", self.options)?,
            vendor_options: once("--vendor-option", self.vendor_options)?,
            boot_files: once("--boot-file", self.boot_files)?,
            pxe_menu: None,
        })
    }

    /// What changes of a host that is there; labels, options and boot files are added to those that it has.
    pub(super) fn patch(self, without: Without, reinstall: bool) -> anyhow::Result<HostPatch> {
        let boot = self.boot()?;
        let Self { macs, client_id, uuid, circuit, duid, serial, ip, ip6, profile, cmdline, .. } = self;
        let (labels, keys) = (self.labels, self.ssh_keys);
        let no_vendor_options = without.no_vendor_options.iter().map(u8::to_string).collect();
        Ok(HostPatch {
            macs: (!macs.is_empty()).then_some(macs),
            client_id: either(client_id, without.no_client_id),
            uuid: either(uuid, without.no_uuid),
            circuit: either(circuit, without.no_circuit),
            duid: either(duid, without.no_duid),
            serial: either(serial, without.no_serial),
            ssh_authorized_keys: (without.no_ssh_keys || !keys.is_empty()).then_some(keys),
            ip6: either(ip6, without.no_ip6),
            ip: either(ip, without.no_ip),
            profile: either(profile, without.no_profile),
            boot,
            cmdline,
            relabel: changes(labels.into_iter().collect(), without.no_labels),
            set_options: changes(once("--option", self.options)?, without.no_options),
            set_vendor_options: changes(once("--vendor-option", self.vendor_options)?, no_vendor_options),
            set_boot_files: changes(once("--boot-file", self.boot_files)?, without.no_boot_files),
            reinstall,
            ..HostPatch::default()
        })
    }

    /// # Errors
    /// What is one machine's is given to several.
    pub(super) fn check_count(&self, hosts: usize) -> anyhow::Result<()> {
        let single = [
            ("--mac", !self.macs.is_empty()),
            ("--client-id", self.client_id.is_some()),
            ("--uuid", self.uuid.is_some()),
            ("--circuit", self.circuit.is_some()),
            ("--duid", self.duid.is_some()),
            ("--serial", self.serial.is_some()),
            ("--ip", self.ip.is_some()),
            ("--ip6", self.ip6.is_some()),
        ];
        match single.into_iter().find(|(_, given)| *given && hosts > 1) {
            Some((flag, _)) => bail!("{flag} is one machine's: it can't be given to {hosts} hosts"),
            None => Ok(()),
        }
    }

    fn boot(&self) -> anyhow::Result<Option<Boot>> {
        let read = |text: &String| serde_json::from_value(json!(text)).context("--boot");
        self.boot.as_ref().map(read).transpose()
    }
}
