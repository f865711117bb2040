//! Another configuration while machines boot: each is answered by the old one or by the new one, never by parts of both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netboot_common::Mac;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::{MAC, Side, run};
use crate::malformed::{HOST, Wire, discover, message};
use crate::site::{NETBOOT, Site};

/// Hosts that change with each reload, beside the one that asks.
const FEW: u32 = 1000;
const MANY: u32 = 100_000;

/// In the version `n`, everything says so: the hosts' addresses, the router, the lease time and the pool.
fn config(n: u32) -> String {
    format!(
        "\
interfaces:
  - {{ name: eth0, dhcp: server, xdp: generic, subnet: 10.0.0.0/8, router: 10.77.0.{n}, lease: {n}h, range: 10.77.0.1{n}0-10.77.0.1{n}9 }}
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

fn hosts(n: u32, count: u32) -> String {
    let mut hosts = format!("  - {{ name: node1, mac: '{MAC}', ip: 10.77.0.5{n} }}\n");
    for i in 0..count {
        let (mac, ip) = (Mac(mac(i)), Ipv4Addr::from(address(n, i)));
        writeln!(hosts, "  - {{ name: h{i}, mac: '{mac}', ip: {ip} }}").unwrap();
    }
    hosts
}

fn mac(i: u32) -> [u8; 6] {
    let [_, a, b, c] = i.to_be_bytes();
    [0x52, 0x54, 0xaa, a, b, c]
}

/// Of the host `i` in the version `n`.
fn address(n: u32, i: u32) -> [u8; 4] {
    (0x0a00_0000 | n << 20 | i).to_be_bytes()
}

fn site() -> Site {
    let mut site = Site { daemon: None, lab: crate::lab::Lab::new() };
    write(&site, 1);
    site.serve();
    site
}

/// All of it in one file, which takes the place of the last one whole.
fn write(site: &Site, n: u32) {
    write_as(site, "next", n, FEW);
    std::fs::rename(site.path("next"), site.path("netboot.yaml")).unwrap();
}

fn write_as(site: &Site, name: &str, n: u32, count: u32) {
    site.configure_as(name, &format!("{}hosts:\n{}", config(n), hosts(n, count)));
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

/// The version that a reply is of; of none, its parts.
fn version(reply: &[u8]) -> Result<u32, String> {
    let (ip, (_, router, hours)) = (<[u8; 4]>::try_from(&reply[58..62]).unwrap(), told(reply));
    let of = match ip {
        // A lease outlives its pool.
        [10, 77, 0, 100..=255] => hours,
        [10, 77, 0, last] => u32::from(last % 10),
        ip => u32::from_be_bytes(ip) >> 20 & 0xf,
    };
    if (of, of) == (router.into(), hours) { Ok(of) } else { Err(format!("{ip:?}, {router}, {hours}h")) }
}

#[test]
fn a_reload_of_100_000_hosts_leaves_no_request_unanswered_and_mixes_nothing() {
    let mut site = Site { daemon: None, lab: crate::lab::Lab::new() };
    // In a folder that nobody watches: what is written there is read once, when it is told.
    std::fs::create_dir(site.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere/netboot.yaml", site.path("netboot.yaml")).unwrap();
    write_as(&site, "elsewhere/netboot.yaml", 1, MANY);
    site.serve();
    let stop = AtomicBool::new(false);
    let (known, stranger) = std::thread::scope(|scope| {
        let boots = scope.spawn(|| site.lab.inside(Side::Clients, || boots(&stop)));
        for n in [2, 1] {
            write_as(&site, "elsewhere/netboot.yaml", n, MANY);
            site.done(&["config", "reload"]);
        }
        let told = site.lab.inside(Side::Clients, || boot_once(&Wire::open(), u32::MAX - 9));
        for told in told {
            assert_eq!(told.versions, BTreeMap::from([(1, 2)]), "in force in every lane: {told:?}");
        }
        stop.store(true, Ordering::Relaxed);
        boots.join().unwrap()
    });
    for told in [known, stranger] {
        assert_eq!((told.unanswered, &told.mixed[..]), (0, &[][..]), "{told:?}");
        assert_eq!(told.versions.keys().collect::<Vec<_>>(), [&1, &2], "{told:?}");
    }
    assert!(site.count("xdp", "answered_offer") + site.count("tcx", "answered_offer") > 0);
    assert!(site.count("userspace", "answered_offer") > 0);
    assert_eq!(site.json(&["host", "show", "h7", "--json"])["ip"], "10.16.0.7");
}

/// What machines were told.
#[derive(Debug, Default)]
struct Told {
    /// How many replies were of each version.
    versions: BTreeMap<u32, u32>,
    /// Replies that were of none.
    mixed: Vec<String>,
    unanswered: u32,
    longest: Duration,
}

/// A host boots, then a stranger, then the next host.
fn boots(stop: &AtomicBool) -> (Told, Told) {
    let (wire, mut all) = (Wire::open(), <(Told, Told)>::default());
    for number in (0..).step_by(4).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let [known, stranger] = boot_once(&wire, number);
        all.0.add(known);
        all.1.add(stranger);
    }
    all
}

/// `number`: that of the first of four messages.
fn boot_once(wire: &Wire, number: u32) -> [Told; 2] {
    let known = if number.is_multiple_of(32) { HOST } else { mac(number % MANY) };
    // The one is answered by the kernel, the other by userspace: its identifier is not its MAC.
    let clients = [(known, &[][..]), ([0x52, 0x54, 0, 0x99, 0, 1], &[61, 3, 255, 1, 2])];
    clients.map(|(mac, more)| {
        let mut told = Told::default();
        let xid = number + 2 * u32::from(!more.is_empty());
        if let Some(offer) = told.ask(wire, &message(mac, xid, &[&[53, 1, 1], more].concat())) {
            let taken = [&[53, 1, 3, 54, 4, 10, 77, 0, 1, 50, 4][..], &offer[58..62], more].concat();
            told.ask(wire, &message(mac, xid + 1, &taken));
        }
        told
    })
}

impl Told {
    fn ask(&mut self, wire: &Wire, request: &[u8]) -> Option<Vec<u8>> {
        let began = Instant::now();
        let reply = wire.ask_for(request, Duration::from_secs(10));
        self.longest = self.longest.max(began.elapsed());
        match &reply {
            None => self.unanswered += 1,
            // What was offered before the reload is refused behind it.
            Some(reply) if reply[282..285] == [53, 1, 6] => {}
            Some(reply) => match version(reply) {
                Ok(version) => *self.versions.entry(version).or_default() += 1,
                Err(parts) => self.mixed.push(parts),
            },
        }
        reply
    }

    fn add(&mut self, other: Self) {
        for (version, count) in other.versions {
            *self.versions.entry(version).or_default() += count;
        }
        self.mixed.extend(other.mixed);
        self.unanswered += other.unanswered;
        self.longest = self.longest.max(other.longest);
    }
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
    write_as(&site, "elsewhere/netboot.yaml", 3, FEW);
    std::os::unix::fs::symlink("elsewhere/netboot.yaml", site.path("link")).unwrap();
    std::fs::rename(site.path("link"), site.path("netboot.yaml")).unwrap();
    follows(3);
    write_as(&site, "elsewhere/netboot.yaml", 1, FEW);
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
    let lease = |mac| site.lab.inside(Side::Clients, || Wire::open().lease(mac)).map(|[.., last]| last / 10);
    let (first, second) = ([0x52, 0x54, 0, 0x99, 0, 1], [0x52, 0x54, 0, 0x99, 0, 2]);
    assert_eq!(lease(first), Some(11));
    write(&site, 2);
    site.done(&["config", "reload"]);
    assert_eq!(lease(second), Some(12), "of the new pool");
    let leases = site.json(&["lease", "list", "--json"]);
    assert_eq!(leases.as_array().map(Vec::len), Some(2), "{leases}");
}

#[test]
fn a_bad_file_is_refused_whole_and_what_was_before_stays() {
    let site = site();
    std::fs::create_dir(site.path("hosts.d")).unwrap();
    std::fs::write(
        site.path("hosts.d/more.yaml"),
        "- { name: x, mac: '52:54:00:00:00:01', ip: 11.78.0.52 }\n",
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
