//! Machines that a group asks for are known, and hosts are told what the profile of their group says.

use std::sync::Arc;

use serde_json::json;

use super::super::super::changes::moved;
use super::*;
use crate::config::Named;
use crate::fastpath::Change;
use crate::inventory::Profile;
use crate::inventory::group::{Group, GroupEntry, Groups};

#[test]
fn where_unknown_machines_are_ignored_those_that_a_group_asks_for_are_answered() {
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let groups = json!([
        { "name": "by-mac", "selector": { "mac": ["52:54:00:00:00:01", "52:54:00:00:00:02"], "os": "installed" } },
        { "name": "by-uuid", "selector": { "uuid": uuid } },
        { "name": "by-arch", "selector": { "arch": "x86_64" } },
        { "name": "all" },
    ]);
    let groups: Vec<GroupEntry> = serde_json::from_value(groups).unwrap();
    let groups = Groups::new(groups.iter().map(|group| Arc::new(group.check("test:1").unwrap())));
    let mut lane = Lane::new(config(), Vec::new());
    lane.machine.serve_unknown = false;
    let option_97 = [&[0][..], &uuid.parse::<crate::inventory::identity::Uuid>().unwrap().to_wire()].concat();
    let asks =
        || [Ask::new(DISCOVER, 1), Ask::new(DISCOVER, 2), Ask::new(DISCOVER, 4).option(97, &option_97)];
    for ask in asks() {
        lane.left(&ask, Leave::UnknownIgnored);
    }
    lane.machine.hosts.regroup(&groups);
    for ask in asks() {
        lane.answered(&ask);
    }
    for ask in [Ask::new(DISCOVER, 3), Ask::new(DISCOVER, 3).option(93, &[0, 7])] {
        lane.left(&ask, Leave::UnknownIgnored);
    }
    lane.machine.hosts.regroup(&Groups::default());
    lane.left(&Ask::new(DISCOVER, 1), Leave::UnknownIgnored);
}

/// One that says this by DHCP.
fn profile(typed: serde_json::Value) -> Profile {
    crate::config::profile(&typed, &Named::default()).unwrap()
}

fn groups(typed: serde_json::Value) -> Vec<Arc<Group>> {
    let groups: Vec<GroupEntry> = serde_json::from_value(typed).unwrap();
    groups.iter().map(|group| Arc::new(group.check("test:1").unwrap())).collect()
}

/// A site whose profiles each say something else by DHCP, and of whose hosts the last one names a profile.
fn profiled() -> (Checked, Vec<Host>) {
    let profiles = vec![
        profile(json!({ "name": "plain", "local": true, "options": { "domain-name": "plain" } })),
        profile(json!({
            "name": "red", "local": true, "options": { "domain-name": "red" }, "vendor_options": { "1": "text:x" },
            "boot_files": { "bios": "red.0" },
        })),
        profile(json!({
            "name": "blue", "local": true, "options": { "domain-name": "blue" },
            "pxe_menu": { "items": [{ "title": "Blue disk", "local": true }] },
        })),
    ];
    let host = |number: u8, profile: Option<&str>| Host {
        macs: vec![Mac([0x52, 0x54, 0, 0, 0, number])],
        profile: profile.map(str::to_owned),
        ..host(&format!("n{number}"), Some([10, 0, 0, number]))
    };
    let site = Checked { profiles, default_profile: Some("plain".into()), ..config() };
    (site, vec![host(1, None), host(2, None), host(3, Some("blue"))])
}

/// The name of the profile that an OFFER is of, option 43, and what firmware gets: its file, and whether there is a menu.
fn told(lane: &mut Lane, number: u8) -> (String, bool, bool, bool) {
    let plain = lane.answered(&Ask::new(DISCOVER, number));
    let Some(DhcpOption::DomainName(name)) = plain.opts().get(OptionCode::DomainName) else {
        panic!("no domain name: {plain:?}")
    };
    let vendor = plain.opts().get(OptionCode::VendorExtensions).is_some();
    let firmware = lane.answered(&Ask::new(DISCOVER, number).pxe());
    let file = firmware.fname().is_some_and(|file| file.starts_with(b"red.0\0"));
    let menu = match firmware.opts().get(OptionCode::VendorExtensions) {
        Some(DhcpOption::VendorExtensions(value)) => value.windows(9).any(|part| part == b"Blue disk"),
        _ => false,
    };
    (name.clone(), vendor, file, menu)
}

#[test]
fn a_host_gets_what_the_profile_of_its_group_says_by_dhcp_and_other_groups_change_that() {
    let (site, hosts) = profiled();
    let red = json!({ "name": "red", "selector": { "hostname": ["n1", "n3"] }, "profile": "red" });
    let with = |typed: serde_json::Value| {
        let snapshot = Snapshot::new(hosts.clone(), site.profiles.clone()).unwrap();
        snapshot.with_groups(groups(typed)).unwrap()
    };
    let snapshot = with(json!([red]));
    let mut lane = Lane::new(site.clone(), Vec::new());
    lane.machine.hosts = Hosts::of(&mut lane.machine.plan, &snapshot);
    lane.machine.plan.take_fresh();
    let plain = ("plain".to_owned(), false, false, false);
    let (of_red, blue) = (("red".to_owned(), true, true, false), ("blue".to_owned(), false, false, true));
    assert_eq!([1, 2, 3].map(|n| told(&mut lane, n)), [of_red.clone(), plain.clone(), blue.clone()]);

    let regroup = |lane: &mut Lane, typed| {
        let snapshot = with(typed);
        let moved = moved(&snapshot, &lane.machine.plan.placing().clone());
        lane.machine.take_over(&moved, Some(snapshot.groups()), lane.now)
    };
    let key = |number| HostKey::new([0x52, 0x54, 0, 0, 0, number], 0);
    let two = json!({ "name": "two", "selector": { "mac": "52:54:00:00:00:02" }, "profile": "blue" });
    let made = regroup(&mut lane, json!([red, two]));
    let [Change::Put(first, value)] = made.changes[..] else { panic!("{:?}", made.changes) };
    assert_eq!((first, value.yiaddr), (key(2), [10, 0, 0, 2]), "only who moved is told of");
    assert!(made.ended.is_empty() && made.held.is_empty());
    assert_eq!([1, 2, 3].map(|n| told(&mut lane, n)), [of_red, blue.clone(), blue.clone()]);

    let made = regroup(&mut lane, json!([{ "name": "all", "profile": "blue" }]));
    let [Change::Put(first, value)] = made.changes[..] else { panic!("{:?}", made.changes) };
    assert_eq!(first, key(1), "the second one's profile is the same, in another group");
    assert_eq!(Some(&value), lane.machine.hosts.by_mac.get(&key(1)));
    assert_eq!([1, 2, 3].map(|n| told(&mut lane, n)), [blue.clone(), blue.clone(), blue.clone()]);

    let made = regroup(&mut lane, json!([]));
    assert_eq!(made.changes.len(), 2);
    assert_eq!([1, 2, 3].map(|n| told(&mut lane, n)), [plain.clone(), plain, blue]);
}

#[test]
fn a_kernel_that_is_told_of_a_host_has_the_templates_of_its_groups_profile() {
    let (site, mut hosts) = profiled();
    hosts.truncate(1);
    let mut lane = Lane::new(site.clone(), hosts.clone());
    lane.machine.plan.take_fresh();
    let snapshot = Snapshot::new(hosts, site.profiles).unwrap();
    let all = json!([{ "name": "all", "selector": { "hostname": "n1" }, "profile": "red" }]);
    let snapshot = snapshot.with_groups(groups(all)).unwrap();
    let moved = moved(&snapshot, &Groups::default());
    let made = lane.machine.take_over(&moved, Some(snapshot.groups()), lane.now);
    let [Change::Put(_, value)] = made.changes[..] else { panic!("{:?}", made.changes) };
    let of_value = made.templates.iter().filter(|(key, _)| key.group() == value.group());
    assert!(of_value.count() > 10, "new, and told with it");
}
