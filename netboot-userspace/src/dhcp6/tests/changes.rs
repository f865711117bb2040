//! Changes of the inventory, while it is served.

use std::sync::{Arc, Mutex};

use netboot_common::class::Class;
use serde_json::json;

use super::super::tables::Hosts;
use super::super::{Server, Shared};
use super::{STRANGER, Site};
use crate::inventory::change::Changed;
use crate::inventory::entry::HostEntry;
use crate::inventory::group::GroupEntry;
use crate::inventory::{Host, Profile, Snapshot};
use crate::store::Store;

fn host(name: &str, mac: u8, duid: &str, ip6: &str) -> Arc<Host> {
    let entry = HostEntry {
        name: name.into(),
        macs: vec![format!("52:54:00:88:00:{mac:02x}")],
        duid: Some(duid.into()),
        uuid: Some(format!("11223344-5566-7788-99aa-bbccddee00{mac:02x}")),
        ip6: Some(ip6.into()),
        ..HostEntry::default()
    };
    Arc::new(entry.check("store").unwrap())
}

#[test]
fn what_changes_is_in_force_as_after_a_start() {
    let (a, b) = (
        host("a", 1, "00:02:00:00:00:01", "2001:db8::100"),
        host("b", 2, "00:02:00:00:00:02", "2001:db8::101"),
    );
    // They exchange all that they are known by, and one of them its address for a new one.
    let (a2, b2) = (
        host("a", 2, "00:02:00:00:00:02", "2001:db8::101"),
        host("b", 1, "00:02:00:00:00:01", "2001:db8::102"),
    );
    let changed = |old: &Arc<Host>, new: &Arc<Host>| Changed {
        old: Some(old.clone()),
        new: Some(new.clone()),
        left_out: None,
    };
    let added = |new: &Arc<Host>| Changed { new: Some(new.clone()), ..Changed::default() };
    let mut site = Site::new();
    let taken = site.machine.book.set_taken(Default::default());
    site.machine.book.set_taken(taken.clone());
    let named = site.machine.hosts.find(&[0, 2, 0, 0, 0xab, 0x11, 7], &[]).cloned();
    let steps = [vec![added(&a), added(&b)], vec![changed(&a, &a2), changed(&b, &b2)]];
    for (step, there) in steps.iter().zip([[&a, &b], [&a2, &b2]]) {
        site.machine.apply(step);
        let now = Snapshot::new(there.map(|host| (**host).clone()).to_vec(), Vec::new()).unwrap();
        let new = Hosts::new(&now);
        for host in there {
            let found = site.machine.hosts.find(&host.duid.as_ref().unwrap().0, &[]);
            assert_eq!(found, new.find(&host.duid.as_ref().unwrap().0, &[]));
            assert_eq!(found, site.machine.hosts.find(&[], &host.macs));
        }
        let mut want = taken.clone();
        want.extend(there.iter().filter_map(|host| host.ip6));
        assert_eq!(site.machine.book.set_taken(want.clone()), want);
    }
    let gone = |old: &Arc<Host>| Changed { old: Some(old.clone()), ..Changed::default() };
    site.machine.apply(&[gone(&a2), gone(&b2)]);
    assert_eq!(site.machine.hosts, Site::new().machine.hosts);
    assert!(named.is_some() && site.machine.book.set_taken(Default::default()) == taken);
}

#[test]
fn a_server_that_is_told_of_other_groups_is_as_after_a_start_with_them() {
    // More than are taken over at a time.
    let host = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let (name, macs) = (format!("n{number}"), vec![format!("52:54:00:99:{high:02x}:{low:02x}")]);
        let labels = [("rack".to_owned(), (number % 2).to_string())].into();
        let uuid = Some(format!("11223344-5566-7788-99aa-bbccddee{high:02x}{low:02x}"));
        HostEntry { name, macs, uuid, labels, ..HostEntry::default() }.check("store").unwrap()
    };
    let hosts: Vec<Host> = (0..1000).map(host).collect();
    let profiles = ["odd", "mine"].map(|name| Profile { name: name.into(), ..Profile::default() });
    let of = |groups: serde_json::Value| {
        let groups: Vec<GroupEntry> = serde_json::from_value(groups).unwrap();
        let groups = groups.iter().map(|group| Arc::new(group.check("store").unwrap()));
        Snapshot::new(hosts.clone(), profiles.to_vec()).unwrap().with_groups(groups).unwrap()
    };
    let odd = json!({ "name": "odd", "selector": { "rack": "1" }, "profile": "odd" });
    let mine = json!({ "name": "mine", "selector": { "mac": STRANGER.to_string() }, "profile": "mine" });
    let dir = tempfile::tempdir().unwrap();
    let (store, counters) = (Arc::new(Store::open(dir.path()).unwrap()), Default::default());
    let machine = Mutex::new(Site::new().machine);
    let shared = Arc::new(Shared { machine, store, counters, observer: Arc::new(|_| {}) });
    let server = Server { shared, running: Mutex::default() };
    server.shared.machine().hosts = Hosts::new(&of(json!([])));
    for groups in [json!([odd]), json!([odd, mine]), json!([mine]), json!([])] {
        let snapshot = of(groups.clone());
        server.regroup(&snapshot);
        let machine = server.shared.machine();
        assert!(machine.hosts == Hosts::new(&snapshot), "{groups}");
        let heard = machine.hosts.heard(&[], &[STRANGER], Class::EfiX64);
        let is_mine = machine.hosts.groups().profile_of_stranger(heard, None) == Some("mine");
        assert_eq!(is_mine, groups.to_string().contains("mine"), "{groups}");
    }
}
