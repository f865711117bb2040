//! `netboot lease`: the addresses that were given.

use std::net::IpAddr;

use clap::Subcommand;
use serde_json::json;

use super::client::Client;
use super::output;
use crate::sys::clock::now;

/// The dynamic addresses that were given: list, release
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all leases
    List {
        #[arg(long)]
        json: bool,
    },
    /// End a lease: its address is free again
    ///
    /// Whoever has it is not told, and asks anew when it would renew it. Until then two machines may have the address: end what is used no more.
    Release {
        /// The address
        address: IpAddr,
    },
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    let json = match command {
        Command::List { json } => json,
        Command::Release { address } => {
            return client.ask("DELETE", &format!("/api/v1/leases/{address}"), None).map(drop);
        }
    };
    let mut leases = client.get("/api/v1/leases")?;
    if json {
        return output::json(&leases);
    }
    for lease in leases.as_array_mut().into_iter().flatten() {
        let left = lease["expires"].as_u64().unwrap_or(0).saturating_sub(now());
        lease["left"] = json!(if left == 0 { "ended".to_owned() } else { output::seconds(left) });
    }
    let columns =
        [("IP", "ip"), ("MAC", "mac"), ("HOSTNAME", "hostname"), ("STATE", "state"), ("LEFT", "left")];
    output::print(&output::table(&columns, &leases, "no leases"))
}
