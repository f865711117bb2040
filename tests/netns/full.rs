//! What is full: the kernel's table of hosts, its ring of events, the disk. Known machines go on, and `netboot status` says what
//! does not.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use netboot_common::event::Event;
use netboot_common::maps::{ABI_VERSION, EVENTS_BYTES, HostEntry};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::clients::SITE;
use crate::lab::{Lab, MAC, Side, run};
use crate::links::{await_degraded, degraded};
use crate::malformed::{HOST, Wire, discover};
use crate::site::Site;
use crate::tftp_kernel;

const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0x77, 9, 9];

#[test]
fn a_full_table_of_hosts_refuses_what_is_new_forgets_nobody_and_says_so() {
    // A table that an earlier server made is taken as it is: here, with room for ten.
    let mut site = Site { daemon: None, lab: Lab::new() };
    let table = site.lab.pins().join(format!("v{ABI_VERSION}"));
    std::fs::create_dir_all(&table).unwrap();
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["map", "create"]).arg(table.join("HOSTS"));
    let value = size_of::<HostEntry>();
    let words = format!("type hash key 8 value {value} entries 10 name HOSTS flags 1");
    run(bpftool.args(words.split(' ')));
    site.configure(SITE);
    site.serve();
    let room = |site: &Site| site.json(&["status", "--json"])["kernel_hosts"].clone();
    let is =
        |entries: u64, refused: u64| serde_json::json!({ "entries": entries, "max": 10, "refused": refused });
    assert_eq!(room(&site), is(0, 0));

    let add = |n: u8| {
        let (name, mac, ip) =
            (format!("n{n}"), format!("52:54:00:77:00:{n:02x}"), format!("10.77.0.{}", 50 + n));
        site.done(&["host", "add", &name, "--mac", &mac, "--ip", &ip]);
    };
    (1..=7).for_each(add);
    assert_eq!(degraded(&site), serde_json::json!([]));
    add(8);
    let said = degraded(&site).to_string();
    assert!(said.contains("the kernel's table of hosts holds 8 of 10, 0 found no room"), "{said}");
    (9..=12).for_each(add);
    assert_eq!(room(&site), is(10, 2));
    // Those beyond are answered all the same, and a stranger gets his lease.
    let offers: Vec<bool> = site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        (1..=12).map(|n| wire.ask(&discover([0x52, 0x54, 0, 0x77, 0, n], u32::from(n))).is_some()).collect()
    });
    assert_eq!(offers, [true; 12]);
    assert_eq!((site.count("xdp", "answered_offer"), site.count("userspace", "answered_offer")), (10, 2));
    assert!(site.lab.inside(Side::Clients, || Wire::open().lease(STRANGER)).is_some());
    assert_eq!(room(&site), is(10, 3));
    // A change of one that is there needs no room.
    site.done(&["host", "set", "n1", "--ip", "10.77.0.90"]);
    let offer = site.lab.inside(Side::Clients, || Wire::open().ask(&discover(HOST, 99)).unwrap());
    assert_eq!(offer[58..62], [10, 77, 0, 90]);
    site.done(&["host", "remove", "n1,n2,n3,n4"]);
    assert_eq!(room(&site), is(6, 3));
    assert_eq!(degraded(&site), serde_json::json!([]));
}

#[test]
fn a_ring_that_is_full_loses_records_and_counts_them_and_no_reply() {
    /// Bytes of a record: an event, and the ring's own eight.
    const RECORD: u64 = size_of::<Event>() as u64 + 8;
    const ROOM: u64 = EVENTS_BYTES as u64 / RECORD;
    const ASKED: u32 = ROOM as u32 + 5_000;
    let site = Site::start(SITE);
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
    let daemon = Pid::from_child(&site.daemon.as_ref().unwrap().0);
    // Nobody reads the ring.
    kill_process(daemon, Signal::STOP).unwrap();
    await_stop(daemon);
    let answered = site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        (0..ASKED).filter(|xid| wire.ask(&discover(HOST, *xid)).is_some()).count()
    });
    kill_process(daemon, Signal::CONT).unwrap();
    assert_eq!(answered, ASKED as usize, "replies are as before");
    let status = site.json(&["status", "--json"]);
    let lost = status["lost_events"].as_u64().unwrap();
    assert!((u64::from(ASKED) - ROOM..u64::from(ASKED)).contains(&lost), "{lost}: {status}");
    assert_eq!(status["counters"]["xdp"]["lost_events"], lost);
}

#[test]
fn a_full_ring_costs_tftp_from_the_kernel_its_records_which_are_counted_and_no_block() {
    const ROOM: u64 = EVENTS_BYTES as u64 / (size_of::<Event>() as u64 + 8);
    const TRANSFERS: u64 = 200;
    let site = tftp_kernel::site(&[("loader.efi", b"x")]);
    let lost = |site: &Site| tftp_kernel::count(site, "lost_events");
    let daemon = Pid::from_child(&site.daemon.as_ref().unwrap().0);
    assert_eq!(lost(&site), 0);
    kill_process(daemon, Signal::STOP).unwrap();
    await_stop(daemon);
    // Replies fill it, for they have no budget as small as that of requests for files.
    site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        (0..ROOM as u32 + 1000).for_each(|xid| drop(wire.ask(&discover(HOST, xid)).unwrap()));
    });
    let mut client = tftp_kernel::Client::new(&site);
    for _ in 0..TRANSFERS {
        assert_eq!(client.request("loader.efi", &[]), b"\0\x03\0\x01x");
        client.ack(1);
    }
    kill_process(daemon, Signal::CONT).unwrap();
    let status = site.json(&["status", "--json"]);
    assert_eq!((lost(&site), tftp_kernel::count(&site, "done")), (TRANSFERS, TRANSFERS), "{status}");
}

/// Until no thread of a process runs: one that the kernel does something for stops when that is done, and reads on until then.
fn await_stop(process: Pid) {
    let stopped = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        // The state follows the name, which is in brackets and may hold any of them.
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    };
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_dir(&tasks).unwrap().all(stopped) {
        assert!(Instant::now() < deadline, "{tasks}");
        std::thread::yield_now();
    }
}

/// A server whose state is on a disk of its own, of 4 MiB, that nobody else sees.
fn on_a_small_disk() -> Site {
    let mut site = Site { daemon: None, lab: Lab::new() };
    site.configure(SITE);
    std::fs::create_dir(site.path("state")).unwrap();
    let state = site.path("state").display().to_string();
    let mount = format!("mount -t tmpfs -o size=4m tmpfs {state} && exec \"$@\"");
    let mut server = site.lab.command(Side::Server, "unshare");
    server.args(["--mount", "sh", "-c", &mount, "sh"]).args(site.server_words());
    site.serve_by(server);
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", "10.77.0.51"]);
    site
}

/// The state folder as the server sees it.
pub(crate) fn state(site: &Site) -> PathBuf {
    let daemon = site.daemon.as_ref().unwrap().0.id();
    let root = PathBuf::from(format!("/proc/{daemon}/root"));
    root.join(site.path("state").strip_prefix("/").unwrap())
}

#[test]
fn a_full_disk_stops_new_leases_and_changes_and_nothing_else_until_it_has_room() {
    let site = on_a_small_disk();
    let filler = state(&site).join("filler");
    // All that is left.
    let full = std::fs::write(&filler, vec![1; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);

    let ask = |body: fn(&Wire) -> bool| site.lab.inside(Side::Clients, || body(&Wire::open()));
    let stranger = |wire: &Wire| wire.lease(STRANGER).is_some();
    // What the file has room for within itself is still written.
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut n = 0;
    while degraded(&site) == serde_json::json!([]) {
        assert!(Instant::now() < deadline, "{}", site.log());
        n += 1;
        site.netboot(&["host", "add", &format!("x{n}"), "--mac", &format!("52:54:00:01:00:{n:02x}")]);
        site.lab.inside(Side::Clients, || Wire::open().lease([0x52, 0x54, 0, 0x78, 0, n]));
    }
    let said = degraded(&site).to_string();
    assert!(said.contains("no new lease is given") && said.contains("No space left on device"), "{said}");
    assert!(ask(|wire| wire.ask(&discover(HOST, 1)).is_some()), "known machines are answered");
    assert!(!ask(stranger), "no ACK of what is not durable");
    let explained = site.done(&["host", "explain", "52:54:00:77:09:09"]);
    assert!(explained.contains("last unanswered: by userspace on eth0, not_durable"), "{explained}");
    site.refused(&["host", "add", "node2", "--mac", "52:54:00:77:00:02"], 1, "No space left on device");
    assert_eq!(status_of_a_change(&site), 507);

    std::fs::remove_file(&filler).unwrap();
    assert!(ask(stranger), "by itself, and at the first try: {}", site.log());
    await_degraded(&site, None);
    site.done(&["host", "add", "node2", "--mac", "52:54:00:77:00:02"]);
    let leases = site.json(&["lease", "list", "--json"]);
    let durable = |lease: &Value| lease["mac"] == "52:54:00:77:09:09" && lease["state"] == "bound";
    assert!(leases.as_array().unwrap().iter().any(durable), "{leases}");
    let log = site.log();
    for words in ["leases can't be made durable", "leases are durable again"] {
        assert_eq!(log.lines().filter(|line| line.contains(words)).count(), 1, "{words}: {log}");
    }
}

fn status_of_a_change(site: &Site) -> u16 {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket"])
        .arg(site.path("control.sock"));
    curl.args(["--json", r#"{"name":"node3","macs":["52:54:00:77:00:03"]}"#, "http://x/api/v1/hosts"]);
    run(&mut curl).parse().unwrap()
}
