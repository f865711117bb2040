//! TFTP from inside the kernel, with real clients and with a client of ours: the same bytes, and the kernel's own counters say that
//! it was the kernel.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use netboot_common::tftp::maps::{FileKey, FileRef};
use netboot_userspace::sys::interface::interfaces;
use serde_json::Value;

use crate::clients::SITE;
use crate::lab::{Lab, MAC, SERVER, Side, run};
use crate::malformed::{HOST, Wire, put_checksum, to_4011};
use crate::site::Site;
use crate::vlan::{NONE, ONE, TRUNK, TWO, addressed, tagged};

pub(crate) const CLIENT: &str = "10.77.0.51";

/// A server with these files, all of them in the kernel, and a client that has a lease.
pub(crate) fn site(files: &[(&str, &[u8])]) -> Site {
    site_over("1500", "", files)
}

/// The same, over interfaces of this MTU, and with more settings of `tftp:`. What is too large for the kernel is userspace's.
pub(crate) fn site_over(mtu: &str, settings: &str, files: &[(&str, &[u8])]) -> Site {
    let mut site = Site { daemon: None, lab: Lab::new() };
    for side in [Side::Server, Side::Clients] {
        run(site.lab.command(side, "ip").args(["link", "set", "eth0", "mtu", mtu]));
    }
    let tftp = format!("tftp: {{ root: tftp{settings} }}");
    site.configure(&SITE.replace("tftp: { root: . }", &tftp).replace("ipxe: .", "ipxe: tftp"));
    fs::create_dir(site.path("tftp")).unwrap();
    files.iter().for_each(|(name, content)| put(&site, name, content));
    site.serve();
    site.done(&["host", "add", "node1", "--mac", MAC, "--ip", CLIENT]);
    let lease = site.lab.inside(Side::Clients, || Wire::open().lease(HOST));
    assert_eq!(lease.map(std::net::Ipv4Addr::from), Some(CLIENT.parse().unwrap()));
    run(site.lab.command(Side::Clients, "ip").args([
        "address",
        "add",
        &format!("{CLIENT}/24"),
        "dev",
        "eth0",
    ]));
    // `autoexec.ipxe`, too.
    let fit = files.iter().filter(|(_, content)| content.len() <= 4 << 20).count();
    await_status(&site, |status| status["kernel_files"]["files"] == fit + 1);
    site
}

/// Puts a file there, whole.
fn put(site: &Site, name: &str, content: &[u8]) {
    let new = site.path("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, site.path("tftp").join(name)).unwrap();
}

pub(crate) fn await_status(site: &Site, is_so: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = site.json(&["status", "--json"]);
        if is_so(&status) {
            return;
        }
        assert!(Instant::now() < deadline, "{status}: {}", site.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes that are others at each place, and for each seed.
pub(crate) fn content(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(byte).collect()
}

/// A count of the kernel's TFTP program.
pub(crate) fn count(site: &Site, what: &str) -> u64 {
    site.count("tftp", what)
}

/// Requests that userspace has read.
pub(crate) fn requests(site: &Site) -> u64 {
    site.json(&["status", "--json"])["tftp"]["requests"].as_u64().unwrap()
}

/// A transfer by each client; what it must have got.
fn fetch(site: &Site, client: &str, name: &str, want: &[u8]) {
    let got = site.path("got");
    let _ = fs::remove_file(&got);
    let got_as = got.display().to_string();
    let (url, windows) = (format!("tftp://{SERVER}/{name}"), ["windowsize 16", "blksize 1432", "tsize 0"]);
    match client {
        "tftp-hpa" => site.client("tftp", &["-m", "octet", SERVER, "-c", "get", name, &got_as]),
        "curl" => site.client("curl", &["-sS", "--tftp-blksize", "1468", "-o", &got_as, &url]),
        "busybox" => site.client("busybox", &["tftp", "-g", "-b", "1024", "-r", name, "-l", &got_as, SERVER]),
        "atftp" => site.client("atftp", &["-g", "-r", name, "-l", &got_as, SERVER]),
        _ => {
            let options = windows.iter().flat_map(|option| ["--option", option]);
            let words: Vec<&str> = options.chain(["-g", "-r", name, "-l", &got_as, SERVER]).collect();
            site.client("atftp", &words)
        }
    };
    let got = fs::read(&got).unwrap_or_else(|error| panic!("{client}: {name}: {error}: {}", site.log()));
    assert!(got == want, "{client}: {name}: {} bytes, not {}", got.len(), want.len());
}

#[test]
fn real_clients_get_the_same_bytes_from_the_kernel() {
    let sizes = [1, 511, 512, 513, 1432, 65_536, 300_001, 1 << 20, 4 << 20];
    let files: Vec<(String, Vec<u8>)> =
        sizes.into_iter().map(|size| (format!("loader-{size}"), content(size, size as u32))).collect();
    let named: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let site = site(&named);
    let mut done = 0;
    for client in ["tftp-hpa", "curl", "busybox", "atftp", "atftp with windows"] {
        for (name, bytes) in &named {
            fetch(&site, client, name, bytes);
            done += 1;
            assert_eq!(count(&site, "done"), done, "{client}: {name}: {}", site.done(&["status"]));
        }
    }
    assert_eq!(requests(&site), 0, "userspace saw no request");
    assert_eq!((count(&site, "resent"), count(&site, "unsent"), count(&site, "failed")), (0, 0, 0));
    await_status(&site, |_| site.done(&["events"]).contains("loader-4194304"));
    let told = site.done(&["events"]);
    let line = told.lines().find(|line| line.contains("loader-4194304")).unwrap();
    assert!(line.contains("tcx"), "{line}");
}

/// A client of ours, whose every datagram is the test's.
pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    /// The server's.
    pub(crate) tid: u16,
}

impl Client {
    pub(crate) fn new(site: &Site) -> Self {
        let socket = site.lab.inside(Side::Clients, || UdpSocket::bind((CLIENT, 0)).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { socket, tid: 0 }
    }

    /// Asks for a file, with these options; what comes back.
    pub(crate) fn request(&mut self, name: &str, options: &[&str]) -> Vec<u8> {
        let mut packet = vec![0, 1];
        for string in [&[name, "octet"], options].concat() {
            packet.extend(string.as_bytes());
            packet.push(0);
        }
        self.socket.send_to(&packet, (SERVER, 69)).unwrap();
        let (packet, from) = self.receive();
        self.tid = from;
        packet
    }

    pub(crate) fn ack(&self, block: u16) {
        self.socket.send_to(&[[0, 4], block.to_be_bytes()].concat(), (SERVER, self.tid)).unwrap();
    }

    pub(crate) fn receive(&self) -> (Vec<u8>, u16) {
        let mut packet = vec![0; 10_000];
        let (length, from) = self.socket.recv_from(&mut packet).expect("an answer");
        packet.truncate(length);
        (packet, from.port())
    }

    /// The first packet that is not this block once more: userspace repeats what is not acknowledged.
    pub(crate) fn after(&self, block: u16) -> Vec<u8> {
        let again = [[0, 3], block.to_be_bytes()].concat();
        loop {
            let (packet, _) = self.receive();
            if packet[..4] != again {
                return packet;
            }
        }
    }

    /// The rest of a file whose first block is there.
    fn rest(&self, first: Vec<u8>) -> Vec<u8> {
        let (mut packet, mut content) = (first, Vec::new());
        loop {
            assert_eq!(packet[..2], [0, 3], "{packet:02x?}");
            content.extend_from_slice(&packet[4..]);
            let block = u16::from_be_bytes([packet[2], packet[3]]);
            self.ack(block);
            if packet.len() < 4 + 512 {
                return content;
            }
            packet = self.after(block);
        }
    }
}

#[test]
fn a_transfer_ends_with_the_bytes_it_began_with_though_the_file_is_replaced() {
    let (old, new) = (content(20_000, 1), content(30_000, 2));
    let site = site(&[("loader.efi", &old)]);
    let mut client = Client::new(&site);
    let first = client.request("loader.efi", &[]);
    put(&site, "loader.efi", &new);
    await_status(&site, |status| status["kernel_files"]["bytes"] == new.len());
    let mut other = Client::new(&site);
    let others = other.request("loader.efi", &[]);
    assert!(client.rest(first) == old);
    assert!(other.rest(others) == new);
    await_status(&site, |status| status["counters"]["tftp"]["done"] == 2);
    assert_eq!(requests(&site), 0, "both by the kernel");
}

#[test]
fn what_the_kernel_does_not_serve_userspace_does() {
    let (loader, large) = (content(5000, 1), content((4 << 20) + 1, 2));
    let site = site(&[("loader.efi", &loader)]);
    put(&site, "large", &large);
    fetch(&site, "atftp with windows", "large", &large);
    assert_eq!((requests(&site), count(&site, "unknown_file")), (1, 1));
    fetch(&site, "curl", "52-54-00-77-00-01/loader.efi", &loader);
    let mut client = Client::new(&site);
    assert_eq!(client.request("nothing", &[])[..4], [0, 5, 0, 1]);
    assert_eq!((requests(&site), count(&site, "unknown_file")), (3, 3));
    let text = site.path("text");
    let words = ["-m", "ascii", SERVER, "-c", "get", "loader.efi", &text.display().to_string()];
    site.client("tftp", &words);
    assert_eq!((requests(&site), count(&site, "mode")), (4, 1));
    assert_eq!(count(&site, "first_blocks") + count(&site, "oacks"), 0);
}

#[test]
fn strays_get_an_error_from_userspace_that_holds_the_kernel_s_ports() {
    let site = site(&[("loader.efi", &content(5000, 1))]);
    let mut client = Client::new(&site);
    client.request("loader.efi", &[]);
    let mut stranger = Client::new(&site);
    stranger.tid = client.tid;
    stranger.ack(1);
    let (error, from) = stranger.receive();
    assert_eq!((&error[..4], from), (&[0, 5, 0, 5][..], client.tid), "RFC 1350 section 4");
    client.ack(1);
    assert_eq!(client.receive().0[..4], [0, 3, 0, 2], "whose transfer goes on");
    assert_eq!(count(&site, "unknown_transfer"), 1);
}

#[test]
fn rfc1123_1_duplicate_acks_send_nothing_and_a_client_that_waited_gets_its_window_again() {
    let site = site(&[("loader.efi", &content(50_000, 1))]);
    let mut client = Client::new(&site);
    client.request("loader.efi", &[]);
    client.ack(1);
    let second = client.receive();
    for _ in 0..20 {
        client.ack(1);
    }
    await_status(&site, |status| status["counters"]["tftp"]["ignored"] == 20);
    assert_eq!(count(&site, "blocks"), 2, "what comes meanwhile is userspace's");
    // A client's timeout: not a wait for anything that could be seen.
    std::thread::sleep(Duration::from_millis(250));
    client.ack(1);
    await_status(&site, |status| status["counters"]["tftp"]["blocks"] == 3);
    assert_eq!(client.receive(), second);
    let mut client = Client::new(&site);
    assert_eq!(client.request("loader.efi", &["windowsize", "4"])[..2], [0, 6]);
    client.ack(0);
    let window = |client: &Client| -> Vec<Vec<u8>> { (0..4).map(|_| client.receive().0).collect() };
    let first = window(&client);
    // Longer than a round trip.
    std::thread::sleep(Duration::from_millis(50));
    client.ack(0);
    assert_eq!(window(&client), first);
    client.ack(2);
    assert_eq!(client.receive().0[..4], [0, 3, 0, 3], "RFC 7440 section 4");
    assert_eq!(count(&site, "repeated_windows"), 2);
}

#[test]
fn a_killed_server_s_transfers_go_on_and_the_next_one_serves_what_is_there() {
    let (loader, other) = (content(30_000, 1), content(40_000, 2));
    let mut site = site(&[("loader.efi", &loader), ("other", &other)]);
    let mut client = Client::new(&site);
    let first = client.request("loader.efi", &[]);
    client.ack(1);
    let second = client.receive().0;
    site.kill();
    client.ack(2);
    let third = client.receive().0;
    let mut orphan = Client::new(&site);
    let orphans = orphan.request("other", &[]);
    assert!(orphan.rest(orphans) == other, "nobody serves but the kernel");
    site.serve();
    let rest = client.rest(third);
    assert!([&first[4..], &second[4..], &rest].concat() == loader);
    await_status(&site, |status| status["kernel_files"]["files"] == 3);
    fetch(&site, "atftp with windows", "other", &other);
    assert_eq!(requests(&site), 0);
}

#[test]
fn a_server_that_can_not_say_what_there_is_now_has_the_kernel_serve_nothing_until_it_can() {
    let (old, new) = (content(3000, 1), content(4000, 2));
    let mut site = site(&[("loader.efi", &old)]);
    site.kill();
    put(&site, "loader.efi", &new);
    // One that is always there finds no room.
    let versions = fs::read_dir(site.lab.pins()).unwrap().flatten();
    let pin = versions.map(|version| version.path().join("FILES")).find(|pin| pin.exists()).unwrap();
    let map = aya::maps::Map::HashMap(aya::maps::MapData::from_pin(pin).unwrap());
    let mut names: aya::maps::HashMap<_, FileKey, FileRef> = map.try_into().unwrap();
    let others: Vec<FileKey> = (0..2000).map(|n| FileKey::new(&format!("{n}")).unwrap()).collect();
    names.remove(&FileKey::new("autoexec.ipxe").unwrap()).unwrap();
    let fill = |key: &&FileKey| names.insert(**key, FileRef::new(0, 1), 0).is_ok();
    let filled: Vec<&FileKey> = others.iter().take_while(fill).collect();
    site.serve();
    fetch(&site, "curl", "loader.efi", &new);
    assert_eq!(requests(&site), 1, "userspace served it");
    filled.iter().for_each(|key| names.remove(key).unwrap());
    await_status(&site, |status| status["kernel_files"]["files"] == 2);
    fetch(&site, "curl", "loader.efi", &new);
    assert_eq!(requests(&site), 1, "the kernel served it");
}

#[test]
fn a_client_that_loses_every_tenth_packet_gets_the_whole_file() {
    let loader = content(200_000, 1);
    let site = site(&[("loader.efi", &loader)]);
    let mut client = Client::new(&site);
    client.socket.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    assert_eq!(client.request("loader.efi", &["blksize", "1468", "windowsize", "8"])[..2], [0, 6]);
    let (mut got, mut expected, mut number) = (Vec::new(), 1_u16, 0_u32);
    client.ack(0);
    let mut packet = vec![0; 2048];
    'transfer: loop {
        number += 1;
        match client.socket.recv_from(&mut packet) {
            Ok(_) if number % 10 == 0 => {}
            Ok((length, _)) if packet[2..4] == expected.to_be_bytes() => {
                got.extend_from_slice(&packet[4..length]);
                if length < 4 + 1468 || expected % 8 == 0 {
                    client.ack(expected);
                }
                if length < 4 + 1468 {
                    break 'transfer;
                }
                expected += 1;
            }
            // Behind a gap.
            Ok(_) => {}
            // As RFC 7440 has it: what came in order is acknowledged again.
            Err(_) => client.ack(expected - 1),
        }
        assert!(number < 10_000, "it does not end: {}", site.done(&["status"]));
    }
    assert!(got == loader);
    await_status(&site, |status| status["counters"]["tftp"]["done"] == 1);
    assert!(count(&site, "resent") > 0);
}

/// As GRUB: it acknowledges what it gets, also once more what it has, and says nothing else. Each tenth packet is lost, both ways.
fn fetch_without_repeating(client: &mut Client, options: &[&str], (size, window): (usize, u16)) -> Vec<u8> {
    let (mut packet, mut got, mut last, mut acked) =
        (client.request("loader.efi", options), Vec::new(), 0_u16, 0_u16);
    let (oack, mut heard, mut said) = (packet.clone(), 0, 0);
    loop {
        let is_oack = packet[..2] == [0, 6];
        let block = if is_oack { 0 } else { u16::from_be_bytes([packet[2], packet[3]]) };
        assert!(!is_oack || packet == oack, "the same as at first");
        if block == last + 1 {
            got.extend_from_slice(&packet[4..]);
            last = block;
        }
        let is_over = packet.len() < 4 + size && block == last && !is_oack;
        if block < last || last == acked || last - acked == window || is_over {
            (acked, said) = (last, said + 1);
            if said % 10 != 1 {
                client.ack(last);
                if is_over {
                    return got;
                }
            }
        }
        loop {
            packet = client.receive().0;
            heard += 1;
            if heard % 10 != 0 {
                break;
            }
        }
    }
}

#[test]
fn a_client_that_never_repeats_gets_the_whole_file_where_every_tenth_packet_is_lost() {
    let loader = content(60_000, 1);
    let site = site(&[("loader.efi", &loader)]);
    let more = ["blksize", "1024", "tsize", "0", "windowsize", "4", "timeout", "1"];
    for (done, options, size) in [(1, &[][..], (512, 1)), (2, &more[..], (1024, 4))] {
        assert!(fetch_without_repeating(&mut Client::new(&site), options, size) == loader, "{options:?}");
        await_status(&site, |status| status["counters"]["tftp"]["done"] == done);
        await_status(&site, |_| transfers(&site).len() == done);
        let event = &transfers(&site)[done - 1]["fields"];
        assert!(event["resent"].as_u64().unwrap() >= 10, "{event}");
        assert_eq!((&event["outcome"], &event["bytes"]), (&"done".into(), &60_000.into()), "{event}");
    }
    await_status(&site, |status| status["kernel_files"]["transfers"]["again"].as_u64().unwrap() >= 20);
    assert_eq!(requests(&site), 0, "all by the kernel, but for what was lost");
}

/// What was told of transfers.
pub(crate) fn transfers(site: &Site) -> Vec<Value> {
    let told = site.done(&["events", "--json"]);
    let events = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["kind"] == "transfer").collect()
}

#[test]
fn rfc2348_2_both_lanes_grant_what_the_interface_takes() {
    let (kernels, userspaces) = (content(20_000, 1), content((4 << 20) + 1, 2));
    for (mtu, fits) in [("576", 544), ("1500", 1468), ("9216", 8968)] {
        let site =
            site_over(mtu, ", blksize: 65464", &[("kernel's", &kernels), ("userspace's", &userspaces)]);
        for (asked, granted) in [(65464, fits), (9000, fits), (fits + 1, fits), (fits, fits), (8, 8)] {
            let asked = asked.to_string();
            let oack = [b"\0\x06blksize\0", granted.to_string().as_bytes(), b"\0"].concat();
            for name in ["kernel's", "userspace's"] {
                let got = Client::new(&site).request(name, &["blksize", &asked]);
                assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&oack), "{name}, {mtu}");
            }
        }
        assert_eq!((count(&site, "oacks"), requests(&site)), (5, 5), "each lane has its own");
        // And such a block comes as it is.
        let mut client = Client::new(&site);
        client.request("userspace's", &["blksize", "65464", "windowsize", "4"]);
        client.ack(0);
        let mut packet = vec![0; 10_000];
        for block in 0..4 {
            let length = client.socket.recv(&mut packet).unwrap();
            assert!(packet[4..length] == userspaces[block * fits..][..fits], "{mtu}");
        }
    }
}

/// Frames with their tags in them, which the server's kernel takes out and keeps beside the frame.
#[test]
fn each_vlan_gets_its_own_blocks_with_its_tags_and_with_sound_checksums() {
    let loader = content(10_000, 1);
    let mut site = addressed(
        &TRUNK.replace("tftp: { root: . }", "tftp: { root: tftp }").replace("ipxe: .", "ipxe: tftp"),
    );
    fs::create_dir(site.path("tftp")).unwrap();
    put(&site, "loader.efi", &loader);
    site.serve();
    await_status(&site, |status| status["kernel_files"]["files"] == 2);
    for (tags, network) in [(NONE, 77), (ONE, 78), (TWO, 79)] {
        // From port 68, for the wire shows what comes to no others.
        let datagram = |to: u16, payload: &[u8]| {
            let mut frame = datagram(&site, (HOST, [10, network, 0, 5]), [68, to], payload);
            frame[31] = network;
            put_checksum(&mut frame);
            tagged(&frame, tags)
        };
        let (blocks, got) = site.lab.inside(Side::Clients, || {
            let wire = Wire::open();
            wire.send(&datagram(69, b"\0\x01loader.efi\0octet\0blksize\x001468\0windowsize\x0016\0"));
            let (oack, tid) = sound(&wire.next(Duration::from_secs(10)).expect("an OACK"), tags);
            assert_eq!(oack, b"\0\x06blksize\x001468\0windowsize\x0016\0");
            wire.send(&datagram(tid, &[0, 4, 0, 0]));
            let next = |_| sound(&wire.next(Duration::from_secs(10)).expect("a block"), tags).0;
            let blocks: Vec<Vec<u8>> = (0..7).map(next).collect();
            let got = blocks.iter().flat_map(|block| block[4..].to_vec()).collect::<Vec<u8>>();
            (blocks, got)
        });
        assert!(got == loader, "{tags:x?}");
        assert_eq!(blocks[6].len(), 4 + 10_000 - 6 * 1468);
    }
    assert_eq!((count(&site, "oacks"), count(&site, "blocks"), requests(&site)), (3, 21, 0));
}

/// A frame to the server, from this MAC and address.
pub(crate) fn datagram(
    site: &Site,
    (mac, address): ([u8; 6], [u8; 4]),
    ports: [u16; 2],
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = to_4011(mac, address, 1, &[]);
    frame.truncate(42);
    frame[..6].copy_from_slice(&server_mac(site));
    frame[16..18].copy_from_slice(&(28 + payload.len() as u16).to_be_bytes());
    frame[34..38].copy_from_slice(ports.map(u16::to_be_bytes).as_flattened());
    frame[38..40].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    frame.extend(payload);
    put_checksum(&mut frame);
    frame
}

fn server_mac(site: &Site) -> [u8; 6] {
    site.lab.inside(Side::Server, || interfaces().unwrap().remove("eth0").unwrap().mac.0)
}

/// The payload and the source port of a frame whose tags and checksums must be right, by a parser that is not ours.
fn sound(frame: &[u8], tags: &[u8]) -> (Vec<u8>, u16) {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    assert_eq!(frame[12..12 + tags.len()], *tags);
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (&packet.net, &packet.transport) else {
        panic!("no datagram: {frame:02x?}")
    };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(udp.checksum(), udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap());
    (udp.payload().to_vec(), udp.source_port())
}
