//! TFTP from inside the kernel, where clients vanish, where datagrams are damaged, and where the program is on another hook.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use netboot_common::limit::Budget;
use netboot_common::maps::{InterfaceKey, InterfaceValue, Mode as InterfaceMode};
use netboot_common::tftp::maps::{Serving, SessionKey};
use netboot_common::tftp::reply::Terms;
use netboot_common::tftp::session::{Agreed, Session};
use netboot_userspace::fastpath::files::{Offered, boot_time};
use netboot_userspace::fastpath::{Kernel, Mode, XdpWish};
use netboot_userspace::sys::interface::interfaces;

use crate::lab::{Lab, SERVER, Side, run};
use crate::malformed::{HOST, Wire};
use crate::tftp_kernel::{CLIENT, Client, await_status, content, count, datagram, site, transfers};

/// As if its client had been silent for longer than a minute.
fn age(session: &Session) -> Session {
    let mut old = Session::NONE;
    let begin = boot_time() - 90_000_000_000;
    let (file, own, port, blocks) = (session.file, session.own(), session.port(), session.blocks());
    let agreed = Agreed { file, mac: HOST, own, port, blocks, terms: Terms::of(session.granted(0)) };
    old.begin(agreed, begin);
    for block in 1..=session.acked() {
        old.ack(block, begin + u64::from(block) * 1_000_000);
    }
    old
}

#[test]
fn a_client_that_vanishes_is_an_event_and_its_transfer_is_over() {
    let site = site(&[("loader.efi", &content(5000, 1))]);
    let mut client = Client::new(&site);
    client.request("loader.efi", &[]);
    for block in 1..=3 {
        client.ack(block);
        client.receive();
    }
    await_status(&site, |status| status["kernel_files"]["transfers"]["under_way"] == 1);
    let versions = fs::read_dir(site.lab.pins()).unwrap().flatten();
    let pin = versions.map(|version| version.path().join("TFTP_SESSIONS")).find(|pin| pin.exists()).unwrap();
    let map = Map::LruHashMap(MapData::from_pin(pin).unwrap());
    let mut sessions: HashMap<_, SessionKey, Session> = map.try_into().unwrap();
    let (key, session) = sessions.iter().next().unwrap().unwrap();
    sessions.insert(key, age(&session), 0).unwrap();
    await_status(&site, |status| status["kernel_files"]["transfers"]["silent"] == 1);
    await_status(&site, |_| site.done(&["events"]).contains("fell silent"));
    let told = transfers(&site);
    let [event] = &told[..] else { panic!("one event: {told:?}") };
    assert_eq!(event["lane"], "tcx", "{event}");
    let event = &event["fields"];
    let wanted = format!("{CLIENT}:{}", client.socket.local_addr().unwrap().port());
    assert_eq!((&event["client"], &event["file"]), (&wanted.into(), &"loader.efi".into()), "{event}");
    assert_eq!((&event["bytes"], &event["milliseconds"]), (&1536.into(), &3.into()), "{event}");
    assert_eq!(event["reason"], "the client fell silent after block 3 of 10", "{event}");
    assert_eq!(event["harmless"], false, "{event}");
    client.ack(3);
    assert_eq!(client.after(4)[..4], [0, 5, 0, 5], "RFC 1350 section 4");
}

/// It is not a stray, whose ERROR would go to the client: by its address, and to where that has its transfer.
#[test]
fn what_another_machine_sends_in_a_client_s_name_is_not_heard_and_the_client_hears_nothing_of_it() {
    let loader = content(5000, 1);
    let site = site(&[("loader.efi", &loader)]);
    let mut client = Client::new(&site);
    let first = client.request("loader.efi", &[]);
    let ports = [client.socket.local_addr().unwrap().port(), client.tid];
    let address = CLIENT.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let sent = [&b"\0\x04\0\x01"[..], b"\0\x05\0\0", b"\0\x04\0\x00"];
    site.lab.inside(Side::Clients, || {
        let wire = Wire::open();
        let frames = sent.map(|payload| datagram(&site, ([2, 0, 0, 0, 0, 9], address), ports, payload));
        frames.iter().for_each(|frame| wire.send(frame));
        // And the client itself, but to another port of ours: it is late.
        client.ack(1);
        assert_eq!(client.receive().0[..4], [0, 3, 0, 2]);
        let other = [ports[0], ports[1] ^ 1];
        wire.send(&datagram(&site, (HOST, address), other, sent[0]));
    });
    await_status(&site, |status| status["counters"]["tftp"]["ignored"] == 4);
    client.ack(2);
    assert_eq!(client.after(2)[..4], [0, 3, 0, 3], "before anything else");
    assert_eq!(count(&site, "unknown_transfer"), 0);
    assert_eq!(first[..4], [0, 3, 0, 1]);
}

/// Kernels before 6.6 have filters of a clsact qdisc in place of links.
#[test]
fn a_transfer_by_a_filter_of_clsact_is_as_by_tcx() {
    let lab = Lab::new();
    let loader = content(300_001, 1);
    run(lab.command(Side::Clients, "ip").args(["address", "add", &format!("{CLIENT}/24"), "dev", "eth0"]));
    // Kept for as long as clients fetch.
    let (_kernel, counters, _tids) = lab.inside(Side::Server, || {
        let eth0 = interfaces().unwrap().remove("eth0").unwrap();
        let mut kernel = Kernel::load(&lab.pins()).unwrap();
        kernel.without_tcx();
        let (mut tables, mut files) = (kernel.take_tables().unwrap(), kernel.take_files().unwrap());
        let ours = InterfaceValue::new(
            SERVER.parse::<std::net::Ipv4Addr>().unwrap().octets(),
            24,
            eth0.mac.0,
            InterfaceMode::Server,
            [0, 0],
            1500,
        );
        tables.replace_interfaces(&[(InterfaceKey::new(eth0.index, [0, 0]), ours)]).unwrap();
        let offered = Offered { names: vec!["loader.efi".to_owned()], content: loader.clone().into() };
        files.replace(&[offered], Duration::ZERO).unwrap();
        files.serve(Serving::new(69, 0xf000, 1468, 16, Budget::new(0, 0))).unwrap();
        let attached = kernel.attach("eth0", XdpWish::Off).unwrap();
        assert_eq!((attached.tcx.mode, attached.tftp.mode), (Mode::Clsact, Mode::Clsact), "{attached:?}");
        let counters = kernel.file_counters().unwrap();
        (kernel, counters, UdpSocket::bind((SERVER, 0xf000)).unwrap())
    });
    let got = lab.path("got");
    for options in [&[][..], &["--option", "windowsize 16", "--option", "blksize 1432"]] {
        let words = ["-g", "-r", "loader.efi", "-l", &got.display().to_string(), SERVER];
        run(lab.command(Side::Clients, "atftp").args(options).args(words));
        assert!(fs::read(&got).unwrap() == loader, "{options:?}");
        fs::remove_file(&got).unwrap();
    }
    let counts = counters.all().unwrap();
    let blocks = 300_001_u64 / 512 + 1 + 300_001 / 1432 + 1;
    assert_eq!((counts["done"], counts["blocks"]), (2, blocks), "{counts:?}");
}

/// As to a network card that makes no checksums, and to a guest that takes none on trust: what the client's kernel began, and left to a
/// device, must not be gone on from in what we send.
#[test]
fn a_client_that_leaves_checksums_to_its_device_gets_right_ones_where_ours_makes_none() {
    let loader = content(20_000, 1);
    let site = site(&[("loader.efi", &loader)]);
    let features = run(site.lab.command(Side::Clients, "ethtool").args(["-k", "eth0"]));
    assert!(features.contains("tx-checksumming: on"), "{features}");
    run(site.lab.command(Side::Server, "ethtool").args(["-K", "eth0", "tx", "off"]));
    for window in [1, 16] {
        let got = site.path("got");
        let window = format!("windowsize {window}");
        let words = ["--option", &window, "-g", "-r", "loader.efi", "-l", &got.display().to_string(), SERVER];
        site.client("atftp", &words);
        assert!(fs::read(&got).unwrap() == loader, "{window}");
        fs::remove_file(&got).unwrap();
    }
    await_status(&site, |status| status["counters"]["tftp"]["done"] == 2);
    assert_eq!(count(&site, "repeated_windows"), 0);
}
