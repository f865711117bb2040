//! Which labels a group asks for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::hostlist;
use crate::inventory::labels::{Labels, normal};
use crate::inventory::typed::{Typed, Values};

/// What every machine of a group has to show: under each key one of the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(BTreeMap<String, Wanted>);

/// The values that are right under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    /// As typed, but for the spelling of MACs and UUIDs.
    typed: Values,
    /// As they are compared.
    accepted: BTreeSet<String>,
}

impl Selector {
    /// Asks for one of these values; of `hostname` each may be a list of names, as in `node[01-16]`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn add(&mut self, key: &str, values: &[&str]) -> Result<(), String> {
        if values.is_empty() {
            return Err("takes a value, or a list of those of which one is right".to_owned());
        }
        let (mut typed, mut accepted) = (Vec::new(), BTreeSet::new());
        for value in values {
            let value = normal(key, value)?;
            match key {
                "hostname" => accepted.extend(names(&value)?),
                _ => drop(accepted.insert(value.clone())),
            }
            typed.push(value);
        }
        self.0.insert(key.to_owned(), Wanted { typed: Values(typed), accepted });
        Ok(())
    }

    /// Whether a machine with these labels shows all that is asked for.
    pub fn has(&self, labels: &Labels) -> bool {
        let shows = |(key, wanted): (&String, &Wanted)| {
            labels.all(key).any(|value| match key.as_str() {
                "uuid" => wanted.accepted.contains(&value.to_ascii_lowercase()),
                _ => wanted.accepted.contains(value),
            })
        };
        self.0.iter().all(shows)
    }

    /// Whether nothing is asked for but labels with these keys.
    pub(super) fn asks_only(&self, keys: &[&str]) -> bool {
        self.0.keys().all(|key| keys.contains(&key.as_str()))
    }

    /// How many labels are asked for.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has every machine.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `key=value` in the order of the keys, with commas between them; `a|b` where there are several values.
    pub fn text(&self) -> String {
        let pairs: Vec<String> =
            self.0.iter().map(|(key, wanted)| format!("{key}={}", wanted.typed.0.join("|"))).collect();
        pairs.join(",")
    }

    /// By key, as typed.
    pub fn typed(&self) -> Typed {
        self.0.iter().map(|(key, wanted)| (key.clone(), wanted.typed.clone())).collect()
    }

    /// What is right under this key; `None`: it is not asked for.
    pub(super) fn accepted(&self, key: &str) -> Option<&BTreeSet<String>> {
        self.0.get(key).map(|wanted| &wanted.accepted)
    }
}

/// A name as it is, or those of a list. What can't be a list is a name, whatever it is made of.
fn names(value: &str) -> Result<Vec<String>, String> {
    if !value.contains(['[', ']', ',']) {
        return Ok(vec![value.to_owned()]);
    }
    hostlist::expand(value).map_err(|error| error.to_string())
}
