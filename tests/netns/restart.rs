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
    assert_eq!(site.count("userspace", "answered_offer"), 0);
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
