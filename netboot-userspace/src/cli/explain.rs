//! `netboot host explain`: what a machine would get, from which lane, and why it got nothing.

use serde_json::Value;

use super::client::{Client, segment};
use super::output;

/// What a machine would get by DHCP, from which lane and by which file, and why it got no answer lately
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot host explain node1
  netboot host explain 52:54:00:12:34:56 --class bios
  netboot host explain node1 --json

The classes are those of `netboot events`: plain, bios, efi-ia32, efi-x64, efi-arm64, efi-x64-http, ipxe-bios …")]
pub(super) struct Args {
    /// A host's name, or a MAC
    machine: String,
    /// As which kind of client it asks
    #[arg(long, default_value = "efi-x64")]
    class: String,
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, client: &Client) -> anyhow::Result<()> {
    let path = format!("/api/v1/explain/{}?class={}", segment(&args.machine), segment(&args.class));
    let explained = client.get(&path)?;
    if args.json { output::json(&explained) } else { output::print(&text(&explained)) }
}

fn text(explained: &Value) -> String {
    let word = |value: &Value| output::word(value);
    let host = &explained["host"];
    let who = if host.is_null() {
        "no host of the inventory".to_owned()
    } else {
        format!("host {} ({})", word(&host["name"]), word(&host["origin"]))
    };
    let mut lines = vec![
        format!("{}: {who}, as {}", word(&explained["mac"]), word(&explained["class"])),
        format!("boots {}", word(&explained["boots"])),
    ];
    for interface in explained["interfaces"].as_array().into_iter().flatten() {
        lines.push(format!("on {}:", word(&interface["name"])));
        lines.push(format!("  kernel     {}", lane(&interface["kernel"])));
        lines.push(format!("  userspace  {}", lane(&interface["userspace"])));
        let answer = if interface["kernel"]["answer"].is_null() {
            &interface["userspace"]
        } else {
            &interface["kernel"]
        };
        let options = answer["options"].as_array().into_iter().flatten();
        lines.extend(options.map(|option| format!("    option {}", word(option))));
    }
    match &explained["refused"] {
        Value::Null => lines.push("none of its messages was left unanswered lately".to_owned()),
        refused => lines.push(format!(
            "last unanswered: by {} on {}, {}, {} in all",
            word(&refused["lane"]),
            word(&refused["interface"]),
            word(&refused["reason"]),
            word(&refused["count"]),
        )),
    }
    lines.push(String::new());
    lines.join("\n")
}

fn lane(would: &Value) -> String {
    let word = |key: &str| output::word(&would[key]);
    match would["left"].as_str() {
        Some(reason) => format!("would leave it: {reason}"),
        None => format!(
            "{} {}, file {}, next server {}",
            word("answer"),
            word("yiaddr"),
            word("file"),
            word("siaddr")
        ),
    }
}
