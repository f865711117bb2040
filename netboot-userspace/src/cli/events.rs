//! `netboot events`: what happened, and what happens.

use std::io::BufRead;

use anyhow::{Context, bail};
use serde_json::Value;

use super::client::Client;
use super::output::{self, word};

/// What happened, and with --follow what happens
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot events --follow                 a line per event, the last ones first
  netboot events --last 50 --json         a JSON object per line

With --follow it ends when the daemon does, with exit code 1.")]
pub(super) struct Args {
    /// Go on with the events to come
    #[arg(long, short)]
    follow: bool,
    /// How many past events [default: all that are kept, or 10 with --follow]
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// A JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, client: &Client) -> anyhow::Result<()> {
    let last = args.last.unwrap_or(if args.follow { 10 } else { usize::MAX });
    let feed = client.open("GET", &format!("/api/v1/events?last={last}&follow={}", args.follow), None)?;
    for line in feed.lines() {
        let line = line.context("the feed broke off")?;
        if args.json {
            output::print(&line)?;
        } else {
            let event = serde_json::from_str(&line).context("the daemon sent an event that is not JSON")?;
            output::print(&human(&event))?;
        }
    }
    if args.follow {
        bail!("the daemon ended the feed");
    }
    Ok(())
}

/// `21:15:52.120 xdp        node1              dhcp    offer 10.10.0.21 to bios`, in UTC
fn human(event: &Value) -> String {
    let time = event["time"].as_u64().unwrap_or(0);
    let (ms, s, m, h) = (time % 1000, time / 1000 % 60, time / 60_000 % 60, time / 3_600_000 % 24);
    let who = if event["name"].is_string() { &event["name"] } else { &event["mac"] };
    let (lane, kind, text) = (word(&event["lane"]), word(&event["kind"]), word(&event["text"]));
    format!("{h:02}:{m:02}:{s:02}.{ms:03}Z {lane:10} {:18} {kind:8} {text}", word(who))
}
