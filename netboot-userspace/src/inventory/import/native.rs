//! Lists of hosts with our own keys: what `netboot host export` writes, and what `hosts.d/` holds.

use std::collections::BTreeMap;

use super::{Carries, Field, Labels, Sheet, json, tree};
use crate::config::yaml::{self, Node, Value};
use crate::inventory::entry::HostEntry;
use crate::inventory::typed::Values;

pub(super) fn read_json(text: &str, sheet: &mut Sheet<'_>) {
    match json::parse(text) {
        Ok(root) => list(&root, sheet),
        Err((at, reason)) => sheet.refuse(at.line, "", format!("is not JSON: {reason}")),
    }
}

pub(super) fn read_yaml(text: &str, sheet: &mut Sheet<'_>) {
    match yaml::parse(text) {
        Ok(root) => list(&root, sheet),
        Err((at, reason)) => sheet.refuse(at.line, "", format!("is not YAML: {reason}")),
    }
}

fn list(root: &Node, sheet: &mut Sheet<'_>) {
    sheet.reading.carries = Carries { fields: Field::ALL.to_vec(), labels: Labels::All };
    match &root.value {
        Value::List(items) => items.iter().for_each(|item| host(item, sheet)),
        Value::Null => {}
        other => sheet.refuse(root.at.line, "", format!("takes a list of hosts, not {}", other.kind())),
    }
}

fn host(item: &Node, sheet: &mut Sheet<'_>) {
    let mut entry = HostEntry::default();
    for (key, line, value) in tree::entries(item) {
        if let Err(reason) = field(key, value, &mut entry) {
            return sheet.refuse(line, &entry.name, format!("{key}: {reason}"));
        }
    }
    sheet.host(item.at.line, entry);
}

fn field(key: &str, value: &Node, entry: &mut HostEntry) -> Result<(), String> {
    let some = || tree::text(value).map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()));
    let text = || tree::text(value).map(str::to_owned);
    match key {
        "name" => entry.name = text()?,
        "mac" | "macs" => entry.macs.extend(tree::texts(value)?.into_iter().map(str::to_owned)),
        "client_id" => entry.client_id = some()?,
        "uuid" => entry.uuid = some()?,
        "circuit" => entry.circuit = some()?,
        "duid" => entry.duid = some()?,
        "serial" => entry.serial = some()?,
        "ip" => entry.ip = some()?,
        "ip6" => entry.ip6 = some()?,
        "profile" => entry.profile = some()?,
        "boot" => entry.boot = boot(tree::text(value)?)?,
        "cmdline" => entry.cmdline = text()?,
        "labels" => entry.labels = pairs(value, |value| tree::text(value).map(str::to_owned))?,
        "metadata" => entry.metadata = mapping(value)?,
        "ssh_authorized_keys" => {
            entry.ssh_authorized_keys = tree::texts(value)?.into_iter().map(str::to_owned).collect();
        }
        "options" => entry.options = pairs(value, values)?,
        "vendor_options" => entry.vendor_options = pairs(value, values)?,
        "boot_files" => entry.boot_files = pairs(value, |value| tree::text(value).map(str::to_owned))?,
        "pxe_menu" => {
            entry.pxe_menu = serde_json::from_value(value.to_json()).map_err(|error| error.to_string())?;
        }
        // What a server adds when it shows a host.
        "origin" | "state" => {}
        _ => return Err("is no key of a host".to_owned()),
    }
    Ok(())
}

/// `profile`, `local`, `once` or `ignore`; nothing is `profile`.
pub(super) fn boot(text: &str) -> Result<crate::inventory::Boot, String> {
    if text.is_empty() {
        return Ok(crate::inventory::Boot::default());
    }
    serde_json::from_value(text.into())
        .map_err(|_| format!("{text:?} is not known: it takes profile, local, once or ignore"))
}

fn mapping(node: &Node) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    match node.to_typed_json() {
        serde_json::Value::Object(mapping) => Ok(mapping),
        serde_json::Value::Null => Ok(serde_json::Map::new()),
        _ => Err(format!("takes a mapping of keys to values, not {}", node.value.kind())),
    }
}

fn values(node: &Node) -> Result<Values, String> {
    tree::texts(node).map(|texts| texts.as_slice().into())
}

fn pairs<V>(node: &Node, read: impl Fn(&Node) -> Result<V, String>) -> Result<BTreeMap<String, V>, String> {
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        return Err(format!("takes a mapping of keys to values, not {}", node.value.kind()));
    }
    tree::entries(node).map(|(key, _, value)| Ok((key.to_owned(), read(value)?))).collect()
}
