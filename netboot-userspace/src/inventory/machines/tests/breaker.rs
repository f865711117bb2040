//! Whom the breaker stops, and whom nobody can have it stop.

use super::boots::{boot_to_script, kernel, loader, obeys, of_mac, offer, put, script_of, script_to};
use super::*;
use crate::inventory::boots::{Breaker, Instead, Loop};

fn with_breaker(machines: &Machines, breaker: Option<Breaker>) {
    machines.set_policy(Policy { breaker, ..Policy::clone(&machines.policy()) });
}

/// A host that boots `rescue`, and a breaker.
fn rescued(dir: &std::path::Path) -> (Arc<Live>, Machines) {
    let (live, machines) = open(dir, true);
    put(&live, Boot::Profile, "rescue");
    with_breaker(&machines, Some(Breaker::default()));
    (live, machines)
}

/// Of five boots in each of which `happens`, none is counted as fruitless.
fn are_never_stopped(machines: &Machines, happens: impl Fn()) {
    for _ in 0..5 {
        happens();
    }
    assert_eq!(machines.machine(MAC).unwrap().fruitless, 0);
}

#[test]
fn the_third_boot_in_a_row_without_fruit_is_stopped_until_an_operator_starts_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = rescued(dir.path());
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

/// What was missing may be there by then; if not, it costs one boot an hour.
#[test]
fn a_boot_of_a_stopped_machine_is_tried_again_after_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    let (_live, machines) = rescued(dir.path());
    let stop = || {
        let boots: Vec<_> = (0..3).map(|_| boot_to_script(&machines)).collect();
        assert_eq!((boots[2].as_str(), machines.stopped().len()), ("local", 1), "{boots:?}");
    };
    let hours_pass = |seconds: u64| {
        let mut known = machines.lock();
        let stopped = &mut known.by_mac.get_mut(&MAC).unwrap().stopped;
        *stopped = stopped.map(|since| since - seconds);
    };
    stop();
    hours_pass(3590);
    assert_eq!(boot_to_script(&machines), "local");
    hours_pass(10);
    assert_eq!([(); 3].map(|()| boot_to_script(&machines)), ["rescue", "local", "local"]);
    hours_pass(3600);
    assert_eq!(boot_to_script(&machines), "rescue");
    of_mac(&machines, kernel());
    assert_eq!(machines.stopped(), [], "it bore fruit");
    assert_eq!([(); 2].map(|()| boot_to_script(&machines)), ["rescue", "rescue"]);
    // Who was stopped in a loop is not: each of its boots may have written a disk.
    machines.rearm(&[MAC]).unwrap();
    let repeats = Some(Loop { boots: 2, within: 600 });
    with_breaker(&machines, Some(Breaker { repeats, ..Breaker::default() }));
    let boots = || {
        let boots = boot_to_script(&machines);
        of_mac(&machines, kernel());
        boots
    };
    while boots() != "local" {}
    hours_pass(36_000);
    assert_eq!(boots(), "local");
}

/// An installer that is not ours reports nothing: each of its boots fetches a kernel, and is followed by the next.
#[test]
fn boots_that_follow_one_another_too_soon_are_stopped_whatever_they_bear() {
    let dir = tempfile::tempdir().unwrap();
    let (_live, machines) = rescued(dir.path());
    let repeats = Some(Loop { boots: 4, within: 600 });
    with_breaker(&machines, Some(Breaker { repeats, ..Breaker::default() }));
    let boots = || {
        let boots = boot_to_script(&machines);
        of_mac(&machines, kernel());
        boots
    };
    for _ in 0..2 {
        assert_eq!([(); 5].map(|()| boots()), ["rescue", "rescue", "rescue", "local", "local"]);
        let stopped = machines.stopped();
        assert_eq!((stopped.len(), stopped[0].fruitless), (1, 0));
        let (events, _) = machines.events.follow(99);
        let told = events.iter().rev().find(|event| event.kind == "breaker").unwrap();
        assert!(told.text.contains("4 boots in a row began within 600 s of the one before"), "{}", told.text);
        machines.rearm(&[MAC]).unwrap();
    }
}

#[test]
fn a_boot_that_begins_later_begins_the_count_of_a_loop_anew() {
    let mut machine = Machine::default();
    let mut quick = |before, now| {
        machine.follow(before, 600, now);
        machine.quick
    };
    let counts =
        [(None, 1000), (Some(1000), 1599), (Some(1599), 1600), (Some(1600), 2200), (Some(2200), 2100)];
    assert_eq!(counts.map(|(before, now)| quick(before, now)), [0, 1, 2, 0, 1]);
    let breaker = Breaker::default();
    assert!(![0, u32::MAX].map(|quick| breaker.stops_loop(quick)).contains(&true), "it is for who wants it");
}

#[test]
fn a_boot_that_bears_fruit_is_never_stopped_and_begins_the_count_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (_live, machines) = rescued(dir.path());
    for _ in 0..3 {
        assert_eq!(boot_to_script(&machines), "rescue");
        assert_eq!(boot_to_script(&machines), "rescue");
        of_mac(&machines, kernel());
    }
    are_never_stopped(&machines, || {
        assert_eq!(boot_to_script(&machines), "rescue");
        of_mac(&machines, kernel());
    });
    // `machine reset` starts one again, too.
    (0..3).for_each(|_| drop(boot_to_script(&machines)));
    assert_eq!(machines.stopped().len(), 1);
    machines.reset(&[MAC]).unwrap();
    assert_eq!(script_of(&machines), "rescue");
}

#[test]
fn a_machine_that_is_stopped_stays_so_over_a_restart_also_one_that_was_installed_once() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (live, machines) = open(dir.path(), true);
        with_breaker(&machines, Some(Breaker::default()));
        put(&live, Boot::Profile, "install");
        assert_eq!(boot_to_script(&machines), "install");
        see(&machines, &installed());
        put(&live, Boot::Profile, "rescue");
        let three = [(); 3].map(|()| boot_to_script(&machines));
        assert_eq!(three, ["rescue", "rescue", "local"]);
    }
    let (_, machines) = open(dir.path(), true);
    with_breaker(&machines, Some(Breaker::default()));
    let records = machines.boots(&[MAC]);
    assert!(!records.is_empty() && records.iter().all(|record| record.ended.is_some()), "{records:?}");
    // What was seen last before the restart, or has fruit of old, is no fruit of now.
    let renewal =
        Observation::Dhcp { kind: "ack", class: "plain", ip: "10.0.0.9".parse().ok(), named: Named::Unasked };
    of_mac(&machines, (Lane::Xdp, renewal));
    assert_eq!(machines.stopped().len(), 1);
    assert_eq!(boot_to_script(&machines), "local");
}

#[test]
fn to_start_a_machine_again_installs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    with_breaker(&machines, Some(Breaker::default()));
    put(&live, Boot::Profile, "install");
    boot_to_script(&machines);
    see(&machines, &installed());
    put(&live, Boot::Profile, "rescue");
    (0..3).for_each(|_| drop(boot_to_script(&machines)));
    let stopped = machines.would(MAC, Shown::default());
    assert!(stopped.why.contains("`netboot machine rearm n`"), "{}", stopped.why);
    assert_eq!(machines.rearm_all().unwrap(), 1);
    assert_eq!((machines.stopped().len(), boots(&machines, MAC)), (0, "rescue".into()));
    put(&live, Boot::Profile, "install");
    assert_eq!(boots(&machines, MAC), "local", "it is installed as before");
}

/// The kernel is away, or its connection breaks off: that is ours.
#[test]
fn kernels_that_we_did_not_send_are_no_fruitless_boots() {
    let dir = tempfile::tempdir().unwrap();
    let (_live, machines) = rescued(dir.path());
    are_never_stopped(&machines, || {
        assert_eq!(boot_to_script(&machines), "rescue");
        let unserved = Observation::Unserved { file: "/assets/k".into(), status: 404 };
        let by = Who::Address([10, 0, 0, 9].into());
        assert!(machines.note(by, Lane::Http, unserved));
        machines.take_noted().unwrap();
    });
}

/// What may be lost is what tells fruit.
#[test]
fn boots_under_way_while_observations_were_lost_are_not_fruitless() {
    let dir = tempfile::tempdir().unwrap();
    let (_live, machines) = rescued(dir.path());
    are_never_stopped(&machines, || {
        assert_eq!(boot_to_script(&machines), "rescue");
        {
            let _somebody_works = machines.known.lock().unwrap();
            let note = || machines.note(Who::Address([10, 9, 9, 9].into()), Lane::Http, kernel().1);
            assert!((0..=noted::MOST).any(|_| !note()), "full");
        }
        machines.take_noted().unwrap();
    });
}

#[test]
fn nobody_has_a_machine_stopped_by_asking_in_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (_live, machines) = rescued(dir.path());
    let no_address =
        Observation::Dhcp { kind: "proxy_offer", class: "bios", ip: None, named: Named::Unasked };
    are_never_stopped(&machines, || {
        of_mac(&machines, (Lane::Userspace, no_address.clone()));
        assert_eq!(script_to(&machines, shown("", "10.0.0.66")), "rescue");
    });
}

/// Behind a NAT or a proxy all requests have one address; the URL says whose each is.
#[test]
fn a_kernel_is_of_the_boot_that_its_url_names_where_its_address_may_be_that_machines() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    put(&live, Boot::Profile, "rescue");
    let peer = IpAddr::from([10, 9, 9, 9]);
    assert_eq!(script_to(&machines, Shown { uuid: None, peer: Some(peer) }), "rescue");
    let id = machines.boot(MAC).unwrap();
    let stranger = nth(1);
    machines.observe(Who::Mac(stranger), Lane::Api, &script(shown("", "10.9.9.9"), false, false)).unwrap();
    let fetch = |peer| machines.observe(Who::Boot { id, peer }, Lane::Http, &kernel().1).unwrap();
    assert_eq!(fetch(peer).unwrap().mac, MAC.to_string());
    of_mac(&machines, offer(Lane::Xdp, "bios"));
    of_mac(&machines, loader());
    assert_eq!(script_of(&machines), "rescue");
    let id = machines.boot(MAC).unwrap();
    let forged = machines.observe(Who::Boot { id, peer }, Lane::Http, &kernel().1).unwrap().unwrap();
    assert_eq!(forged.mac, stranger.to_string(), "whose address is known fetches from there alone");
    assert_eq!(obeys(&machines, shown("", "10.0.0.9"), Asking::Loader), "rescue");
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
