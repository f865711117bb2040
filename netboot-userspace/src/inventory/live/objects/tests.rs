use std::sync::Mutex;

use super::*;
use crate::inventory::Host;
use crate::inventory::entry::HostEntry;
use crate::inventory::live::Change;

const KERNEL: &str = "http://h/vmlinuz";

/// Whatever is there.
impl Live {
    fn put_profile(&self, typed: &Value) -> Result<Arc<Profile>, Refused> {
        self.put_profile_if(typed, |_| Ok(()))
    }

    fn remove_profile(&self, name: &str) -> Result<(), Refused> {
        self.remove_profile_if(name, |_| Ok(()))
    }

    fn put_group(&self, entry: &GroupEntry) -> Result<Arc<Group>, Refused> {
        self.put_group_if(entry, |_| Ok(()))
    }

    fn remove_group(&self, name: &str) -> Result<(), Refused> {
        self.remove_group_if(name, |_| Ok(()))
    }
}

fn profile(name: &str, origin: &str) -> Profile {
    Profile { name: name.into(), origin: origin.into(), ..Profile::default() }
}

fn group(value: Value) -> GroupEntry {
    serde_json::from_value(value).unwrap()
}

/// A site with a profile and a group of files.
fn configured() -> Snapshot {
    let filed = group(json!({ "name": "filed", "selector": { "os": "x" } })).check("groups.yaml:1").unwrap();
    let snapshot = Snapshot::new(vec![], vec![profile("filed", "profiles.yaml:1")]).unwrap();
    snapshot.with_groups([Arc::new(filed)]).unwrap()
}

fn open(dir: &std::path::Path, configured: Snapshot) -> (Live, Vec<String>) {
    Live::open(Arc::new(Store::open(dir).unwrap()), configured, |_, _| Ok(())).unwrap()
}

fn names(live: &Live) -> (Vec<String>, Vec<String>) {
    let snapshot = live.snapshot();
    let profiles = snapshot.profiles().map(|profile| profile.name.clone()).collect();
    (profiles, snapshot.groups().iter().map(|group| group.name.clone()).collect())
}

#[test]
fn profiles_and_groups_by_command_are_durable_and_visible() {
    let dir = tempfile::tempdir().unwrap();
    let typed = json!({
        "name": "p", "kernel": KERNEL, "cmdline": "quiet", "metadata": { "n": 1, "none": null },
        "configs": { "cloud": "#cloud-config\n" },
        "install": { "image": "http://10.0.0.1/i", "sha256": "0".repeat(64), "size": null, "on_failure": "retry", "retry": "5s" },
    });
    let before = {
        let (live, _) = open(dir.path(), configured());
        live.put_profile(&json!({ "name": "p", "local": true })).unwrap();
        live.put_profile(&typed).unwrap();
        live.put_group(&group(json!({ "name": "g", "selector": { "region": "b" }, "profile": "p" })))
            .unwrap();
        live.put_profile(&json!({ "name": "q", "local": true })).unwrap();
        live.remove_profile("q").unwrap();
        live.put_group(&group(json!({ "name": "gone" }))).unwrap();
        live.remove_group("gone").unwrap();
        let shown = profile_json(live.snapshot().profile("p").unwrap());
        live.put_profile(&shown).unwrap();
        (names(&live), live.snapshot())
    };
    let (live, notices) = open(dir.path(), configured());
    assert_eq!((names(&live), notices), (before.0.clone(), vec![]));
    assert_eq!(before.0, (vec!["filed".into(), "p".into()], vec!["g".into(), "filed".into()]));
    assert_eq!(live.snapshot().profile("p"), before.1.profile("p"));
    assert_eq!(
        live.snapshot().profile("p").unwrap().metadata,
        *json!({ "n": 1, "none": null }).as_object().unwrap()
    );
    assert_eq!(live.snapshot().groups().get("g"), before.1.groups().get("g"));
}

#[test]
fn every_lane_has_a_group_before_whoever_follows_is_told_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (live, _) = open(dir.path(), configured());
    let (revisions, before) = (live.revisions().clone(), live.revisions().now());
    let lanes = Arc::new(Mutex::new(Vec::new()));
    let lane = lanes.clone();
    live.on_regroup(move |snapshot| {
        let told = revisions.after(before, 9).unwrap().0.len();
        lane.lock().unwrap().push((snapshot.groups().get("g").is_some(), told));
        Ok(())
    });
    live.put_group(&group(json!({ "name": "g" }))).unwrap();
    live.remove_group("g").unwrap();
    assert_eq!(*lanes.lock().unwrap(), [(true, 0), (false, 1)]);
    assert_eq!(live.revisions().after(before, 9).unwrap().0.len(), 2);
}

#[test]
fn what_files_say_is_changed_there_and_what_is_wrong_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (live, _) = open(dir.path(), configured());
    live.put_profile(&json!({ "name": "p", "kernel": KERNEL })).unwrap();
    live.put_group(&group(json!({ "name": "g", "profile": "p" }))).unwrap();
    let host: HostEntry =
        serde_json::from_value(json!({ "name": "n", "macs": ["52:54:00:00:00:01"], "profile": "p" }))
            .unwrap();
    live.apply(Change::Add(host)).unwrap();
    let put = |typed| live.put_profile(&typed).map(drop);
    let put_group = |typed| live.put_group(&group(typed)).map(drop);
    let cases = [
        (put(json!({ "name": "filed", "local": true })), "profile filed comes from profiles.yaml:1"),
        (live.remove_profile("filed"), "profile filed comes from profiles.yaml:1"),
        (live.remove_profile("x"), "there is no profile x"),
        (live.remove_profile("p"), "host n boots the profile p"),
        (put(json!({ "name": "x", "kernel": "gone", "colour": 1 })), "kernel: "),
        (put(json!({ "name": "x", "local": true, "options": { "252": "text:x" } })), "profiles.d"),
        (put(json!(["x"])), "takes a mapping"),
        (put_group(json!({ "name": "filed" })), "group filed comes from groups.yaml:1"),
        (live.remove_group("filed"), "group filed comes from groups.yaml:1"),
        (live.remove_group("x"), "there is no group x"),
        (put_group(json!({ "name": "x" })), "group x has no selectors, nor has group g"),
        (put_group(json!({ "name": "x", "selector": { "a": "b" }, "profile": "y" })), "names the profile y"),
        (put_group(json!({ "name": "x", "selector": { "mac": "b" } })), "selector.mac: "),
    ];
    let before = (vec!["filed".to_owned(), "p".into()], vec!["filed".to_owned(), "g".into()]);
    for (refused, want) in cases {
        let fault = refused.unwrap_err().to_string();
        assert!(fault.contains(want), "{want}: {fault}");
        assert_eq!(names(&live), before);
    }
    live.apply(Change::Remove("n".into())).unwrap();
    let fault = live.remove_profile("p").unwrap_err().to_string();
    assert!(fault.contains("group g boots the profile p"), "{fault}");
    live.remove_group("g").unwrap();
    live.remove_profile("p").unwrap();
}

#[test]
fn what_the_site_contradicts_is_left_out_and_can_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (live, _) = open(dir.path(), configured());
        live.put_profile(&json!({ "name": "p", "kernel": KERNEL })).unwrap();
        live.put_group(&group(json!({ "name": "g" }))).unwrap();
    }
    let all = group(json!({ "name": "all" })).check("groups.yaml:9").unwrap();
    let other = || {
        let snapshot = Snapshot::new(vec![], vec![profile("p", "profiles.yaml:9")]).unwrap();
        snapshot.with_groups([Arc::new(all.clone())]).unwrap()
    };
    let (live, notices) = open(dir.path(), other());
    let want = [
        "profile p of the store is left out: it is there already, from profiles.yaml:9",
        "group g of the store is left out: group g has no selectors, nor has group all",
    ];
    assert_eq!(notices.len(), want.len(), "{notices:?}");
    for (notice, want) in notices.iter().zip(want) {
        assert!(notice.starts_with(want), "{notice}");
    }
    live.remove_profile("p").unwrap();
    live.put_group(&group(json!({ "name": "g", "selector": { "a": "b" } }))).unwrap();
    assert_eq!(names(&live), (vec!["p".into()], vec!["g".into(), "all".into()]), "the file's stay");
    assert_eq!(live.snapshot().odd_objects().count(), 0);
    let changed = live.reconfigure(configured(), |_, _| Ok(()), |_| Ok(())).unwrap();
    assert_eq!(names(&live), (vec!["filed".into()], vec!["filed".into(), "g".into()]));
    assert_eq!((changed.groups.added, changed.groups.removed, changed.left_out.len()), (1, 1, 0));
}

/// Hosts that a group gives the profile `wide` can't have what it says.
fn narrow(host: &Host, groups: &Groups) -> Result<(), String> {
    match groups.profile_of(Some(host), None) {
        Some("wide") => Err("options: too much".into()),
        _ => Ok(()),
    }
}

/// A site whose host `n` is of a file.
fn with_host(groups: &[GroupEntry]) -> Snapshot {
    let entry = json!({ "name": "n", "macs": ["52:54:00:00:00:01"] });
    let host = serde_json::from_value::<HostEntry>(entry).unwrap().check("hosts.yaml:1").unwrap();
    let profiles = vec![profile("plain", "profiles.yaml:1"), profile("wide", "profiles.yaml:2")];
    let groups = groups.iter().map(|group| Arc::new(group.check("groups.yaml:1").unwrap()));
    Snapshot::new(vec![host], profiles).unwrap().with_groups(groups).unwrap()
}

#[test]
fn a_group_whose_profile_does_not_fit_its_hosts_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let wide = group(json!({ "name": "all", "profile": "wide" }));
    let (live, notices) = Live::open(store, with_host(&[wide]), |_, _| Ok(())).unwrap();
    assert!(notices.is_empty());
    live.put_group(&group(json!({ "name": "g", "selector": { "hostname": "n" }, "profile": "plain" })))
        .unwrap();
    *live.rule.write().unwrap() = Box::new(narrow);
    let other = |name| group(json!({ "name": "g", "selector": { "hostname": "n" }, "profile": name }));
    for refused in [live.put_group(&other("wide")).map(drop), live.remove_group("g")] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Refused::Misfit(_)), "there is nothing wrong in what was asked: {refused}");
        assert_eq!(refused.to_string(), "host n would get what does not fit: options: too much");
        assert_eq!(live.snapshot().groups().get("g").unwrap().profile.as_deref(), Some("plain"));
    }
    // Who has no host that it moves is nobody's fault.
    live.put_group(&group(json!({ "name": "h", "selector": { "hostname": "m" }, "profile": "wide" })))
        .unwrap();
}

#[test]
fn a_group_whose_profile_machines_without_an_entry_can_not_have_is_refused_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let (live, _) = Live::open(store, with_host(&[]), |_, _| Ok(())).unwrap();
    let by_mac = |name: &str, profile: &str| {
        group(json!({ "name": name, "selector": { "mac": "52:54:00:00:00:07" }, "profile": profile }))
    };
    live.put_group(&by_mac("g", "wide")).unwrap();
    let left_out = live.reconfigure(with_host(&[]), narrow, |_| Ok(())).unwrap().left_out;
    let fault = "machines without an entry would get what does not fit: options: too much";
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert!(left_out[0].starts_with(&format!("group g of the store is left out: {fault}")), "{left_out:?}");
    let refused = live.put_group(&by_mac("h", "wide")).unwrap_err();
    assert_eq!(refused.to_string(), fault);
    live.put_group(&by_mac("h", "plain")).unwrap();
    // DHCP does not hear a serial number.
    live.put_group(&group(json!({ "name": "i", "selector": { "serial": "1" }, "profile": "wide" }))).unwrap();
    assert_eq!(names(&live).1, ["i", "h"]);
}

#[test]
fn groups_that_do_not_fit_are_found_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let of = |kind: &str, number: u8| {
        let mac = format!("52:54:00:00:{}:{number:02x}", if kind == "fits" { "01" } else { "02" });
        let entry = json!({ "name": format!("{kind}{number}"), "macs": [mac], "labels": { "is": kind, "n": number.to_string() } });
        serde_json::from_value::<HostEntry>(entry).unwrap().check("hosts.yaml:1").unwrap()
    };
    let hosts: Vec<Host> = (0..100).flat_map(|number| [of("fits", number), of("wide", number)]).collect();
    let profiles = vec![profile("plain", "profiles.yaml:1"), profile("wide", "profiles.yaml:2")];
    let configured = || Snapshot::new(hosts.clone(), profiles.clone()).unwrap();
    let (live, _) = Live::open(store, configured(), |_, _| Ok(())).unwrap();
    live.put_group(&group(json!({ "name": "fits", "selector": { "is": "fits" }, "profile": "plain" })))
        .unwrap();
    for number in 0..50 {
        let selector = json!({ "is": "wide", "n": [number.to_string(), (50 + number).to_string()] });
        live.put_group(&group(
            json!({ "name": format!("g{number}"), "selector": selector, "profile": "wide" }),
        ))
        .unwrap();
    }
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = asked.clone();
    let rule = move |host: &Host, groups: &Groups| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        narrow(host, groups)
    };
    let left_out = live.reconfigure(configured(), rule, |_| Ok(())).unwrap().left_out;
    assert_eq!((left_out.len(), names(&live).1), (50, vec!["fits".to_owned()]));
    let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(asked, 300, "each of the 200 hosts once, and once more those that are in a group still");
}

#[test]
fn a_group_of_the_store_that_does_not_fit_a_host_of_a_file_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let (live, _) = Live::open(store, with_host(&[]), |_, _| Ok(())).unwrap();
    live.put_group(&group(json!({ "name": "g", "profile": "wide" }))).unwrap();
    live.put_group(&group(json!({ "name": "h", "selector": { "os": "x" }, "profile": "wide" }))).unwrap();
    let left_out = live.reconfigure(with_host(&[]), narrow, |_| Ok(())).unwrap().left_out;
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert!(left_out[0].starts_with("group g of the store is left out: host n would get what does not fit"));
    assert_eq!(names(&live).1, ["h"]);
}

#[test]
fn a_lane_that_can_not_follow_a_group_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let (live, _) = open(dir.path(), configured());
    live.on_regroup(|_| Err("the table is full".into()));
    let refused = live.put_group(&group(json!({ "name": "g" }))).unwrap_err();
    assert!(matches!(refused, Refused::NotMade(NotMade::NotInForce(fault)) if fault == "the table is full"));
    assert!(live.snapshot().groups().get("g").is_some(), "it is stored and visible");
}
