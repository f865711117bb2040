//! Who is remembered without being a host, and who makes room.

use super::*;

#[test]
fn strangers_make_room_and_nobody_who_matters() {
    let inventory = Snapshot::default();
    let mut known = Known::new(FEW, 0);
    for n in 0..FEW {
        let mut machine = Machine { last_seen: n as u64, ..Machine::default() };
        match n {
            0 => machine.installed = Some(1),
            1 => machine.wanted = true,
            2 => machine.once_done = true,
            3 => machine.state = State::Kernel,
            _ => {}
        }
        known.restore(nth(n), machine, &inventory);
    }
    let (admitted, gone) = known.admit(&inventory, nth(FEW), 9);
    assert_eq!((admitted, gone.len()), (true, FEW / 16));
    assert_eq!(known.by_mac.len(), FEW - FEW / 16);
    assert!((0..4).all(|n| known.by_mac.contains_key(&nth(n))));
    assert!(!known.by_mac.contains_key(&nth(4)));
    for n in 0..FEW {
        known.restore(nth(n), Machine { installed: Some(1), ..Machine::default() }, &inventory);
    }
    assert!(known.admit(&inventory, nth(7), 9).0, "one that is there already");
    assert!(!known.admit(&inventory, nth(2 * FEW), 9).0);
}

#[test]
fn hosts_take_no_room_from_strangers() {
    let host =
        |n| HostEntry { name: format!("n{n}"), macs: vec![nth(n).to_string()], ..HostEntry::default() };
    let hosts = (0..FEW).map(|n| host(n).check("test:1").unwrap()).collect();
    let inventory = Snapshot::new(hosts, Vec::new()).unwrap();
    let empty = || Known::new(FEW, 0);
    let (mut known, mut late) = (empty(), empty());
    for n in 0..FEW {
        let machine = Machine { installed: Some(1), ..Machine::default() };
        late.restore(nth(n), machine.clone(), &Snapshot::default());
        known.restore(nth(n), machine, &inventory);
    }
    assert_eq!(known.strangers.len(), 0);
    assert_eq!(known.admit(&inventory, nth(FEW), 9), (true, vec![]));
    assert!(!late.admit(&Snapshot::default(), nth(FEW), 9).0);
    assert_eq!(late.admit(&inventory, nth(FEW), 9), (true, vec![]), "they became hosts meanwhile");
}

/// GETs in the name of machines that nobody has cost one packet each: they make room as others do, without a look at all of them.
#[test]
fn forged_requests_for_scripts_close_the_site_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = open(dir.path(), true);
    machines.limit_strangers(FEW);
    let agent = |step| {
        let (status, message) = (Status::Started, String::new());
        let (bytes, total, bytes_per_second, eta_seconds) = (0, None, 0, None);
        Observation::Agent(Report { step, status, bytes, total, bytes_per_second, eta_seconds, message })
    };
    let observe =
        |mac, seen: &Observation| machines.observe(Who::Mac(mac), Lane::Api, seen).unwrap().is_some();
    assert!(observe(MAC, &agent(Step::Write)), "it writes its disk");
    for n in 0..4 * FEW {
        assert!(observe(nth(n), &script(Shown::default(), false, false)), "{n}");
        assert!(machines.list().len() <= FEW);
    }
    assert!(observe(OTHER, &dhcp("bios", "10.0.0.9", Named::Unasked)), "a new one is heard");
    assert_eq!(machines.machine(MAC).unwrap().state, State::Installing, "what installs stays");
}

#[test]
fn an_agent_that_was_not_heard_of_for_a_day_makes_room() {
    let (inventory, mut known) = (Snapshot::default(), Known::new(1, 0));
    let machine = Machine { state: State::Installing, last_seen: 1000, ..Machine::default() };
    known.restore(MAC, machine, &inventory);
    assert!(!known.admit(&inventory, OTHER, 1000 + 86_400).0);
    assert_eq!(known.admit(&inventory, OTHER, 1001 + 86_400), (true, vec![MAC]));
}

#[test]
fn addresses_that_a_machine_has_no_more_lead_to_it_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = open(dir.path(), true);
    for n in 0..9 {
        see(&machines, &script(shown(UUID, &format!("fd77::{n}")), false, false));
    }
    let at = |address: &str| machines.mac_at(address.parse().unwrap());
    assert_eq!((at("fd77::8"), at("fd77::7")), (Some(MAC), None));
    see(&machines, &dhcp("bios", "10.0.0.9", Named::Unasked));
    see(&machines, &dhcp("bios", "10.0.0.10", Named::Unasked));
    assert_eq!((at("10.0.0.10"), at("10.0.0.9"), at("fd77::8")), (Some(MAC), None, Some(MAC)));
    machines.observe(Who::Mac(OTHER), Lane::Xdp, &dhcp("bios", "10.0.0.10", Named::Unasked)).unwrap();
    see(&machines, &dhcp("bios", "10.0.0.11", Named::Unasked));
    assert_eq!(at("10.0.0.10"), Some(OTHER), "it is another's by now");
}
