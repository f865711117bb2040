//! What an operator gets wrong, and what the program then says: what is wrong, where, and what would be right.

use std::process::Command;

use crate::clients::SITE;
use crate::lab::{Lab, MAC, Side, run};
use crate::malformed::{HOST, Wire, discover};
use crate::site::{NETBOOT, Site, refused};

/// A server that was never started.
fn idle(config: &str) -> Site {
    let site = Site { daemon: None, lab: Lab::new() };
    site.configure(config);
    site
}

fn refuses(config: &str, words: &str) {
    refused(&idle(config).server().output().unwrap(), 1, words);
}

#[test]
fn no_such_interface() {
    refuses(
        &SITE.replace("eth0", "eth7"),
        "interface eth7: there is no such interface (there are: eth0, lo)",
    );
}

#[test]
fn an_interface_without_an_address_of_its_subnet() {
    refuses(
        &SITE.replace("10.77.0", "10.78.0"),
        "interface eth0: it has no IPv4 address in 10.78.0.0/24 (it has: 10.77.0.1/24); give it one:",
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    refuses(
        &SITE.replace("assets: .", "asets: ."),
        "netboot.yaml:6:1: asets: unknown key `asets`; did you mean `assets`?",
    );
}

#[test]
fn two_hosts_with_one_address_and_one_outside_every_subnet() {
    let hosts = "hosts:\n  - { name: a, macs: ['52:54:00:00:00:01'], ip: 10.77.0.5 }\n  - { name: b, macs: ['52:54:00:00:00:02'], ip: 10.77.0.5 }\n";
    refuses(&format!("{SITE}{hosts}"), "10.77.0.5");
    let hosts = "hosts:\n  - { name: a, macs: ['52:54:00:00:00:01'], ip: 10.99.0.5 }\n";
    refuses(&format!("{SITE}{hosts}"), "outside every subnet");
    let hosts = "hosts:\n  - { name: a, macs: ['52:54:00:00:00:0x'] }\n";
    refuses(&format!("{SITE}{hosts}"), "not a MAC address");
}

#[test]
fn a_port_in_use_is_named() {
    let site = idle(SITE);
    let output = site.lab.inside(Side::Server, || {
        let taken = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
        let output = site.server().output().unwrap();
        drop(taken);
        output
    });
    refused(&output, 1, "HTTP: 0.0.0.0:8080: port in use");
}

#[test]
fn an_unreadable_kernel_is_named() {
    let site = idle(SITE);
    let mut boot = site.lab.command(Side::Server, NETBOOT);
    let output = boot.args(["boot", "/nonexistent/vmlinuz", "--interface", "eth0"]).output().unwrap();
    refused(&output, 1, "/nonexistent/vmlinuz can't be read: No such file");
}

/// Without CAP_BPF userspace serves alone, and says why; without CAP_NET_RAW nothing can be served.
#[test]
fn no_permission_for_bpf_is_a_step_down_with_its_reason() {
    let mut site = idle(SITE);
    site.serve_by(site.server_without("bpf,perfmon,sys_admin"));
    let log = site.log();
    assert!(log.contains("no lane in the kernel, userspace answers alone"), "{log}");
    assert!(log.contains("CAP_BPF"), "{log}");
    let status = site.json(&["status", "--json"]);
    assert!(status["interfaces"]["off"].as_str().is_some_and(|why| why.contains("CAP_BPF")), "{status}");

    let site = idle(SITE);
    refused(&site.server_without("net_raw").output().unwrap(), 1, "needs CAP_NET_RAW");
}

/// A bridge has no native XDP: `auto` takes generic and says why, `native` leaves it to tcx.
#[test]
fn xdp_steps_down_where_the_device_has_no_native_mode() {
    let wishing = |wish: &str| SITE.replace("name: eth0", "name: br0").replace("xdp: generic", wish);
    let mut site = idle(&wishing("xdp: auto"));
    let server = site.lab.namespace(Side::Server);
    for words in [
        "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        "address del 10.77.0.1/24 dev eth0",
        "link set eth0 master br0",
        "address add 10.77.0.1/24 dev br0",
        "link set br0 up",
    ] {
        run(Command::new("ip").args(["-n", &server]).args(words.split(' ')));
    }
    for (wish, mode, lane) in [("xdp: auto", "generic", "xdp"), ("xdp: native", "off", "tcx")] {
        site.configure(&wishing(wish));
        site.serve();
        let status = site.json(&["status", "--json"]);
        let xdp = &status["interfaces"][0]["xdp"];
        assert_eq!(xdp["mode"], mode, "{wish}: {status}");
        assert!(xdp["steps_down"][0].as_str().is_some_and(|why| why.starts_with("native: ")), "{status}");
        assert!(site.log().contains("native: "), "{}", site.log());
        if wish == "xdp: auto" {
            site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
        }
        let before = site.count(lane, "answered_offer");
        assert!(site.lab.inside(Side::Clients, || Wire::open().ask(&discover(HOST, 1))).is_some(), "{wish}");
        assert_eq!(site.count(lane, "answered_offer"), before + 1, "{wish}: {}", site.done(&["status"]));
        assert!(site.stop().success());
    }
}
