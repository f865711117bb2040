//! What is said of one host: the fields of `add` and `set`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::inventory::Boot;
use crate::inventory::entry::{self, HostEntry, HostPatch};
use crate::inventory::identity::{Duid, Identifier, Uuid};

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
}

/// What `set` takes away.
#[derive(Debug, Args)]
pub(in crate::cli) struct Without {
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

impl Fields {
    /// A new host.
    pub(super) fn entry(self, name: String) -> anyhow::Result<HostEntry> {
        let boot = self.boot()?.unwrap_or_default();
        let Self { macs, client_id, uuid, circuit, duid, ip, ip6, profile, cmdline, labels, .. } = self;
        let (cmdline, labels) = (cmdline.unwrap_or_default(), labels.into_iter().collect());
        Ok(HostEntry { name, macs, client_id, uuid, circuit, duid, ip, ip6, profile, boot, cmdline, labels })
    }

    /// What changes of a host that is there; labels are added to those that it has.
    pub(super) fn patch(self, without: Without, reinstall: bool) -> anyhow::Result<HostPatch> {
        let boot = self.boot()?;
        let Self { macs, client_id, uuid, circuit, duid, ip, ip6, profile, cmdline, labels, .. } = self;
        let gone = without.no_labels.into_iter().map(|key| (key, None));
        let relabel: BTreeMap<String, Option<String>> =
            gone.chain(labels.into_iter().map(|(key, value)| (key, Some(value)))).collect();
        Ok(HostPatch {
            macs: (!macs.is_empty()).then_some(macs),
            client_id: client_id.map(Some),
            uuid: uuid.map(Some),
            circuit: circuit.map(Some),
            duid: duid.map(Some),
            ip6: if without.no_ip6 { Some(None) } else { ip6.map(Some) },
            ip: if without.no_ip { Some(None) } else { ip.map(Some) },
            profile: if without.no_profile { Some(None) } else { profile.map(Some) },
            boot,
            cmdline,
            labels: None,
            relabel,
            reinstall,
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
