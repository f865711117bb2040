//! LiveBOOTP's `config.yml`: a block for each host, by its name. Every mapping that has `hardware-ethernet` is one,
//! wherever it stands: what the registry calls the key above them is not needed.

use super::{Field, Sheet, tree};
use crate::config::yaml::{self, Node};
use crate::inventory::entry::HostEntry;

/// Keys of a host block that have no field of their own here. Labels keep them.
pub(in super::super) const LABELS: [&str; 2] = ["image-name", "ssh-authorized-keys"];

pub(super) fn read(text: &str, sheet: &mut Sheet<'_>) {
    sheet.carries(&[Field::Macs, Field::Ip, Field::Cmdline]);
    sheet.reading.carries.labels = super::Labels::Keys(LABELS.map(str::to_owned).to_vec());
    match yaml::parse(text) {
        Ok(root) => visit(&root, sheet),
        Err((at, reason)) => sheet.refuse(at.line, "", format!("is not YAML: {reason}")),
    }
}

fn visit(node: &Node, sheet: &mut Sheet<'_>) {
    for item in tree::items(node) {
        visit(item, sheet);
    }
    for (key, line, value) in tree::entries(node) {
        if is_host(value) {
            host(key, line, value, sheet);
        } else if key == "domain-name-servers" {
            sheet.notice(line, "", format!("{key}: belongs to a subnet, as `dns`; it is not imported"));
        } else {
            visit(value, sheet);
        }
    }
}

fn is_host(node: &Node) -> bool {
    ["hardware-ethernet", "fixed-address", "image-name"].iter().any(|key| tree::get(node, key).is_some())
}

fn host(name: &str, line: usize, block: &Node, sheet: &mut Sheet<'_>) {
    let mut entry = HostEntry { name: name.to_owned(), ..HostEntry::default() };
    let mut unknown = Vec::new();
    for (key, line, value) in tree::entries(block) {
        match field(key, value, &mut entry) {
            Ok(true) => {}
            Ok(false) => unknown.push((line, key)),
            Err(reason) => return sheet.refuse(line, name, format!("{key}: {reason}")),
        }
    }
    if entry.macs.is_empty() {
        return sheet.refuse(line, name, "has no hardware-ethernet");
    }
    for (line, key) in unknown {
        sheet.notice(line, name, format!("{key} is not imported"));
    }
    if let Some(image) = entry.labels.get("image-name") {
        let reason = format!("image-name {image} is kept as a label: what a host boots is its profile");
        sheet.notice(line, name, reason);
    }
    sheet.host(line, entry);
}

/// Puts one key into the entry; false if it has no place there.
fn field(key: &str, value: &Node, entry: &mut HostEntry) -> Result<bool, String> {
    let text = || tree::text(value).map(str::to_owned);
    match key {
        "hardware-ethernet" => {
            let macs = tree::texts(value)?.into_iter().map(super::values::mac);
            entry.macs = macs.collect::<Result<_, _>>()?;
        }
        "fixed-address" => entry.ip = Some(text()?).filter(|ip| !ip.is_empty()),
        "cmdline-append" => entry.cmdline = text()?,
        _ if LABELS.contains(&key) => drop(entry.labels.insert(key.to_owned(), text()?)),
        _ => return Ok(false),
    }
    Ok(true)
}
