//! `dhcp: observe` beside the site's own server.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Guard, Lab, MAC, Side};
use crate::malformed::{HOST, Wire, discover};
use crate::site::Site;

const SITE: &str = "\
interfaces:
  - { name: eth0, dhcp: observe, subnet: 10.77.0.0/24, router: 10.77.0.1, dns: [10.77.0.53], lease: 1h }
http: { listen: '10.77.0.1:0' }
tftp: { root: ., listen: '10.77.0.1:0' }
assets: .
ipxe: .
unknown: ignore
default_profile: rescue
profiles:
  - { name: rescue, kernel: netboot.yaml }
hosts:
  - { name: same, mac: '52:54:00:77:00:01', ip: 10.77.0.51 }
  - { name: moved, mac: '52:54:00:77:00:02', ip: 10.77.0.52 }
paths: { state: state, control: control.sock, pins: PINS }
";

const MOVED: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 2];
const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 3];

/// The site's own server, on the same machine as ours.
fn dnsmasq(lab: &Lab) -> Guard {
    let mut dnsmasq = lab.command(Side::Server, "dnsmasq");
    dnsmasq.args(["--keep-in-foreground", "--port=0", "--interface=eth0", "--bind-dynamic", "--no-ping"]);
    dnsmasq.args(["--conf-file=/dev/null", "--log-facility=/dev/null", "--dhcp-authoritative"]);
    dnsmasq.arg(format!("--dhcp-leasefile={}", lab.path("dnsmasq.leases").display()));
    dnsmasq.args(["--dhcp-range=10.77.0.200,10.77.0.210,255.255.255.0,1h"]);
    dnsmasq.args([
        &format!("--dhcp-host={MAC},10.77.0.51,same"),
        "--dhcp-host=52:54:00:77:00:02,10.77.0.99,moved",
    ]);
    dnsmasq.args(["--dhcp-option=3,10.77.0.1", "--dhcp-option=6,10.77.0.53"]);
    Guard(dnsmasq.spawn().expect("dnsmasq can be started"))
}

fn ask(site: &Site, mac: [u8; 6]) -> Option<[u8; 4]> {
    let offer = site.lab.inside(Side::Clients, || Wire::open().ask(&discover(mac, 1)))?;
    offer[58..].first_chunk().copied()
}

fn report(site: &Site, machine: &str) -> Value {
    site.json(&["observe", "report", machine, "--json"])[0].clone()
}

/// In what dnsmasq's answer differs from ours.
fn fields(site: &Site, machine: &str) -> Vec<String> {
    let seen = answered(site, machine);
    let list = seen["differences"]["10.77.0.1"].as_array().unwrap();
    list.iter().map(|difference| difference["field"].as_str().unwrap().to_owned()).collect()
}

/// What was observed of a machine, once dnsmasq's answer is among it: the client may have it first.
fn answered(site: &Site, machine: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = report(site, machine);
        if seen["differences"]["10.77.0.1"].is_array() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{seen}");
    }
}

#[test]
fn what_we_would_say_is_shown_beside_what_the_sites_server_says_and_nothing_is_sent() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    site.configure(SITE);
    site.serve();
    assert_eq!(ask(&site, HOST), None, "nothing is answered");
    assert_eq!(report(&site, "same")["differences"], serde_json::json!({}));
    let _server = dnsmasq(&site.lab);
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask(&site, HOST) != Some([10, 77, 0, 51]) {
        assert!(Instant::now() < deadline, "dnsmasq does not answer");
    }
    assert_eq!(ask(&site, MOVED), Some([10, 77, 0, 99]), "dnsmasq's");
    let stranger = ask(&site, STRANGER).expect("dnsmasq's pool");

    // What dnsmasq says besides: itself, the broadcast address, T1 and T2.
    let same = fields(&site, "same");
    assert!(
        same.iter().all(|field| ["siaddr", "option 28", "option 58", "option 59"].contains(&field.as_str())),
        "{same:?}"
    );
    assert!(fields(&site, &MAC.to_uppercase()).contains(&"option 58".to_owned()), "by its MAC, too");
    assert!(fields(&site, "moved").contains(&"yiaddr".to_owned()));
    let seen = answered(&site, "52:54:00:77:00:03");
    assert_eq!(seen["left"], "unknown_ignored", "{seen}");
    assert_eq!(
        seen["theirs"]["10.77.0.1"]["fields"]["yiaddr"],
        std::net::Ipv4Addr::from(stranger).to_string()
    );

    let text = site.done(&["observe", "report"]);
    assert!(
        text.contains("52:54:00:77:00:02 (moved) on eth0, discover: we would say offer 10.77.0.52"),
        "{text}"
    );
    assert!(text.contains("yiaddr: we 10.77.0.52, it 10.77.0.99"), "{text}");
    // It is remembered over a restart.
    assert!(site.stop().success());
    site.serve();
    assert!(fields(&site, "moved").contains(&"yiaddr".to_owned()));
    assert_eq!(site.json(&["lease", "list", "--json"]), serde_json::json!([]), "and nothing was leased");
}
