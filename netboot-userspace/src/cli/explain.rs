//! `netboot host explain`: what a machine would boot and what says so, what it would get by DHCP, from which lane, and why it got nothing.

use serde_json::Value;

use super::boots::decides;
use super::client::{Client, segment};
use super::output;

/// What a machine would boot, what it would get by DHCP, what set each value, and why it got no answer lately
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
    lines.extend(decision(&explained["decision"]));
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
        let settings = interface["settings"].as_object().into_iter().flatten();
        lines.extend(settings.map(|(key, set)| {
            let over = match set["over"].as_array() {
                Some(over) if !over.is_empty() => format!(", over {}", word(&set["over"])),
                _ => String::new(),
            };
            format!("    {key} = {}, by {}{over}", word(&set["value"]), word(&set["level"]))
        }));
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

/// The decision, a line for each part of it and what set that.
fn decision(decision: &Value) -> Vec<String> {
    let word = |value: &Value| output::word(value);
    let mut lines = vec![format!("  because    {}", word(&decision["why"]))];
    let boot = &decision["boot"];
    lines.push(format!("  boot       {}, by {}", word(&boot["value"]), word(&boot["origin"])));
    let profile = &decision["profile"];
    if !profile.is_null() {
        lines.push(format!("  profile    {} ({})", word(&profile["name"]), word(&profile["origin"])));
    }
    if !decision["group"].is_null() {
        lines.push(format!("  group      {}", word(&decision["group"])));
    }
    for part in decision["cmdline"].as_array().into_iter().flatten() {
        lines.push(format!("  cmdline    {}, by {}", word(&part["value"]), word(&part["origin"])));
    }
    for set in decision["metadata"].as_array().into_iter().flatten() {
        let origin = &set["origin"];
        let [level, name, at] = ["level", "name", "at"].map(|key| word(&origin[key]));
        lines.push(format!(
            "  metadata   {} = {}, by {level} {name} ({at})",
            word(&set["key"]),
            word(&set["value"])
        ));
    }
    let record = &decision["record"];
    if !record.is_null() {
        lines.push(format!(
            "  last boot  {}: {}, {}, as far as {}",
            word(&record["id"]),
            decides(&record["decision"]),
            word(&record["outcome"]),
            word(&record["state"])
        ));
    }
    let breaker = &decision["breaker"];
    let stopped = if breaker["stopped"].is_null() { "" } else { ", stopped" };
    lines.push(format!(
        "  breaker    {}, {} fruitless{stopped}",
        word(&breaker["setting"]),
        word(&breaker["fruitless"])
    ));
    lines
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
