//! Lists of hosts with our own keys. Nothing is lost.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Exported, quoted};
use crate::inventory::Boot;
use crate::inventory::entry::HostEntry;
use crate::inventory::typed::{Typed, Values};

pub(super) fn write_json(hosts: &[HostEntry], out: &mut Exported) {
    out.text = format!("{:#}\n", json!(hosts));
}

pub(super) fn write_yaml(hosts: &[HostEntry], out: &mut Exported) {
    out.text = if hosts.is_empty() { "[]\n".to_owned() } else { hosts.iter().map(item).collect() };
}

fn item(host: &HostEntry) -> String {
    let list = |texts: &[String]| {
        let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    };
    let map = |pairs: Vec<(&String, String)>| {
        let pairs: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{}: {value}", quoted(key))).collect();
        Some(format!("{{{}}}", pairs.join(", "))).filter(|_| !pairs.is_empty())
    };
    let texts =
        |texts: &BTreeMap<String, String>| map(texts.iter().map(|(key, text)| (key, quoted(text))).collect());
    let options = |typed: &Typed| {
        let value = |Values(values): &Values| match values.as_slice() {
            [one] => quoted(one),
            several => list(several),
        };
        map(typed.iter().map(|(key, values)| (key, value(values))).collect())
    };
    let boot = Some(json!(host.boot).to_string()).filter(|_| host.boot != Boot::default());
    let some = |field: &Option<String>| field.as_deref().map(quoted);
    let pairs = [
        ("macs", Some(list(&host.macs)).filter(|_| !host.macs.is_empty())),
        ("client_id", some(&host.client_id)),
        ("uuid", some(&host.uuid)),
        ("circuit", some(&host.circuit)),
        ("duid", some(&host.duid)),
        ("serial", some(&host.serial)),
        ("ip", some(&host.ip)),
        ("ip6", some(&host.ip6)),
        ("profile", some(&host.profile)),
        ("boot", boot),
        ("cmdline", Some(quoted(&host.cmdline)).filter(|_| !host.cmdline.is_empty())),
        ("labels", texts(&host.labels)),
        ("options", options(&host.options)),
        ("vendor_options", options(&host.vendor_options)),
        ("boot_files", texts(&host.boot_files)),
        ("metadata", Some(mapping(&host.metadata)).filter(|_| !host.metadata.is_empty())),
        (
            "ssh_authorized_keys",
            Some(list(&host.ssh_authorized_keys)).filter(|_| !host.ssh_authorized_keys.is_empty()),
        ),
        // JSON of plain ASCII is YAML, too.
        ("pxe_menu", host.pxe_menu.as_ref().map(|menu| json!(menu).to_string())),
    ];
    let pairs = pairs.into_iter().filter_map(|(key, value)| Some(format!("  {key}: {}\n", value?)));
    format!("- name: {}\n{}", quoted(&host.name), pairs.collect::<String>())
}

/// Anything, in the form that YAML and JSON share.
fn any(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(any).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => mapping(entries),
        plain => plain.to_string(),
    }
}

fn mapping(entries: &Map<String, Value>) -> String {
    let pairs: Vec<String> =
        entries.iter().map(|(key, value)| format!("{}: {}", quoted(key), any(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}
