//! `netboot observe`: what the site's DHCP servers say, beside what we would.

use clap::Subcommand;
use serde_json::Value;

use super::client::Client;
use super::output;

/// What `dhcp: observe` has seen: report
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show in what the site's own answers differ from ours, machine by machine
    #[command(after_help = "\
Examples:
  netboot observe report                 machines whose answers differ
  netboot observe report --all           those that agree, too
  netboot observe report node1 --json    everything that is known of one

An interface with `dhcp: observe` answers nothing. Answers to one address pass by switches unseen: observe on a mirror port,
or on the machine of the other server.")]
    Report {
        /// One machine: a host's name, or a MAC
        machine: Option<String>,
        /// Also machines whose answers agree
        #[arg(long)]
        all: bool,
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    let Command::Report { machine, all, json } = command;
    let mut observed = client.get("/api/v1/observed")?;
    let is_wanted = |seen: &Value| {
        machine.as_ref().is_none_or(|wanted| {
            let is = |key: &str| seen[key].as_str().is_some_and(|value| value.eq_ignore_ascii_case(wanted));
            is("mac") || is("name")
        })
    };
    if let Some(list) = observed.as_array_mut() {
        list.retain(is_wanted);
    }
    if json { output::json(&observed) } else { output::print(&text(&observed, all || machine.is_some())) }
}

fn text(observed: &Value, all: bool) -> String {
    let seen = observed.as_array().map_or(&[] as &[Value], Vec::as_slice);
    let shown: Vec<String> = seen.iter().filter(|one| all || differs(one)).map(one).collect();
    let differing = seen.iter().filter(|one| differs(one)).count();
    let sum = format!("{} machines asked, the answers of {differing} differ\n", seen.len());
    shown.concat() + &sum
}

/// Also where nobody answered, or only we did not.
fn differs(seen: &Value) -> bool {
    let differences = seen["differences"].as_object();
    differences.is_none_or(|servers| {
        servers.is_empty() || servers.values().any(|list| list != &Value::Array(Vec::new()))
    })
}

fn one(seen: &Value) -> String {
    let word = |value: &Value| output::word(value);
    let name = if seen["name"].is_null() { "no host".to_owned() } else { word(&seen["name"]) };
    let ours = match (&seen["ours"], &seen["left"]) {
        (Value::Null, left) => format!("we would say nothing: {}", word(left)),
        (ours, _) => format!("we would say {} {}", word(&ours["kind"]), word(&ours["fields"]["yiaddr"])),
    };
    let mut lines = vec![format!(
        "{} ({name}) on {}, {}: {ours}",
        word(&seen["mac"]),
        word(&seen["interface"]),
        word(&seen["asked"])
    )];
    let servers = seen["differences"].as_object().into_iter().flatten();
    for (server, differences) in servers {
        let list = differences.as_array().map_or(&[] as &[Value], Vec::as_slice);
        lines.push(format!("  {server}{}", if list.is_empty() { " says the same" } else { ":" }));
        lines.extend(list.iter().map(|difference| {
            let [field, ours, theirs] = ["field", "ours", "theirs"].map(|key| word(&difference[key]));
            format!("    {field}: we {ours}, it {theirs}")
        }));
    }
    if seen["differences"].as_object().is_none_or(serde_json::Map::is_empty) {
        lines.push("  no other answer was seen".to_owned());
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_shows_what_differs_and_counts_the_rest() {
        let same = json!({ "mac": "a", "interface": "eth0", "asked": "discover", "ours": { "kind": "offer", "fields": {} }, "differences": { "10.0.0.1": [] } });
        let differing = json!({
            "mac": "b", "name": "node1", "interface": "eth0", "asked": "discover",
            "ours": { "kind": "offer", "fields": { "yiaddr": "10.0.0.5" } },
            "differences": { "10.0.0.1": [{ "field": "yiaddr", "ours": "10.0.0.5", "theirs": "10.0.0.6" }] },
        });
        let silent = json!({ "mac": "c", "interface": "eth0", "asked": "discover", "left": "unknown_ignored", "differences": {} });
        let report = text(&json!([same, differing, silent]), false);
        assert_eq!(
            report,
            "b (node1) on eth0, discover: we would say offer 10.0.0.5\n  10.0.0.1:\n    yiaddr: we 10.0.0.5, it 10.0.0.6\n\
             c (no host) on eth0, discover: we would say nothing: unknown_ignored\n  no other answer was seen\n\
             3 machines asked, the answers of 2 differ\n"
        );
        assert!(text(&json!([same]), true).contains("10.0.0.1 says the same"));
    }
}
