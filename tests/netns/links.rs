//! Interfaces that go, come back, change their name, and lose their carrier: each served again by itself, with its reason in
//! `netboot status` until then.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clients::SITE;
use crate::lab::{MAC, Side};
use crate::malformed::{HOST, Wire, discover};
use crate::site::Site;

fn start() -> Site {
    let site = Site::start(SITE);
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
    assert_eq!(degraded(&site), json!([]));
    site
}

pub(crate) fn degraded(site: &Site) -> Value {
    site.json(&["status", "--json"])["degraded"].clone()
}

/// Waits until `netboot status` says `words` of what is wrong; none: that all is well.
pub(crate) fn await_degraded(site: &Site, words: Option<&str>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let said = degraded(site);
        let there = match words {
            Some(words) => said.to_string().contains(words),
            None => said == json!([]),
        };
        if there {
            return;
        }
        assert!(Instant::now() < deadline, "{words:?}: {said}: {}", site.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ip(site: &Site, arguments: &[&str]) {
    let mut command = site.lab.command(Side::Server, "ip");
    crate::lab::run(command.args(arguments));
}

/// A known machine is answered by XDP, and a stranger by userspace.
fn is_served(site: &Site) {
    let before = site.count("xdp", "answered_offer");
    let (known, stranger) = site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        (wire.ask(&discover(HOST, 1)).is_some(), wire.lease([0x52, 0x54, 0, 0x77, 0, 9]).is_some())
    });
    assert!(known && stranger, "known: {known}, stranger: {stranger}: {}", site.log());
    assert!(site.count("xdp", "answered_offer") > before, "{}", site.done(&["status"]));
}

#[test]
fn an_interface_that_is_removed_and_made_anew_is_served_again() {
    let site = start();
    for _ in 0..3 {
        ip(&site, &["link", "del", "eth0"]);
        await_degraded(&site, Some("interface eth0: there is no such interface any more"));
        site.lab.connect();
        await_degraded(&site, None);
        is_served(&site);
        let attached = &site.json(&["status", "--json"])["interfaces"][0];
        assert_eq!(attached["xdp"]["mode"], "generic", "{attached}");
        assert_eq!(attached["tcx"]["mode"], "tcx", "{attached}");
        assert_eq!(attached["xdp"]["steps_down"], json!([]), "{attached}");
    }
}

#[test]
fn an_interface_that_is_renamed_goes_on_and_says_so() {
    let site = start();
    for (from, to, words) in [("eth0", "eth9", Some("it is called eth9 now")), ("eth9", "eth0", None)] {
        ip(&site, &["link", "set", from, "down"]);
        ip(&site, &["link", "set", from, "name", to]);
        ip(&site, &["link", "set", to, "up"]);
        await_degraded(&site, words);
        is_served(&site);
    }
    assert!(!site.log().contains("made anew"), "{}", site.log());
}

#[test]
fn a_link_that_flaps_a_hundred_times_is_served_and_says_it_once_a_flap() {
    const FLAPS: usize = 100;
    let site = start();
    let mut command = Command::new("ip");
    command.args(["-n", &site.lab.namespace(Side::Server), "-batch", "-"]).stdin(Stdio::piped());
    let mut flapping = command.spawn().unwrap();
    let flaps = "link set eth0 down\nlink set eth0 up\n".repeat(FLAPS);
    flapping.stdin.take().unwrap().write_all(flaps.as_bytes()).unwrap();
    assert!(flapping.wait().unwrap().success());
    await_degraded(&site, None);
    is_served(&site);
    let log = site.log();
    let about = log.lines().filter(|line| line.contains("eth0") && line.contains("WARN")).count();
    assert!(about <= FLAPS && !log.contains("ERROR"), "{about} lines: {log}");
    let attached = &site.json(&["status", "--json"])["interfaces"][0];
    assert_eq!(attached["xdp"]["mode"], "generic", "{attached}");

    // One that lasts is said, in the log and in the status.
    ip(&site, &["link", "set", "eth0", "down"]);
    await_degraded(&site, Some("interface eth0: it is down"));
    ip(&site, &["link", "set", "eth0", "up"]);
    await_degraded(&site, None);
    is_served(&site);
}
