//! Another configuration while machines boot: each is answered by the old one or by the new one, never by parts of both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::{MAC, Side, inside, run};
use crate::malformed::{HOST, Wire, discover};
use crate::site::{NETBOOT, Site};

/// Hosts that change with each reload, beside the one that asks.
const HOSTS: u32 = 1000;

/// In the version `n`, everything ends in `n`: the machine's address, the router, the lease time and the pool.
fn config(n: u32) -> String {
    format!(
        "\
interfaces:
  - {{ name: eth0, dhcp: server, xdp: generic, subnet: 10.77.0.0/16, router: 10.77.0.{n}, lease: {n}h, range: 10.77.0.10{n}-10.77.0.10{n} }}
http: {{ listen: '10.77.0.1:0' }}
tftp: {{ root: ., listen: '10.77.0.1:0' }}
assets: .
ipxe: .
probe: off
limits: {{ client: off, relay: off }}
default_profile: rescue
profiles:
  - {{ name: rescue, kernel: netboot.yaml }}
paths: {{ state: state, control: control.sock, pins: PINS }}
"
    )
}

fn hosts(n: u32) -> String {
    let mut hosts = format!("  - {{ name: node1, mac: '{MAC}', ip: 10.77.0.5{n} }}\n");
    for i in 0..HOSTS {
        let ([_, _, a, b], third) = (i.to_be_bytes(), 64 * n + i / 250);
        writeln!(
            hosts,
            "  - {{ name: h{i}, mac: '52:54:00:aa:{a:02x}:{b:02x}', ip: 10.77.{third}.{} }}",
            1 + i % 250
        )
        .unwrap();
    }
    hosts
}

fn site() -> Site {
    let mut site = Site { daemon: None, lab: crate::lab::Lab::new() };
    write(&site, 1);
    site.serve();
    site
}

/// All of it in one file, which takes the place of the last one whole.
fn write(site: &Site, n: u32) {
    write_as(site, "next", n);
    std::fs::rename(site.path("next"), site.path("netboot.yaml")).unwrap();
}

fn write_as(site: &Site, name: &str, n: u32) {
    site.configure_as(name, &format!("{}hosts:\n{}", config(n), hosts(n)));
}

fn configuration(site: &Site) -> Value {
    site.json(&["status", "--json"])["configuration"].clone()
}

/// The address, the router and the hours of the lease.
fn told(offer: &[u8]) -> (u8, u8, u32) {
    // Ethernet, IPv4, UDP, BOOTP and the cookie are before them.
    let (mut options, mut found) = (&offer[14 + 20 + 8 + 240..], BTreeMap::new());
    loop {
        options = match options {
            [] | [255, ..] => break,
            [0, rest @ ..] => rest,
            [code, length, rest @ ..] => {
                let (value, behind) = rest.split_at(usize::from(*length));
                found.insert(*code, value);
                behind
            }
            [_] => panic!("an option without a length"),
        };
    }
    let lease = u32::from_be_bytes(*found[&51].first_chunk().unwrap());
    (offer[58 + 3], found[&3][3], lease / 3600)
}

#[test]
fn a_reload_of_everything_leaves_no_request_unanswered_and_mixes_nothing() {
    let site = site();
    let namespace = site.lab.namespace(Side::Clients);
    let stop = AtomicBool::new(false);
    let (seen, unanswered) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| inside(&namespace, || ask_until(&stop)));
        for n in [2, 1, 2, 1, 2] {
            write(&site, n);
            // Told or by itself, whichever comes first.
            site.done(&["config", "reload"]);
        }
        // Of the last version there is an answer, too.
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert_eq!(unanswered, 0, "of {seen:?}");
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&(51, 1, 1), &(52, 2, 2)], "{seen:?}");
    assert!(site.count("xdp", "answered_offer") + site.count("tcx", "answered_offer") > 0);
    assert_eq!(site.json(&["host", "show", "h7", "--json"])["ip"], "10.77.128.8");
}

fn ask_until(stop: &AtomicBool) -> (BTreeMap<(u8, u8, u32), u32>, u32) {
    let wire = Wire::open();
    let (mut seen, mut unanswered, mut xid) = (BTreeMap::new(), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        xid += 1;
        match wire.ask(&discover(HOST, xid)) {
            Some(offer) => *seen.entry(told(&offer)).or_default() += 1,
            None => unanswered += 1,
        }
    }
    (seen, unanswered)
}

#[test]
fn files_that_change_and_sighup_reload_by_themselves() {
    let site = site();
    let moved = |n: u32| site.json(&["host", "show", "node1", "--json"])["ip"] == format!("10.77.0.5{n}");
    let follows = |n| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !moved(n) {
            assert!(Instant::now() < deadline, "{}", site.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    assert!(moved(1));
    write(&site, 2);
    follows(2);
    // The file is in a folder that nobody watches from here on: what changes there is in force when SIGHUP says so.
    std::fs::create_dir(site.path("elsewhere")).unwrap();
    write_as(&site, "elsewhere/netboot.yaml", 3);
    std::os::unix::fs::symlink("elsewhere/netboot.yaml", site.path("link")).unwrap();
    std::fs::rename(site.path("link"), site.path("netboot.yaml")).unwrap();
    follows(3);
    write_as(&site, "elsewhere/netboot.yaml", 1);
    let daemon = &site.daemon.as_ref().unwrap().0;
    kill_process(Pid::from_child(daemon), Signal::HUP).unwrap();
    follows(1);
    // And it goes on.
    write(&site, 2);
    follows(2);
}

#[test]
fn a_lease_outlives_a_reload_and_a_pool_that_is_gone_gives_no_more() {
    let site = site();
    let lease = |mac| site.lab.inside(Side::Clients, || Wire::open().lease(mac));
    let (first, second) = ([0x52, 0x54, 0, 0x99, 0, 1], [0x52, 0x54, 0, 0x99, 0, 2]);
    assert_eq!(lease(first), Some([10, 77, 0, 101]));
    write(&site, 2);
    site.done(&["config", "reload"]);
    assert_eq!(lease(second), Some([10, 77, 0, 102]), "of the new pool");
    let leases = site.json(&["lease", "list", "--json"]);
    assert_eq!(leases.as_array().map(Vec::len), Some(2), "{leases}");
}

#[test]
fn a_bad_file_is_refused_whole_and_what_was_before_stays() {
    let site = site();
    std::fs::create_dir(site.path("hosts.d")).unwrap();
    std::fs::write(
        site.path("hosts.d/more.yaml"),
        "- { name: x, mac: '52:54:00:00:00:01', ip: 10.78.0.52 }\n",
    )
    .unwrap();
    std::fs::write(site.path("hosts.d/none.yaml"), "").unwrap();
    site.configure(&config(2).replace("probe: off", "prob: off"));
    for fault in
        ["netboot.yaml:7:1", "unknown key", "more.yaml:1:", "outside every subnet", "none.yaml: is empty"]
    {
        site.refused(&["config", "reload"], 1, fault);
    }
    assert_eq!(site.json(&["host", "show", "node1", "--json"])["ip"], "10.77.0.51");
    let refused = configuration(&site)["refused"].clone();
    assert!(refused.as_str().is_some_and(|text| text.contains("netboot.yaml:7:1")), "{refused}");
    std::fs::remove_dir_all(site.path("hosts.d")).unwrap();
    write(&site, 2);
    // The socket is the one that the file names.
    let mut reload = Command::new(NETBOOT);
    reload.args(["config", "reload", "--config"]).arg(site.path("netboot.yaml"));
    run(reload.env_remove("NETBOOT_CONTROL"));
    assert_eq!(configuration(&site)["refused"], Value::Null);
    assert_eq!(site.json(&["host", "show", "node1", "--json"])["ip"], "10.77.0.52");
}

#[test]
fn what_can_not_be_changed_while_it_serves_is_named_and_nothing_is_changed() {
    let site = site();
    let changed = config(2).replace("xdp: generic", "xdp: off").replace("ipxe: .", "ipxe: ..");
    site.configure(&changed);
    site.refused(
        &["config", "reload"],
        1,
        "can't be changed while it serves: interfaces (name, vlan, dhcp, xdp)",
    );
    site.refused(&["config", "reload"], 1, "ipxe; restart it");
    let offer = site.lab.inside(Side::Clients, || Wire::open().ask(&discover(HOST, 1))).unwrap();
    assert_eq!(told(&offer), (51, 1, 1));
}
