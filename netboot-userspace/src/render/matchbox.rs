//! matchbox's data folder: `groups/ID.json` and `profiles/ID.json`, and the templates that profiles name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Boot, bootcfg};
use crate::inventory::group::{Group, Selector};

/// A group's file (BC-22).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Typed {
    id: String,
    profile: String,
    selector: BTreeMap<String, String>,
    metadata: Option<Map<String, Value>>,
}

/// Machines that boot the same, which are selected as those of our own groups.
///
/// # Errors
/// The JSON is none of a group, or a MAC among its selectors is none.
pub fn group(origin: &str, json: &str) -> Result<Group, String> {
    let typed: Typed = bootcfg::object(json)?;
    let mut selector = Selector::default();
    for (key, value) in &typed.selector {
        selector.add(key, &[value]).map_err(|fault| format!("selector.{key}: {fault}"))?;
    }
    Ok(Group {
        name: typed.id,
        selector,
        profile: Some(typed.profile),
        cmdline: String::new(),
        metadata: typed.metadata.unwrap_or_default(),
        origin: origin.to_owned(),
    })
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
        let profile: Self = bootcfg::object(json)?;
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
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::inventory::group::Groups;
    use crate::inventory::labels::Labels;

    fn typed(id: &str, selector: &[(&str, &str)]) -> Arc<Group> {
        let selector: BTreeMap<_, _> = selector.iter().copied().collect();
        Arc::new(group("test", &json!({"id": id, "selector": selector}).to_string()).unwrap())
    }

    /// BC-25.
    #[test]
    fn the_group_with_most_selectors_wins() {
        let groups = [
            typed("default", &[]),
            typed("eu", &[("region", "eu")]),
            typed("installed", &[("os", "installed")]),
            typed("one", &[("mac", "52-54-00-AB-CD-EF")]),
            typed("both", &[("mac", "52:54:00:ab:cd:ef"), ("os", "installed")]),
            typed("twin-b", &[("rack", "7")]),
            typed("twin-a", &[("rack", "7")]),
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
            let labels = Labels::of_query(labels.iter().copied());
            for groups in [groups.to_vec(), groups.iter().rev().cloned().collect()] {
                assert_eq!(Groups::new(groups).of(&labels).unwrap().name, *want, "{labels:?}");
            }
        }
        assert_eq!(Groups::new([groups[1].clone()]).of(&Labels::default()), None);
    }

    /// BC-22: what matchbox itself accepts on disk.
    #[test]
    fn groups_are_read_as_matchbox_reads_them() {
        let read = |json: &str| group("test", json);
        assert_eq!(read("{}").unwrap().profile.as_deref(), Some(""));
        let whole = r#"{"id": "a", "name": "A", "profile": "p", "selector": {"mac": "52-54-00-AB-CD-EF"}, "metadata": null}"#;
        assert_eq!(read(whole).unwrap().selector.text(), "mac=52:54:00:ab:cd:ef");
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
