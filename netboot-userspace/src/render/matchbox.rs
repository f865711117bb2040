//! matchbox's data folder: `groups/ID.json` and `profiles/ID.json`, and the templates that profiles name.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use netboot_common::Mac;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Boot, bootcfg};

/// Machines that boot the same (BC-22).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Group {
    pub id: String,
    pub profile: String,
    pub selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    pub metadata: Map<String, Value>,
}

fn nullable<'d, D: serde::Deserializer<'d>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Group {
    /// # Errors
    /// The JSON is none of a group, or a MAC among its selectors is none.
    pub fn parse(json: &str) -> Result<Self, String> {
        let mut group: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        for (key, value) in &mut group.selector {
            if key.eq_ignore_ascii_case("mac") {
                let mac: Mac = value.parse().map_err(|error| format!("selector.{key}: {error}"))?;
                *value = mac.to_string();
            }
        }
        Ok(group)
    }

    fn has(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    fn selectors(&self) -> String {
        let pairs: Vec<String> = self.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(",")
    }
}

/// The group that counts (BC-25): all of its selectors are labels of the machine, and no other such group has more, or as many that
/// come later in the order of their text; of those with the same selectors the one whose id comes first.
pub fn select<'g>(
    groups: impl IntoIterator<Item = &'g Group>,
    labels: &BTreeMap<String, String>,
) -> Option<&'g Group> {
    let fitting = groups.into_iter().filter(|group| group.has(labels));
    fitting.max_by_key(|group| (group.selector.len(), group.selectors(), Reverse(&group.id)))
}

/// What a group boots (BC-23).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Profile {
    pub id: String,
    pub ignition_id: String,
    pub cloud_id: String,
    pub generic_id: String,
    boot: Option<NetBoot>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct NetBoot {
    kernel: String,
    initrd: Vec<String>,
    args: Vec<String>,
    /// Of matchbox before version 0.7, in place of `args`.
    cmdline: BTreeMap<String, String>,
}

impl Profile {
    /// # Errors
    /// The JSON is none of a profile, or says no `id`.
    pub fn parse(json: &str) -> Result<Self, String> {
        let profile: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if profile.id.is_empty() { Err("has no `id`".to_owned()) } else { Ok(profile) }
    }

    /// `None`: it boots nothing.
    pub fn boot(&self) -> Option<Boot> {
        let NetBoot { kernel, initrd, mut args, cmdline } = self.boot.clone()?;
        args.extend(bootcfg::arguments(&cmdline));
        (!kernel.is_empty()).then_some(Boot { kernel, initrd, args })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn group(id: &str, selector: &[(&str, &str)]) -> Group {
        Group::parse(
            &json!({"id": id, "selector": selector.iter().copied().collect::<BTreeMap<_, _>>()}).to_string(),
        )
        .unwrap()
    }

    /// BC-25.
    #[test]
    fn the_group_with_most_selectors_wins() {
        let groups = [
            group("default", &[]),
            group("eu", &[("region", "eu")]),
            group("installed", &[("os", "installed")]),
            group("one", &[("mac", "52-54-00-AB-CD-EF")]),
            group("both", &[("mac", "52:54:00:ab:cd:ef"), ("os", "installed")]),
            group("twin-b", &[("rack", "7")]),
            group("twin-a", &[("rack", "7")]),
        ];
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "default"),
            (&[("region", "us")], "default"),
            (&[("region", "eu")], "eu"),
            (&[("mac", "52:54:00:ab:cd:ef")], "one"),
            (&[("mac", "52:54:00:ab:cd:ef"), ("os", "installed")], "both"),
            // Equally many: by their text, the last.
            (&[("region", "eu"), ("os", "installed")], "eu"),
            (&[("mac", "52:54:00:ab:cd:ef"), ("region", "eu")], "eu"),
            // matchbox leaves it open.
            (&[("rack", "7")], "twin-a"),
            (&[("Region", "eu")], "default"),
        ];
        for (labels, want) in cases {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            for groups in [groups.iter().collect::<Vec<_>>(), groups.iter().rev().collect()] {
                assert_eq!(select(groups, &labels).unwrap().id, *want, "{labels:?}");
            }
        }
        assert_eq!(select(&groups[1..2], &BTreeMap::new()), None);
    }

    /// BC-22: what matchbox itself accepts on disk.
    #[test]
    fn groups_are_read_as_matchbox_reads_them() {
        let read = |json: &str| Group::parse(json);
        assert_eq!(read("{}").unwrap(), Group::default());
        let whole = read(
            r#"{"id": "a", "name": "A", "profile": "p", "selector": {"mac": "52-54-00-AB-CD-EF"}, "metadata": null}"#,
        );
        assert_eq!(whole.unwrap().selector["mac"], "52:54:00:ab:cd:ef");
        for wrong in [
            "",
            "{",
            "[]",
            r#"{"selector": {"mac": "x"}}"#,
            r#"{"selector": {"a": 1}}"#,
            r#"{"metadata": 1}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    /// BC-23, and the `cmdline` of earlier versions.
    #[test]
    fn profiles_are_read_as_matchbox_reads_them() {
        let json = r#"{"id": "p", "name": "P", "ignition_id": "a.ign", "boot": {"kernel": "k", "initrd": ["--name main u", "v"],
            "args": ["z=1", "a"], "cmdline": {"old": "", "b": "2"}}}"#;
        let profile = Profile::parse(json).unwrap();
        let boot = profile.boot().unwrap();
        assert_eq!((profile.ignition_id.as_str(), boot.kernel.as_str()), ("a.ign", "k"));
        assert_eq!(boot.initrd, ["--name main u", "v"]);
        assert_eq!(boot.args, ["z=1", "a", "b=2", "old"]);
        assert_eq!(Profile::parse(r#"{"id": "p"}"#).unwrap().boot(), None);
        assert!(Profile::parse(r#"{"name": "p"}"#).unwrap_err().contains("id"));
    }
}
