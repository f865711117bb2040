#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn group(name: &str, selector: Value) -> Group {
    let entry: GroupEntry =
        serde_json::from_value(json!({ "name": name, "selector": selector, "profile": "p" })).unwrap();
    entry.check("test:1").unwrap()
}

fn groups(all: &[(&str, Value)]) -> Groups {
    Groups::new(all.iter().map(|(name, selector)| Arc::new(group(name, selector.clone()))))
}

fn chosen<'a>(groups: &'a Groups, asked: &[(&str, &str)]) -> Option<&'a str> {
    let labels = Labels::of_query(asked.iter().copied());
    let chosen = groups.of(&labels);
    let first = groups.iter().find(|group| group.selector.has(&labels));
    assert_eq!(chosen, first, "the index and the list agree: {asked:?}");
    chosen.map(|group| group.name.as_str())
}

/// Row BC-25 of the boot servers' survey, and the lists of its lesson 22.
#[test]
fn the_group_with_the_most_selectors_counts() {
    let groups = groups(&[
        ("default", json!({})),
        ("region-b", json!({ "region": "b" })),
        ("zone-b", json!({ "zone": "b" })),
        ("both", json!({ "region": "b", "zone": "b" })),
        ("one", json!({ "mac": "52-54-00-00-00-01" })),
        ("one-installed", json!({ "mac": "525400000001", "os": "installed" })),
        ("some", json!({ "mac": ["52:54:00:00:00:02", "52:54:00:00:00:03"] })),
        ("names", json!({ "hostname": "node[01-03]" })),
        ("more-names", json!({ "hostname": ["a", "rack[1-2]n[1-2]"] })),
        ("uuid", json!({ "uuid": "AAAA-bbbb" })),
        ("empty", json!({ "serial": "" })),
    ]);
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "default"),
        (&[("region", "a")], "default"),
        (&[("region", "b")], "region-b"),
        (&[("region", "b"), ("zone", "a")], "region-b"),
        (&[("region", "b"), ("zone", "b")], "both"),
        (&[("Region", "b")], "default"),
        (&[("mac", "52:54:00:00:00:01")], "one"),
        (&[("mac", "52-54-00-00-00-01"), ("os", "installed")], "one-installed"),
        (&[("mac", "52:54:00:00:00:01"), ("region", "b"), ("zone", "b")], "both"),
        (&[("mac", "nonsense")], "default"),
        (&[("mac", "525400000003")], "some"),
        (&[("hostname", "node02")], "names"),
        (&[("hostname", "node2")], "default"),
        (&[("hostname", "rack2n1")], "more-names"),
        (&[("uuid", "aaaa-BBBB")], "uuid"),
        (&[("serial", "")], "empty"),
    ];
    for (asked, want) in cases {
        assert_eq!(chosen(&groups, asked), Some(*want), "{asked:?}");
    }
    assert_eq!(chosen(&Groups::default(), &[("mac", "525400000001")]), None);
}

/// Row BC-25: a tie is decided by the selectors' text, in reverse; then by the name, whatever the order of the files.
#[test]
fn a_tie_is_always_decided_the_same_way() {
    let mut all = [
        ("by-arch", json!({ "arch": "x86_64" })),
        ("by-region", json!({ "region": "b" })),
        ("a-twin", json!({ "zone": "1" })),
        ("b-twin", json!({ "zone": "1" })),
    ];
    for _ in 0..all.len() {
        all.rotate_left(1);
        let groups = groups(&all);
        assert_eq!(chosen(&groups, &[("arch", "x86_64"), ("region", "b")]), Some("by-region"));
        assert_eq!(chosen(&groups, &[("arch", "x86_64"), ("zone", "1")]), Some("a-twin"));
    }
}

/// Row BC-22: what a group may say, and what is wrong all at once.
#[test]
fn a_group_is_what_was_typed_or_all_that_is_wrong_with_it() {
    let typed = json!({
        "name": "rack7",
        "selector": { "mac": "52:54:00:00:00:01", "region": ["a", "b"] },
        "profile": "flatcar",
        "cmdline": "console=ttyS0",
        "metadata": { "etcd": { "name": "n1", "peers": [1, true, null] } },
    });
    let entry: GroupEntry = serde_json::from_value(typed.clone()).unwrap();
    let group = entry.check("groups.d/x.yaml:3").unwrap();
    assert_eq!(json!(GroupEntry::from(&group)), typed);
    assert_eq!(group_json(&group)["origin"], "groups.d/x.yaml:3");

    let wrong = json!({
        "name": "rack 7",
        "selector": { "mac": "nonsense", "region": [], "hostname": "node[3-1]" },
        "cmdline": "a\nb",
        "metadata": { "request": {} },
    });
    let entry: GroupEntry = serde_json::from_value(wrong).unwrap();
    let faults = entry.check("x").unwrap_err();
    let want =
        ["name: ", "selector.hostname: ", "selector.mac: ", "selector.region: ", "cmdline: ", "metadata: "];
    assert_eq!(faults.len(), want.len(), "{faults:?}");
    for (fault, want) in faults.iter().zip(want) {
        assert!(fault.starts_with(want), "{fault}");
    }
    assert!(serde_json::from_value::<GroupEntry>(json!({ "name": "a", "selectors": {} })).is_err());
}
