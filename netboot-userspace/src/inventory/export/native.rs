//! Lists of hosts with our own keys. Nothing is lost.

use serde_json::json;

use super::{Exported, quoted};
use crate::inventory::Boot;
use crate::inventory::entry::HostEntry;

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
    let boot = Some(json!(host.boot).to_string()).filter(|_| host.boot != Boot::default());
    let labels: Vec<String> =
        host.labels.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
    let some = |field: &Option<String>| field.as_deref().map(quoted);
    let pairs = [
        ("macs", Some(list(&host.macs)).filter(|_| !host.macs.is_empty())),
        ("client_id", some(&host.client_id)),
        ("uuid", some(&host.uuid)),
        ("circuit", some(&host.circuit)),
        ("ip", some(&host.ip)),
        ("profile", some(&host.profile)),
        ("boot", boot),
        ("cmdline", Some(quoted(&host.cmdline)).filter(|_| !host.cmdline.is_empty())),
        ("labels", Some(format!("{{{}}}", labels.join(", "))).filter(|_| !labels.is_empty())),
    ];
    let pairs = pairs.into_iter().filter_map(|(key, value)| Some(format!("  {key}: {}\n", value?)));
    format!("- name: {}\n{}", quoted(&host.name), pairs.collect::<String>())
}
