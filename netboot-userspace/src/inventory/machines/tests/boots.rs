//! Boot records: what was decided at the first DISCOVER is obeyed until the boot is over.

use super::*;
use crate::inventory::boots::{Kind, Outcome};

pub(super) fn offer(lane: Lane, class: &'static str) -> (Lane, Observation) {
    let ip = "10.0.0.9".parse().ok();
    (lane, Observation::Dhcp { kind: "offer", class, ip, named: Named::Unasked })
}

pub(super) fn loader() -> (Lane, Observation) {
    (Lane::Tcx, Observation::Loader { file: "undionly.kpxe".into(), bytes: 7 })
}

pub(super) fn kernel() -> (Lane, Observation) {
    (Lane::Http, Observation::Kernel { file: "/assets/k".into(), bytes: 7 })
}

/// Noted, and taken in by the observer.
pub(super) fn of_mac(machines: &Machines, (lane, seen): (Lane, Observation)) {
    assert!(machines.note(Who::Mac(MAC), lane, seen));
    machines.take_noted().unwrap();
}

pub(super) fn obeys(machines: &Machines, shown: Shown, asking: Asking) -> String {
    match machines.obey(MAC, shown, &Labels::default(), asking).decision {
        Decision::Profile { profile, .. } => profile.name.clone(),
        Decision::Local => "local".into(),
        Decision::Ignore => "ignore".into(),
        Decision::Nothing(_) => "nothing".into(),
    }
}

/// As `/ipxe` does it: asks, and is observed.
pub(super) fn script_of(machines: &Machines) -> String {
    script_to(machines, shown("", "10.0.0.9"))
}

pub(super) fn script_to(machines: &Machines, shown: Shown) -> String {
    let obeyed = machines.obey(MAC, shown, &Labels::default(), Asking::Loader);
    let (seen, name) = match obeyed.decision {
        Decision::Profile { profile, host, .. } => {
            let (installs, name) = (profile.install.is_some(), profile.name.clone());
            let once = host.is_some_and(|host| host.boot == Boot::Once);
            (Observation::Script { profile: name.clone(), installs, once, shown }, name)
        }
        _ => (Observation::Local { shown }, "local".to_owned()),
    };
    see(machines, &seen);
    name
}

/// A boot as far as its script.
pub(super) fn boot_to_script(machines: &Machines) -> String {
    of_mac(machines, offer(Lane::Xdp, "bios"));
    of_mac(machines, loader());
    of_mac(machines, offer(Lane::Xdp, "ipxe-bios"));
    script_of(machines)
}

/// DISCOVERs that a proxy answered, and events of kind `unleased` after each of them.
#[test]
fn a_machine_that_is_told_what_to_boot_and_gets_no_address_is_told_of_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_live, machines) = open(dir.path(), true);
    let told = || machines.events.follow(99).0.iter().filter(|event| event.kind == "unleased").count();
    let proxied = |class| {
        let seen = Observation::Dhcp { kind: "proxy_offer", class, ip: None, named: Named::Unasked };
        of_mac(&machines, (Lane::Userspace, seen));
        told()
    };
    assert_eq!(["bios"; 4].map(proxied), [0, 0, 1, 1]);
    of_mac(&machines, loader());
    assert_eq!(["ipxe-bios", "ipxe-bios", "plain", "plain"].map(proxied), [1; 4], "it has one");
    of_mac(&machines, kernel());
    assert_eq!(["bios", "bios", "bios"].map(proxied), [1, 1, 2], "another boot");
    let (events, _) = machines.events.follow(99);
    let event = events.iter().find(|event| event.kind == "unleased").unwrap();
    assert_eq!((event.mac.as_deref(), machines.unleased()), (Some("52:54:00:00:00:01"), 2));
    of_mac(&machines, offer(Lane::Userspace, "bios"));
    assert!(
        (0..3).all(|_| {
            of_mac(&machines, offer(Lane::Userspace, "bios"));
            told() == 2
        }),
        "we give one"
    );
}

pub(super) fn put(live: &Live, boot: Boot, profile: &str) {
    live.apply(Change::Put(host(boot, Some(profile)))).unwrap();
}

#[test]
fn what_is_decided_at_the_first_discover_holds_whatever_the_configuration_says_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    put(&live, Boot::Profile, "rescue");
    // The kernel answered, and userspace only hears of it.
    of_mac(&machines, offer(Lane::Xdp, "bios"));
    let first = machines.boot(MAC).unwrap();
    put(&live, Boot::Profile, "install");
    assert_eq!(boots(&machines, MAC), "install", "the next boot");
    of_mac(&machines, loader());
    of_mac(&machines, offer(Lane::Xdp, "ipxe-bios"));
    for asking in [Asking::Loader, Asking::Agent] {
        assert_eq!(obeys(&machines, Shown::default(), asking), "rescue");
    }
    assert_eq!(script_of(&machines), "rescue");
    of_mac(&machines, kernel());
    assert_eq!(machines.boot(MAC), Some(first), "all of it is one boot");
    assert_eq!(boot_to_script(&machines), "install");
    let records = machines.boots(&[MAC]);
    let kinds: Vec<_> = records.iter().map(|record| (record.decision.kind, record.outcome())).collect();
    assert_eq!(kinds, [(Kind::Profile, Outcome::Booted), (Kind::Install, Outcome::UnderWay)]);
    let steps: Vec<_> = records[0].steps.iter().map(|step| step.what.as_str()).collect();
    assert_eq!(steps, ["dhcp", "loader", "dhcp", "script", "kernel"]);
    assert_eq!(records[0].decision.why, "profile rescue (test:1) by host n (store)");
    let (events, _) = machines.events.follow(99);
    let of_first: Vec<_> =
        events.iter().filter(|event| event.boot == Some(first)).map(|event| event.kind.as_str()).collect();
    assert_eq!(of_first, ["dhcp", "loader", "dhcp", "script", "kernel"], "each event names its boot");
}

#[test]
fn what_an_operator_says_of_a_machines_boot_is_meant_for_the_one_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    put(&live, Boot::Profile, "install");
    of_mac(&machines, offer(Lane::Xdp, "bios"));
    put(&live, Boot::Local, "install");
    assert_eq!(obeys(&machines, Shown::default(), Asking::Loader), "install", "a file that was changed");
    machines.rearm(&[MAC]).unwrap();
    assert_eq!(obeys(&machines, Shown::default(), Asking::Loader), "local", "`host set --boot`");
    put(&live, Boot::Once, "install");
    machines.rearm_once(&[MAC]).unwrap();
    assert_eq!(obeys(&machines, Shown::default(), Asking::Agent), "install", "`host set --boot once`");
    assert_eq!(machines.last_boots(usize::MAX).len(), 1);
}

#[test]
fn a_machine_that_turns_out_to_be_installed_is_not_installed_though_that_was_decided() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    live.apply(Change::Add(HostEntry { uuid: Some(UUID.into()), ..no_mac(Boot::Local) })).unwrap();
    of_mac(&machines, offer(Lane::Xdp, "bios"));
    assert_eq!(obeys(&machines, Shown::default(), Asking::Loader), "install", "a stranger");
    assert_eq!(obeys(&machines, shown(UUID, ""), Asking::Loader), "local", "it is the host of that UUID");
    let other = Mac([0x52, 0x54, 0, 0, 0, 9]);
    let see_other = |seen| machines.observe(Who::Mac(other), Lane::Api, &seen).unwrap();
    let uuid = "77000000-0000-4000-8000-000000000009";
    see_other(script(shown(uuid, ""), true, false));
    let obeyed = machines.obey(OTHER, Shown::default(), &Labels::default(), Asking::Loader);
    assert!(matches!(obeyed.decision, Decision::Profile { .. }));
    see_other(installed());
    let obeyed = machines.obey(OTHER, shown(uuid, ""), &Labels::default(), Asking::Loader);
    assert!(matches!(obeyed.decision, Decision::Local), "another port of what is installed");
}

#[test]
fn without_dhcp_who_asks_for_a_script_begins_a_boot_and_is_decided_for_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    put(&live, Boot::Profile, "rescue");
    assert_eq!(script_of(&machines), "rescue");
    put(&live, Boot::Local, "rescue");
    assert_eq!(script_of(&machines), "local");
    assert_eq!(machines.boots(&[MAC]).len(), 1, "it may have lost the answer");
}

#[test]
fn boot_once_is_of_the_boot_that_takes_it_and_of_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    put(&live, Boot::Once, "rescue");
    assert_eq!(boot_to_script(&machines), "rescue");
    assert_eq!(script_of(&machines), "rescue", "it lost the answer");
    let boot = machines.boot(MAC);
    drop((live, machines));
    let (_, machines) = open(dir.path(), true);
    assert_eq!(machines.boot(MAC), boot, "over a restart");
    assert_eq!(script_of(&machines), "rescue", "it lost the answer");
    assert_eq!(boots(&machines, MAC), "local", "the next boot");
    assert_eq!(boot_to_script(&machines), "local", "whether its kernel was seen or not");
    machines.rearm_once(&[MAC]).unwrap();
    assert_eq!(script_of(&machines), "rescue", "asked for again, for this boot");
}

#[test]
fn a_profile_that_is_broken_takes_no_boot_once_and_is_nothing_to_a_machine_whose_is_used_up() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    let set = |boot| {
        let rescue = Profile { boot, ..profile("rescue", false) };
        let configured = Snapshot::new(vec![], vec![profile("install", true), rescue]).unwrap();
        live.reconfigure(configured, |_, _| Ok(()), |_| Ok(())).unwrap();
    };
    let breaks = || set(ProfileBoot::Broken("no kernel".into()));
    breaks();
    put(&live, Boot::Once, "rescue");
    let refused = machines.would(MAC, Shown::default());
    assert_eq!(refused.decision, Decision::Nothing(refused.why.clone()));
    assert_eq!(refused.why, "profile rescue (test:1) by host n (store): no kernel");
    of_mac(&machines, offer(Lane::Xdp, "bios"));
    of_mac(&machines, loader());
    assert_eq!(obeys(&machines, Shown::default(), Asking::Loader), "nothing");
    set(profile("rescue", false).boot);
    assert_eq!(boot_to_script(&machines), "rescue", "the boot that got nothing has not taken it");
    breaks();
    let spent = machines.would(MAC, Shown::default());
    assert_eq!(spent.decision, Decision::Local);
    assert!(spent.why.ends_with("is used up"), "{}", spent.why);
}

#[test]
fn an_agent_that_tries_again_is_told_what_holds_by_now() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    put(&live, Boot::Profile, "install");
    assert_eq!(boot_to_script(&machines), "install");
    put(&live, Boot::Profile, "rescue");
    assert_eq!(obeys(&machines, Shown::default(), Asking::Agent), "install", "it was decided");
    see(&machines, &failed());
    assert_eq!(obeys(&machines, Shown::default(), Asking::Agent), "rescue", "that was what failed");
    assert_eq!(machines.boots(&[MAC]).len(), 1, "all of it is one boot");
}

#[test]
fn the_outcome_of_an_installation_survives() {
    let dir = tempfile::tempdir().unwrap();
    let boot = {
        let (_, machines) = open(dir.path(), true);
        assert_eq!(boot_to_script(&machines), "install");
        see(&machines, &installed());
        assert_eq!(obeys(&machines, Shown::default(), Asking::Agent), "local", "it is to reboot");
        machines.boot(MAC).unwrap()
    };
    let (_, machines) = open(dir.path(), true);
    let record = machines.boots(&[MAC]).pop().unwrap();
    assert_eq!(
        (record.id, record.outcome(), record.decision.kind),
        (boot, Outcome::Installed, Kind::Install)
    );
    assert_eq!(boot_to_script(&machines), "local");
    assert_ne!(machines.boot(MAC), Some(boot));
}

#[test]
fn whom_nothing_is_for_is_not_remembered_and_who_is_forgotten_takes_its_boots_along() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = open(dir.path(), false);
    let obeyed = machines.obey(MAC, Shown::default(), &Labels::default(), Asking::Loader);
    assert!(matches!(obeyed.decision, Decision::Nothing(_)) && obeyed.boot.is_none());
    assert_eq!((machines.list(), machines.last_boots(usize::MAX)), (vec![], vec![]));
    machines.limit_strangers(FEW);
    for n in 0..4 * FEW as u32 {
        let [a, b, c, d] = n.to_be_bytes();
        let (lane, seen) = offer(Lane::Xdp, "bios");
        machines.observe(Who::Mac(Mac([2, 0, a, b, c, d])), lane, &seen).unwrap();
    }
    assert_eq!(machines.last_boots(usize::MAX).len(), machines.list().len());
}
