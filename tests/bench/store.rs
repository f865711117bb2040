//! A state folder with many hosts in it, as if they had been added by command.

use std::path::PathBuf;
use std::time::Instant;

use netboot_common::Mac;
use netboot_userspace::inventory::entry::HostEntry;
use netboot_userspace::store::Store;
use serde_json::{Value, json};

use crate::clients::{Network, mac};

/// The command line of `store`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The state folder.
    folder: PathBuf,
    #[command(flatten)]
    network: Network,
    #[arg(long)]
    hosts: u32,
}

/// The entry of a client.
pub(crate) fn entry(network: &Network, client: u32) -> HostEntry {
    HostEntry {
        name: format!("n{client}"),
        macs: vec![Mac(mac(client)).to_string()],
        ip: Some(network.address(client).to_string()),
        ..HostEntry::default()
    }
}

pub(crate) fn main(options: &Options) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let store = Store::open(&options.folder)?;
    let entries: Vec<HostEntry> = (0..options.hosts).map(|client| entry(&options.network, client)).collect();
    let named: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), Some(entry))).collect();
    store.put_hosts(&named)?;
    Ok(json!({ "hosts": options.hosts, "seconds": begun.elapsed().as_secs_f64() }))
}
