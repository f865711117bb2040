//! What groups make of a decision.

use std::collections::BTreeMap;

use super::*;

/// A site with these groups, at which `unknown` machines are booted or not.
fn grouped(dir: &std::path::Path, boot_unknown: bool, groups: serde_json::Value) -> (Arc<Live>, Machines) {
    let groups: Vec<crate::inventory::group::GroupEntry> = serde_json::from_value(groups).unwrap();
    let groups = groups.iter().map(|group| Arc::new(group.check("groups.yaml:1").unwrap()));
    let store = Arc::new(Store::open(dir).unwrap());
    let profiles = vec![profile("install", true), profile("rescue", false), profile("worker", false)];
    let configured = Snapshot::new(vec![], profiles).unwrap().with_groups(groups).unwrap();
    let (live, _) = Live::open(store.clone(), configured, |_, _| Ok(())).unwrap();
    let live = Arc::new(live);
    let policy = Policy { boot_unknown, default_profile: Some("install".into()), ..Policy::default() };
    let machines = Machines::open(store, Arc::default(), live.clone(), policy).unwrap();
    (live, machines)
}

fn boots_saying(machines: &Machines, asked: &[(&str, &str)]) -> String {
    let asked = Labels::of_query(asked.iter().copied());
    match machines.obey(MAC, Shown::default(), &asked, Asking::Loader).decision {
        Decision::Profile { profile, group, .. } => {
            let group = group.map_or("none".to_owned(), |group| group.name.clone());
            format!("{} of {group}", profile.name)
        }
        Decision::Nothing(_) => "nothing".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_machine_boots_its_hosts_profile_then_its_groups_then_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let groups = serde_json::json!([
        { "name": "workers", "selector": { "role": "worker" }, "profile": "worker" },
        { "name": "plain", "selector": { "role": "plain" } },
        { "name": "all" },
    ]);
    let (live, machines) = grouped(dir.path(), true, groups);
    assert_eq!(boots_saying(&machines, &[("x", "y")]), "install of all");
    assert_eq!(boots_saying(&machines, &[("role", "worker")]), "worker of workers");
    assert_eq!(boots_saying(&machines, &[("role", "plain")]), "install of plain", "it names no profile");
    let labels = BTreeMap::from([("role".to_owned(), "worker".to_owned())]);
    live.apply(Change::Add(HostEntry { labels, ..host(Boot::Profile, None) })).unwrap();
    assert_eq!(boots_saying(&machines, &[("role", "plain")]), "worker of workers", "its host's label counts");
    live.apply(Change::Put(host(Boot::Profile, Some("rescue")))).unwrap();
    assert_eq!(boots_saying(&machines, &[("role", "worker")]), "rescue of workers");
    let placed = machines.place(MAC, Shown::default(), Labels::default());
    assert_eq!(placed.group.as_ref().unwrap().name, "workers", "what it said before");
    assert_eq!(placed.profile.as_ref().unwrap().name, "rescue");
    assert_eq!((placed.labels.get("hostname"), placed.host.unwrap().name.as_str()), (Some("n"), "n"));
}

#[test]
fn what_a_group_selects_boots_where_unknown_machines_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let groups = serde_json::json!([
        { "name": "one", "selector": { "mac": OTHER.to_string() }, "profile": "rescue" },
        { "name": "installed", "selector": { "os": "installed" }, "profile": "worker" },
        { "name": "all", "profile": "rescue" },
    ]);
    let (_, machines) = grouped(dir.path(), false, groups);
    assert_eq!(boots_saying(&machines, &[("x", "y")]), "nothing", "a group without selectors selects nobody");
    assert_eq!(boots_saying(&machines, &[("os", "installed")]), "worker of installed");
    assert_eq!(boots(&machines, OTHER), "rescue");
}

#[test]
fn what_a_machine_said_holds_for_its_agent_and_over_a_restart_until_it_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let groups = || serde_json::json!([{ "name": "w", "selector": { "role": "w" }, "profile": "worker" }]);
    let script = |profile: &str| {
        let (profile, shown) = (profile.to_owned(), Shown::default());
        Observation::Script { profile, installs: false, once: false, shown }
    };
    {
        let (_, machines) = grouped(dir.path(), true, groups());
        assert_eq!(boots_saying(&machines, &[("role", "w")]), "worker of w");
        assert_eq!(boots(&machines, MAC), "worker", "before it is remembered");
        see(&machines, &script("worker"));
        assert_eq!(boots(&machines, MAC), "worker");
    }
    let (_, machines) = grouped(dir.path(), true, groups());
    assert_eq!(boots(&machines, MAC), "worker", "after a restart");
    assert_eq!(boots_saying(&machines, &[("role", "x")]), "install of none");
    see(&machines, &script("install"));
    assert_eq!(boots(&machines, MAC), "install");
}
