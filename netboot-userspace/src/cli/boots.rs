//! `netboot boots`: what was decided for each boot, and how far it came.

use serde_json::{Value, json};

use super::client::{Client, segment};
use super::output::{self, date, word};
use crate::inventory::boots::BootId;

/// The boots of all machines, or of one: what was decided for each, why, and how far it came
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot boots                       the last boots of all machines
  netboot boots node1                 those of one, the last one last
  netboot boots 6567a10000000001      one of them, step by step
  netboot boots node1 --json")]
pub(super) struct Args {
    /// A host's name, a MAC, or the id of a boot
    of: Option<String>,
    /// How many, the last ones
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, client: &Client) -> anyhow::Result<()> {
    // A host of such a name is asked for by its MAC.
    if let Some(id) = args.of.as_ref().filter(|of| of.parse::<BootId>().is_ok()) {
        let boot = client.get(&format!("/api/v1/boots/{}", segment(id)))?;
        return if args.json { output::json(&boot) } else { output::print(&one(&boot)) };
    }
    let machine = args.of.as_ref().map(|of| format!("machine={}", segment(of)));
    let last = args.last.map(|last| format!("last={last}"));
    let query: Vec<String> = machine.into_iter().chain(last).collect();
    let mut boots = client.get(&format!("/api/v1/boots?{}", query.join("&")))?;
    if args.json {
        return output::json(&boots);
    }
    for boot in boots.as_array_mut().into_iter().flatten() {
        boot["decides"] = json!(decides(&boot["decision"]));
        boot["time"] = json!(date(&boot["began"]));
        if boot["name"].is_null() {
            boot["name"] = boot["mac"].take();
        }
    }
    let columns = [
        ("BOOT", "id"),
        ("BEGAN", "time"),
        ("MACHINE", "name"),
        ("DECISION", "decides"),
        ("STATE", "state"),
        ("OUTCOME", "outcome"),
    ];
    output::print(&output::table(&columns, &boots, "no boot was seen yet"))
}

/// `install debian`, `local`
pub(super) fn decides(decision: &Value) -> String {
    let kind = word(&decision["kind"]);
    match decision["profile"].as_str() {
        Some(profile) => format!("{kind} {profile}"),
        None => kind,
    }
}

fn one(boot: &Value) -> String {
    let who = if boot["name"].is_null() { &boot["mac"] } else { &boot["name"] };
    let mut lines = vec![
        format!("boot {} of {} ({})", word(&boot["id"]), word(who), word(&boot["mac"])),
        format!("began {}, {}", date(&boot["began"]), word(&boot["outcome"])),
        format!("decided: {}: {}", decides(&boot["decision"]), word(&boot["decision"]["why"])),
    ];
    let began = boot["began"].as_u64().unwrap_or_default();
    for step in boot["steps"].as_array().into_iter().flatten() {
        let count = step["count"].as_u64().filter(|count| *count > 1);
        let times = count.map(|count| format!(", {count} times")).unwrap_or_default();
        let (what, text) = (word(&step["what"]), word(&step["text"]));
        let after =
            format!("+{}", output::seconds(step["time"].as_u64().unwrap_or_default().saturating_sub(began)));
        lines.push(format!("  {after:>8}  {what:8} {text}{times}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_told_step_by_step() {
        let step = |time: u64, what, text, count: u64| json!({ "time": time, "what": what, "text": text, "count": count });
        let boot = json!({
            "id": "6567a10000000001", "mac": "52:54:00:00:00:01", "name": "node1", "began": 1_709_164_799, "outcome": "under-way",
            "decision": { "kind": "install", "profile": "debian", "why": "profile debian (p.yaml:1) by host node1 (h.yaml:2)" },
            "steps": [step(1_709_164_799, "dhcp", "offer 10.0.0.9 to bios", 2), step(1_709_164_800, "loader", "undionly.kpxe, 7 bytes", 1)],
        });
        assert_eq!(
            one(&boot),
            "boot 6567a10000000001 of node1 (52:54:00:00:00:01)\n\
             began Wed, 28 Feb 2024 23:59:59 GMT, under-way\n\
             decided: install debian: profile debian (p.yaml:1) by host node1 (h.yaml:2)\n\
             \x20      +0s  dhcp     offer 10.0.0.9 to bios, 2 times\n\
             \x20      +1s  loader   undionly.kpxe, 7 bytes\n"
        );
    }
}
