//! `netboot status`: how the daemon stands.

use super::client::Client;
use super::output;

/// How the daemon stands: modes, listeners, counters, machines
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, client: &Client) -> anyhow::Result<()> {
    let status = client.get("/api/v1/status")?;
    if args.json { output::json(&status) } else { output::print(&output::lines(&status)) }
}
