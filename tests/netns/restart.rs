//! Servers that die: known machines go on booting, and the next server takes over without a gap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clients::SITE;
use crate::lab::{MAC, Side, inside};
use crate::malformed::{HOST, Wire, discover};
use crate::site::Site;

#[test]
fn a_killed_server_leaves_the_programs_at_work_and_the_next_adopts_them_without_a_gap() {
    let mut site = Site::start(SITE);
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
    site.kill();
    let asked = |site: &Site| site.lab.inside(Side::Clients, || Wire::open().ask(&discover(HOST, 1)));
    let offer = asked(&site).expect("the pinned program answers while no server runs");
    assert_eq!(yiaddr(&offer), [10, 77, 0, 51]);

    // From here on one DISCOVER after the other, while a new server starts: each must be answered.
    let namespace = site.lab.namespace(Side::Clients);
    let stop = AtomicBool::new(false);
    let (asked, unanswered) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| inside(&namespace, || ask_until(&stop)));
        site.serve();
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(asked > 100, "only {asked} were asked");
    assert_eq!(unanswered, 0, "of {asked}");
    let status = site.json(&["status", "--json"]);
    assert_eq!(status["interfaces"][0]["xdp"]["adopted"], true, "{status}");
    assert_eq!(status["interfaces"][0]["xdp"]["mode"], "generic", "{status}");
    // Between the old entry and the new one the kernel knows no whole answer, and userspace gives it.
    let by_userspace = site.count("userspace", "answered_offer");
    assert!(by_userspace * 10 < asked.into(), "{by_userspace} of {asked}");
}

fn ask_until(stop: &AtomicBool) -> (u32, u32) {
    let wire = Wire::open();
    let (mut asked, mut unanswered) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        asked += 1;
        unanswered += u32::from(wire.ask(&discover(HOST, asked)).is_none());
    }
    (asked, unanswered)
}

#[test]
fn a_clean_stop_takes_the_programs_off_unless_told_to_stay() {
    let mut site = Site::start(SITE);
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
    assert!(site.stop().success());
    let silent = site.lab.inside(Side::Clients, || Wire::open().ask(&discover(HOST, 1)));
    assert!(silent.is_none(), "nobody serves any more");
    assert!(!site.lab.pins().exists(), "nothing is left pinned");

    let mut staying = site.server();
    staying.arg("--stay");
    site.serve_by(staying);
    assert!(site.stop().success());
    let offer = site.lab.inside(Side::Clients, || Wire::open().ask(&discover(HOST, 2)));
    assert_eq!(yiaddr(&offer.expect("the programs stay")), [10, 77, 0, 51]);
    site.serve();
    let status = site.json(&["status", "--json"]);
    assert_eq!(status["interfaces"][0]["xdp"]["adopted"], true, "{status}");
}

/// Two groups of machines, each with an NTP server of its own.
const GROUPS: &str = "\
default_profile: red
profiles:
  - { name: blue, kernel: netboot.yaml, options: { ntp-servers: [10.77.0.202] } }
  - { name: red, kernel: netboot.yaml, options: { ntp-servers: [10.77.0.201] } }
";

/// The next server knows another subnet and another profile, so that its templates have other numbers than those in the
/// kernel. Not one reply may be made of both.
#[test]
fn no_machine_gets_another_groups_template_while_a_changed_site_is_adopted() {
    let mut site = Site::start(&format!("{SITE}{GROUPS}"));
    let blue = [0x52, 0x54, 0, 0x77, 0, 2];
    site.done(&["host", "add", "red1", "--mac", MAC, "--ip", "10.77.0.51"]);
    let add =
        ["host", "add", "blue1", "--mac", "52:54:00:77:00:02", "--ip", "10.77.0.52", "--profile", "blue"];
    site.done(&add);
    let right = |wire: &Wire, xid: u32| {
        [(HOST, 51, 201), (blue, 52, 202)].iter().all(|(mac, ip, ntp)| {
            let offer = wire.ask(&discover(*mac, xid)).unwrap_or_else(|| panic!("{mac:?}: no answer"));
            yiaddr(&offer) == [10, 77, 0, *ip]
                && offer.windows(6).any(|option| option == [42, 4, 10, 77, 0, *ntp])
        })
    };
    let namespace = site.lab.namespace(Side::Clients);
    assert!(inside(&namespace, || right(&Wire::open(), 1)), "{}", site.log());

    site.kill();
    let changed = GROUPS.replace(
        "profiles:\n",
        "subnets:\n  - { subnet: 10.66.0.0/24, router: 10.66.0.1 }\nprofiles:\n  - { name: amber, kernel: netboot.yaml, options: { ntp-servers: [10.77.0.203] } }\n",
    );
    site.configure(&format!("{SITE}{changed}"));
    let stop = AtomicBool::new(false);
    let (asked, wrong) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            inside(&namespace, || {
                let (wire, mut asked, mut wrong) = (Wire::open(), 1, 0);
                while !stop.load(Ordering::Relaxed) {
                    asked += 1;
                    wrong += u32::from(!right(&wire, asked));
                }
                (asked, wrong)
            })
        });
        site.serve();
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert_eq!(wrong, 0, "of {asked}");
    assert!(inside(&namespace, || right(&Wire::open(), 1 << 20)), "{}", site.log());
    assert_eq!(site.json(&["status", "--json"])["interfaces"][0]["xdp"]["adopted"], true);
    let by_userspace = site.count("userspace", "answered_offer");
    assert!(by_userspace * 10 < asked.into(), "{by_userspace} of {asked}");
}

#[test]
fn an_acked_lease_survives_kill_9() {
    let mut site = Site::start(SITE);
    let lease = |site: &Site, mac| site.lab.inside(Side::Clients, || Wire::open().lease(mac));
    let macs: Vec<[u8; 6]> = (1..=4).map(|n| [0x52, 0x54, 0, 0x99, 0, n]).collect();
    let given: Vec<_> =
        macs.iter().map(|mac| lease(&site, *mac).expect("the pool has four addresses")).collect();
    site.kill();
    std::fs::remove_dir_all(site.lab.pins()).unwrap();
    site.serve();
    for (mac, ip) in macs.iter().zip(&given) {
        assert_eq!(lease(&site, *mac), Some(*ip), "the same address again");
    }
    assert_eq!(lease(&site, [0x52, 0x54, 0, 0x99, 0, 9]), None, "and nobody else gets one of them");
}

fn yiaddr(reply: &[u8]) -> [u8; 4] {
    *reply[58..].first_chunk().unwrap()
}
