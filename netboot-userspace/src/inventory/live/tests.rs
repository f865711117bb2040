use super::*;
use crate::inventory::entry::HostPatch;

fn entry(name: &str, mac: &str, ip: &str) -> HostEntry {
    HostEntry { name: name.into(), macs: vec![mac.into()], ip: Some(ip.into()), ..HostEntry::default() }
}

fn open(dir: &std::path::Path) -> Live {
    let store = Arc::new(Store::open(dir).unwrap());
    let filed = entry("filed", "52:54:00:00:00:ff", "10.0.0.255").check("hosts.yaml:3").unwrap();
    let configured = Snapshot::new(vec![filed], Vec::new()).unwrap();
    let (live, notices) = Live::open(store, configured, inside).unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    live
}

fn inside(host: &Host) -> Result<(), String> {
    match host.ip {
        Some(ip) if ip.octets()[0] != 10 => Err(format!("ip: {ip} is outside")),
        _ => Ok(()),
    }
}

#[test]
fn a_change_is_announced_visible_and_durable() {
    let dir = tempfile::tempdir().unwrap();
    {
        let live = open(dir.path());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        live.on_change(move |changed| {
            let name = |host: &Option<Arc<Host>>| host.as_ref().map(|host| host.name.clone());
            let names = changed.iter().map(|changed| (name(&changed.old), name(&changed.new)));
            ear.lock().unwrap().extend(names);
            Ok(())
        });
        live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
        let patch = HostPatch {
            ip: Some(Some("10.0.0.2".into())),
            macs: Some(vec!["52:54:00:00:00:02".into()]),
            ..HostPatch::default()
        };
        live.apply(Change::Patch("a".into(), patch)).unwrap();
        let (old, new) = live.apply(Change::Add(entry("b", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
        assert_eq!((old.hosts().len(), new.hosts().len()), (2, 3));
        let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
        assert_eq!(*heard.lock().unwrap(), [(None, a.clone()), (a.clone(), a), (None, b)]);
    }
    let live = open(dir.path());
    let snapshot = live.snapshot();
    assert_eq!(snapshot.host_by_ip([10, 0, 0, 2].into()).unwrap().name, "a");
    assert_eq!(snapshot.host("b").unwrap().origin, STORE);
    live.apply(Change::Remove("a".into())).unwrap();
    assert!(live.snapshot().host_by_ip([10, 0, 0, 2].into()).is_none());
}

#[test]
fn a_refused_change_changes_nothing_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let live = open(dir.path());
    live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
    let cases = [
        (Change::Add(entry("a", "52:54:00:00:00:02", "10.0.0.2")), "host a is there already, from store"),
        (Change::Add(entry("b", "52:54:00:00:00:01", "10.0.0.2")), "has the MAC 52:54:00:00:00:01 of host a"),
        (Change::Add(entry("b", "52:54:00:00:00:02", "10.0.0.1")), "has the address 10.0.0.1 of host a"),
        (Change::Add(entry("b", "52:54:00:00:00", "10.0.0.2")), "not a MAC address"),
        (Change::Add(entry("b b", "52:54:00:00:00:02", "10.0.0.2")), "not a host name"),
        (Change::Add(entry("b", "52:54:00:00:00:02", "11.0.0.2")), "ip: 11.0.0.2 is outside"),
        (Change::Put(entry("filed", "52:54:00:00:00:02", "10.0.0.2")), "comes from hosts.yaml:3"),
        (Change::Patch("c".into(), HostPatch::default()), "there is no host c"),
        (Change::Remove("c".into()), "there is no host c"),
        (Change::Remove("filed".into()), "comes from hosts.yaml:3"),
    ];
    for (change, want) in cases {
        let error = live.apply(change.clone()).unwrap_err().to_string();
        assert!(error.contains(want), "{change:?}: {error}");
        assert_eq!(live.snapshot().hosts().len(), 2);
        assert_eq!(live.store.hosts::<HostEntry>().unwrap().len(), 1);
    }
}

#[test]
fn another_configuration_keeps_the_stores_hosts_and_leaves_out_those_that_contradict_it() {
    let dir = tempfile::tempdir().unwrap();
    let live = open(dir.path());
    live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
    live.apply(Change::Add(entry("b", "52:54:00:00:00:02", "10.0.0.2"))).unwrap();
    let new = |mac, ip| vec![entry("new", mac, ip).check("hosts.yaml:9").unwrap()];
    let configured = Snapshot::new(new("52:54:00:00:00:03", "10.0.0.2"), Vec::new()).unwrap();
    let seen = Mutex::new(0);
    let reconfigured = live.reconfigure(
        configured,
        |_| Ok(()),
        |snapshot| {
            *seen.lock().unwrap() = snapshot.hosts().len();
            Ok(())
        },
    );
    let Reconfigured { hosts, left_out, .. } = reconfigured.unwrap();
    assert_eq!(hosts, Counts { added: 1, changed: 0, removed: 2 }, "filed and b are gone, new is there");
    assert_eq!(left_out.len(), 1);
    assert!(left_out[0].contains("host b of the store") && left_out[0].contains("host new"), "{left_out:?}");
    assert_eq!((*seen.lock().unwrap(), live.snapshot().hosts().len()), (2, 2));
    // The new rule is in force, too.
    live.apply(Change::Add(entry("far", "52:54:00:00:00:04", "11.0.0.4"))).unwrap();
    // And back: what was left out is there again.
    let hosts = live.reconfigure(Snapshot::default(), |_| Ok(()), |_| Ok(())).unwrap().hosts;
    assert_eq!(hosts, Counts { added: 1, changed: 0, removed: 1 });
    assert!(live.snapshot().host("b").is_some());
}

#[test]
fn a_batch_is_one_change() {
    let dir = tempfile::tempdir().unwrap();
    let live = open(dir.path());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    live.on_change(move |changed| {
        ear.lock().unwrap().push(changed.len());
        Ok(())
    });
    let (a, b) = (entry("a", "52:54:00:00:00:01", "10.0.0.1"), entry("b", "52:54:00:00:00:02", "10.0.0.2"));
    live.apply_all(&[Change::Add(a.clone()), Change::Add(b.clone())]).unwrap();
    // Two machines change places; what stays as it is, is not announced.
    let (a, b) = (HostEntry { name: "b".into(), ..a }, HostEntry { name: "a".into(), ..b });
    let filed = Change::Merge("filed".into(), HostPatch::default());
    let changed = live.apply_all(&[Change::Put(a), Change::Put(b), filed]).unwrap();
    assert_eq!(changed.iter().map(|(_, changed)| changed.differs()).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(live.snapshot().host_by_ip([10, 0, 0, 1].into()).unwrap().name, "b");
    live.apply_all(&[Change::Remove("a".into()), Change::Remove("b".into())]).unwrap();
    assert_eq!(*heard.lock().unwrap(), [2, 2, 2]);
    assert_eq!(live.store.hosts::<HostEntry>().unwrap(), []);
}

#[test]
fn a_batch_with_a_fault_changes_nothing_or_only_what_fits() {
    let dir = tempfile::tempdir().unwrap();
    let live = open(dir.path());
    live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap();
    let moved = HostPatch { ip: Some(Some("11.0.0.1".into())), ..HostPatch::default() };
    let changes = [
        Change::Add(entry("c", "52:54:00:00:00:03", "10.0.0.3")),
        // It would have to leave its place for b, and has nowhere to go.
        Change::Patch("a".into(), moved),
        Change::Add(entry("b", "52:54:00:00:00:02", "10.0.0.1")),
        Change::Remove("c".into()),
        Change::Remove("d".into()),
    ];
    let faults = |not_taken: &[NotTaken]| -> Vec<(usize, String)> {
        not_taken.iter().map(|fault| (fault.index, fault.why.faults().join("; "))).collect()
    };
    let want = [
        (1, "ip: 11.0.0.1 is outside"),
        (2, "host b has the address 10.0.0.1 of host a"),
        (3, "is changed twice in one batch: name each host once"),
        (4, "there is no host d"),
    ];
    let want = want.map(|(index, text)| (index, text.to_owned()));
    let Err(Failed::Refused(refused)) = live.apply_all(&changes) else { panic!("it must be refused") };
    assert_eq!(faults(&refused), want);
    assert_eq!(faults(&live.dry_run(&changes).not_taken), want);
    assert_eq!(live.snapshot().hosts().len(), 2);
    let done = live.apply_fitting(&changes).unwrap();
    assert_eq!(faults(&done.not_taken), want);
    assert_eq!(done.changed.len(), 1);
    assert!(live.snapshot().host("c").is_some());
    assert_eq!(live.store.hosts::<HostEntry>().unwrap().len(), 2);
}

/// A store whose hosts are a (the MAC of a configured host) and b (an address outside), as the configuration is now.
fn with_left_out(dir: &std::path::Path) -> Live {
    let stored = [entry("a", "52:54:00:00:00:ff", "10.0.0.1"), entry("b", "52:54:00:00:00:02", "11.0.0.2")];
    let stored = stored.each_ref().map(|entry| (entry.name.as_str(), Some(entry)));
    let store = Arc::new(Store::open(dir).unwrap());
    store.put_hosts(&stored).unwrap();
    let filed = entry("filed", "52:54:00:00:00:ff", "10.0.0.255").check("hosts.yaml:3").unwrap();
    let configured = Snapshot::new(vec![filed], Vec::new()).unwrap();
    let (live, notices) = Live::open(store, configured, inside).unwrap();
    let want = ["has the MAC 52:54:00:00:00:ff of host filed", "ip: 11.0.0.2 is outside"];
    assert_eq!(notices.len(), 2);
    for (notice, want) in notices.iter().zip(want) {
        assert!(notice.contains(want) && notice.contains("netboot host remove"), "{notice}");
    }
    live
}

fn names_left_out(live: &Live) -> Vec<String> {
    live.snapshot().all_left_out().map(|left_out| left_out.entry.name.clone()).collect()
}

#[test]
fn a_stored_host_that_is_left_out_can_be_repaired_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let live = with_left_out(dir.path());
    assert_eq!((live.snapshot().hosts().len(), names_left_out(&live)), (1, vec!["a".into(), "b".into()]));

    let cmdline = HostPatch { cmdline: Some("quiet".into()), ..HostPatch::default() };
    let refused = live.apply(Change::Patch("b".into(), cmdline)).unwrap_err();
    assert_eq!(refused.to_string(), "ip: 11.0.0.2 is outside");
    let refused = live.apply(Change::Add(entry("b", "52:54:00:00:00:03", "10.0.0.3"))).unwrap_err();
    assert!(refused.to_string().contains("there already, from the store, where it is left out"), "{refused}");
    assert_eq!(names_left_out(&live), ["a", "b"]);

    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    live.on_change(move |changed| {
        ear.lock().unwrap().extend(changed.to_vec());
        Ok(())
    });
    let moved = HostPatch { ip: Some(Some("10.0.0.2".into())), ..HostPatch::default() };
    let changes = [Change::Patch("b".into(), moved), Change::Remove("a".into())];
    live.apply_all(&changes).unwrap();
    let snapshot = live.snapshot();
    assert_eq!(snapshot.host_by_ip([10, 0, 0, 2].into()).unwrap().macs[0].to_string(), "52:54:00:00:00:02");
    assert!(snapshot.host("a").is_none() && names_left_out(&live).is_empty());
    let heard: Vec<_> =
        heard.lock().unwrap().iter().map(|c| (c.name().to_owned(), c.new.is_some())).collect();
    assert_eq!(heard, [("b".to_owned(), true), ("a".to_owned(), false)]);
    let stored = live.store.hosts::<HostEntry>().unwrap();
    assert_eq!(
        stored.iter().map(|(name, entry)| (name.as_str(), entry.ip.as_deref())).collect::<Vec<_>>(),
        [("b", Some("10.0.0.2"))]
    );
    assert!(live.apply(Change::Remove("a".into())).unwrap_err().to_string().contains("there is no host a"));
}

#[test]
fn a_stored_host_whose_name_is_a_configured_ones_is_removed_and_the_other_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let twin = entry("filed", "52:54:00:00:00:01", "10.0.0.1");
    store.put_hosts(&[("filed", Some(&twin))]).unwrap();
    drop(store);
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let filed = entry("filed", "52:54:00:00:00:ff", "10.0.0.255").check("hosts.yaml:3").unwrap();
    let configured = Snapshot::new(vec![filed], Vec::new()).unwrap();
    let (live, _) = Live::open(store, configured, inside).unwrap();
    assert_eq!(names_left_out(&live), ["filed"]);
    let patch =
        Change::Patch("filed".into(), HostPatch { cmdline: Some("x".into()), ..HostPatch::default() });
    assert!(live.apply(patch).unwrap_err().to_string().contains("comes from hosts.yaml:3"));
    live.apply(Change::Remove("filed".into())).unwrap();
    assert_eq!(live.snapshot().host("filed").unwrap().origin, "hosts.yaml:3");
    assert_eq!((names_left_out(&live), live.store.hosts::<HostEntry>().unwrap()), (vec![], vec![]));
}

#[test]
fn a_merge_adds_or_changes_only_what_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let live = open(dir.path());
    let merge = |macs: &str| HostPatch { macs: Some(vec![macs.into()]), ..HostPatch::default() };
    live.apply(Change::Merge("a".into(), merge("52:54:00:00:00:01"))).unwrap();
    let local = HostPatch { boot: Some(crate::inventory::Boot::Local), ..HostPatch::default() };
    live.apply(Change::Patch("a".into(), local)).unwrap();
    live.apply(Change::Merge("a".into(), merge("52:54:00:00:00:02"))).unwrap();
    let snapshot = live.snapshot();
    let host = snapshot.host("a").unwrap();
    assert_eq!(
        (host.macs[0].to_string().as_str(), host.boot),
        ("52:54:00:00:00:02", crate::inventory::Boot::Local)
    );
}

#[test]
fn a_change_that_a_layer_could_not_follow_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let live = open(dir.path());
    live.on_change(|_| Err("the map is full".to_owned()));
    let refused = live.apply(Change::Add(entry("a", "52:54:00:00:00:01", "10.0.0.1"))).unwrap_err();
    assert_eq!(refused.to_string(), "the map is full");
    assert!(live.snapshot().host("a").is_some(), "it is stored all the same");
}
