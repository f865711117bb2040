//! Comma-separated values (RFC 4180), with a column for each label.

use std::collections::BTreeSet;

use serde_json::json;

use super::Exported;
use crate::inventory::entry::HostEntry;

const HEADINGS: [&str; 9] =
    ["name", "mac", "ip", "profile", "client_id", "uuid", "circuit", "boot", "cmdline"];

pub(super) fn write(hosts: &[HostEntry], out: &mut Exported) {
    let keys: BTreeSet<&String> = hosts.iter().flat_map(|host| host.labels.keys()).collect();
    let labels = keys.iter().map(|key| cell(&format!("label:{key}")));
    let headings = HEADINGS.iter().map(|heading| (*heading).to_owned()).chain(labels);
    out.text = headings.collect::<Vec<_>>().join(",") + "\n";
    for host in hosts {
        out.text.push_str(&row(host, &keys));
    }
}

fn row(host: &HostEntry, keys: &BTreeSet<&String>) -> String {
    let boot = json!(host.boot);
    let some = |field: &Option<String>| field.as_deref().map(cell).unwrap_or_default();
    let own = [
        cell(&host.name),
        cell(&host.macs.join(" ")),
        some(&host.ip),
        some(&host.profile),
        some(&host.client_id),
        some(&host.uuid),
        some(&host.circuit),
        boot.as_str().filter(|boot| *boot != "profile").unwrap_or_default().to_owned(),
        cell(&host.cmdline),
    ];
    // A label without a value is two quotes; nothing at all is no label.
    let label = |key: &&String| match host.labels.get(*key).map(String::as_str) {
        Some("") => "\"\"".to_owned(),
        value => value.map(cell).unwrap_or_default(),
    };
    own.into_iter().chain(keys.iter().map(label)).collect::<Vec<_>>().join(",") + "\n"
}

/// In quotes where it needs them.
fn cell(text: &str) -> String {
    let special = text.contains([',', ';', '\t', '"', '\r', '\n', '#']) || text.trim() != text;
    if special { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
