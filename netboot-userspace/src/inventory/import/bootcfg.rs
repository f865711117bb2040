//! bootcfg and matchbox: groups that select one machine by its MAC or UUID, and the machines of the days before groups
//! (`machines/ID/machine.json`, `boot/mac/ID`, `cloud/uuid/ID`), whose identity is their file's name.

use super::values::{self, NAMELESS};
use super::{Sheet, json, tree};
use crate::config::yaml::{self, Node, Value};
use crate::inventory::entry::{self, HostEntry};
use crate::inventory::identity::Uuid;

/// Whether a file below a data folder may name a host.
pub fn concerns(path: &str) -> bool {
    machine_of(path).is_some()
        || path.split('/').any(|part| part == "groups") && path.ends_with(".json")
        || !path.contains('/') && [".yaml", ".yml", ".conf"].iter().any(|ending| path.ends_with(ending))
}

pub(super) fn read(text: &str, sheet: &mut Sheet<'_>) {
    let path = sheet.file.to_string();
    match machine_of(&path) {
        Some((folder @ ("boot" | "cloud"), id)) => settings(folder, id, sheet),
        Some((_, id)) => document(text, sheet, |root, sheet| machine(id, root, sheet)),
        None => document(text, sheet, groups),
    }
}

/// The folder and the machine that a path names: `…/boot/mac/ID`, `…/machines/ID/machine.json`.
fn machine_of(path: &str) -> Option<(&str, &str)> {
    let mut parts = path.rsplit('/');
    let (file, parent, folder) = (parts.next()?, parts.next()?, parts.next()?);
    match (folder, parent) {
        ("boot" | "cloud", "mac" | "uuid") => Some((folder, file)),
        ("machines", id) if file == "machine.json" => Some((folder, id)),
        _ => None,
    }
}

fn document(text: &str, sheet: &mut Sheet<'_>, read: impl FnOnce(&Node, &mut Sheet<'_>)) {
    let parsed =
        if text.trim_start().starts_with(['{', '[']) { json::parse(text) } else { yaml::parse(text) };
    match parsed {
        Ok(root) => read(&root, sheet),
        Err((at, reason)) => sheet.refuse(at.line, "", format!("can't be read: {reason}")),
    }
}

/// A MAC or a UUID.
fn identified(id: &str) -> Result<HostEntry, String> {
    if let Ok(mac) = values::mac(id) {
        return Ok(HostEntry { macs: vec![mac], ..HostEntry::default() });
    }
    match id.parse::<Uuid>() {
        Ok(uuid) => Ok(HostEntry { uuid: Some(uuid.to_string()), ..HostEntry::default() }),
        Err(_) => Err(format!("{id:?} is neither a MAC nor a UUID")),
    }
}

/// `boot/mac/ID` and the like: the file is the machine's, what is in it is a profile's.
fn settings(folder: &str, id: &str, sheet: &mut Sheet<'_>) {
    let what = if folder == "boot" { "kernel, initrd and cmdline are" } else { "the cloud-config is" };
    let notice = format!("{what} not imported: what a host boots is its profile");
    match identified(id) {
        Ok(mut entry) => {
            values::name(&mut entry);
            for notice in [NAMELESS, &notice] {
                sheet.notice(0, &entry.name, notice);
            }
            sheet.host(0, entry);
        }
        Err(reason) => sheet.refuse(0, "", reason),
    }
}

/// `machines/ID/machine.json`.
fn machine(folder: &str, root: &Node, sheet: &mut Sheet<'_>) {
    let line = root.at.line;
    if folder == "default" {
        return sheet.notice(line, "", "is for all machines that have no entry: set `default_profile`");
    }
    let id = tree::get(root, "id").and_then(|id| tree::text(id).ok()).unwrap_or(folder);
    let mut entry = match identified(id) {
        Ok(entry) => entry,
        Err(reason) => return sheet.refuse(line, "", reason),
    };
    values::name(&mut entry);
    sheet.notice(line, &entry.name, NAMELESS);
    for (key, line, value) in tree::entries(root).filter(|(.., value)| !tree::is_empty(value)) {
        match (key, &value.value) {
            ("id", _) => {}
            ("spec" | "spec_id", Value::Text(profile) | Value::Plain(profile)) => {
                entry.profile = Some(profile.clone())
            }
            _ => sheet.notice(line, &entry.name, format!("{key} is not imported: make a profile of it")),
        }
    }
    sheet.host(line, entry);
}

/// One group, or the list of them in a file of version 0.1.
fn groups(root: &Node, sheet: &mut Sheet<'_>) {
    match tree::get(root, "groups") {
        Some(groups) => tree::items(groups).iter().for_each(|node| group(node, sheet)),
        None if matches!(root.value, Value::Map(_)) => group(root, sheet),
        None => sheet.notice(root.at.line, "", "has no groups"),
    }
}

/// What a group says, by its keys of all times.
#[derive(Default)]
struct Group {
    id: String,
    profile: String,
    entry: HostEntry,
    /// `key=value` of what it selects by beside the machine.
    conditions: Vec<String>,
    notices: Vec<(usize, String)>,
}

fn group(node: &Node, sheet: &mut Sheet<'_>) {
    let mut group = Group::default();
    for (key, line, value) in tree::entries(node) {
        if let Err(reason) = group.field(key, line, value) {
            return sheet.refuse(line, &group.id, format!("{key}: {reason}"));
        }
    }
    let Group { id, profile, mut entry, conditions, mut notices } = group;
    if entry.macs.is_empty() && entry.uuid.is_none() {
        let which = if conditions.is_empty() { "all machines".to_owned() } else { conditions.join(", ") };
        return sheet.notice(
            node.at.line,
            &id,
            format!("selects no single machine ({which}), so it is not imported"),
        );
    }
    entry.name = entry::host_name(&id).unwrap_or_default();
    if values::name(&mut entry) {
        notices.push((
            node.at.line,
            format!("{id:?} is no host's name: it gets one made of its first identity"),
        ));
    }
    if conditions.is_empty() {
        entry.profile = Some(profile).filter(|profile| !profile.is_empty());
    } else {
        let reason =
            format!("the profile {profile} holds only with {}: it is not imported", conditions.join(", "));
        notices.push((node.at.line, reason));
    }
    for (line, notice) in notices {
        sheet.notice(line, &entry.name, notice);
    }
    sheet.host(node.at.line, entry);
}

impl Group {
    fn field(&mut self, key: &str, line: usize, value: &Node) -> Result<(), String> {
        match key {
            "id" => tree::text(value)?.clone_into(&mut self.id),
            // Of the two, `id` is the one that fits a host.
            "name" if self.id.is_empty() => tree::text(value)?.clone_into(&mut self.id),
            "name" => {}
            "profile" | "spec" => tree::text(value)?.clone_into(&mut self.profile),
            "selector" | "require" => {
                for (key, _, value) in tree::entries(value) {
                    self.selector(key, tree::text(value)?)?;
                }
            }
            "metadata" => {
                for (key, line, value) in tree::entries(value) {
                    self.metadata(key, line, value);
                }
            }
            _ => self.notices.push((line, format!("{key} is not imported"))),
        }
        Ok(())
    }

    fn selector(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "mac" => self.entry.macs.push(values::mac(value)?),
            "uuid" => self.entry.uuid = Some(value.to_owned()),
            _ => self.conditions.push(format!("{key}={value}")),
        }
        Ok(())
    }

    fn metadata(&mut self, key: &str, line: usize, value: &Node) {
        match tree::text(value) {
            Ok(text) => drop(self.entry.labels.insert(key.to_owned(), text.to_owned())),
            Err(_) => {
                let reason = format!(
                    "metadata {key} is not imported: a label is one text, not {}",
                    value.value.kind()
                );
                self.notices.push((line, reason));
            }
        }
    }
}
