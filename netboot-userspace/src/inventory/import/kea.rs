//! Kea's `reservations`: of a whole configuration, of the answer to `config-get`, of one subnet, or a bare list.

use super::values::{self, NAMELESS};
use super::{Field, Sheet, json, tree};
use crate::config::yaml::{Node, Value};
use crate::inventory::entry::HostEntry;
use crate::inventory::identity::Duid;

pub(super) fn read(text: &str, sheet: &mut Sheet<'_>) {
    match json::parse(text) {
        Ok(root) => {
            if !visit(&root, sheet) {
                sheet.notice(root.at.line, "", "has no `reservations`");
            }
        }
        Err((at, reason)) => sheet.refuse(at.line, "", format!("is not Kea's JSON: {reason}")),
    }
    sheet.carries_of_its_versions(&[Field::Macs, Field::ClientId, Field::Circuit, Field::Ip]);
}

/// Takes all reservations in this part; false if it has no place for any.
fn visit(node: &Node, sheet: &mut Sheet<'_>) -> bool {
    if is_reservation(node) {
        reservation(node, sheet);
        return true;
    }
    let mut any = false;
    if let Value::List(items) = &node.value {
        for item in items {
            if matches!(&item.value, Value::Map(_)) && !visit(item, sheet) {
                sheet.refuse(item.at.line, "", NO_IDENTITY);
            }
            any = true;
        }
    }
    for (key, line, value) in tree::entries(node) {
        match key {
            "Dhcp4" | "Dhcp6" | "arguments" => any |= visit(value, sheet),
            "hosts-database" | "hosts-databases" => {
                sheet.notice(
                    line,
                    "",
                    format!("{key}: reservations that are kept there are not in this file"),
                );
            }
            "reservations" => {
                tree::items(value).iter().for_each(|item| reservation(item, sheet));
                any = true;
            }
            "subnet4" | "subnet6" | "shared-networks" => {
                tree::items(value).iter().for_each(|network| any |= visit(network, sheet));
            }
            _ => {}
        }
    }
    any
}

const NO_IDENTITY: &str = "has no hw-address, client-id, circuit-id or duid";

fn is_reservation(node: &Node) -> bool {
    let identities =
        ["hw-address", "client-id", "circuit-id", "duid", "flex-id", "ip-address", "ip-addresses"];
    tree::entries(node).any(|(key, ..)| identities.contains(&key))
}

fn reservation(node: &Node, sheet: &mut Sheet<'_>) {
    let mut entry = HostEntry::default();
    let mut notices = Vec::new();
    for (key, line, value) in tree::entries(node) {
        match field(key, value, &mut entry) {
            Ok(true) => {}
            Ok(false) if tree::is_empty(value) => {}
            Ok(false) => notices.push((line, unknown(key, value))),
            Err(reason) => return sheet.refuse(line, &entry.name, format!("{key}: {reason}")),
        }
    }
    let HostEntry { macs, client_id, circuit, duid, ip, .. } = &entry;
    if duid.is_some() && ip.is_some() {
        return sheet.refuse(node.at.line, &entry.name, DUID_OF_V4);
    }
    if macs.is_empty() && client_id.is_none() && circuit.is_none() && duid.is_none() {
        return sheet.refuse(node.at.line, &entry.name, NO_IDENTITY);
    }
    if values::name(&mut entry) {
        notices.push((node.at.line, NAMELESS.to_owned()));
    }
    for (line, notice) in notices {
        sheet.notice(line, &entry.name, notice);
    }
    sheet.host(node.at.line, entry);
}

/// Puts one key into the entry; false if it has no place there.
fn field(key: &str, value: &Node, entry: &mut HostEntry) -> Result<bool, String> {
    let given = || tree::text(value).map(|text| Some(text).filter(|text| !text.is_empty()));
    match key {
        "hw-address" => entry.macs.extend(given()?.map(values::mac).transpose()?),
        "client-id" => entry.client_id = given()?.map(bytes).transpose()?,
        "circuit-id" => entry.circuit = given()?.map(bytes).transpose()?,
        "duid" => entry.duid = given()?.map(duid).transpose()?,
        "ip-address" => entry.ip = given()?.map(str::to_owned),
        "ip-addresses" => match tree::texts(value)?.as_slice() {
            [] => {}
            [ip] => entry.ip6 = Some((*ip).to_owned()),
            _ => return Err("is more than one address: a host here has one".to_owned()),
        },
        // A trailing dot only says that no domain is to be added.
        "hostname" => tree::text(value)?.trim_end_matches('.').clone_into(&mut entry.name),
        "flex-id" => {
            return Err("what it is compared with is computed by Kea: name the machine by its MAC".to_owned());
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Of a reservation of IPv4.
const DUID_OF_V4: &str = "duid: a client of DHCPv4 sends more than its DUID (RFC 4361 section 6.1): \
                          write the whole option as client-id";

fn duid(text: &str) -> Result<String, String> {
    let bytes = values::hex(text).ok_or_else(|| format!("{text:?} is not hex digits"))?;
    Ok(Duid(bytes).to_string())
}

/// `'text'`, or hex digits.
fn bytes(text: &str) -> Result<String, String> {
    let quoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    let bytes = match quoted {
        Some(text) => Some(text.as_bytes().to_vec()),
        None => values::hex(text),
    };
    values::identifier(bytes.ok_or_else(|| format!("{text:?} is neither hex digits nor 'text'"))?)
}

fn unknown(key: &str, value: &Node) -> String {
    let names: Vec<&str> = match key {
        "option-data" => {
            let name = |option| tree::get(option, "name").or_else(|| tree::get(option, "code"));
            tree::items(value).iter().filter_map(|option| tree::text(name(option)?).ok()).collect()
        }
        _ => tree::texts(value).unwrap_or_default(),
    };
    match names.is_empty() {
        true => format!("{key} is not imported"),
        false => format!("{key} {} is not imported", names.join(", ")),
    }
}
