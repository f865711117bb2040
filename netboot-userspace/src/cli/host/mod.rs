//! `netboot host`: the machines with a name. A change is in force when the command returns.

mod batch;
mod export;
mod fields;
mod import;
mod names;

use clap::Subcommand;
use serde_json::{Value, json};

use self::fields::{Fields, Without};
use self::names::{AnyNames, Names};
use super::client::{Client, segment};
use super::output;
use crate::inventory::entry;
use crate::inventory::live::Change;

/// The machines with a name: add, change, remove, show, list, import, export
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a host; the next DISCOVER sees it
    #[command(after_help = format!("\
Examples:
  netboot host add node1 --mac 52:54:00:12:34:56
  netboot host add node1 --mac 52:54:00:12:34:56 --ip 10.10.0.21 --profile debian --cmdline console=ttyS0
  netboot host add node2 --mac 52:54:00:12:34:57 --option ntp-servers=10.10.0.2,10.10.0.3
  netboot host add port7 --circuit rack7/port7                  whatever is plugged in there

{}", fields::HELP))]
    Add {
        /// Its name, which it also gets by DHCP
        #[arg(value_parser = entry::host_name)]
        name: String,
        #[command(flatten)]
        fields: Fields,
        #[arg(long)]
        json: bool,
    },
    /// Change some fields of hosts; the others stay
    #[command(after_help = format!("\
Examples:
  netboot host set node1 --ip 10.10.0.22
  netboot host set node1 --no-ip --profile rescue --boot once
  netboot host set node1 --no-uuid                       known by its MACs alone
  netboot host set 'node[001-200]' --profile debian --label rack=7
  netboot host set node1 --option domain-name=lab.example --no-option 252
  netboot host set node1 --reinstall                     install it again at its next boot

{}

{}", fields::HELP, names::HELP))]
    Set {
        #[command(flatten)]
        names: Names,
        #[command(flatten)]
        fields: Fields,
        #[command(flatten)]
        without: Without,
        /// Forget that they were installed: they boot their profiles again
        #[arg(long)]
        reinstall: bool,
        #[arg(long)]
        json: bool,
    },
    /// Remove hosts, all of them or none
    #[command(after_help = names::HELP)]
    Remove {
        #[command(flatten)]
        names: Names,
    },
    /// Show hosts, with all that is known of them
    ///
    /// Options and boot files are shown as they were typed. A host with `left_out` is in the store, and not in force: the
    /// configuration contradicts it, for the reason that stands there.
    #[command(after_help = names::HELP)]
    Show {
        #[command(flatten)]
        names: Names,
        /// One name: an object; more, or a list: an array
        #[arg(long)]
        json: bool,
    },
    /// List hosts, a line for each
    #[command(after_help = names::HELP)]
    List {
        #[command(flatten)]
        names: AnyNames,
        #[arg(long)]
        json: bool,
    },
    Explain(super::explain::Args),
    /// Take hosts over from another program's files: all of them or none
    #[command(after_help = "\
Examples:
  netboot host import --from dnsmasq /etc/dnsmasq.conf --dry-run
  netboot host import --from isc /etc/dhcp/dhcpd.conf --profile debian --label from=isc
  netboot host import --from kea kea-dhcp4.conf --skip
  netboot host import --from bootcfg /var/lib/matchbox
  netboot host import --from csv hosts.csv

An entry that can't be taken is named with its file, line and reason, and nothing is imported then,
unless --skip leaves such entries out. What a host here has no place for is named, too.

A host that is there already is changed where the file says something else; what such a file can't
say at all (as dnsmasq's of profiles) stays as it is. Importing the same file again changes nothing.

--dry-run shows a line for each host that differs (+ added, ~ changed), and in it +field VALUE,
-field VALUE, ~field OLD -> NEW, and =fields that stay.")]
    Import(import::Args),
    /// Write hosts as another program's file
    #[command(after_help = format!("\
Examples:
  netboot host export --to csv --output hosts.csv
  netboot host export --to dnsmasq 'rack7n[01-16]'
  netboot host export --to yaml > /etc/netboot/hosts.d/all.yaml

What the format has no place for is named on standard error, with the hosts that it befalls.

{}", names::HELP))]
    Export(export::Args),
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::Add { name, fields, json } => {
            let host = client.ask("POST", "/api/v1/hosts", Some(&json!(fields.entry(name)?)))?;
            show(&host, json)
        }
        Command::Set { names, fields, without, reinstall, json } => {
            set(&names, fields, without, reinstall, client)?;
            show_all(&names, json, client, |hosts| list(&Value::Array(hosts), false))
        }
        Command::Remove { names } => remove(&names, client),
        Command::Show { names, json } => {
            let each = |hosts: Vec<Value>| {
                let texts: Vec<String> = hosts.iter().map(output::lines).collect();
                output::print(&texts.join("\n"))
            };
            show_all(&names, json, client, each)
        }
        Command::List { names, json } => list(&Value::Array(names.hosts(client)?), json),
        Command::Explain(args) => super::explain::main(&args, client),
        Command::Import(args) => import::main(&args, client),
        Command::Export(args) => export::main(&args, client),
    }
}

fn set(
    names: &Names,
    fields: Fields,
    without: Without,
    reinstall: bool,
    client: &Client,
) -> anyhow::Result<()> {
    let all = names.expand()?;
    fields.check_count(all.len())?;
    let patch = fields.patch(without, reinstall)?;
    match names.single() {
        Some(name) => client.ask("PATCH", &path(name), Some(&json!(patch))).map(drop),
        None => batch::make(client, all.into_iter().map(|name| Change::Patch(name, patch.clone())).collect()),
    }
}

fn remove(names: &Names, client: &Client) -> anyhow::Result<()> {
    match names.single() {
        Some(name) => client.ask("DELETE", &path(name), None).map(drop),
        None => batch::make(client, names.expand()?.into_iter().map(Change::Remove).collect()),
    }
}

const COLUMNS: [output::Column; 7] = [
    ("NAME", "name"),
    ("MACS", "macs"),
    ("IP", "ip"),
    ("PROFILE", "profile"),
    ("BOOT", "boot"),
    ("STATE", "state"),
    ("ORIGIN", "origin"),
];

const NONE: &str = "no hosts: add one, as in `netboot host add node1 --mac 52:54:00:12:34:56`";

fn list(hosts: &Value, json: bool) -> anyhow::Result<()> {
    if json { output::json(hosts) } else { output::print(&text(hosts)) }
}

/// A table, and below it why hosts in it are left out.
fn text(hosts: &Value) -> String {
    let mut rows = hosts.clone();
    let mut reasons = Vec::new();
    for row in rows.as_array_mut().into_iter().flatten().filter(|row| !row["left_out"].is_null()) {
        reasons.push(format!(
            "{} is left out: {}\n",
            output::word(&row["name"]),
            output::word(&row["left_out"])
        ));
        row["state"] = json!("left-out");
    }
    let end = if reasons.is_empty() { "" } else { LEFT_OUT };
    output::table(&COLUMNS, &rows, NONE) + &reasons.concat() + end
}

const LEFT_OUT: &str =
    "What is left out is in the store and not in force: repair it with `netboot host set`, or remove it.\n";

/// One host by its name as such; several, or a list of names, `as_many`.
fn show_all(
    names: &Names,
    json: bool,
    client: &Client,
    as_many: impl FnOnce(Vec<Value>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let hosts = names.hosts(client)?;
    match (names.single(), hosts.first()) {
        (Some(_), Some(host)) => show(host, json),
        _ if json => output::json(&Value::Array(hosts)),
        _ => as_many(hosts),
    }
}

fn show(host: &Value, json: bool) -> anyhow::Result<()> {
    if json { output::json(host) } else { output::print(&output::lines(host)) }
}

fn path(name: &str) -> String {
    format!("/api/v1/hosts/{}", segment(name))
}
