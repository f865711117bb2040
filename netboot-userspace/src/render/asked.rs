//! What a request says of the machine that it is for.

use std::collections::BTreeMap;

use netboot_common::Mac;
use serde_json::{Map, Value, json};

use crate::inventory::labels::Labels;

/// The query of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The first value of each parameter, by its name, whose case is kept.
    pub labels: BTreeMap<String, String>,
    /// As it came.
    pub raw_query: String,
    /// The machine that it names.
    mac: Option<Mac>,
}

impl Asked {
    /// Of the parameters in their order, decoded. A `mac`, in any case, is written in lower case with colons; one that is none is
    /// dropped: the second value says so. Of several the one that is written `mac` names the machine.
    pub fn new(parameters: Vec<(String, String)>, raw_query: &str) -> (Self, Vec<String>) {
        let (mut labels, mut dropped) = (BTreeMap::new(), Vec::new());
        for (name, value) in parameters {
            labels.entry(name).or_insert(value);
        }
        labels.retain(|name, value| {
            if !name.eq_ignore_ascii_case("mac") {
                return true;
            }
            match value.parse::<Mac>() {
                Ok(mac) => *value = mac.to_string(),
                Err(error) => {
                    dropped.push(format!("{name}={value}: {error}"));
                    return false;
                }
            }
            true
        });
        let mut asked = Self { labels, raw_query: raw_query.to_owned(), mac: None };
        asked.mac = asked.label("mac").and_then(|mac| mac.parse().ok());
        (asked, dropped)
    }

    /// A label by its name in any case.
    pub fn label(&self, name: &str) -> Option<&str> {
        let exact = self.labels.get(name);
        let other = || self.labels.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        exact.or_else(other).map(String::as_str)
    }

    /// As groups select by them.
    pub fn to_labels(&self) -> Labels {
        Labels::of_query(self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// Every value of a label, whatever the case of its name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.labels
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub const fn mac(&self) -> Option<Mac> {
        self.mac
    }

    /// What templates know: metadata (`data`), what the machine was selected by (keys in lower case), and `.request`.
    pub fn data(
        &self,
        mut data: Map<String, Value>,
        selected_by: impl IntoIterator<Item = (String, Value)>,
    ) -> Map<String, Value> {
        data.extend(selected_by.into_iter().map(|(key, value)| (key.to_lowercase(), value)));
        data.insert("request".to_owned(), json!({ "query": self.labels, "raw_query": self.raw_query }));
        data
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn pair((name, value): &(&str, &str)) -> (String, String) {
        ((*name).to_owned(), (*value).to_owned())
    }

    /// BC-24.
    #[test]
    fn labels_are_first_values_and_a_mac_is_written_one_way() {
        let cases: &[(Pairs, Pairs, usize)] = &[
            (&[("a", "1"), ("a", "2"), ("A", "3")], &[("A", "3"), ("a", "1")], 0),
            (
                &[("mac", "52-54-00-AB-CD-EF"), ("os", "installed")],
                &[("mac", "52:54:00:ab:cd:ef"), ("os", "installed")],
                0,
            ),
            (&[("MAC", "52:54:00:AB:CD:EF")], &[("MAC", "52:54:00:ab:cd:ef")], 0),
            (&[("mac", "none"), ("uuid", "A1")], &[("uuid", "A1")], 1),
            (&[("MAC", "x"), ("mac", "52:54:00:ab:cd:ef")], &[("mac", "52:54:00:ab:cd:ef")], 1),
            (&[("mac", "52:54:00:ab:cd:ef"), ("Mac", "")], &[("mac", "52:54:00:ab:cd:ef")], 1),
            (&[], &[], 0),
        ];
        for (query, want, dropped) in cases {
            let (asked, notes) = Asked::new(query.iter().map(pair).collect(), "q");
            assert_eq!(asked.labels, want.iter().map(pair).collect(), "{query:?}");
            assert_eq!(notes.len(), *dropped, "{query:?}");
            let mac = want.iter().find(|(key, _)| key.eq_ignore_ascii_case("mac"));
            assert_eq!(
                asked.mac().map(|mac| mac.to_string()).as_deref(),
                mac.map(|(_, mac)| *mac),
                "{query:?}"
            );
        }
    }

    /// BC-34: a key `request` of the metadata is overwritten, selectors come after metadata.
    #[test]
    fn templates_know_metadata_selectors_and_the_request() {
        let (asked, _) = Asked::new(vec![pair(&("foo", "bar"))], "foo=bar");
        let metadata = json!({"request": 1, "region": "meta", "n": {"a": [1]}});
        let selected_by = [("Region".to_owned(), json!("eu")), ("mac".to_owned(), json!("m"))];
        let data = asked.data(metadata.as_object().unwrap().clone(), selected_by);
        let want = json!({
            "region": "eu", "mac": "m", "n": {"a": [1]},
            "request": {"query": {"foo": "bar"}, "raw_query": "foo=bar"},
        });
        assert_eq!(Value::Object(data), want);
    }
}
