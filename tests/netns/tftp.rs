//! TFTP from the real binary: what names mean at a site, what is told of transfers, and paths that are narrow.

use std::fs;
use std::time::{Duration, Instant};

use netboot_userspace::inventory::identity::Uuid;
use serde_json::Value;

use crate::lab::{Lab, MAC, Side, run};
use crate::malformed::{HOST, Wire, message};
use crate::site::Site;
use crate::tftp_kernel::datagram;

const CONFIG: &str = "\
interfaces:
  - { name: eth0, dhcp: server, subnet: 10.77.0.0/24, xdp: off }
unknown: ignore
http: { listen: ':8080' }
tftp:
  root: files
  upload: { folder: uploads, keep_free: 1 }
  map: [{ name: 'shim/*', file: 'debian/*' }, { name: loader, class: efi-x64, file: mine.efi }]
assets: .
ipxe: loaders
profiles: [{ name: linux, kernel: netboot.yaml }]
paths: { state: state, control: control.sock, pins: PINS }
";

/// A site whose client is `node`, and may also be somebody at 10.77.0.8.
fn serving() -> Site {
    serving_by(CONFIG)
}

fn serving_by(config: &str) -> Site {
    let mut site = Site { daemon: None, lab: Lab::new() };
    for (file, text) in [
        ("files/debian/grubx64.efi", "grub"),
        ("files/mine.efi", "mine"),
        ("files/52-54-00-77-00-01/own", "own"),
        ("files/pxelinux.cfg/0A4D", "all of them"),
        ("loaders/undionly.kpxe", "undionly"),
    ] {
        fs::create_dir_all(site.path(file).parent().unwrap()).unwrap();
        fs::write(site.path(file), text).unwrap();
    }
    fs::create_dir(site.path("uploads")).unwrap();
    site.configure(config);
    site.serve();
    site.done(&["host", "add", "node", "--mac", MAC, "--ip", "10.77.0.9", "--profile", "linux"]);
    for address in ["10.77.0.9/24", "10.77.0.8/24"] {
        run(site.lab.command(Side::Clients, "ip").args(["address", "add", address, "dev", "eth0"]));
    }
    site
}

/// What a client at `address` gets; `None`: an ERROR.
fn fetch(site: &Site, address: &str, name: &str) -> Option<String> {
    let mut curl = site.lab.command(Side::Clients, "curl");
    curl.args(["-sS", "--max-time", "10", "--interface", address, &format!("tftp://10.77.0.1/{name}")]);
    let output = curl.output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn pxelinux_is_told_by_the_inventory_what_its_machine_boots() {
    let site = serving();
    let chain = "# node: profile linux\nDEFAULT netboot\nPROMPT 0\nLABEL netboot\n  KERNEL ::ipxe.lkrn\n";
    for name in ["01-52-54-00-77-00-01", "0A4D0009", "default"] {
        let name = format!("pxelinux.cfg/{name}");
        assert_eq!(fetch(&site, "10.77.0.9", &name).as_deref(), Some(chain), "{name}");
    }
    // Of others, and of those that are ignored, it says nothing.
    for name in ["01-52-54-00-77-00-01", "0A4D0009", "01-52-54-00-77-00-02"] {
        assert_eq!(fetch(&site, "10.77.0.8", &format!("pxelinux.cfg/{name}")), None, "{name}");
    }
    assert_eq!(fetch(&site, "10.77.0.9", "pxelinux.cfg/0A4D000"), None, "part of an address");
    assert_eq!(fetch(&site, "10.77.0.9", "pxelinux.cfg/0A4D").as_deref(), Some("all of them"), "a file");
    site.done(&["host", "set", "node", "--boot", "local"]);
    let local = fetch(&site, "10.77.0.9", "pxelinux.cfg/01-52-54-00-77-00-01").unwrap();
    assert!(local.ends_with("LOCALBOOT 0\n"), "{local}");
    assert_eq!(site.json(&["machine", "show", "node", "--json"])["state"], "local");
    // A file is the operator's own word, whatever the inventory says, and byte for byte.
    fs::write(site.path("files/pxelinux.cfg/01-52-54-00-77-00-01"), MENU).unwrap();
    for boot in ["local", "ignore", "profile"] {
        site.done(&["host", "set", "node", "--boot", boot]);
        let name = "pxelinux.cfg/01-52-54-00-77-00-01";
        assert_eq!(fetch(&site, "10.77.0.9", name).as_deref(), Some(MENU), "{boot}");
    }
}

/// By its UUID, which PXELINUX tries first; the machine is known by DHCP.
#[test]
fn pxelinux_is_told_by_its_uuid_what_a_host_without_a_mac_boots() {
    let site = serving();
    let uuid: Uuid = "77000000-0000-4000-8000-000000000007".parse().unwrap();
    site.done(&[
        "host",
        "add",
        "blank",
        "--uuid",
        &uuid.to_string(),
        "--ip",
        "10.77.0.7",
        "--profile",
        "linux",
    ]);
    run(site.lab.command(Side::Clients, "ip").args(["address", "add", "10.77.0.7/24", "dev", "eth0"]));
    // As firmware has it on the wire, and PXELINUX in the name.
    let name = format!("pxelinux.cfg/{}", Uuid(uuid.to_wire()));
    assert_eq!(fetch(&site, "10.77.0.7", &name), None, "nobody has seen the machine");
    let options = [&[53, 1, 1, 97, 17, 0][..], &uuid.to_wire()].concat();
    let offer = site.lab.inside(Side::Clients, || {
        Wire::open().ask_for(&message([0x52, 0x54, 0, 0x77, 0, 7], 7, &options), Duration::from_secs(10))
    });
    assert_eq!(offer.unwrap()[58..62], [10, 77, 0, 7]);
    let end = Instant::now() + Duration::from_secs(20);
    let told = loop {
        if let Some(told) = fetch(&site, "10.77.0.7", &name) {
            break told;
        }
        assert!(Instant::now() < end, "{}", site.log());
    };
    assert!(told.starts_with("# blank: profile linux\n"), "{told}");
    let written = format!("pxelinux.cfg/{uuid}");
    assert_eq!(
        fetch(&site, "10.77.0.7", &written).as_deref(),
        Some(told.as_str()),
        "as other firmware has it"
    );
    assert_eq!(fetch(&site, "10.77.0.8", &name), None, "nobody else");
}

/// In userspace: the next server knows nothing of the transfer, and its client asks once more.
#[test]
fn a_client_whose_server_is_killed_in_the_middle_has_its_file_from_the_next_one() {
    let mut site = serving_by(&CONFIG.replace("root: files", "root: files\n  kernel: off"));
    let want: Vec<u8> = (0..100_000_u32).map(|at| (at * 7 / 3) as u8).collect();
    fs::write(site.path("files/large"), &want).unwrap();
    let socket = site.lab.inside(Side::Clients, || std::net::UdpSocket::bind("10.77.0.9:0")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let receive = |block: u16| loop {
        let mut packet = [0; 1024];
        let (length, from) = socket.recv_from(&mut packet).unwrap();
        assert_eq!(packet[..2], [0, 3], "{:?}", &packet[..length]);
        if packet[2..4] == block.to_be_bytes() {
            return (packet[4..length].to_vec(), from);
        }
    };
    let acknowledge = |block: u16, to| socket.send_to(&[[0, 4], block.to_be_bytes()].concat(), to).unwrap();
    let ask = || socket.send_to(b"\0\x01large\0octet\0", "10.77.0.1:69").unwrap();
    ask();
    let mut transfer = receive(1).1;
    for block in 1..50 {
        acknowledge(block, transfer);
        transfer = receive(block + 1).1;
    }
    site.kill();
    site.serve();
    // What was on its way.
    socket.set_nonblocking(true).unwrap();
    while socket.recv_from(&mut [0; 1024]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    ask();
    let mut got = Vec::new();
    for block in 1..=196 {
        let (data, from) = receive(block);
        got.extend(data);
        acknowledge(block, from);
    }
    assert!(got == want);
}

/// A menu as Booddies has one for each machine (BD-12): its own disk, unless somebody chooses within ten seconds.
const MENU: &str = "DEFAULT menu.c32\nSERIAL 1 115200\r\nTIMEOUT 100\nONTIMEOUT local\n\n\
LABEL local\n\tLOCALBOOT 0\n\nLABEL install\n  IPAPPEND 2\n  KERNEL images/centos/7/x86_64/vmlinuz\n  \
APPEND initrd=images/centos/7/x86_64/initrd.img inst.text console=ttyS1,115200n8 vlan=em1.101:em1   ";

#[test]
fn names_mean_what_the_configuration_says() {
    let site = serving();
    assert_eq!(fetch(&site, "10.77.0.9", "shim/grubx64.efi").as_deref(), Some("grub"));
    assert_eq!(fetch(&site, "10.77.0.9", "shim/..%2f..%2fnetboot.yaml"), None);
    assert_eq!(
        fetch(&site, "10.77.0.9", "525400770001/own").as_deref(),
        Some("own"),
        "any spelling of the MAC"
    );
    assert_eq!(fetch(&site, "10.77.0.9", "52:54:00:77:00:01/mine.efi").as_deref(), Some("mine"));
    let empty = site.path("empty").display().to_string();
    site.client("busybox", &["tftp", "-g", "-r", "autoexec.ipxe", "-l", &empty, "10.77.0.1"]);
    assert_eq!(fs::read_to_string(&empty).unwrap(), "");
    assert_eq!(fetch(&site, "10.77.0.9", "loader"), None, "its class is not known");
    for (arch, vendor, loader) in
        [("0000", "PXEClient:Arch:00000", "undionly"), ("0007", "PXEClient:Arch:00007", "mine")]
    {
        let option = format!("0x5d:{arch}");
        site.client(
            "udhcpc",
            &["-i", "eth0", "-f", "-n", "-q", "-s", "/bin/true", "-V", vendor, "-x", &option],
        );
        assert_eq!(fetch(&site, "10.77.0.9", "loader").as_deref(), Some(loader), "{vendor}");
    }
    let shown = site.json(&[
        "config",
        "show",
        "--json",
        "--config",
        &site.path("netboot.yaml").display().to_string(),
    ]);
    assert_eq!(shown["tftp"]["map"][2]["file"], "undionly.kpxe", "what we add is shown: {shown}");
}

#[test]
fn each_transfer_is_an_event_and_what_is_harmless_is_marked() {
    let site = serving();
    fs::write(site.path("upload"), "something").unwrap();
    assert!(fetch(&site, "10.77.0.9", "mine.efi").is_some());
    for name in ["nothing.efi", "pxelinux.cfg/C0A8", "%2e%2e/x"] {
        assert_eq!(fetch(&site, "10.77.0.9", name), None);
    }
    let upload = site.path("upload").display().to_string();
    site.client("atftp", &["-p", "-r", "../name", "-l", &upload, "10.77.0.1", "69"]);
    let events = || -> Vec<Value> {
        let lines = site.done(&["events", "--json"]);
        let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|event| event["kind"] == "transfer").collect()
    };
    // They are told of by another thread than the one that answers.
    let mut told = events();
    for _ in 0..200 {
        if told.len() >= 5 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        told = events();
    }
    let told_of = |file: &str| {
        let event = told.iter().find(|event| event["fields"]["file"] == file);
        event.unwrap_or_else(|| panic!("{file}: {told:?}"))["fields"].clone()
    };
    let done = told_of("mine.efi");
    assert_eq!((&done["outcome"], &done["bytes"], &done["resent"]), (&"done".into(), &4.into(), &0.into()));
    assert!(done["client"].as_str().unwrap().starts_with("10.77.0.9:"), "{done}");
    assert_eq!(
        (&told_of("nothing.efi")["harmless"], &told_of("nothing.efi")["reason"]),
        (&false.into(), &"no such file".into())
    );
    assert_eq!(told_of("pxelinux.cfg/C0A8")["harmless"], true);
    assert_eq!(told_of("../x")["outcome"], "refused");
    let stored = told_of("../name")["stored"].as_str().unwrap().to_owned();
    assert_eq!(fs::read_to_string(site.path("uploads").join(stored)).unwrap(), "something");
}

/// Their addresses are asked for, and nobody answers: what is sent to them waits in the socket that it was sent from, 16 MiB at most.
#[test]
fn what_is_lost_for_want_of_room_is_counted() {
    // What the kernel answers takes no socket.
    let site = serving_by(&CONFIG.replace("root: files", "root: files\n  ports: 50000-50000\n  kernel: off"));
    let unsent = || site.json(&["status", "--json"])["tftp"]["unsent"].as_u64().unwrap();
    assert_eq!(unsent(), 0);
    // Or they would be given up within three seconds, and what waits with them.
    let patience = "net.ipv4.neigh.eth0.retrans_time_ms=60000";
    run(site.lab.command(Side::Server, "sysctl").args(["-qw", patience]));
    let wire = site.lab.inside(Side::Clients, Wire::open);
    // Each in place of the one before it, and answered; ERRORs have a budget.
    let ask = |number: u32| {
        let asked = format!("\0\x01mine.efi\0octet\0tsize\0{}\0", number / 220);
        datagram(&site, (HOST, [10, 77, 0, 20 + (number % 220) as u8]), [1000, 69], asked.as_bytes())
    };
    let asked: Vec<_> = (0..2200).map(ask).collect();
    for _ in 0..200 {
        asked.iter().for_each(|frame| wire.send(frame));
        if unsent() > 0 {
            return;
        }
    }
    panic!("{}", site.json(&["status", "--json"])["tftp"]);
}

#[test]
fn a_path_that_takes_no_whole_block_gets_each_in_fragments() {
    // From the kernel, which has a new file after a second, no window leaves as one.
    let site = serving_by(&CONFIG.replace("root: files", "root: files\n  kernel: off"));
    // Narrower than the interface, from which blocks take their size.
    let narrow = ["route", "change", "10.77.0.0/24", "dev", "eth0", "src", "10.77.0.1", "mtu", "1000"];
    run(site.lab.command(Side::Server, "ip").args(narrow));
    fs::write(site.path("files/large"), vec![7; 200_000]).unwrap();
    let to = site.path("got").display().to_string();
    let options = ["--option", "windowsize 8", "--option", "blksize 1468"];
    let fetch = |times: u64| {
        for _ in 0..times {
            site.client("atftp", &[&options[..], &["-g", "-r", "large", "-l", &to, "10.77.0.1"]].concat());
            assert!(fs::read(&to).unwrap() == vec![7; 200_000]);
        }
        let status = site.json(&["status", "--json"])["tftp"].clone();
        (status["apart"].as_u64().unwrap(), status["as_one"].as_u64().unwrap())
    };
    // Enough of them for each worker.
    assert_eq!(fetch(8), (8, 0), "found out once in each transfer");
    // Where the path is wide, that one was narrow is nobody's concern.
    run(site.lab.command(Side::Server, "ip").args([&narrow[..8], &["1500"]].concat()));
    let (apart, as_one) = fetch(8);
    assert!(apart == 8 && as_one >= 8 * 16, "{apart}, {as_one}");
}
