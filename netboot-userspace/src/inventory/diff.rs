//! What a change does to a host, field by field.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::change::Changed;
use super::entry::HostEntry;

/// What becomes of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    Added,
    Changed,
    Unchanged,
    Removed,
}

/// A field on both sides; `null` where it is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    pub old: Value,
    pub new: Value,
}

/// One host of a batch of changes. This is also its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDiff {
    pub name: String,
    pub what: What,
    /// Those that differ: the keys of a [`HostEntry`], and `labels.KEY` for each label, `options.KEY` for each option …
    pub fields: BTreeMap<String, Sides>,
    /// Those that a changed host keeps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchanged: Vec<String>,
}

impl What {
    pub fn of(changed: &Changed) -> Self {
        match (changed.old.is_some() || changed.left_out.is_some(), changed.new.is_some()) {
            (false, true) => Self::Added,
            (true, false) => Self::Removed,
            _ if changed.differs() => Self::Changed,
            _ => Self::Unchanged,
        }
    }
}

impl From<&Changed> for HostDiff {
    fn from(changed: &Changed) -> Self {
        let what = What::of(changed);
        let side = |host: &Option<_>| host.as_deref().map(HostEntry::from).as_ref().map(flat);
        let stored = changed.left_out.as_ref().map(|left_out| flat(&left_out.entry));
        let name = changed.name().to_owned();
        if what == What::Unchanged {
            return Self { name, what, fields: BTreeMap::new(), unchanged: Vec::new() };
        }
        let old = side(&changed.old).or(stored).unwrap_or_default();
        let new = side(&changed.new).unwrap_or_default();
        let kept = new.iter().filter(|(key, value)| old.get(*key) == Some(value));
        let unchanged = kept.map(|(key, _)| key.clone()).collect();
        Self { name, what, fields: differing(&old, &new), unchanged }
    }
}

type Flat = BTreeMap<String, Value>;

/// What of a host is not as it would be by itself.
fn flat(entry: &HostEntry) -> Flat {
    let Value::Object(mut object) = json!(entry) else { return Flat::new() };
    object.remove("name");
    let plain = [("macs", json!([])), ("boot", json!("profile"))];
    object.retain(|key, value| !plain.iter().any(|(name, plain)| key == name && value == plain));
    object.into_iter().flat_map(|(key, value)| leaves(key, value)).collect()
}

/// A mapping's entries, each for itself.
fn leaves(key: String, value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(entries) => {
            entries.into_iter().map(|(inner, value)| (format!("{key}.{inner}"), value)).collect()
        }
        value => vec![(key, value)],
    }
}

fn differing(old: &Flat, new: &Flat) -> BTreeMap<String, Sides> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let side = |flat: &Flat, key: &String| flat.get(key).cloned().unwrap_or_default();
    let sides = keys.into_iter().map(|key| (key.clone(), Sides { old: side(old, key), new: side(new, key) }));
    sides.filter(|(_, sides)| sides.old != sides.new).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_field_that_differs_is_named_with_both_sides() {
        let host = |json: Value| {
            let entry: HostEntry = serde_json::from_value(json).unwrap();
            Some(Arc::new(entry.check("store").unwrap()))
        };
        let mac = json!(["52:54:00:00:00:01"]);
        let old =
            host(json!({ "name": "a", "macs": mac, "ip": "10.0.0.1", "labels": { "rack": "7", "x": "" } }));
        let new =
            host(json!({ "name": "a", "macs": mac, "boot": "local", "labels": { "rack": "8", "x": "" } }));
        let changed = HostDiff::from(&Changed { old: old.clone(), new, left_out: None });
        let want = json!({
            "boot": { "old": null, "new": "local" },
            "ip": { "old": "10.0.0.1", "new": null },
            "labels.rack": { "old": "7", "new": "8" },
        });
        assert_eq!((changed.what, json!(changed.fields)), (What::Changed, want));
        assert_eq!(changed.unchanged, ["labels.x", "macs"]);
        let added = HostDiff::from(&Changed { new: old.clone(), ..Changed::default() });
        assert_eq!((added.what, added.fields.len()), (What::Added, 4));
        let same = HostDiff::from(&Changed { old: old.clone(), new: old.clone(), left_out: None });
        assert_eq!((same.what, same.fields.len()), (What::Unchanged, 0));
        assert_eq!(HostDiff::from(&Changed { old, ..Changed::default() }).what, What::Removed);
    }
}
