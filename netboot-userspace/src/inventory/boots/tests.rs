#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use super::*;
use crate::image::protocol::{Report, Status, Step as AgentStep};
use crate::inventory::observed::{Named, Shown};
use crate::inventory::{Profile, ProfileBoot};

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

fn profile(kernel: &str) -> Decision {
    let boot = ProfileBoot::Linux { kernel: kernel.into(), initrd: vec![], cmdline: String::new() };
    let (name, origin) = ("p".to_owned(), "p.yaml:1".to_owned());
    let profile = Profile { name, boot, origin, ..Profile::default() };
    Decision::Profile { profile: Arc::new(profile), host: None, group: None }
}

fn taken(decision: Decision) -> Taken {
    let groups = Arc::default();
    Taken { decision, why: "because".into(), known: Basis::default(), stopped: false, groups }
}

fn dhcp(kind: &'static str, class: &'static str) -> Observation {
    Observation::Dhcp { kind, class, ip: Some(IpAddr::from([10, 0, 0, 9])), named: Named::Unasked }
}

fn offer(class: &'static str) -> Observation {
    dhcp("offer", class)
}

fn loader(file: &str) -> Observation {
    Observation::Loader { file: file.into(), bytes: 7 }
}

fn script() -> Observation {
    Observation::Script { profile: "p".into(), installs: false, once: false, shown: Shown::default() }
}

fn kernel() -> Observation {
    Observation::Kernel { file: "/assets/k".into(), bytes: 7 }
}

fn local() -> Observation {
    Observation::Local { shown: Shown::default() }
}

fn agent() -> Observation {
    Observation::Agent(Report {
        step: AgentStep::Head,
        status: Status::Done,
        bytes: 0,
        total: None,
        bytes_per_second: 0,
        eta_seconds: None,
        message: String::new(),
    })
}

/// What was seen, a second after the other, of one boot that began at 1000; when the last was.
fn boot_of(seen: &[Observation]) -> (Boots, u64) {
    let mut boots = Boots::new(0);
    boots.begin(MAC, Some("bios"), taken(profile("k")), 1000);
    let state = |seen: &Observation| {
        if matches!(seen, Observation::Agent(_)) { State::Installed } else { State::Seen }
    };
    let mut now = 1000;
    for seen in seen {
        boots.note(MAC, None, seen, state(seen), now);
        now += 1;
    }
    (boots, now - 1)
}

/// BC-41: firmware, iPXE and the system each send DISCOVERs of their own within one boot.
#[test]
fn what_begins_the_next_boot_and_what_belongs_to_this_one() {
    let (bios, undi) = (offer("bios"), loader("undionly.kpxe"));
    let table: &[(&str, &[Observation], Observation, bool)] = &[
        ("firmware repeats its DISCOVER", std::slice::from_ref(&bios), bios.clone(), false),
        ("firmware's REQUEST", &[bios.clone(), undi.clone()], dhcp("ack", "bios"), false),
        ("iPXE behind its loader", &[bios.clone(), undi.clone()], offer("ipxe-bios"), false),
        (
            "a second iPXE",
            &[bios.clone(), undi.clone(), offer("ipxe-bios"), loader("ipxe.pxe")],
            offer("ipxe-bios"),
            false,
        ),
        ("firmware after a loader that did not start", &[bios.clone(), undi.clone()], bios.clone(), true),
        ("… by a proxy", &[bios.clone(), undi.clone()], dhcp("proxy_offer", "efi-x64"), true),
        ("… by BOOTP", &[bios.clone(), undi.clone()], dhcp("bootp", "bios"), true),
        ("… by DHCPv6", &[bios.clone(), undi.clone()], dhcp("advertise", "efi-x64"), true),
        ("iPXE of a ROM after a script", &[offer("ipxe-bios"), script()], offer("ipxe-bios"), true),
        ("the system that it booted", &[bios.clone(), script(), kernel()], offer("plain"), false),
        ("a system from the disk", &[bios.clone(), local()], offer("plain"), false),
        ("firmware after the system", &[bios.clone(), script(), kernel()], bios.clone(), true),
        ("firmware after an installation", &[bios.clone(), script(), kernel(), agent()], bios.clone(), true),
        ("firmware after the disk", &[bios.clone(), local()], bios.clone(), true),
        ("a file", &[bios.clone(), script()], kernel(), false),
        ("a file after the disk", &[bios.clone(), local()], kernel(), false),
    ];
    for (what, before, seen, begins) in table {
        let (boots, now) = boot_of(before);
        assert_eq!(boots.begins(MAC, seen, now + 1), *begins, "{what}");
    }
}

#[test]
fn the_first_thing_that_is_seen_begins_a_boot_but_for_what_a_system_asks_of_dhcp() {
    let boots = Boots::new(0);
    for seen in [offer("bios"), dhcp("ack", "bios"), loader("x"), script(), local(), kernel(), agent()] {
        assert!(boots.begins(MAC, &seen, 1), "{seen:?}");
    }
    assert!(!boots.begins(MAC, &offer("plain"), 1));
    assert!(boots.begins_asking(MAC, 1));
}

#[test]
fn a_boot_of_which_nothing_is_seen_any_more_is_over() {
    let (boots, now) = boot_of(&[offer("bios"), loader("undionly.kpxe")]);
    assert!(!boots.begins(MAC, &offer("ipxe-bios"), now + QUIET));
    assert!(boots.begins(MAC, &offer("ipxe-bios"), now + QUIET + 1));
    assert!(!boots.begins_asking(MAC, now + QUIET) && boots.begins_asking(MAC, now + QUIET + 1));
    // What it booted is seen by nobody.
    let (mut boots, now) = boot_of(&[offer("bios"), script()]);
    boots.note(MAC, None, &offer("plain"), State::Script, now + QUIET);
    assert!(boots.begins_asking(MAC, now + QUIET + 1), "what a system asks is no sign of the boot");
    assert!(
        boot_of(&[offer("bios"), script(), kernel()]).0.begins_asking(MAC, now),
        "a script behind a kernel"
    );
}

#[test]
fn a_client_that_repeats_itself_and_fetches_nothing_is_decided_for_again() {
    let (boots, now) = boot_of(&[offer("bios")]);
    assert!(boots.repeats(MAC, &offer("bios"), now + 4));
    assert!(!boots.repeats(MAC, &offer("bios"), now), "within its second");
    assert!(!boots.repeats(MAC, &offer("ipxe-bios"), now + 4), "iPXE, whose loader was not seen");
    assert!(!boots.repeats(MAC, &dhcp("ack", "bios"), now + 4));
    let (boots, now) = boot_of(&[offer("bios"), loader("undionly.kpxe")]);
    assert!(!boots.repeats(MAC, &offer("bios"), now + 4));
}

#[test]
fn a_decision_holds_until_more_is_known_or_an_operator_speaks() {
    let uuid = |text: &str| text.parse::<Uuid>().ok();
    let basis = Basis { choice: Some(("rescue".into(), 2000)), ..Basis::default() };
    let mut boots = Boots::new(0);
    let decided = Taken { known: basis.clone(), ..taken(profile("k")) };
    let id = boots.begin(MAC, Some("bios"), decided.clone(), 1000);
    let holds =
        |boots: &Boots, known: &Basis, now| boots.decision(MAC, known, now).map(|(id, _)| id) == Some(id);
    assert!(holds(&boots, &basis, 1001));
    for (what, known) in [
        ("a host", Basis { host: Some("n1".into()), ..basis.clone() }),
        ("a UUID", Basis { uuid: uuid("77000000-0000-4000-8000-000000000001"), ..basis.clone() }),
        ("another group", Basis { group: Some("g".into()), ..basis.clone() }),
        ("an installation by another port", Basis { installed: true, ..basis.clone() }),
        ("another choice", Basis { choice: Some(("install".into(), 2000)), ..basis.clone() }),
        ("a choice taken back", Basis { choice: None, ..basis.clone() }),
    ] {
        assert!(!holds(&boots, &known, 1001), "{what}");
    }
    assert!(holds(&boots, &Basis { choice: None, ..basis.clone() }, 2001), "a choice that counts no more");
    boots.overrule(MAC);
    assert!(!holds(&boots, &basis, 1001));
    boots.take_again(MAC, Taken { why: "told so".into(), decision: Decision::Local, ..decided }, 1002);
    assert!(holds(&boots, &basis, 1002));
    let record = boots.current(MAC).unwrap();
    assert_eq!((record.decision.kind, record.steps[0].what.as_str()), (Kind::Local, "decided"));
    assert_eq!(record.steps[0].text, "local instead of profile p: told so");
}

#[test]
fn a_host_that_is_no_more_is_no_reason_to_decide_again() {
    let basis = Basis { host: Some("n1".into()), ..Basis::default() };
    let mut boots = Boots::new(0);
    boots.begin(MAC, Some("bios"), Taken { known: basis, ..taken(profile("k")) }, 1000);
    assert!(boots.decision(MAC, &Basis::default(), 1001).is_some());
}

#[test]
fn a_boot_is_fruitless_where_its_fruit_would_have_been_seen() {
    let (bios, undi) = (offer("bios"), loader("undionly.kpxe"));
    let elsewhere = || profile("http://mirror/k");
    let table: &[(&str, Decision, &[Observation], Fruit)] = &[
        ("nothing was fetched", profile("k"), std::slice::from_ref(&bios), Fruit::Unknown),
        ("a loader alone", profile("k"), &[bios.clone(), undi.clone()], Fruit::None),
        ("… twice", profile("k"), &[bios.clone(), undi.clone(), bios.clone(), undi.clone()], Fruit::None),
        (
            "a configuration of its own",
            profile("k"),
            &[bios.clone(), loader("pxelinux.0"), loader("pxelinux.cfg/default")],
            Fruit::Unknown,
        ),
        ("a script", profile("k"), &[bios.clone(), undi.clone(), script()], Fruit::None),
        (
            "a kernel that we refused",
            profile("k"),
            &[
                bios.clone(),
                undi.clone(),
                script(),
                Observation::Unserved { file: "/assets/k".into(), status: 404 },
            ],
            Fruit::Unknown,
        ),
        ("… of a kernel elsewhere", elsewhere(), &[bios.clone(), undi.clone(), script()], Fruit::Some),
        ("a kernel", profile("k"), &[bios.clone(), undi.clone(), script(), kernel()], Fruit::Some),
        ("a kernel by GRUB", profile("k"), &[bios.clone(), loader("grub.efi"), kernel()], Fruit::Some),
        ("an agent", profile("k"), &[bios.clone(), script(), agent()], Fruit::Some),
        ("the disk", Decision::Local, &[bios.clone(), undi.clone(), local()], Fruit::Some),
        (
            "a loader of one that starts from its disk",
            Decision::Local,
            &[bios.clone(), undi.clone()],
            Fruit::Unknown,
        ),
        ("nothing is for it", Decision::Nothing("x".into()), &[bios.clone(), undi.clone()], Fruit::Unknown),
    ];
    for (what, decision, seen, fruit) in table {
        let mut boots = Boots::new(0);
        boots.begin(MAC, Some("bios"), taken(decision.clone()), 1000);
        let state = |seen: &Observation| {
            if matches!(seen, Observation::Agent(_)) { State::Installed } else { State::Seen }
        };
        for seen in seen.iter() {
            boots.note(MAC, None, seen, state(seen), 1000);
        }
        assert_eq!(boots.fruit(MAC), *fruit, "{what}");
    }
    let mut boots = Boots::new(0);
    boots.begin(MAC, Some("bios"), Taken { stopped: true, ..taken(Decision::Local) }, 1000);
    boots.note(MAC, None, &local(), State::Local, 1000);
    assert_eq!(boots.fruit(MAC), Fruit::Unknown, "its disk is the breaker's doing");
}

#[test]
fn the_breaker_stops_the_boot_behind_enough_fruitless_ones() {
    let breaker = Breaker::default();
    assert_eq!([0, 1, 2, 3, u32::MAX].map(|count| breaker.stops(count)), [false, false, true, true, true]);
    assert_eq!([0, 1].map(|count| Breaker { boots: 2, ..breaker }.stops(count)), [false, true]);
}

#[test]
fn outcomes_are_told_once_a_boot_is_over_and_installations_at_once() {
    let outcome = |seen: &[Observation]| {
        let (mut boots, now) = boot_of(seen);
        let before = boots.current(MAC).unwrap().outcome();
        boots.end(MAC, now);
        (before, boots.of(MAC)[0].outcome())
    };
    let bios = offer("bios");
    assert_eq!(outcome(std::slice::from_ref(&bios)), (Outcome::UnderWay, Outcome::Unknown));
    assert_eq!(outcome(&[bios.clone(), script()]), (Outcome::UnderWay, Outcome::Fruitless));
    assert_eq!(outcome(&[bios.clone(), script(), kernel()]), (Outcome::UnderWay, Outcome::Booted));
    assert_eq!(outcome(&[bios.clone(), local()]), (Outcome::Local, Outcome::Local));
    assert_eq!(outcome(&[bios, script(), agent()]), (Outcome::Installed, Outcome::Installed));
}

#[test]
fn so_many_boots_are_known_of_one_machine_and_of_all() {
    let mut boots = Boots::new(u32::MAX);
    for n in 0..OF_ONE as u64 + 5 {
        boots.begin(MAC, Some("bios"), taken(Decision::Local), n);
    }
    let of = boots.of(MAC);
    assert_eq!(of.len(), OF_ONE + 1);
    assert!(of.is_sorted_by_key(|record| record.id) && of[0].ended.is_some() && of[OF_ONE].ended.is_none());
    assert_eq!(boots.order.len(), OF_ONE);
    let mac =
        |n: u32| Mac([2, 0, n.to_be_bytes()[0], n.to_be_bytes()[1], n.to_be_bytes()[2], n.to_be_bytes()[3]]);
    for n in 0..OF_ALL as u32 + 50 {
        boots.begin(mac(n), None, taken(Decision::Local), 100);
        boots.end(mac(n), 100);
    }
    let past: usize = boots.past.values().map(VecDeque::len).sum();
    assert_eq!((past, boots.order.len()), (OF_ALL, OF_ALL));
    assert_eq!(boots.of(MAC).len(), 1, "the oldest are forgotten, and what is in force is not");
    boots.forget(&[MAC, mac(OF_ALL as u32)]);
    assert!(boots.of(MAC).is_empty());
    assert_eq!((boots.last(usize::MAX).len(), boots.order.len()), (OF_ALL - 1, OF_ALL - 1));
}

#[test]
fn a_record_keeps_its_first_steps_and_its_last_and_counts_what_repeats() {
    let mut boots = Boots::new(0);
    boots.begin(MAC, Some("bios"), taken(profile("k")), 1000);
    for _ in 0..3 {
        boots.note(MAC, None, &offer("bios"), State::Dhcp, 1000);
    }
    for n in 0..50 {
        boots.note(MAC, None, &loader(&format!("{n}{}", "é".repeat(300))), State::Loader, 1001);
    }
    let record = boots.current(MAC).unwrap();
    assert_eq!(
        (record.steps.len(), record.steps[0].count, record.steps[0].text.as_str()),
        (32, 3, "offer 10.0.0.9 to bios")
    );
    assert!(record.steps[31].text.starts_with("49é") && record.steps[31].text.len() <= 200);
}

#[test]
fn ids_are_in_the_order_of_boots_and_records_are_read_again() {
    let mut boots = Boots::new(u32::MAX - 1);
    let first = boots.begin(MAC, None, taken(Decision::Local), 1000);
    let second = boots.begin(MAC, None, taken(profile("k")), 1001);
    assert!(first < second && first.to_string().parse() == Ok(first));
    for bad in ["", "1", "+000000000000001", "000003e9ffffffff0"] {
        bad.parse::<BootId>().unwrap_err();
    }
    let json = serde_json::to_string(&boots.of(MAC)).unwrap();
    let mut again = Boots::new(0);
    again.restore(MAC, serde_json::from_str(&json).unwrap());
    assert_eq!(again.of(MAC), boots.of(MAC));
    assert_eq!(again.id(MAC), Some(second), "it goes on");
    let ids = |records: Vec<Record>| records.iter().map(|record| record.id).collect::<Vec<_>>();
    assert_eq!((ids(again.last(9)), ids(again.last(1))), (vec![first, second], vec![second]));
    for id in [first, second] {
        assert_eq!(again.by_id(id).map(|record| record.id), Some(id));
    }
    assert!(again.by_id(BootId::from(7)).is_none());
    // Whatever the clock says by now.
    assert!(again.begin(MAC, None, taken(Decision::Local), 10) > second);
}

#[test]
fn what_was_decided_before_a_restart_is_decided_again_and_what_it_bore_is_not_known() {
    let mut boots = Boots::new(0);
    boots.begin(MAC, Some("bios"), taken(profile("k")), 1000);
    boots.note(MAC, None, &script(), State::Script, 1001);
    let mut again = Boots::new(0);
    again.restore(MAC, boots.of(MAC));
    assert!(again.decision(MAC, &Basis::default(), 1002).is_none());
    assert_eq!((boots.fruit(MAC), again.fruit(MAC)), (Fruit::None, Fruit::Unknown));
    assert!(again.note(MAC, None, &kernel(), State::Kernel, 1003), "what is seen since is fruit");
    assert!(!again.note(MAC, None, &offer("plain"), State::Kernel, 1004), "once");
}

#[test]
fn a_clock_that_is_set_back_freezes_no_decision() {
    let (boots, now) = boot_of(&[offer("bios")]);
    assert!(boots.repeats(MAC, &offer("bios"), now - 60), "a client that asks again");
    assert!(boots.begins(MAC, &offer("bios"), now - 2 * QUIET - 60), "by more than a boot is quiet");
    assert!(!boots.begins(MAC, &offer("bios"), now - 60));
}
