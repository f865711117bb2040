//! Machines that a group asks for are known, and hosts are told what the profile of their group says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::super::super::Shared;
use super::super::super::changes::{Told, moved};
use super::*;
use crate::config::Named;
use crate::fastpath::Change;
use crate::inventory::Profile;
use crate::inventory::elsewhere::Elsewhere;
use crate::inventory::group::{Group, GroupEntry, Grouped, Groups};
use crate::inventory::identity::Uuid;
use crate::inventory::labels::Labels;
use crate::store::Store;

const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

#[test]
fn where_unknown_machines_are_ignored_those_that_a_group_asks_for_are_answered() {
    let groups = json!([
        { "name": "by-mac", "selector": { "mac": ["52:54:00:00:00:01", "52:54:00:00:00:02"], "os": "installed" } },
        { "name": "by-uuid", "selector": { "uuid": UUID } },
        { "name": "by-arch", "selector": { "arch": "x86_64" } },
        { "name": "all" },
    ]);
    let groups: Vec<GroupEntry> = serde_json::from_value(groups).unwrap();
    let groups = Groups::new(groups.iter().map(|group| Arc::new(group.check("test:1").unwrap())));
    let mut lane = Lane::new(config(), Vec::new());
    lane.machine.serve_unknown = false;
    let option_97 = [&[0][..], &UUID.parse::<Uuid>().unwrap().to_wire()].concat();
    let asks =
        || [Ask::new(DISCOVER, 1), Ask::new(DISCOVER, 2), Ask::new(DISCOVER, 4).option(97, &option_97)];
    for ask in asks() {
        lane.left(&ask, Leave::UnknownIgnored);
    }
    lane.machine.hosts.grouped = Grouped::of(&groups);
    for ask in asks() {
        lane.answered(&ask);
    }
    for ask in [Ask::new(DISCOVER, 3), Ask::new(DISCOVER, 3).option(93, &[0, 7])] {
        lane.left(&ask, Leave::UnknownIgnored);
    }
    lane.machine.hosts.grouped = Grouped::default();
    lane.left(&Ask::new(DISCOVER, 1), Leave::UnknownIgnored);
}

/// A folder that has something for one MAC and for one UUID, and can't be read for another MAC.
#[derive(Debug)]
struct Folder;

impl Elsewhere for Folder {
    fn boots(&self, labels: &Labels) -> Result<Option<(Arc<Profile>, String)>, String> {
        match labels.get("mac") {
            Some("52:54:00:00:00:01") if labels.get("arch") == Some("x86_64") => Ok(Some(Default::default())),
            Some("52:54:00:00:00:02") => Err("groups/a.json: broken".into()),
            _ if labels.get("uuid") == Some(UUID) => Ok(Some(Default::default())),
            _ => Ok(None),
        }
    }
}

#[test]
fn where_unknown_machines_are_ignored_those_that_a_folder_boots_are_answered() {
    let mut lane = Lane::new(config(), Vec::new());
    lane.machine.serve_unknown = false;
    let asks = |n| Ask::new(DISCOVER, n).option(60, b"PXEClient").option(93, &[0, 7]);
    lane.left(&asks(1), Leave::UnknownIgnored);
    lane.machine.elsewhere = Some(Arc::new(Folder));
    lane.answered(&asks(1));
    for ask in [asks(2), asks(3), Ask::new(DISCOVER, 1)] {
        lane.left(&ask, Leave::UnknownIgnored);
    }
    let uuid: Uuid = UUID.parse().unwrap();
    for (number, sent) in [(4, uuid.to_wire()), (5, uuid.0)] {
        lane.answered(&asks(number).option(97, &[&[0][..], &sent].concat()));
    }
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

/// As [`Shared`](super::super::super::Shared) does, of few hosts.
fn regroup(lane: &mut Lane, snapshot: &Snapshot) -> Told {
    let moved = moved(snapshot, &lane.machine.plan.placing().clone());
    lane.machine.regroup(snapshot.groups(), Grouped::of(snapshot.groups()));
    lane.machine.take_over(&moved, lane.now)
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

    let regroup = |lane: &mut Lane, typed| regroup(lane, &with(typed));
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
    let made = regroup(&mut lane, &snapshot);
    let [Change::Put(_, value)] = made.changes[..] else { panic!("{:?}", made.changes) };
    let of_value = made.templates.iter().filter(|(key, _)| key.group() == value.group());
    assert!(of_value.count() > 10, "new, and told with it");
}

#[test]
fn more_hosts_than_are_taken_over_at_a_time_are_all_moved_by_other_groups() {
    let (site, _) = profiled();
    let host = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let macs = vec![Mac([0x52, 0x54, 0, 1, high, low])];
        Host { macs, ..host(&format!("n{number}"), Some([10, 1, high, low])) }
    };
    let hosts: Vec<Host> = (0..1000).map(host).collect();
    let with = |typed: serde_json::Value| {
        let snapshot = Snapshot::new(hosts.clone(), site.profiles.clone()).unwrap();
        snapshot.with_groups(groups(typed)).unwrap()
    };
    let mut lane = Lane::new(site.clone(), Vec::new());
    lane.machine.hosts = Hosts::of(&mut lane.machine.plan, &with(json!([])));
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(lane.machine, Store::open(dir.path()).unwrap());
    let all = json!({ "name": "all", "profile": "blue" });
    for typed in [json!([all]), json!([])] {
        let before: HashMap<HostKey, HostValue> = shared.machine().hosts.by_mac.clone();
        shared.regroup(&with(typed)).unwrap();
        let mut machine = shared.machine();
        // As a start with these groups makes them.
        let Machine { plan, hosts: now, .. } = &mut *machine;
        let fresh = hosts.iter().flat_map(|host| plan.host_entries(host)).collect::<HashMap<_, _>>();
        assert!(now.by_mac == fresh && now.by_mac.len() == 1000);
        assert!(before.iter().all(|(key, value)| now.by_mac[key].group() != value.group()), "all are moved");
    }
}

/// A server without sockets.
fn shared(machine: Machine, store: Store) -> Shared {
    let (clock, machine) = (store.clock(), Mutex::new(machine));
    Shared {
        machine,
        kernel: None,
        store: Arc::new(store),
        clock,
        counters: Vec::new(),
        refusals: Mutex::default(),
        observations: Mutex::default(),
        behind: Default::default(),
        gate: None,
        observer: Arc::new(|_| {}),
        failing: Mutex::default(),
    }
}

/// The name of the profile that an OFFER is of.
fn domain(lane: &mut Lane, ask: &Ask) -> String {
    match lane.answered(ask).opts().get(OptionCode::DomainName) {
        Some(DhcpOption::DomainName(name)) => name.clone(),
        other => panic!("no domain name: {other:?}"),
    }
}

#[test]
fn a_machine_without_an_entry_gets_what_the_profile_of_its_group_says_by_dhcp() {
    let (site, hosts) = profiled();
    let with = |typed: serde_json::Value| {
        let snapshot = Snapshot::new(hosts.clone(), site.profiles.clone()).unwrap();
        snapshot.with_groups(groups(typed)).unwrap()
    };
    let by_mac = json!({ "name": "m", "selector": { "mac": ["52:54:00:00:00:07", "52:54:00:00:00:01"] }, "profile": "red" });
    let by_uuid = json!({ "name": "u", "selector": { "uuid": UUID }, "profile": "blue" });
    let by_arch = json!({ "name": "a", "selector": { "arch": "x86_64" }, "profile": "blue" });
    let by_more =
        json!({ "name": "o", "selector": { "mac": "52:54:00:00:00:08", "os": "x" }, "profile": "red" });
    let snapshot = with(json!([by_mac, by_uuid, by_arch, by_more]));
    let mut lane = Lane::new(site.clone(), Vec::new());
    lane.machine.hosts = Hosts::of(&mut lane.machine.plan, &snapshot);
    let (of_red, plain) = (("red".to_owned(), true, true, false), ("plain".to_owned(), false, false, false));
    assert_eq!([7, 8].map(|n| told(&mut lane, n)), [of_red, plain]);
    let option_97 = [&[0][..], &UUID.parse::<Uuid>().unwrap().to_wire()].concat();
    let cases = [
        (Ask::new(DISCOVER, 7).option(97, &option_97), "blue", "the later text of two groups"),
        (Ask::new(DISCOVER, 8).option(97, &option_97), "blue", "by its UUID"),
        (Ask::new(DISCOVER, 8).option(60, b"PXEClient").option(93, &[0, 7]), "blue", "by its architecture"),
        (Ask::new(DISCOVER, 8), "plain", "its system says neither"),
        (Ask::new(DISCOVER, 1), "red", "a host, by its entry"),
    ];
    for (ask, want, story) in cases {
        assert_eq!(domain(&mut lane, &ask), want, "{story}");
    }
    let proxied = lane.answered(&Ask { ifindex: 2, ..Ask::new(DISCOVER, 7).pxe() });
    assert!(proxied.fname().is_some_and(|file| file.starts_with(b"red.0\0")), "by a proxy");

    regroup(&mut lane, &with(json!([{ "name": "all", "profile": "blue" }])));
    assert_eq!([7, 8].map(|n| told(&mut lane, n).0), ["blue", "blue"]);
    regroup(&mut lane, &with(json!([])));
    assert_eq!([7, 8].map(|n| told(&mut lane, n).0), ["plain", "plain"]);
}

/// A lease that waits for the disk: who is to be taught it, and what.
fn renewed(lane: &mut Lane, number: u8, ip: [u8; 4]) -> (HostKey, HostValue) {
    let (actions, _) = lane.handle(&Ask::new(REQUEST, number).field(12, ip).unicast(ip));
    let (key, entry) = actions.store.unwrap();
    assert!(lane.machine.book.written(&key, &entry));
    actions.teach.unwrap()
}

#[test]
fn a_lease_that_waited_for_the_disk_while_its_machine_was_moved_is_not_taught_as_it_was_decided() {
    let (site, mut hosts) = profiled();
    hosts[0].ip = None;
    let with = |typed: serde_json::Value| {
        let snapshot = Snapshot::new(hosts.clone(), site.profiles.clone()).unwrap();
        snapshot.with_groups(groups(typed)).unwrap()
    };
    let mut lane = Lane::new(site.clone(), Vec::new());
    lane.machine.hosts = Hosts::of(&mut lane.machine.plan, &with(json!([])));
    // A host without a reservation, and a machine without an entry.
    let leased = [1, 7].map(|number| (number, lane.lease(number, same).unwrap()));
    for (number, ip) in leased {
        regroup(&mut lane, &with(json!([])));
        let (key, value) = renewed(&mut lane, number, ip);
        let now = lane.now;
        assert!(lane.machine.may_be_taught(&key, &value, now), "{number}: nothing has changed");
        let mac = Mac([0x52, 0x54, 0, 0, 0, number]).to_string();
        let red = json!({ "name": "red", "selector": { "mac": mac }, "profile": "red" });
        regroup(&mut lane, &with(json!([red])));
        assert!(!lane.machine.may_be_taught(&key, &value, now), "{number}: it is in another group");
        let (key, value) = renewed(&mut lane, number, ip);
        assert!(lane.machine.may_be_taught(&key, &value, now), "{number}: as its next ACK says");
        let arch = json!({ "name": "arch", "selector": { "arch": "x86_64" } });
        regroup(&mut lane, &with(json!([red, arch])));
        let is_host = number == 1;
        assert_eq!(
            lane.machine.may_be_taught(&key, &value, now),
            is_host,
            "{number}: more than its MAC counts"
        );
    }
}
