//! Comma-separated values (RFC 4180), with a column for each label, option and boot file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Exported;
use crate::inventory::entry::HostEntry;
use crate::inventory::import::Field;
use crate::inventory::options;
use crate::inventory::typed::Typed;

const HEADINGS: [&str; 12] = [
    "name",
    "mac",
    "ip",
    "ip6",
    "profile",
    "client_id",
    "uuid",
    "circuit",
    "duid",
    "serial",
    "boot",
    "cmdline",
];

const KEPT: [Field; Field::ALL.len() - 3] = {
    let [kept @ .., Field::Metadata, Field::SshAuthorizedKeys, Field::PxeMenu] = Field::ALL else {
        panic!("what has no column is last")
    };
    kept
};

/// A column of its own for each key that any host has: the prefix of its heading, and the key.
type Keyed = (&'static str, String);

pub(super) fn write(hosts: &[HostEntry], out: &mut Exported) {
    let keys: BTreeSet<Keyed> = hosts.iter().flat_map(|host| keyed(host).into_keys()).collect();
    let own = keys.iter().map(|(prefix, key)| cell(&format!("{prefix}:{key}")));
    let headings = HEADINGS.iter().map(|heading| (*heading).to_owned()).chain(own);
    out.text = headings.collect::<Vec<_>>().join(",") + "\n";
    for host in hosts {
        out.text.push_str(&row(host, &keys));
        out.lose_all_but(host, &KEPT);
    }
}

/// Labels, options and boot files, as they are in cells.
fn keyed(host: &HostEntry) -> BTreeMap<Keyed, String> {
    let texts = |prefix, texts: &BTreeMap<String, String>| -> Vec<(Keyed, String)> {
        texts.iter().map(|(key, text)| ((prefix, key.clone()), text.clone())).collect()
    };
    let options = |prefix, typed: &Typed| -> Vec<(Keyed, String)> {
        let joined = |key: &String, values| match prefix {
            "option" => options::join(key, values),
            _ => options::join_vendor(values),
        };
        typed.iter().map(|(key, values)| ((prefix, key.clone()), joined(key, values))).collect()
    };
    let all = [
        texts("label", &host.labels),
        options("option", &host.options),
        options("vendor_option", &host.vendor_options),
        texts("boot_file", &host.boot_files),
    ];
    all.into_iter().flatten().collect()
}

fn row(host: &HostEntry, keys: &BTreeSet<Keyed>) -> String {
    let keyed = keyed(host);
    let boot = json!(host.boot);
    let some = |field: &Option<String>| field.as_deref().map(cell).unwrap_or_default();
    let own = [
        cell(&host.name),
        cell(&host.macs.join(" ")),
        some(&host.ip),
        some(&host.ip6),
        some(&host.profile),
        some(&host.client_id),
        some(&host.uuid),
        some(&host.circuit),
        some(&host.duid),
        some(&host.serial),
        boot.as_str().filter(|boot| *boot != "profile").unwrap_or_default().to_owned(),
        cell(&host.cmdline),
    ];
    // A label without a value is two quotes; nothing at all is no label.
    let own_column = |key: &Keyed| match keyed.get(key).map(String::as_str) {
        Some("") => "\"\"".to_owned(),
        value => value.map(cell).unwrap_or_default(),
    };
    own.into_iter().chain(keys.iter().map(own_column)).collect::<Vec<_>>().join(",") + "\n"
}

/// In quotes where it needs them.
fn cell(text: &str) -> String {
    let special = text.contains([',', ';', '\t', '"', '\r', '\n', '#']) || text.trim() != text;
    if special { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
