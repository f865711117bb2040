//! A boot from its first DISCOVER on, through the kernel's lanes, TFTP and HTTP, at the real binary.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, MAC, Side, run};
use crate::malformed::{HOST, Wire, message};
use crate::site::Site;

const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: server, subnet: 10.77.0.0/24, xdp: generic }
unknown: ignore
http: { listen: ':8080' }
tftp: { root: files }
assets: assets
ipxe: files
limits: { client: off }
profiles:
  - { name: old, kernel: vmlinuz, cmdline: old }
  - { name: new, kernel: vmlinuz, cmdline: new }
paths: { state: state, control: control.sock, pins: PINS }
";

fn serving() -> Site {
    let mut site = Site { daemon: None, lab: Lab::new() };
    for (file, text) in [("files/undionly.kpxe", "loader"), ("assets/vmlinuz", "kernel")] {
        fs::create_dir_all(site.path(file).parent().unwrap()).unwrap();
        fs::write(site.path(file), text).unwrap();
    }
    site.configure(CONFIG);
    site.serve();
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.9", "--profile", "old"]);
    run(site.lab.command(Side::Clients, "ip").args(["address", "add", "10.77.0.9/24", "dev", "eth0"]));
    site
}

/// A DISCOVER of a BIOS client, or of its iPXE.
fn discover(site: &Site, xid: u32, ipxe: bool) {
    let rom = [&[53, 1, 1, 60, 9][..], b"PXEClient", &[93, 2, 0, 0]].concat();
    let ipxe: &[u8] = if ipxe { &[77, 4, b'i', b'P', b'X', b'E', 175, 3, 19, 1, 1] } else { &[] };
    let frame = message(HOST, xid, &[&rom, ipxe].concat());
    let answer = site.lab.inside(Side::Clients, || Wire::open().ask(&frame));
    assert!(answer.is_some(), "{}", site.log());
}

fn get(site: &Site, url: &str) -> String {
    site.client("curl", &["-sS", "--max-time", "10", "--interface", "10.77.0.9", url])
}

fn script(site: &Site) -> String {
    get(site, "http://10.77.0.1:8080/ipxe?mac=52-54-00-77-00-01&platform=pcbios")
}

/// The boots of the machine, once the last one has come to `state`.
fn boots_at(site: &Site, state: &str) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let boots = site.json(&["boots", "node1", "--json"]);
        let boots = boots.as_array().unwrap().clone();
        if boots.last().is_some_and(|boot| boot["state"] == state) {
            return boots;
        }
        assert!(Instant::now() < deadline, "{boots:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As far as the script.
fn boot(site: &Site, xid: u32) -> String {
    discover(site, xid, false);
    assert_eq!(get(site, "tftp://10.77.0.1/undionly.kpxe"), "loader");
    boots_at(site, "loader");
    discover(site, xid + 1, true);
    script(site)
}

#[test]
fn a_boot_is_one_record_from_its_discover_to_its_kernel_and_obeys_its_decision() {
    let site = serving();
    discover(&site, 1, false);
    assert!(site.count("xdp", "answered_offer") + site.count("tcx", "answered_offer") >= 1, "by the kernel");
    let id = boots_at(&site, "dhcp")[0]["id"].as_str().unwrap().to_owned();
    site.done(&["host", "set", "node1", "--profile", "new"]);
    assert_eq!(get(&site, "tftp://10.77.0.1/undionly.kpxe"), "loader");
    boots_at(&site, "loader");
    discover(&site, 2, true);
    let first = script(&site);
    assert!(first.contains(" old ") && first.contains(&format!("/assets/vmlinuz?boot={id}")), "{first}");
    assert_eq!(get(&site, &format!("http://10.77.0.1:8080/assets/vmlinuz?boot={id}")), "kernel");
    let boots = boots_at(&site, "kernel");
    assert_eq!((boots.len(), boots[0]["id"].as_str()), (1, Some(id.as_str())), "{boots:#?}");
    let steps = boots[0]["steps"].as_array().unwrap().iter();
    let steps: Vec<_> = steps.map(|step| step["what"].as_str().unwrap()).collect();
    assert_eq!(steps, ["dhcp", "loader", "dhcp", "script", "kernel"]);
    assert!(boot(&site, 3).contains(" new "), "the next DISCOVER sees it");
    let told = site.done(&["events", "--json"]);
    for kind in ["dhcp", "loader", "script", "kernel", "transfer", "access"] {
        let of_boot = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["kind"] == kind && event["boot"] == id.as_str() && event["mac"] == MAC
        };
        assert!(told.lines().any(of_boot), "{kind}: {told}");
    }
    let shown = site.done(&["boots", &id]);
    assert!(shown.contains("decided: profile old: profile old ("), "{shown}");
    assert!(site.done(&["boots"]).contains("booted"), "the list");
}

#[test]
fn the_breaker_says_whom_it_stops_and_an_operator_starts_it_again() {
    let site = serving();
    let with_kernel = |script: &str| script.contains("/assets/vmlinuz");
    for xid in [1, 11] {
        assert!(with_kernel(&boot(&site, xid)));
    }
    assert_eq!(boot(&site, 21), "#!ipxe\nexit\n");
    assert_eq!(site.json(&["status", "--json"])["stopped"][0]["name"], "node1");
    let events = site.done(&["events"]);
    assert!(events.contains("stopped by the breaker: 2 boots in a row bore no fruit"), "{events}");
    let shown = site.json(&["machine", "show", "node1", "--json"]);
    assert_eq!((&shown["fruitless"], &shown["boot"]["decision"]["stopped"]), (&2.into(), &true.into()));
    let explained = site.done(&["host", "explain", "node1"]);
    assert!(explained.contains("2 fruitless, stopped"), "{explained}");
    assert!(events.contains("`netboot machine rearm node1` starts it again"), "{events}");
    site.done(&["machine", "rearm", "node1"]);
    assert!(with_kernel(&script(&site)), "at once");
    assert_eq!(site.json(&["status", "--json"])["stopped"], serde_json::json!([]));
}
