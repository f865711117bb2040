//! Groups of machines: which machines are in one, which of several counts, and what it says of them. Pure.
//!
//! A machine is in a group if every selector of it finds its value among the machine's labels. Of those groups one counts: the one
//! with the most selectors; among those with equally many the one whose selectors, written `key=value` in the order of their
//! keys with commas between them, come last in byte order; and of groups with the same selectors the one whose name comes first. A
//! group without selectors is the default one, and there is at most one.

mod heard;
mod profile;
mod selector;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use netboot_common::Mac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::heard::Grouped;
pub use self::profile::profile_name;
pub use self::selector::Selector;
use super::entry;
use super::identity::Uuid;
use super::labels::Labels;
use super::typed::Typed;

/// Machines that boot the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// Which machines are in it; without one, those that are in no other.
    pub selector: Selector,
    /// What its machines boot whose hosts name nothing; `None`: the site's default profile.
    pub profile: Option<String>,
    /// Kernel arguments, beside those of the profile and the host.
    pub cmdline: String,
    /// What templates are filled in with.
    pub metadata: Map<String, Value>,
    /// `file:line` for groups read from a file, `store` for groups set by CLI or API.
    pub origin: String,
}

/// A [`Group`] as typed: its JSON in the store, in the API and in `--json` output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupEntry {
    pub name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: Typed,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl GroupEntry {
    /// The group as meant.
    ///
    /// # Errors
    /// All that is wrong, a line each, each beginning with its field.
    pub fn check(&self, origin: &str) -> Result<Group, Vec<String>> {
        let mut faults = Vec::new();
        let mut note = |field: &str, message: String| faults.push(format!("{field}: {message}"));
        let name = group_name(&self.name).map_err(|fault| note("name", fault)).unwrap_or_default();
        let mut selector = Selector::default();
        for (key, values) in &self.selector {
            let read = selector.add(key, &values.as_strs());
            let _ = read.map_err(|fault| note(&format!("selector.{key}"), fault));
        }
        let cmdline =
            entry::cmdline(&self.cmdline).map_err(|fault| note("cmdline", fault)).unwrap_or_default();
        let _ = metadata(&self.metadata).map_err(|fault| note("metadata", fault));
        if !faults.is_empty() {
            return Err(faults);
        }
        let (profile, metadata, origin) = (self.profile.clone(), self.metadata.clone(), origin.to_owned());
        Ok(Group { name, selector, profile, cmdline, metadata, origin })
    }
}

impl From<&Group> for GroupEntry {
    fn from(group: &Group) -> Self {
        let selector = group.selector.typed();
        let Group { name, profile, cmdline, metadata, .. } = group.clone();
        Self { name, selector, profile, cmdline, metadata }
    }
}

/// The name of a group: what fits into a URL as it is.
pub fn group_name(text: &str) -> Result<String, String> {
    entry::profile_name(text).map_err(|fault| fault.replace("a profile's", "a group's"))
}

/// What templates are filled in with: any mapping, but for the key by which they know the request.
pub fn metadata(metadata: &Map<String, Value>) -> Result<(), String> {
    if metadata.contains_key("request") {
        return Err("has the key `request`, by which templates know what was asked: name it otherwise".into());
    }
    Ok(())
}

/// A group as JSON, with the keys of the configuration, and where it comes from.
pub fn group_json(group: &Group) -> Value {
    let mut value = json!(GroupEntry::from(group));
    value["origin"] = json!(group.origin);
    value
}

/// All groups, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// The first that has a machine counts.
    all: Vec<Arc<Group>>,
    /// Of those that ask for one of [`NAMING`]: the places in `all`, by value. A site may have a group for each machine.
    by_value: HashMap<(&'static str, String), Vec<usize>>,
    /// The places of all others.
    others: Vec<usize>,
    /// Those of the others that DHCP can tell to have a machine without an entry.
    heard: Vec<usize>,
    /// See [`Groups::hear_more_than_macs`].
    hear_more: bool,
}

/// Labels that few machines share, the rarest first.
const NAMING: [&str; 4] = ["mac", "uuid", "serial", "hostname"];

impl Groups {
    pub fn new(groups: impl IntoIterator<Item = Arc<Group>>) -> Self {
        let mut all: Vec<Arc<Group>> = groups.into_iter().collect();
        all.sort_by_cached_key(|group| {
            (Reverse((group.selector.len(), group.selector.text())), group.name.clone())
        });
        let (mut by_value, mut others, mut heard) = (HashMap::<_, Vec<usize>>::new(), Vec::new(), Vec::new());
        for (place, group) in all.iter().enumerate() {
            let named = NAMING.into_iter().find_map(|key| Some((key, group.selector.accepted(key)?)));
            let Some((key, values)) = named else {
                others.push(place);
                heard.extend(group.is_heard().then_some(place));
                continue;
            };
            for value in values {
                by_value.entry((key, value.clone())).or_default().push(place);
            }
        }
        let hear_more = heard::hear_more(&all);
        Self { all, by_value, others, heard, hear_more }
    }

    /// The one that counts for a machine.
    pub fn of(&self, labels: &Labels) -> Option<&Arc<Group>> {
        self.first_of(labels, &self.others)
    }

    /// `others`: those places that may have such a machine, of groups that ask for none of [`NAMING`].
    fn first_of(&self, labels: &Labels, others: &[usize]) -> Option<&Arc<Group>> {
        let named =
            NAMING.into_iter().flat_map(|key| labels.all(key).map(move |value| (key, value.to_owned())));
        let named = named.filter_map(|named| self.by_value.get(&named));
        let is_in = |place: &&usize| self.all.get(**place).is_some_and(|group| group.selector.has(labels));
        let places = named.flat_map(|places| places.iter().find(is_in)).chain(others.iter().find(is_in));
        places.min().and_then(|place| self.all.get(*place))
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// In the order in which they are tried.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Group>> {
        self.all.iter()
    }

    /// The MACs that groups ask for, whatever else they ask for: those machines are known.
    pub fn macs(&self) -> impl Iterator<Item = Mac> {
        self.asked_for("mac").filter_map(|mac| mac.parse().ok())
    }

    /// The same of UUIDs.
    pub fn uuids(&self) -> impl Iterator<Item = Uuid> {
        self.asked_for("uuid").filter_map(|uuid| uuid.parse().ok())
    }

    fn asked_for(&self, key: &'static str) -> impl Iterator<Item = &String> {
        self.all.iter().filter_map(move |group| group.selector.accepted(key)).flatten()
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Group>> {
        self.all.iter().find(|group| group.name == name)
    }
}

#[cfg(test)]
mod tests;
