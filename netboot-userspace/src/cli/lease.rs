//! `netboot lease`: the addresses that were given.

use clap::Subcommand;
use serde_json::json;

use super::client::Client;
use super::output;

/// The dynamic addresses that were given: list
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all leases
    List {
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    let Command::List { json } = command;
    let mut leases = client.get("/api/v1/leases")?;
    if json {
        return output::json(&leases);
    }
    for lease in leases.as_array_mut().into_iter().flatten() {
        let left = lease["seconds_left"].as_u64().unwrap_or(0);
        lease["left"] = json!(if left == 0 { "ended".to_owned() } else { output::seconds(left) });
    }
    let columns =
        [("IP", "ip"), ("MAC", "mac"), ("HOSTNAME", "hostname"), ("STATE", "state"), ("LEFT", "left")];
    output::print(&output::table(&columns, &leases, "no leases"))
}
