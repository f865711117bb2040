//! What boots machines elsewhere, where the inventory says nothing.

use super::*;
use crate::inventory::boots;
use crate::inventory::elsewhere::Elsewhere;
use crate::inventory::group::GroupEntry;

/// A folder that knows whoever says `known=…`, and can't say of `known=broken`.
#[derive(Debug)]
struct Folder;

impl Elsewhere for Folder {
    fn boots(&self, labels: &Labels) -> Result<Option<(Arc<Profile>, String)>, String> {
        match labels.get("known") {
            None => Ok(None),
            Some("broken") => Err("groups/a.json: broken".into()),
            Some(known) => Ok(Some((Arc::new(profile(known, false)), format!("group {known}")))),
        }
    }
}

/// A site with a group for machines in rack 7, and one for all.
fn site(dir: &std::path::Path) -> (Arc<Live>, Machines) {
    let (live, machines) = open(dir, false);
    let groups = serde_json::json!([
        { "name": "rack", "selector": { "rack": "7" }, "profile": "rescue" },
        { "name": "all", "profile": "rescue" },
    ]);
    let groups: Vec<GroupEntry> = serde_json::from_value(groups).unwrap();
    let groups = groups.iter().map(|group| Arc::new(group.check("test:1").unwrap()));
    let configured = Snapshot::new(vec![], vec![profile("install", true), profile("rescue", false)]).unwrap();
    live.reconfigure(configured.with_groups(groups).unwrap(), |_| Ok(()), |_| Ok(())).unwrap();
    machines.set_elsewhere(Some(Arc::new(Folder)));
    (live, machines)
}

fn would(machines: &Machines, asked: &[(&str, &str)]) -> (String, String) {
    let taken = machines.would_as(MAC, Shown::default(), &Labels::of_query(asked.iter().copied()));
    let decision = match taken.decision {
        Decision::Profile { profile, .. } => profile.name.clone(),
        other => format!("{other:?}"),
    };
    (decision, taken.why)
}

#[test]
fn a_folder_decides_for_those_of_whom_the_inventory_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = site(dir.path());
    type Asked = &'static [(&'static str, &'static str)];
    let cases: &[(Asked, &str, &str)] = &[
        (&[("known", "f")], "f", "profile f (test:1) by group f"),
        (&[("known", "f"), ("rack", "7")], "rescue", "by group rack"),
        (&[("known", "broken"), ("rack", "7")], "rescue", "by group rack"),
        (&[("known", "broken")], "Nothing(\"groups/a.json: broken\")", "groups/a.json: broken"),
    ];
    for (asked, decision, why) in cases {
        let (got, because) = would(&machines, asked);
        assert!(got == *decision && because.contains(why), "{asked:?}: {got}, {because}");
    }
    let (got, _) = would(&machines, &[]);
    assert!(got.contains("unknown machines are ignored"), "{got}");
    machines.set_policy(Policy { boot_unknown: true, ..Policy::clone(&machines.policy()) });
    assert_eq!(would(&machines, &[]).0, "rescue", "by the group of all");
    assert_eq!(would(&machines, &[("known", "f")]).0, "f");
    live.apply(Change::Add(host(Boot::Profile, None))).unwrap();
    assert_eq!(would(&machines, &[("known", "f")]).0, "rescue", "a host is the inventory's");
    machines.set_elsewhere(None);
    assert_eq!(would(&machines, &[("known", "f")]).0, "rescue");
}

#[test]
fn a_boot_by_a_folder_is_decided_again_when_the_machine_is_another_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = site(dir.path());
    let obeys = |asked: &[(&str, &str)], asking| {
        let asked = Labels::of_query(asked.iter().copied());
        match machines.obey(MAC, Shown::default(), &asked, asking).decision {
            Decision::Profile { profile, .. } => profile.name.clone(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(obeys(&[("known", "f")], Asking::Loader), "f");
    let boot = machines.boot(MAC);
    assert_eq!(obeys(&[], Asking::Agent), "f", "what it said holds");
    machines.set_elsewhere(None);
    machines.set_elsewhere(Some(Arc::new(Folder)));
    assert_eq!(obeys(&[("known", "g")], Asking::Agent), "g");
    assert_eq!(machines.boot(MAC), boot, "the same boot");
    let records = machines.boots(&[MAC]);
    let decided =
        |step: &boots::Step| step.what == "decided" && step.text.contains("profile g instead of profile f");
    assert!(records.iter().flat_map(|record| &record.steps).any(decided), "{records:?}");
}
