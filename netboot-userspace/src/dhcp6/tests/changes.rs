//! Changes of the inventory, while it is served.

use std::sync::Arc;

use super::super::tables::Hosts;
use super::Site;
use crate::inventory::change::Changed;
use crate::inventory::entry::HostEntry;
use crate::inventory::{Host, Snapshot};

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
