//! `netboot host export`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;

use super::names::AnyNames;
use crate::cli::client::Client;
use crate::cli::output;
use crate::inventory::entry::HostEntry;
use crate::inventory::export::{self, Exported, Format};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The format to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    to: To,
    /// The file to write, whole or not at all [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    names: AnyNames,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum To {
    /// `dhcp-host=` lines
    Dnsmasq,
    /// A list of reservations, for `"reservations": <?include "FILE"?>`
    Kea,
    /// The same for its DHCPv6 server
    Kea6,
    /// Host declarations for a dhcpd.conf
    Isc,
    /// Host blocks for LiveBOOTP's config.yml
    Livebootp,
    /// A table, with a column for each label, option and boot file
    Csv,
    /// Our own keys; nothing is lost
    Json,
    /// The same, as in hosts.d/
    Yaml,
}

impl From<To> for Format {
    fn from(to: To) -> Self {
        match to {
            To::Dnsmasq => Self::Dnsmasq,
            To::Kea => Self::Kea,
            To::Kea6 => Self::Kea6,
            To::Isc => Self::Isc,
            To::Livebootp => Self::Livebootp,
            To::Csv => Self::Csv,
            To::Json => Self::Json,
            To::Yaml => Self::Yaml,
        }
    }
}

pub(super) fn main(args: &Args, client: &Client) -> anyhow::Result<()> {
    let (left_out, hosts): (Vec<Value>, Vec<Value>) =
        args.names.hosts(client)?.into_iter().partition(|host| !host["left_out"].is_null());
    for host in &left_out {
        eprintln!("netboot: {}: {}", output::word(&host["name"]), output::word(&host["left_out"]));
    }
    let hosts: Vec<HostEntry> = hosts.into_iter().map(entry).collect::<anyhow::Result<_>>()?;
    let exported = export::write(args.to.into(), &hosts);
    match &args.output {
        Some(path) => write(path, &exported.text).with_context(|| format!("writing {}", path.display()))?,
        None => output::print(&exported.text)?,
    }
    say_losses(args.to, &exported);
    Ok(())
}

/// The host without what the daemon adds to it.
fn entry(mut host: Value) -> anyhow::Result<HostEntry> {
    if let Some(object) = host.as_object_mut() {
        object.retain(|key, _| key != "origin" && key != "state");
    }
    serde_json::from_value(host).context("the daemon's answer has a host that this version can't read")
}

fn say_losses(to: To, exported: &Exported) {
    let format = to.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    for loss in exported.losses() {
        eprintln!("netboot: {format}: {loss}");
    }
}

/// Whole or not at all: a reader never sees half of it.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = path.with_file_name(name);
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
        // It may not be there; if it is, it is of no use.
        let _ = fs::remove_file(&new);
    })
}
