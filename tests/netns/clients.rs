//! Real DHCP clients: each takes a whole lease, of a reservation from the kernel's lanes, and of the pool from userspace.

use std::process::Stdio;

use serde_json::Value;

use crate::lab::{Guard, MAC, Side, run};
use crate::malformed::{HOST, Wire, discover, message, to_4011};
use crate::site::Site;

/// A server with a pool of four addresses.
pub(crate) const SITE: &str = "\
interfaces:
  - { name: eth0, dhcp: server, xdp: generic, subnet: 10.77.0.0/24, router: 10.77.0.1, dns: [10.77.0.1],
      range: 10.77.0.100-10.77.0.103, lease: 1h }
http: { listen: ':8080' }
tftp: { root: . }
assets: .
ipxe: .
limits: { client: off }
paths: { state: state, control: control.sock, pins: PINS }
";

/// What a client says of its lease, by the names of udhcpc.
pub(crate) fn udhcpc(site: &Site, more: &[&str]) -> Vec<(String, String)> {
    let script = site.path("udhcpc.sh");
    write_script(&script, "#!/bin/sh\n[ \"$1\" = bound ] && env\nexit 0\n");
    let script = script.display().to_string();
    let mut words = vec!["-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", &script];
    words.extend(more);
    variables(&site.client("udhcpc", &words))
}

/// The same of dhclient, by its own names.
fn dhclient(site: &Site) -> Vec<(String, String)> {
    let script = site.path("dhclient.sh");
    // It tells its script of the address that it would like to keep, and then of the one that it got.
    write_script(&script, "#!/bin/sh\n[ \"$reason\" = BOUND ] && env && echo DONE\nexit 0\n");
    let (script, leases, pid) = (script, site.path("dhclient.leases"), site.path("dhclient.pid"));
    std::fs::write(
        site.path("dhclient.conf"),
        "request subnet-mask, routers, domain-name-servers, host-name;\n",
    )
    .unwrap();
    let mut client = site.lab.command(Side::Clients, "dhclient");
    client.args(["-4", "-1", "-d", "-sf"]).arg(script).arg("-lf").arg(leases).arg("-pf").arg(pid);
    client
        .arg("-cf")
        .arg(site.path("dhclient.conf"))
        .arg("eth0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // It stays, to renew its lease: enough is said once the script has run.
    let mut client = Guard(client.spawn().unwrap());
    let mut said = String::new();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(client.0.stdout.take().unwrap()));
    while !said.ends_with("DONE\n") {
        said.push_str(&lines.next().expect("dhclient ended without a lease").unwrap());
        said.push('\n');
    }
    variables(&said)
}

pub(crate) fn write_script(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn variables(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

pub(crate) fn value<'a>(lease: &'a [(String, String)], name: &str) -> &'a str {
    let found = lease.iter().find(|(key, _)| key == name);
    found.map_or_else(|| panic!("no {name} in {lease:?}"), |(_, value)| value)
}

pub(crate) fn reserve(site: &Site) {
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
}

/// OFFER and ACK left from the kernel, and userspace saw neither message.
pub(crate) fn answered_by_kernel(site: &Site) {
    for kind in ["answered_offer", "answered_ack"] {
        let kernel = site.count("xdp", kind) + site.count("tcx", kind);
        assert!(kernel >= 1, "{kind}: {}", site.done(&["status", "--json"]));
        assert_eq!(site.count("userspace", kind), 0, "{kind}");
    }
}

#[test]
fn udhcpc_takes_a_reservation_from_the_kernel() {
    let site = Site::start(SITE);
    reserve(&site);
    let lease = udhcpc(&site, &[]);
    let expected = [
        ("ip", "10.77.0.51"),
        ("mask", "24"),
        ("router", "10.77.0.1"),
        ("dns", "10.77.0.1"),
        ("lease", "3600"),
        ("serverid", "10.77.0.1"),
        ("hostname", "node1"),
    ];
    for (name, want) in expected {
        assert_eq!(value(&lease, name), want, "{name}");
    }
    answered_by_kernel(&site);
}

#[test]
fn dhclient_takes_a_reservation_from_the_kernel() {
    let site = Site::start(SITE);
    reserve(&site);
    let lease = dhclient(&site);
    let expected = [
        ("new_ip_address", "10.77.0.51"),
        ("new_subnet_mask", "255.255.255.0"),
        ("new_routers", "10.77.0.1"),
        ("new_domain_name_servers", "10.77.0.1"),
        ("new_dhcp_lease_time", "3600"),
        ("new_dhcp_server_identifier", "10.77.0.1"),
        ("new_host_name", "node1"),
    ];
    for (name, want) in expected {
        assert_eq!(value(&lease, name), want, "{name}");
    }
    answered_by_kernel(&site);
}

#[test]
fn clients_without_a_reservation_lease_from_the_pool_and_keep_their_address() {
    let site = Site::start(SITE);
    let first = udhcpc(&site, &[]);
    let ip = value(&first, "ip").to_owned();
    assert!(ip.starts_with("10.77.0.10"), "{ip}");
    assert_eq!(site.count("userspace", "answered_ack"), 1);
    let leases = site.json(&["lease", "list", "--json"]);
    assert_eq!((&leases[0]["ip"], &leases[0]["mac"]), (&Value::from(ip.as_str()), &Value::from(MAC)));
    // The kernel was taught the lease: it renews it by itself.
    assert_eq!(value(&udhcpc(&site, &[]), "ip"), ip);
    assert_eq!(site.count("userspace", "answered_ack"), 1, "the second lease is the kernel's");
    assert!(site.count("xdp", "answered_ack") + site.count("tcx", "answered_ack") >= 1);
    // Another client identifier is another client.
    let other = udhcpc(&site, &["-x", "0x3d:ff11223344"]);
    assert_ne!(value(&other, "ip"), ip);
}

#[test]
fn a_changed_host_is_seen_by_the_next_discover() {
    let site = Site::start(SITE);
    reserve(&site);
    assert_eq!(value(&udhcpc(&site, &[]), "ip"), "10.77.0.51");
    site.done(&["host", "set", "node1", "--ip", "10.77.0.52"]);
    assert_eq!(value(&udhcpc(&site, &[]), "ip"), "10.77.0.52");
    site.done(&["host", "remove", "node1"]);
    assert!(value(&udhcpc(&site, &[]), "ip").starts_with("10.77.0.10"));
    site.done(&["host", "add", "again", "--mac", MAC, "--ip", "10.77.0.53"]);
    assert_eq!(value(&udhcpc(&site, &[]), "ip"), "10.77.0.53");
    // In one batch the machine goes to another host, whose address goes to a third.
    let table = format!("name,mac,ip\nagain,52:54:00:77:00:99,10.77.0.54\nother,{MAC},10.77.0.53\n");
    std::fs::write(site.path("table"), table).unwrap();
    site.done(&["host", "import", "--from", "csv", &site.path("table").display().to_string()]);
    assert_eq!(value(&udhcpc(&site, &[]), "ip"), "10.77.0.53");
    site.done(&["host", "set", "other", "again", "--boot", "local"]);
    site.done(&["host", "remove", "other,again"]);
    assert!(value(&udhcpc(&site, &[]), "ip").starts_with("10.77.0.10"));
}

#[test]
fn bpftool_lists_both_programs_on_the_interface() {
    let site = Site::start(SITE);
    let bpftool = |arguments: &[&str]| run(site.lab.command(Side::Server, "bpftool").args(arguments));
    let net = bpftool(&["net"]);
    assert!(net.lines().any(|line| line.contains("eth0") && line.contains("generic id")), "{net}");
    // Debian 12's bpftool is older than tcx: it shows such a link by its number, 11, and not under `net`.
    let status = site.json(&["status", "--json"]);
    let id = status["interfaces"][0]["tcx"]["program"].as_u64().expect("the program's number");
    let links = bpftool(&["link"]);
    let tcx = |line: &str| line.contains("type 11") || line.contains("tcx");
    assert!(links.lines().any(|line| tcx(line) && line.trim().ends_with(&format!("prog {id}"))), "{links}");
    let programs = bpftool(&["prog", "show", "id", &id.to_string()]);
    assert!(programs.contains("netboot_tcx"), "{programs}");
    assert_eq!(status["interfaces"][0]["xdp"]["mode"], "generic", "{status}");
    assert_eq!(status["interfaces"][0]["tcx"]["mode"], "tcx", "{status}");
}

#[test]
fn explain_says_what_a_machine_would_get_and_why_it_got_nothing() {
    let site =
        Site::start(&SITE.replace("limits: { client: off }", "limits: { client: 2 }\nunknown: ignore"));
    reserve(&site);
    let explained = site.json(&["host", "explain", "node1", "--class", "bios", "--json"]);
    let eth0 = &explained["interfaces"][0];
    assert_eq!(
        (&eth0["kernel"]["answer"], &eth0["kernel"]["yiaddr"]),
        (&"offer".into(), &"10.77.0.51".into())
    );
    assert_eq!(eth0["kernel"], eth0["userspace"], "all lanes say the same");
    assert_eq!(eth0["kernel"]["file"], "undionly.kpxe");
    assert_eq!(explained["refused"], Value::Null);

    let stranger = [0x52, 0x54, 0, 0x77, 0, 9];
    let asked = |xid| site.lab.inside(Side::Clients, || Wire::open().ask(&discover(stranger, xid)));
    assert!(asked(1).is_none());
    let text = site.done(&["host", "explain", "52:54:00:77:00:09"]);
    assert!(text.contains("kernel     would leave it: unknown_host"), "{text}");
    assert!(text.contains("userspace  would leave it: unknown_ignored"), "{text}");
    assert!(text.contains("last unanswered: by userspace on eth0, unknown_ignored, 1 in all"), "{text}");

    // Two a second, eight at once: the rest is dropped in the kernel, and that is told, too.
    site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        (0..40).for_each(|xid| wire.send(&discover(stranger, xid)));
    });
    assert!(site.count("xdp", "rate_limited") >= 30, "{}", site.done(&["status"]));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !site.done(&["host", "explain", "52:54:00:77:00:09"]).contains("by xdp on eth0, rate_limited") {
        assert!(std::time::Instant::now() < deadline, "{}", site.log());
        // The last reason counts: a few passed, and userspace may have said so a little later.
        site.lab
            .inside(Side::Clients, || (0..20).for_each(|xid| Wire::open().send(&discover(stranger, xid))));
    }
    // A budget is one machine's own.
    assert!(site.lab.inside(Side::Clients, || Wire::open().ask(&discover(HOST, 7))).is_some());
    site.refused(&["host", "explain", "node1", "--class", "toaster"], 1, "no class of clients");
}

#[test]
fn messages_of_one_machine_that_get_no_answer_are_one_line_of_the_log() {
    let site = Site::start(&format!("{SITE}unknown: ignore\n"));
    let strangers = [[0x52, 0x54, 0, 0x77, 0, 8], [0x52, 0x54, 0, 0x77, 0, 9]];
    site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        for xid in 0..20 {
            strangers.iter().for_each(|mac| wire.send(&discover(*mac, xid)));
        }
    });
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while site.count("userspace", "unknown_ignored") < 40 {
        assert!(std::time::Instant::now() < deadline, "{}", site.done(&["status"]));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let log = site.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("DHCP: not answered")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(
        lines[0].contains("mac=52:54:00:77:00:08 class=plain interface=eth0 reason=\"unknown_ignored\""),
        "{log}"
    );
}

#[test]
fn where_unknown_machines_are_ignored_dhcp_knows_those_that_a_data_folder_boots() {
    let mut site = Site::start(SITE);
    std::fs::create_dir_all(site.path("data/boot/mac")).unwrap();
    let boots = r#"{ "kernel": "/assets/vmlinuz", "initrd": [], "cmdline": {} }"#;
    std::fs::write(site.path("data/boot/mac/52:54:00:77:00:09"), boots).unwrap();
    site.configure(&format!("{SITE}unknown: ignore\nmatchbox: {{ data: data }}\n"));
    site.kill();
    site.serve();
    site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        // The folder is read soon after the start, and no request waits for that.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let mac = [0x52, 0x54, 0, 0x77, 0, 9];
        while wire.lease(mac).is_none() {
            assert!(std::time::Instant::now() < deadline, "{}", site.log());
        }
        assert!(wire.ask(&discover([0x52, 0x54, 0, 0x77, 0, 8], 8)).is_none(), "nobody knows it");
    });
}

#[test]
fn a_choice_from_the_boot_menu_boots_its_profile() {
    let menu = "pxe_menu: { timeout: 5s, items: [{ title: Disk, local: true }, { title: Rescue, profile: rescue }, { title: Other, boot_file: other.0 }] }\n\
                profiles:\n  - { name: rescue, kernel: netboot.yaml }\n  - { name: plain, kernel: netboot.yaml }\n\
                default_profile: plain\n";
    let site = Site::start(&format!("{SITE}{menu}"));
    reserve(&site);
    let rom = [&[60, 9][..], b"PXEClient", &[93, 2, 0, 0]].concat();
    let found = |reply: &[u8], part: &[u8]| reply.windows(part.len()).any(|window| window == part);
    let ask = |frame: Vec<u8>| site.lab.inside(Side::Clients, || Wire::open().ask(&frame));
    let offer = ask(message(HOST, 1, &[&[53, 1, 1], &rom[..]].concat())).expect("an offer");
    assert!(
        found(&offer, b"\x06\x01\x07\x08\x0e\x80\x01\x01\x0a\x4d\0\x01\x80\x02\x01\x0a\x4d\0\x01\x09"),
        "{offer:02x?}"
    );
    assert!(found(&offer, b"\x0a\x1b\x05Press F8 for the boot menu\xff"), "{offer:02x?}");
    assert!(site.done(&["host", "explain", "node1"]).contains("boots profile plain"));

    let choice = [&[53, 1, 3], &rom[..], &[43, 7, 71, 4, 0x80, 1, 0, 0, 255]].concat();
    let ack = ask(to_4011(HOST, [10, 77, 0, 51], 2, &choice)).expect("an answer");
    assert!(
        found(&ack, &[43, 7, 71, 4, 0x80, 1, 0, 0, 255]) && found(&ack, b"undionly.kpxe\0"),
        "{ack:02x?}"
    );
    assert!(site.done(&["host", "explain", "node1"]).contains("boots profile rescue"));
    assert!(site.done(&["events"]).contains("chose profile rescue"));
    assert_eq!(site.count("tcx", "boot_item"), 1, "the kernel's lanes left it");

    let choice = [&[53, 1, 3], &rom[..], &[43, 7, 71, 4, 0x80, 2, 0, 0, 255]].concat();
    let ack = ask(to_4011(HOST, [10, 77, 0, 51], 3, &choice)).expect("an answer");
    assert!(found(&ack, b"other.0\0"), "{ack:02x?}");
    assert!(site.done(&["host", "explain", "node1"]).contains("boots profile plain"), "chosen last");

    let unknown = [&[53, 1, 3], &rom[..], &[43, 7, 71, 4, 0x80, 9, 0, 0, 255]].concat();
    assert!(ask(to_4011(HOST, [10, 77, 0, 51], 4, &unknown)).is_none());
    assert!(site.done(&["host", "explain", "node1"]).contains("by userspace on eth0, boot_item"));
}

#[test]
fn an_address_that_somebody_uses_without_asking_is_not_given_away() {
    let site = Site::start(SITE);
    // The first three of the four addresses of the pool are in use by somebody who never asked for them.
    for last in 100..103 {
        site.client("ip", &["address", "add", &format!("10.77.0.{last}/24"), "dev", "eth0"]);
    }
    // Another machine, for its own ARP answer would be no conflict.
    let lease = site.lab.inside(Side::Clients, || Wire::open().lease([0x52, 0x54, 0, 0x77, 0, 9]));
    assert_eq!(lease, Some([10, 77, 0, 103]), "{}", site.log());
    assert!(site.log().contains("the address is in use, and not leased by us"), "{}", site.log());
}
