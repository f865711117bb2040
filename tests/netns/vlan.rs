//! Tagged frames: each VLAN is answered as itself, in every lane, and one that is not served is answered by none.
//!
//! The labs have no VLAN devices: the clients' packet socket sends frames with their tags in them, and the server's kernel takes
//! the outer one out.

use std::time::{Duration, Instant};

use crate::clients::SITE;
use crate::lab::{MAC, Side};
use crate::malformed::{HOST, Wire, discover, message, message_of};
use crate::site::Site;

/// The untagged network, and two VLANs on the same interface, each with a pool of its own.
pub(crate) const TRUNK: &str = "\
interfaces:
  - { name: eth0, dhcp: server, xdp: off, subnet: 10.77.0.0/24, range: 10.77.0.100-10.77.0.103, lease: 1h }
  - { name: eth0, vlan: 50, dhcp: server, xdp: off, subnet: 10.78.0.0/24, range: 10.78.0.100-10.78.0.103, lease: 1h }
  - { name: eth0, vlan: [100, 88], dhcp: server, xdp: off, subnet: 10.79.0.0/24, range: 10.79.0.100-10.79.0.103, lease: 1h }
http: { listen: ':8080' }
tftp: { root: . }
assets: .
ipxe: .
limits: { client: off }
paths: { state: state, control: control.sock, pins: PINS }
";

const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 9];

/// The tags of a trunk's frames; the last two name the same VLANs, by IEEE 802.1ad and by 802.1Q.
pub(crate) const NONE: &[u8] = &[];
pub(crate) const ONE: &[u8] = &[0x81, 0, 0, 50];
const ONE_SERVICE: &[u8] = &[0x88, 0xa8, 0, 50];
pub(crate) const TWO: &[u8] = &[0x81, 0, 0, 100, 0x81, 0, 0, 88];
const TWO_SERVICE: &[u8] = &[0x88, 0xa8, 0xe0, 100, 0x81, 0, 0, 88];
const OTHER: &[u8] = &[0x81, 0, 0, 77];
const OTHER_INSIDE: &[u8] = &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 77];
const BEHIND_PRIORITY: &[u8] = &[0x81, 0, 0xe0, 0, 0x81, 0, 0, 77];

pub(crate) fn tagged(frame: &[u8], tags: &[u8]) -> Vec<u8> {
    [&frame[..12], tags, &frame[12..]].concat()
}

/// A trunk whose server runs with these capabilities taken away.
fn trunk(without: &str) -> Site {
    let mut site = addressed(TRUNK);
    let server = if without.is_empty() { site.server() } else { site.server_without(without) };
    site.serve_by(server);
    site
}

/// A trunk that is not served yet: our addresses are there.
pub(crate) fn addressed(config: &str) -> Site {
    let site = Site { daemon: None, lab: crate::lab::Lab::new() };
    for network in [78, 79] {
        crate::lab::run(site.lab.command(Side::Server, "ip").args([
            "address",
            "add",
            &format!("10.{network}.0.1/24"),
            "dev",
            "eth0",
        ]));
    }
    site.configure(config);
    site
}

/// What is leased on a VLAN, if anything: the third byte of the address; the replies carry the tags of their requests.
fn network(site: &Site, mac: [u8; 6], tags: &[u8]) -> Option<u8> {
    let asked = |frame: Vec<u8>| {
        let reply = site.lab.inside(Side::Clients, || Wire::open().ask(&tagged(&frame, tags)))?;
        assert_eq!(reply[12..12 + tags.len()], *tags, "the tags of the request");
        Some(message_of(&reply).to_vec())
    };
    let offer = asked(discover(mac, 1))?;
    let (ip, server) = (&offer[16..20], &offer[245..249]);
    let request = [&[53, 1, 3, 50, 4], ip, &[54, 4], server].concat();
    let ack = asked(message(mac, 2, &request)).expect("an ACK behind an OFFER");
    assert_eq!((&ack[240..243], &ack[16..20]), (&[53, 1, 5][..], ip));
    Some(ip[1])
}

/// Frames of VLANs that are not served get nothing, hold nothing, and are counted.
fn nobody_else_is_answered(site: &Site) {
    let leased = site.count("userspace", "answered_ack");
    for tags in [OTHER, OTHER_INSIDE, BEHIND_PRIORITY, &[0x81, 0, 0, 88], &[0x81, 0, 0, 100]] {
        let before = site.count("userspace", "no_interface");
        let frame = tagged(&discover([0x52, 0x54, 0, 0x77, 0, 0x10], 7), tags);
        site.lab.inside(Side::Clients, || Wire::open().send(&frame));
        let deadline = Instant::now() + Duration::from_secs(5);
        while site.count("userspace", "no_interface") == before {
            assert!(Instant::now() < deadline, "{tags:x?} reached nobody: {}", site.done(&["status"]));
        }
        // None offered, or held, beyond those that were leased.
        assert_eq!(site.count("userspace", "answered_offer"), leased, "{tags:x?}");
    }
}

fn every_vlan_is_answered_as_itself(site: &Site) {
    let lanes = [(NONE, 77), (ONE, 78), (ONE_SERVICE, 78), (TWO, 79), (TWO_SERVICE, 79)];
    for (number, (tags, want)) in lanes.into_iter().enumerate() {
        let mac = [0x52, 0x54, 0, 0x77, 1, number as u8];
        assert_eq!(network(site, mac, tags), Some(want), "{tags:x?}: {}", site.log());
    }
    nobody_else_is_answered(site);
}

#[test]
fn userspace_serves_each_vlan_behind_the_kernel_s_programs() {
    let site = trunk("");
    every_vlan_is_answered_as_itself(&site);
    assert_eq!(site.count("userspace", "answered_ack"), 5, "{}", site.done(&["status"]));
    // What was leased is taught: the next lease of each is the kernel's, by the same tags.
    assert_eq!(network(&site, [0x52, 0x54, 0, 0x77, 1, 4], TWO_SERVICE), Some(79));
    assert_eq!(site.count("userspace", "answered_ack"), 5);
    assert_eq!(site.count("tcx", "answered_ack"), 1);
}

#[test]
fn only_dhcp_of_double_tagged_frames_reaches_userspace() {
    let site = trunk("");
    let mut other_port = discover(STRANGER, 1);
    other_port[36..38].copy_from_slice(&5000_u16.to_be_bytes());
    let mut other_protocol = discover(STRANGER, 1);
    other_protocol[23] = 6;
    let mut other_type = discover(STRANGER, 1);
    other_type[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
    site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        for frame in [other_port, other_protocol, other_type] {
            wire.send(&tagged(&frame, TWO));
        }
    });
    // Behind them on the same socket: once it is answered, they would have been counted.
    assert_eq!(network(&site, STRANGER, TWO), Some(79));
    assert_eq!(site.count("userspace", "not_dhcp"), 0, "{}", site.done(&["status"]));
}

#[test]
fn userspace_serves_each_vlan_without_the_kernel_s_programs() {
    let site = trunk("bpf,perfmon,sys_admin");
    every_vlan_is_answered_as_itself(&site);
    let status = site.json(&["status", "--json"]);
    assert_eq!(status["counters"]["tcx"], serde_json::Value::Null, "{status}");
}

#[test]
fn a_site_without_vlans_answers_no_tagged_frame() {
    for without in ["", "bpf,perfmon,sys_admin"] {
        let mut site = Site { daemon: None, lab: crate::lab::Lab::new() };
        site.configure(SITE);
        let server = if without.is_empty() { site.server() } else { site.server_without(without) };
        site.serve_by(server);
        site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
        for mac in [HOST, STRANGER] {
            for tags in [OTHER, BEHIND_PRIORITY] {
                assert_eq!(network(&site, mac, tags), None, "{tags:x?}: {}", site.log());
            }
        }
        assert_eq!(site.json(&["lease", "list", "--json"]), serde_json::json!([]));
        assert_eq!(network(&site, STRANGER, NONE), Some(77));
    }
}

#[test]
fn an_address_in_use_on_one_vlan_is_free_on_another() {
    let site = trunk("");
    // Somebody on the untagged network has all addresses of VLAN 50's pool: that is no business of VLAN 50.
    for last in 100..104 {
        site.client("ip", &["address", "add", &format!("10.78.0.{last}/24"), "dev", "eth0"]);
    }
    let reply = site
        .lab
        .inside(Side::Clients, || Wire::open().ask(&tagged(&discover(STRANGER, 1), ONE)).expect("an OFFER"));
    assert_eq!(message_of(&reply)[16..19], [10, 78, 0]);
    assert!(!site.log().contains("the address is in use"), "{}", site.log());
}
