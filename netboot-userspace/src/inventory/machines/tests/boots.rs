//! Boot records: what was decided at the first DISCOVER is obeyed until the boot is over.

use super::*;
use crate::inventory::boots::{Breaker, Instead, Kind, Outcome};

fn offer(lane: Lane, class: &'static str) -> (Lane, Observation) {
    let ip = "10.0.0.9".parse().ok();
    (lane, Observation::Dhcp { kind: "offer", class, ip, named: Named::Unasked })
}

fn loader() -> (Lane, Observation) {
    (Lane::Tcx, Observation::Loader { file: "undionly.kpxe".into(), bytes: 7 })
}

fn kernel() -> (Lane, Observation) {
    (Lane::Http, Observation::Kernel { file: "/assets/k".into(), bytes: 7 })
}

/// Noted, and taken in by the observer.
fn of_mac(machines: &Machines, (lane, seen): (Lane, Observation)) {
    assert!(machines.note(Who::Mac(MAC), lane, seen));
    machines.take_noted().unwrap();
}

fn obeys(machines: &Machines, shown: Shown, asking: Asking) -> String {
    match machines.obey(MAC, shown, &Labels::default(), asking).decision {
        Decision::Profile { profile, .. } => profile.name.clone(),
        Decision::Local => "local".into(),
        Decision::Ignore => "ignore".into(),
        Decision::Nothing(_) => "nothing".into(),
    }
}

/// As `/ipxe` does it: asks, and is observed.
fn script_of(machines: &Machines) -> String {
    let obeyed = machines.obey(MAC, Shown::default(), &Labels::default(), Asking::Loader);
    let (seen, name) = match obeyed.decision {
        Decision::Profile { profile, host, .. } => {
            let (installs, name) = (profile.install.is_some(), profile.name.clone());
            let once = host.is_some_and(|host| host.boot == Boot::Once);
            let shown = Shown::default();
            (Observation::Script { profile: name.clone(), installs, once, shown }, name)
        }
        _ => (Observation::Local { shown: Shown::default() }, "local".to_owned()),
    };
    see(machines, &seen);
    name
}

/// A boot as far as its script.
fn boot_to_script(machines: &Machines) -> String {
    of_mac(machines, offer(Lane::Xdp, "bios"));
    of_mac(machines, loader());
    of_mac(machines, offer(Lane::Xdp, "ipxe-bios"));
    script_of(machines)
}

fn put(live: &Live, boot: Boot, profile: &str) {
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
    let records = machines.boots(Some(&[MAC]));
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
    assert_eq!(machines.boots(None).len(), 1);
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
    assert_eq!(machines.boots(Some(&[MAC])).len(), 1, "it may have lost the answer");
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

fn with_breaker(machines: &Machines, breaker: Option<Breaker>) {
    machines.set_policy(Policy { breaker, ..machines.policy() });
}

#[test]
fn a_machine_is_given_what_its_boot_decided_and_nothing_once_it_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    let given = || {
        let placed = machines.given(MAC, Shown::default(), Labels::default())?;
        Ok::<_, String>(placed.profile.map(|profile| profile.name.clone()))
    };
    put(&live, Boot::Ignore, "rescue");
    assert!(given().unwrap_err().contains("boot: ignore"));
    put(&live, Boot::Local, "rescue");
    assert_eq!(given(), Ok(Some("rescue".into())), "its disk may have been installed just now");
    put(&live, Boot::Profile, "rescue");
    with_breaker(&machines, Some(Breaker::default()));
    assert_eq!((boot_to_script(&machines), given()), ("rescue".into(), Ok(Some("rescue".into()))));
    put(&live, Boot::Profile, "install");
    assert_eq!(given(), Ok(Some("rescue".into())), "the boot that is under way");
    put(&live, Boot::Profile, "rescue");
    assert_eq!((boot_to_script(&machines), boot_to_script(&machines)), ("rescue".into(), "local".into()));
    assert!(given().unwrap_err().contains("stopped by the breaker"), "{:?}", given());
}

#[test]
fn the_third_boot_in_a_row_without_fruit_is_stopped_until_an_operator_starts_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    put(&live, Boot::Profile, "rescue");
    with_breaker(&machines, Some(Breaker::default()));
    assert_eq!((boot_to_script(&machines), boot_to_script(&machines)), ("rescue".into(), "rescue".into()));
    assert_eq!(machines.stopped(), []);
    assert_eq!(boot_to_script(&machines), "local");
    let stopped = machines.stopped();
    assert_eq!((stopped.len(), stopped[0].fruitless, stopped[0].name.as_deref()), (1, 2, Some("n")));
    let (events, _) = machines.events.follow(99);
    let told: Vec<_> = events.iter().filter(|event| event.kind == "breaker").collect();
    assert_eq!((told.len(), told[0].boot), (1, machines.boot(MAC)));
    assert!(told[0].text.contains("2 boots in a row bore no fruit"), "{}", told[0].text);
    assert_eq!(boot_to_script(&machines), "local", "its own disk is no fruit");
    drop((live, machines));
    let (_, machines) = open(dir.path(), true);
    assert_eq!(boot_to_script(&machines), "rescue", "the breaker is off");
    with_breaker(&machines, Some(Breaker { then: Instead::Nothing, ..Breaker::default() }));
    of_mac(&machines, offer(Lane::Xdp, "bios"));
    assert_eq!(obeys(&machines, Shown::default(), Asking::Loader), "nothing", "over a restart");
    machines.rearm(&[MAC]).unwrap();
    assert_eq!(obeys(&machines, Shown::default(), Asking::Loader), "rescue", "`host set --boot`, at once");
    assert_eq!(machines.stopped(), []);
}

#[test]
fn a_boot_that_bears_fruit_is_never_stopped_and_begins_the_count_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    put(&live, Boot::Profile, "rescue");
    with_breaker(&machines, Some(Breaker::default()));
    for _ in 0..3 {
        assert_eq!(boot_to_script(&machines), "rescue");
        assert_eq!(boot_to_script(&machines), "rescue");
        of_mac(&machines, kernel());
    }
    for _ in 0..5 {
        assert_eq!(boot_to_script(&machines), "rescue");
        of_mac(&machines, kernel());
    }
    assert_eq!(machines.machine(MAC).unwrap().fruitless, 0);
    // `machine reset` starts one again, too.
    (0..3).for_each(|_| drop(boot_to_script(&machines)));
    assert_eq!(machines.stopped().len(), 1);
    machines.reset(&[MAC]).unwrap();
    assert_eq!(script_of(&machines), "rescue");
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
    let record = machines.boots(Some(&[MAC])).pop().unwrap();
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
    assert_eq!((machines.list(), machines.boots(None)), (vec![], vec![]));
    machines.limit_strangers(FEW);
    for n in 0..4 * FEW as u32 {
        let [a, b, c, d] = n.to_be_bytes();
        let (lane, seen) = offer(Lane::Xdp, "bios");
        machines.observe(Who::Mac(Mac([2, 0, a, b, c, d])), lane, &seen).unwrap();
    }
    assert_eq!(machines.boots(None).len(), machines.list().len());
}
