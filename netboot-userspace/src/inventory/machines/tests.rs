#![allow(clippy::unwrap_used)]

mod boots;
mod breaker;
mod elsewhere;
mod grouped;
mod strangers;

use super::*;
use crate::image::protocol::{Disk, OnFailure, Report, Status, Step};
use crate::inventory::entry::HostEntry;
use crate::inventory::labels::Labels;
use crate::inventory::observed::{Named, State};
use crate::inventory::{Boot, Install, ProfileBoot, Snapshot, live::Change};

/// Instead of [`STRANGERS`].
const FEW: usize = 64;

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
const OTHER: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);

fn profile(name: &str, installs: bool) -> Profile {
    let sha256 = "0".repeat(64);
    let (disk, on_failure) = (Disk::Only, OnFailure::Reboot);
    let install = Install { image: "i".into(), sha256, size: None, disk, on_failure };
    Profile {
        name: name.into(),
        boot: ProfileBoot::Linux { kernel: "k".into(), initrd: vec![], cmdline: String::new() },
        install: installs.then_some(install),
        origin: "test:1".into(),
        ..Profile::default()
    }
}

fn open(dir: &std::path::Path, boot_unknown: bool) -> (Arc<Live>, Machines) {
    let store = Arc::new(Store::open(dir).unwrap());
    let profiles = vec![profile("install", true), profile("rescue", false)];
    let configured = Snapshot::new(vec![], profiles).unwrap();
    let (live, _) = Live::open(store.clone(), configured, |_| Ok(())).unwrap();
    let live = Arc::new(live);
    let (default_profile, networks6) = (Some("install".into()), vec![("fd77::".parse().unwrap(), 64)]);
    let policy = Policy { boot_unknown, default_profile, networks6, ..Policy::default() };
    let machines = Machines::open(store, Arc::default(), live.clone(), policy).unwrap();
    (live, machines)
}

fn boots(machines: &Machines, mac: Mac) -> String {
    boots_showing(machines, mac, Shown::default())
}

fn boots_showing(machines: &Machines, mac: Mac, shown: Shown) -> String {
    match machines.decide(mac, shown) {
        Decision::Profile { profile, .. } => profile.name.clone(),
        Decision::Local => "local".into(),
        Decision::Ignore => "ignore".into(),
        Decision::Nothing(_) => "nothing".into(),
    }
}

fn see(machines: &Machines, seen: &Observation) -> Machine {
    machines.observe(Who::Mac(MAC), Lane::Api, seen).unwrap().unwrap()
}

fn installed() -> Observation {
    reported(Step::Head, Status::Done)
}

fn failed() -> Observation {
    reported(Step::Write, Status::Failed)
}

fn reported(step: Step, status: Status) -> Observation {
    let (bytes, total, bytes_per_second, eta_seconds) = (0, None, 0, None);
    let message = String::new();
    Observation::Agent(Report { step, status, bytes, total, bytes_per_second, eta_seconds, message })
}

fn host(boot: Boot, profile: Option<&str>) -> HostEntry {
    let macs = vec![MAC.to_string(), OTHER.to_string()];
    HostEntry { name: "n".into(), macs, boot, profile: profile.map(str::to_owned), ..HostEntry::default() }
}

#[test]
fn an_installation_is_not_repeated_unless_told() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_, machines) = open(dir.path(), true);
        assert_eq!(boots(&machines, MAC), "install");
        assert_eq!(see(&machines, &installed()).state, State::Installed);
        assert_eq!(boots(&machines, MAC), "local");
    }
    let (live, machines) = open(dir.path(), true);
    assert_eq!(boots(&machines, MAC), "local", "after a restart");
    live.apply(Change::Add(host(Boot::Profile, None))).unwrap();
    assert_eq!(boots(&machines, OTHER), "local", "by its other port");
    live.apply(Change::Put(host(Boot::Profile, Some("rescue")))).unwrap();
    assert_eq!(boots(&machines, MAC), "rescue", "a profile that doesn't install");
    live.apply(Change::Put(host(Boot::Once, None))).unwrap();
    assert_eq!(boots(&machines, MAC), "install", "told to, once");
    see(
        &machines,
        &Observation::Script {
            profile: "install".into(),
            installs: true,
            once: true,
            shown: Shown::default(),
        },
    );
    assert_eq!(boots(&machines, MAC), "install", "not yet used up");
    see(&machines, &installed());
    assert_eq!(boots(&machines, MAC), "local", "used up");
    machines.rearm_once(&[MAC]).unwrap();
    assert_eq!(boots(&machines, MAC), "install", "told again");
    live.apply(Change::Put(host(Boot::Profile, None))).unwrap();
    assert_eq!(boots(&machines, MAC), "local");
    machines.reset(&[MAC]).unwrap();
    assert_eq!(boots(&machines, MAC), "install", "reset");
    live.apply(Change::Put(host(Boot::Local, None))).unwrap();
    assert_eq!(boots(&machines, MAC), "local", "boot: local");
    live.apply(Change::Put(host(Boot::Ignore, None))).unwrap();
    assert_eq!(boots(&machines, MAC), "ignore");
}

#[test]
fn unknown_machines_by_policy() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = open(dir.path(), false);
    assert_eq!(boots(&machines, MAC), "nothing");
}

#[test]
fn after_a_lost_store_nothing_is_installed_unless_told() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_, machines) = open(dir.path(), true);
        machines.hold().unwrap();
    }
    let (_, machines) = open(dir.path(), true);
    assert!(machines.is_held(), "over a restart");
    assert_eq!((boots(&machines, MAC), boots(&machines, OTHER)), ("local".into(), "local".into()));
    machines.reset(&[MAC]).unwrap();
    assert_eq!((boots(&machines, MAC), boots(&machines, OTHER)), ("install".into(), "local".into()));
    machines.release().unwrap();
    assert_eq!(boots(&machines, OTHER), "install");
    drop(machines);
    assert!(!open(dir.path(), true).1.is_held());
}

#[test]
fn machines_are_found_by_address() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = open(dir.path(), true);
    let ip = IpAddr::from([10, 0, 0, 9]);
    let kernel = Observation::Kernel { file: "k".into(), bytes: 1 };
    assert_eq!(machines.observe(Who::Address(ip), Lane::Http, &kernel).unwrap(), None);
    see(&machines, &Observation::Dhcp { kind: "ack", class: "bios", ip: Some(ip), named: Named::Unasked });
    see(
        &machines,
        &Observation::Script { profile: "p".into(), installs: false, once: false, shown: Shown::default() },
    );
    let machine = machines.observe(Who::Address(ip), Lane::Http, &kernel).unwrap().unwrap();
    assert_eq!((machine.state, machine.step.as_str()), (State::Kernel, "k"));
    let (events, _) = machines.events.follow(9);
    assert_eq!(events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["dhcp", "script", "kernel"]);
}

#[test]
fn a_machine_at_its_reserved_address_is_known_before_the_word_of_the_kernels_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    let host = |name: &str, macs: &[Mac], ip: &str| {
        let macs = macs.iter().map(Mac::to_string).collect();
        let entry = HostEntry { name: name.into(), macs, ip: Some(ip.into()), ..HostEntry::default() };
        live.apply(Change::Put(entry)).unwrap();
    };
    host("one", &[MAC], "10.0.0.9");
    host("two", &[OTHER, Mac([2; 6])], "10.0.0.10");
    let fetch = |ip: &str| {
        let loader = Observation::Loader { file: "undionly.kpxe".into(), bytes: 7 };
        machines.observe(Who::Address(ip.parse().unwrap()), Lane::Tftp, &loader).unwrap()
    };
    let seen = fetch("10.0.0.9").unwrap();
    assert_eq!((seen.mac, seen.state), (MAC.to_string(), State::Loader));
    assert_eq!(fetch("10.0.0.10"), None, "whose of two it is, nobody knows");
}

const UUID: &str = "77000000-0000-4000-8000-000000000001";

fn shown(uuid: &str, peer: &str) -> Shown {
    Shown { uuid: uuid.parse().ok(), peer: peer.parse().ok() }
}

fn script(shown: Shown, installs: bool, once: bool) -> Observation {
    Observation::Script { profile: "install".into(), installs, once, shown }
}

fn dhcp(class: &'static str, ip: &str, named: Named) -> Observation {
    Observation::Dhcp { kind: "ack", class, ip: ip.parse().ok(), named }
}

fn no_mac(boot: Boot) -> HostEntry {
    HostEntry { name: "n".into(), boot, ..HostEntry::default() }
}

#[test]
fn a_host_without_a_mac_boots_as_its_entry_says() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    let set = |host: HostEntry| live.apply(Change::Put(host)).unwrap();
    set(HostEntry { uuid: Some(UUID.into()), ..no_mac(Boot::Local) });
    assert_eq!(boots_showing(&machines, MAC, shown(UUID, "")), "local", "by its UUID");
    assert_eq!(boots(&machines, MAC), "install", "nobody knows yet");
    see(&machines, &Observation::Local { shown: shown(UUID, "") });
    assert_eq!(boots(&machines, MAC), "local", "the UUID is remembered");
    assert_eq!(machines.machine(MAC).unwrap().name.as_deref(), Some("n"));

    let (ip, client_id) = (Some("10.0.0.9".into()), Some("port-7".into()));
    set(HostEntry { ip: ip.clone(), client_id: client_id.clone(), ..no_mac(Boot::Local) });
    assert_eq!(boots_showing(&machines, MAC, shown("", "10.0.0.9")), "local", "by its reservation");
    set(HostEntry { ip, client_id, macs: vec!["52:54:00:00:00:09".into()], ..no_mac(Boot::Local) });
    assert_eq!(boots_showing(&machines, MAC, shown("", "10.0.0.9")), "install", "another has that address");

    set(HostEntry { circuit: Some("port-7".into()), ..no_mac(Boot::Local) });
    assert_eq!(boots(&machines, MAC), "install");
    see(&machines, &dhcp("bios", "10.0.0.70", Named::V4(Some("n".into()))));
    assert_eq!(boots(&machines, MAC), "local", "as DHCP knows it");
    machines.store.put_values::<u8>(&[]).unwrap().wait().unwrap();
    drop((live, machines));
    assert_eq!(boots(&open(dir.path(), true).1, MAC), "local", "after a restart");
}

#[test]
fn a_host_without_a_mac_is_installed_once_and_again_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    live.apply(Change::Put(HostEntry { uuid: Some(UUID.into()), ..no_mac(Boot::Profile) })).unwrap();
    let host = live.snapshot().host("n").unwrap().clone();
    assert_eq!(machines.macs_of(&host), [], "not seen yet");
    see(&machines, &script(shown(UUID, ""), true, false));
    see(&machines, &installed());
    assert_eq!(boots_showing(&machines, MAC, shown(UUID, "")), "local");
    assert_eq!(boots_showing(&machines, OTHER, shown(UUID, "")), "local", "by its other port");
    assert_eq!(machines.macs_of(&host), [MAC]);
    machines.reset(&machines.macs_of(&host)).unwrap();
    assert_eq!(boots_showing(&machines, MAC, shown(UUID, "")), "install");
}

#[test]
fn who_names_the_uuid_of_a_host_asks_from_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    let host = HostEntry { uuid: Some(UUID.into()), ip: Some("10.0.0.9".into()), ..no_mac(Boot::Profile) };
    live.apply(Change::Put(host)).unwrap();
    see(&machines, &dhcp("bios", "10.0.0.70", Named::V4(None)));
    let reserved = Err([10, 0, 0, 9].into());
    assert_eq!(machines.may_ask(MAC, shown(UUID, "10.0.0.70")), reserved, "a stranger's lease");
    assert_eq!(machines.may_ask(MAC, shown(UUID, "10.0.0.9")), Ok(()));
    see(&machines, &dhcp("bios", "10.0.0.71", Named::V4(Some("n".into()))));
    assert_eq!(machines.may_ask(MAC, shown(UUID, "10.0.0.71")), Ok(()), "a lease of the host itself");
}

#[test]
fn a_machine_with_two_ports_is_installed_once() {
    let dir = tempfile::tempdir().unwrap();
    let third = Mac([0x52, 0x54, 0, 0, 0, 3]);
    {
        let (_, machines) = open(dir.path(), true);
        see(&machines, &script(shown(UUID, ""), true, false));
        // The agent's report has no UUID, and the server may have been restarted meanwhile.
    }
    {
        let (_, machines) = open(dir.path(), true);
        see(&machines, &installed());
    }
    let (live, machines) = open(dir.path(), true);
    assert_eq!(
        boots_showing(&machines, OTHER, shown(UUID, "")),
        "local",
        "the firmware went on to its other port"
    );
    assert_eq!(boots(&machines, OTHER), "install", "nothing says that it is the same machine");
    let sample = shown("03000200-0400-0500-0006-000700080009", "");
    machines.observe(Who::Mac(third), Lane::Api, &script(sample, true, false)).unwrap();
    machines.observe(Who::Mac(third), Lane::Api, &installed()).unwrap();
    assert_eq!(boots_showing(&machines, OTHER, sample), "install", "many boards have that one");
    machines.reset(&[OTHER]).unwrap();
    assert_eq!(boots_showing(&machines, OTHER, shown(UUID, "")), "install", "told to, for this MAC");

    let host = HostEntry { macs: vec![third.to_string()], ..no_mac(Boot::Local) };
    live.apply(Change::Put(host)).unwrap();
    let own = "77000000-0000-4000-8000-000000000003";
    machines.observe(Who::Mac(third), Lane::Api, &Observation::Local { shown: shown(own, "") }).unwrap();
    let fourth = Mac([0x52, 0x54, 0, 0, 0, 4]);
    assert_eq!(
        boots_showing(&machines, fourth, shown(own, "")),
        "local",
        "a port of a host that names another"
    );
}

#[test]
fn an_installation_that_was_asked_for_is_made_by_one_port_only() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_, machines) = open(dir.path(), true);
        see(&machines, &script(shown(UUID, ""), true, false));
        see(&machines, &installed());
        machines.reset(&[MAC]).unwrap();
        // The firmware begins with another port.
        assert_eq!(boots_showing(&machines, OTHER, shown(UUID, "")), "install");
        machines.observe(Who::Mac(OTHER), Lane::Api, &script(shown(UUID, ""), true, false)).unwrap();
        assert_eq!(boots(&machines, MAC), "install", "nobody has made it yet");
        machines.observe(Who::Mac(OTHER), Lane::Api, &installed()).unwrap();
        assert_eq!(boots(&machines, MAC), "local");
    }
    let (_, machines) = open(dir.path(), true);
    assert_eq!(boots(&machines, MAC), "local", "after a restart, too");
    machines.reset(&[MAC]).unwrap();
    assert_eq!(boots(&machines, MAC), "install", "asked for again");
}

#[test]
fn an_address_made_of_a_mac_counts_inside_the_sites_networks() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    let host =
        HostEntry { macs: vec![MAC.to_string()], ip: Some("10.0.0.9".into()), ..no_mac(Boot::Profile) };
    live.apply(Change::Put(host)).unwrap();
    let made = "5054:ff:fe00:1";
    for (peer, is_own) in [
        ("10.0.0.9".to_owned(), true),
        (format!("fd77::{made}"), true),
        (format!("fe80::{made}"), true),
        ("fd77::1".to_owned(), false),
        (format!("fd77:0:0:1:{made}"), false),
        (format!("2001:db8::{made}"), false),
    ] {
        assert_eq!(machines.owns(MAC, shown("", &peer)), is_own, "{peer}");
        assert_eq!(machines.may_ask(MAC, shown("", &peer)).is_ok(), is_own, "{peer}");
    }
}

#[test]
fn what_a_machine_fetches_is_known_where_another_server_gave_it_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = open(dir.path(), true);
    let ip = IpAddr::from([192, 168, 7, 9]);
    see(&machines, &dhcp("ipxe-bios", "", Named::Unasked));
    see(&machines, &script(shown("", "192.168.7.9"), false, false));
    let kernel = Observation::Kernel { file: "k".into(), bytes: 1 };
    let machine = machines.observe(Who::Address(ip), Lane::Http, &kernel).unwrap().unwrap();
    assert_eq!((machine.mac, machine.state, machine.asked_from), (MAC.to_string(), State::Kernel, Some(ip)));
    assert_eq!(machines.may_ask(MAC, shown("", "192.168.7.10")), Ok(()), "its server may give it another");
}

fn nth(n: usize) -> Mac {
    let [.., a, b, c] = n.to_be_bytes();
    Mac([2, 0, 0, a, b, c])
}

#[test]
fn a_reset_is_not_lost_to_what_is_seen_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = open(dir.path(), true);
    for round in 0..8 {
        see(&machines, &installed());
        std::thread::scope(|scope| {
            let reset = scope.spawn(|| machines.reset(&[MAC]).unwrap());
            for once in [true, false].into_iter().cycle() {
                see(&machines, &script(Shown::default(), false, once));
                if reset.is_finished() {
                    break;
                }
            }
        });
        let stored = machines.store.machines::<Machine>().unwrap();
        let (stored, known) = (&stored[0].1, machines.machine(MAC).unwrap());
        assert_eq!(stored.marked(), known.marked(), "round {round}");
        assert!(known.wanted && known.installed.is_none());
    }
}

#[test]
fn a_reset_that_could_not_be_written_is_taken_back_but_not_what_was_seen_since() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = open(dir.path(), true);
    let never = machines.machine(MAC).map(|machine| machine.marked()).unwrap_or_default();
    see(&machines, &installed());
    let before = machines.machine(MAC).unwrap().marked();
    machines.reset(&[MAC]).unwrap();
    let reset = machines.machine(MAC).unwrap().marked();
    machines.undo(&[(MAC, before, reset)]);
    assert_eq!(machines.machine(MAC).unwrap().marked(), before);
    assert!(machines.lock().unwritten.contains(&MAC), "the next observation writes it again");
    machines.undo(&[(MAC, never, reset)]);
    assert_eq!(machines.machine(MAC).unwrap().marked(), before);
}

#[test]
fn noting_waits_for_nobody_and_counts_what_it_loses() {
    let dir = tempfile::tempdir().unwrap();
    let (_, machines) = open(dir.path(), true);
    see(&machines, &dhcp("bios", "10.0.0.9", Named::Unasked));
    let by = Who::Address([10, 0, 0, 9].into());
    let loader = || Observation::Loader { file: "undionly.kpxe".into(), bytes: 7 };
    {
        let _somebody_works = machines.known.lock().unwrap();
        let noted = (0..noted::MOST + 3).filter(|_| machines.note(by, Lane::Tftp, loader())).count();
        assert_eq!((noted, machines.lost()), (noted::MOST, 3));
    }
    assert_eq!(machines.machine(MAC).unwrap().state, State::Loader);
    assert!(machines.note(by, Lane::Tftp, loader()), "there is room again");
}

#[test]
fn what_was_noted_is_taken_in_before_what_is_seen_next() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_, machines) = open(dir.path(), true);
        let by = Who::Address([10, 0, 0, 9].into());
        machines.note_surely(Who::Mac(MAC), Lane::Xdp, dhcp("bios", "10.0.0.9", Named::Unasked));
        assert!(machines.note(by, Lane::Tftp, Observation::Loader { file: "l".into(), bytes: 1 }));
        assert_eq!(machines.may_ask(MAC, shown("", "10.0.0.8")), Err([10, 0, 0, 9].into()));
        see(&machines, &script(shown("", "10.0.0.9"), false, true));
        assert!(machines.note(by, Lane::Http, Observation::Kernel { file: "k".into(), bytes: 1 }));
        machines.take_noted().unwrap();
        let (events, _) = machines.events.follow(9);
        let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["dhcp", "loader", "script", "kernel"]);
    }
    let (_, machines) = open(dir.path(), true);
    assert!(machines.machine(MAC).unwrap().once_done, "the store has it");
}

#[test]
fn a_forgotten_stranger_is_forgotten_by_the_store() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_, machines) = open(dir.path(), true);
        machines.reset(&[MAC]).unwrap();
        machines.forget(&[MAC]);
    }
    assert_eq!(open(dir.path(), true).1.list(), []);
}

#[test]
fn a_choice_from_a_menu_boots_another_profile_and_repeats_no_installation() {
    let dir = tempfile::tempdir().unwrap();
    let (live, machines) = open(dir.path(), true);
    machines.choose(MAC, Some("rescue"));
    assert_eq!((boots(&machines, MAC), boots(&machines, OTHER)), ("rescue".into(), "install".into()));
    machines.choose(MAC, Some("install"));
    assert_eq!(boots(&machines, MAC), "install");
    see(&machines, &installed());
    assert_eq!(boots(&machines, MAC), "local", "a timeout may have chosen it");
    machines.choose(MAC, Some("rescue"));
    assert_eq!(boots(&machines, MAC), "rescue", "that installs nothing");
    machines.choose(MAC, None);
    assert_eq!(boots(&machines, MAC), "local", "a boot file was chosen since");
    machines.choose(MAC, Some("rescue"));
    live.apply(Change::Add(host(Boot::Local, None))).unwrap();
    assert_eq!(boots(&machines, MAC), "local", "what the operator says");
    live.apply(Change::Put(host(Boot::Ignore, None))).unwrap();
    assert_eq!(boots(&machines, MAC), "ignore");
}
