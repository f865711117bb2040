//! `netboot render`: what a machine would get, without it.

use super::client::{Client, segment};
use super::output;

/// Show what a machine would be given: its scripts, its metadata, its configurations
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot render node1 ipxe
  netboot render node1 ipxe --label platform=efi
  netboot render node1 authorized_keys
  netboot render 52:54:00:12:34:56 ignition --label os=installed

Nothing is observed of the machine. SERVER stands where it would find the name by which it called the server, TOKEN where an installation has its
one-time token.")]
pub(super) struct Args {
    /// A host's name, or a MAC
    machine: String,
    /// Which path it would ask for
    #[arg(value_parser = ["boot.ipxe", "ipxe", "grub", "pxelinux", "cloud", "ignition", "generic", "metadata", "authorized_keys"])]
    what: String,
    /// A parameter of its query beside its MAC; several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE, as in os=installed")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn main(args: &Args, client: &Client) -> anyhow::Result<()> {
    let labels = args.label.iter().map(|(key, value)| format!("{}={}", segment(key), segment(value)));
    let query: Vec<String> = labels.collect();
    let path = format!("/api/v1/render/{}/{}?{}", segment(&args.machine), args.what, query.join("&"));
    output::print(client.get(&path)?["text"].as_str().unwrap_or_default())
}
