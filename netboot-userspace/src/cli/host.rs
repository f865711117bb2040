//! `netboot host`: the machines with a name. A change is in force when the command returns.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, segment};
use super::output;
use crate::inventory::Boot;
use crate::inventory::entry::{self, HostEntry, HostPatch};
use crate::inventory::identity::{Duid, Identifier, Uuid};

/// The machines with a name: add, change, remove, show, list
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a host; the next DISCOVER sees it
    #[command(after_help = "\
Examples:
  netboot host add node1 --mac 52:54:00:12:34:56
  netboot host add node1 --mac 52:54:00:12:34:56 --ip 10.10.0.21 --profile debian --cmdline console=ttyS0
  netboot host add node2 --mac 52:54:00:12:34:57 --ip 10.10.0.22 --ip6 2001:db8::22")]
    Add {
        /// Its name, which it also gets by DHCP
        #[arg(value_parser = entry::host_name)]
        name: String,
        #[command(flatten)]
        fields: Fields,
        #[arg(long)]
        json: bool,
    },
    /// Change some fields of a host; the others stay
    #[command(after_help = "\
Examples:
  netboot host set node1 --ip 10.10.0.22
  netboot host set node1 --no-ip --profile rescue --boot once
  netboot host set node1 --reinstall                     install it again at its next boot")]
    Set {
        name: String,
        #[command(flatten)]
        fields: Fields,
        /// A dynamic address instead of a reservation
        #[arg(long, conflicts_with = "ip")]
        no_ip: bool,
        /// A dynamic IPv6 address instead of a reservation
        #[arg(long, conflicts_with = "ip6")]
        no_ip6: bool,
        /// The site's default profile
        #[arg(long, conflicts_with = "profile")]
        no_profile: bool,
        /// Forget that it was installed: it boots its profile again
        #[arg(long)]
        reinstall: bool,
        #[arg(long)]
        json: bool,
    },
    /// Remove hosts
    Remove {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Show one host
    Show {
        name: String,
        #[arg(long)]
        json: bool,
    },
    /// List all hosts
    List {
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Fields {
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
    /// Its DHCPv6 identifier, for machines whose messages tell no MAC address: pairs of hex digits
    #[arg(long, value_name = "ID", value_parser = duid)]
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

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is written KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Fields {
    fn boot(&self) -> anyhow::Result<Option<Boot>> {
        let read = |text: &String| serde_json::from_value(json!(text)).context("--boot");
        self.boot.as_ref().map(read).transpose()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::Add { name, fields, json } => {
            let boot = fields.boot()?.unwrap_or_default();
            let labels = fields.labels();
            let Fields { macs, client_id, uuid, circuit, duid, ip, ip6, profile, cmdline, .. } = fields;
            let cmdline = cmdline.unwrap_or_default();
            let entry = HostEntry {
                name,
                macs,
                client_id,
                uuid,
                circuit,
                duid,
                ip,
                ip6,
                profile,
                boot,
                cmdline,
                labels,
            };
            let host = client.ask("POST", "/api/v1/hosts", Some(&json!(entry)))?;
            show(&host, json)
        }
        Command::Set { name, fields, no_ip, no_ip6, no_profile, reinstall, json } => {
            let none = |is_none: bool| is_none.then_some(None);
            let patch = HostPatch {
                boot: fields.boot()?,
                labels: (!fields.labels.is_empty()).then(|| fields.labels()),
                macs: (!fields.macs.is_empty()).then_some(fields.macs),
                client_id: fields.client_id.map(Some),
                uuid: fields.uuid.map(Some),
                circuit: fields.circuit.map(Some),
                duid: fields.duid.map(Some),
                ip: none(no_ip).or(fields.ip.map(Some)),
                ip6: none(no_ip6).or(fields.ip6.map(Some)),
                profile: none(no_profile).or(fields.profile.map(Some)),
                cmdline: fields.cmdline,
                reinstall,
            };
            let host = client.ask("PATCH", &path(&name), Some(&json!(patch)))?;
            show(&host, json)
        }
        Command::Remove { names } => {
            names.iter().try_for_each(|name| client.ask("DELETE", &path(name), None).map(drop))
        }
        Command::Show { name, json } => show(&client.get(&path(&name))?, json),
        Command::List { json } => {
            let hosts = client.get("/api/v1/hosts")?;
            if json { output::json(&hosts) } else { output::print(&output::table(&COLUMNS, &hosts, NONE)) }
        }
    }
}

const COLUMNS: [output::Column; 8] = [
    ("NAME", "name"),
    ("MACS", "macs"),
    ("IP", "ip"),
    ("IP6", "ip6"),
    ("PROFILE", "profile"),
    ("BOOT", "boot"),
    ("STATE", "state"),
    ("ORIGIN", "origin"),
];

const NONE: &str = "no hosts: add one, as in `netboot host add node1 --mac 52:54:00:12:34:56`";

fn show(host: &Value, json: bool) -> anyhow::Result<()> {
    if json { output::json(host) } else { output::print(&output::lines(host)) }
}

fn path(name: &str) -> String {
    format!("/api/v1/hosts/{}", segment(name))
}
