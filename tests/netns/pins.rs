//! What outlives a server, and who may take it over: no program answers from tables that nobody keeps.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use netboot_common::maps::{INTERFACES_MAX, InterfaceKey, InterfaceValue, Mode as InterfaceMode};
use netboot_userspace::fastpath::{Kernel, KernelTables, Mode, XdpWish, take_off};

use crate::clients::SITE;
use crate::lab::{Lab, MAC, Side, run};
use crate::malformed::{HOST, Wire, discover};
use crate::site::{NETBOOT, Site, refused};

/// The address that HOST is offered.
fn offered(site: &Site) -> Option<[u8; 4]> {
    let offer = site.lab.inside(Side::Clients, || Wire::open().ask(&discover(HOST, 1)))?;
    offer[58..].first_chunk().copied()
}

/// A site that died, and whose programs go on answering.
fn killed() -> Site {
    let mut site = Site::start(SITE);
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
    site.kill();
    assert_eq!(offered(&site), Some([10, 77, 0, 51]), "the pinned program answers");
    site
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn a_server_without_the_kernel_s_lanes_takes_the_programs_of_the_last_one_off_first() {
    let mut site = killed();
    site.serve_by(site.server_without("bpf,perfmon,sys_admin"));
    assert_eq!(entries(&site.lab.pins().join("links")), [""; 0]);
    site.done(&["host", "set", "node1", "--ip", "10.77.0.52"]);
    assert_eq!(offered(&site), Some([10, 77, 0, 52]), "{}", site.log());
    assert!(site.count("userspace", "answered_offer") >= 1);
}

#[test]
fn a_server_that_can_t_take_them_off_does_not_start() {
    let site = killed();
    let links = site.lab.pins().join("links");
    run(Command::new("chmod").arg("0555").arg(&links));
    let mut server = site.lab.command(Side::Server, "timeout");
    server.args(["10", "setpriv", "--bounding-set", "-bpf,-perfmon,-sys_admin,-dac_override", "--"]);
    let output = server.args(site.server_words()).output().unwrap();
    refused(&output, 1, "programs of an earlier run can't be taken off: remove");
    for link in entries(&links) {
        refused(&output, 1, &link);
    }
}

#[test]
fn an_interface_that_is_no_longer_served_loses_its_program_and_old_maps_go() {
    let mut site = killed();
    std::fs::create_dir(site.lab.pins().join("v1")).unwrap();
    site.configure(&SITE.replace("dhcp: server, xdp: generic", "dhcp: off, xdp: generic"));
    site.serve();
    assert_eq!(entries(&site.lab.pins().join("links")), [""; 0]);
    assert!(!site.lab.pins().join("v1").exists());
    assert_eq!(offered(&site), None, "{}", site.log());
}

#[test]
fn a_renamed_interface_keeps_no_program_and_its_name_s_new_owner_gets_one() {
    let mut site = killed();
    let ip = |arguments: &str| run(site.lab.command(Side::Server, "ip").args(arguments.split(' ')));
    ip("link set eth0 down");
    ip("link set eth0 name eth9");
    ip("link set eth9 up");
    ip("address flush dev eth9");
    ip("link add eth0 type veth peer name eth8");
    ip("address add 10.77.0.1/24 dev eth0");
    ip("link set eth0 up");
    assert_eq!(offered(&site), Some([10, 77, 0, 51]), "as before on the old device");
    site.serve();
    let status = site.json(&["status", "--json"]);
    assert_eq!(status["interfaces"][0]["xdp"]["adopted"], false, "{status}");
    assert_eq!(status["interfaces"][0]["tcx"]["adopted"], false, "{status}");
    let links = entries(&site.lab.pins().join("links"));
    assert_eq!(links.len(), 3, "of the new device alone: {links:?}");
    assert_eq!(offered(&site), None, "the old device is not served any more");
}

#[test]
fn pins_belong_to_one_server_at_a_time() {
    let site = Site::start(SITE);
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
    // A second one, with a state and a control socket of its own, in another network namespace.
    site.client("ip", &["address", "add", "10.77.0.9/24", "dev", "eth0"]);
    let second = SITE.replace("state: state, control: control.sock", "state: state2, control: control2.sock");
    let second = second.replace("PINS", &site.lab.pins().display().to_string());
    std::fs::write(site.path("second.yaml"), second).unwrap();
    let mut server = site.lab.command(Side::Clients, "timeout");
    server.args(["10", NETBOOT, "serve", "--config"]).arg(site.path("second.yaml"));
    refused(&server.output().unwrap(), 1, "belongs to another server that runs");
    assert_eq!(offered(&site), Some([10, 77, 0, 51]), "the first one is not disturbed");
    assert_eq!(site.count("userspace", "answered_offer"), 0);
}

#[test]
fn what_a_killed_netboot_boot_left_is_gone_when_a_server_starts() {
    let mut site = Site { daemon: None, lab: Lab::new() };
    std::fs::write(site.path("vmlinuz"), "kernel").unwrap();
    let mut boot = site.lab.command(Side::Server, NETBOOT);
    boot.arg("boot").arg(site.path("vmlinuz")).args(["--interface", "eth0", "--xdp", "generic"]);
    boot.env("NETBOOT_CONTROL", site.path("control.sock"));
    site.serve_by(boot);
    let pins = format!("/sys/fs/bpf/netboot-boot-{}", site.daemon.as_ref().unwrap().0.id());
    site.kill();
    assert!(Path::new(&pins).exists());
    site.configure(SITE);
    site.serve();
    let status = site.json(&["status", "--json"]);
    assert_eq!(status["interfaces"][0]["xdp"]["mode"], "generic", "{status}");
    assert_eq!(status["interfaces"][0]["xdp"]["steps_down"], serde_json::json!([]), "{status}");
    assert!(!Path::new(&pins).exists());
}

#[test]
fn before_linux_6_6_one_filter_stays_and_is_replaced_and_goes_with_the_server() {
    let lab = Lab::new();
    let filters = || {
        let shown = run(lab.command(Side::Server, "tc").args(["filter", "show", "dev", "eth0", "ingress"]));
        let of = |program| shown.lines().filter(|line| line.contains(program)).count();
        assert_eq!(of("netboot_tftp"), of("netboot_tcx"), "{shown}");
        of("netboot_tcx")
    };
    let attach = |adopted: bool| {
        lab.inside(Side::Server, || {
            let mut kernel = Kernel::load(&lab.pins()).unwrap();
            kernel.without_tcx();
            let attached = kernel.attach("eth0", XdpWish::Off).unwrap().tcx;
            assert_eq!((attached.mode, attached.adopted), (Mode::Clsact, adopted), "{attached:?}");
            kernel.keep_only(&["eth0"]);
            kernel
        })
    };
    for run in 0..3 {
        // As after a crash: nothing is taken off.
        drop(attach(run > 0));
        assert_eq!(filters(), 1, "after run {run}");
    }
    let kernel = attach(true);
    lab.inside(Side::Server, || kernel.detach_all());
    assert_eq!(filters(), 0);
    // One that can't load takes it off, and so does one that does not serve the interface.
    drop(attach(false));
    lab.inside(Side::Server, || take_off(&lab.pins())).unwrap();
    assert_eq!(filters(), 0);
    let kernel = attach(false);
    lab.inside(Side::Server, || kernel.keep_only(&["lo"]));
    assert_eq!(filters(), 0);
}

#[test]
fn without_a_program_for_tftp_none_of_an_earlier_run_stays() {
    for without_tcx in [false, true] {
        let lab = Lab::new();
        let attach = |without_tftp: bool| {
            let mut kernel = Kernel::load(&lab.pins()).unwrap();
            if without_tcx {
                kernel.without_tcx();
            }
            if without_tftp {
                kernel.without_tftp();
            }
            let attached = kernel.attach("eth0", XdpWish::Off).unwrap();
            kernel.keep_only(&["eth0"]);
            // As after a crash: nothing is taken off.
            attached
        };
        let programs = || {
            let shown =
                run(lab.command(Side::Server, "tc").args(["filter", "show", "dev", "eth0", "ingress"]));
            let is_pinned =
                |what: &str| entries(&lab.pins().join("links")).iter().any(|pin| pin.ends_with(what));
            let is_there = |program, pin| shown.contains(program) || is_pinned(pin);
            (is_there("netboot_tcx", "-tcx"), is_there("netboot_tftp", "-tftp"))
        };
        let mode = lab.inside(Side::Server, || attach(false)).tftp.mode;
        assert_eq!(mode, if without_tcx { Mode::Clsact } else { Mode::Tcx });
        assert_eq!(programs(), (true, true));
        let attached = lab.inside(Side::Server, || attach(true));
        assert_eq!(attached.tftp.mode, Mode::Off);
        assert_eq!(programs(), (true, false), "without tcx: {without_tcx}");
    }
}

#[test]
fn xdp_has_the_device_leave_vlan_tags_in_the_frame() {
    let offloads = |site: &Site| -> Vec<String> {
        let features = run(site.lab.command(Side::Server, "ethtool").args(["-k", "eth0"]));
        let taken = ["rx-vlan-offload: ", "rx-vlan-stag-hw-parse: "];
        let value = |name: &&str| features.lines().find_map(|line| line.trim().strip_prefix(*name));
        taken.iter().filter_map(value).map(str::to_owned).collect()
    };
    assert_eq!(offloads(&Site::start(&SITE.replace("xdp: generic", "xdp: off"))), ["on", "on"]);
    assert_eq!(offloads(&Site::start(SITE)), ["off", "off"]);
}

#[test]
fn beside_another_server_port_67_is_left_to_it() {
    let proxy = "dhcp: server, xdp: generic, subnet: 10.77.0.0/24, router: 10.77.0.1, dns: [10.77.0.1],
      range: 10.77.0.100-10.77.0.103, lease: 1h";
    assert!(SITE.contains(proxy));
    let site = Site::start(&SITE.replace(proxy, "dhcp: proxy, xdp: generic"));
    site.client("ip", &["address", "add", "10.77.0.9/24", "dev", "eth0"]);
    // One that starts after us, and shares its port with nobody.
    let server = site.lab.inside(Side::Server, || UdpSocket::bind("0.0.0.0:67")).expect("67 is free");
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    site.lab.inside(Side::Clients, || {
        let client = UdpSocket::bind("10.77.0.9:68").unwrap();
        client.send_to(b"a renewal", "10.77.0.1:67").unwrap();
    });
    let mut buffer = [0; 64];
    assert_eq!(server.recv(&mut buffer).expect("the renewal is the other server's"), 9);
    let taken = site.lab.inside(Side::Server, || UdpSocket::bind("10.77.0.1:4011"));
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse, "4011 is ours");
}

/// Loads the programs, and says where the map of this name is pinned.
fn tables(lab: &Lab, map: &str) -> (Kernel, KernelTables, PathBuf) {
    let mut kernel = Kernel::load(&lab.pins()).unwrap();
    let tables = kernel.take_tables().unwrap();
    let version = entries(&lab.pins()).into_iter().find(|name| name.starts_with('v')).unwrap();
    (kernel, tables, lab.pins().join(version).join(map))
}

fn bpftool(words: &[&str], map: &Path) -> String {
    run(Command::new("bpftool").args(words).arg("pinned").arg(map))
}

#[test]
fn an_entry_that_stays_is_not_written_again() {
    let lab = Lab::new();
    let (_kernel, mut tables, map) = tables(&lab, "INTERFACES");
    let interfaces = |octet| -> Vec<_> {
        let value = InterfaceValue::new([10, 0, 0, octet], 8, [2; 6], InterfaceMode::Server, [0, 0], 1500);
        (0..9).map(|n| (InterfaceKey::new(n, [0, 0]), value)).collect()
    };
    tables.replace(&interfaces(1), &[], &[]).unwrap();
    // From here on none can be written.
    bpftool(&["map", "freeze"], &map);
    tables.replace(&interfaces(1), &[], &[]).expect("nothing to write");
    assert!(tables.replace(&interfaces(2), &[], &[]).is_err());
}

#[test]
fn a_full_table_is_no_error_and_old_entries_make_room_for_new_ones() {
    let lab = Lab::new();
    // The smallest of the tables; all are filled by the same function.
    let (_kernel, mut tables, map) = tables(&lab, "INTERFACES");
    let interface = |n: u32| (InterfaceKey::new(n, [0, 0]), InterfaceValue::default());
    let there = |n: u32| {
        let dump: serde_json::Value = serde_json::from_str(&bpftool(&["-j", "map", "dump"], &map)).unwrap();
        assert_eq!(dump.as_array().unwrap().len(), n as usize);
    };
    let many: Vec<_> = (0..INTERFACES_MAX + 5).map(interface).collect();
    tables.replace(&many, &[], &[]).expect("a full table is no error");
    there(INTERFACES_MAX);
    let others: Vec<_> = (0..INTERFACES_MAX).map(|n| interface(n + 9000)).collect();
    tables.replace(&others, &[], &[]).unwrap();
    there(INTERFACES_MAX);
    tables.replace(&others[..7], &[], &[]).unwrap();
    there(7);
}
