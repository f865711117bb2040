//! What the RFCs ask of a server's sockets; what they ask of a transfer is tested with the machine.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use netboot_userspace::tftp::{Config, Error, Outcome, Ports, Server};
use netboot_userspace::uring::{Choice, Running};

use crate::site::{Client, ENGINES, PORTS, ack, rrq, site, site_with};

#[test]
fn rfc1350_6_what_is_no_read_request_is_refused() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 4);
        for (packet, code) in [
            (&b"\0\x02file\0octet\0"[..], 2),
            (b"\0\x02../file\0octet\0tsize\x001\0", 2),
            (b"\0\x02file", 4),
            (b"\0\x01file\0mail\0", 0),
            (b"\0\x01file\0octet", 4),
            (b"\0\x01file", 4),
            (b"\0\x00", 4),
            (b"\0\x07", 4),
            (b"\xff\xff", 4),
        ] {
            let (answer, _) = Client::new(&site).ask(packet);
            assert_eq!(answer[..4], [0, 5, 0, code], "{packet:?}");
        }
        // Nothing answers an ACK, an ERROR or half a packet at the request port.
        let client = Client::new(&site);
        for packet in [&b"\0\x04\0\x01"[..], b"\0\x05\0\x00x\0", b"\0\x03\0\x01x", b"", b"\0"] {
            client.0.send_to(packet, client.1).unwrap();
        }
        let (answer, _) = client.ask(&rrq(b"file", b""));
        assert_eq!(answer[..4], *b"\0\x03\0\x01");
    }
}

/// Which answers with a block, or with an ERROR, come from which of our addresses.
fn answers_from(listen: SocketAddr, asked: &str, engine: Choice) {
    let site = site_with(engine, |config| config.listen = listen);
    site.put("file", 600);
    let asked = SocketAddr::new(asked.parse().unwrap(), site.server.local_addr().port());
    let any: SocketAddr =
        if asked.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let client = Client(UdpSocket::bind(any).unwrap(), asked);
    client.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for (name, start) in [("nothing", b"\0\x05\0\x01"), ("file", b"\0\x03\0\x01")] {
        let (answer, from) = client.ask(&rrq(name.as_bytes(), b""));
        assert_eq!((&answer[..4], from.ip()), (&start[..], asked.ip()), "{listen}, {name}, {engine:?}");
        assert_ne!(from.port(), asked.port());
    }
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let (any4, any6) = ((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into());
    for engine in ENGINES {
        // All of 127.0.0.0/8 is ours; without being told, the kernel answers from 127.0.0.1.
        answers_from(any4, "127.0.0.2", engine);
        answers_from(any6, "127.7.7.7", engine);
        answers_from((Ipv4Addr::new(127, 0, 0, 9), 0).into(), "127.0.0.9", engine);
        answers_from(any6, "::1", engine);
    }
}

#[test]
fn rfc1123_4_2_3_5_broadcast_requests_are_ignored_and_counted() {
    for (listen, engine) in
        [(IpAddr::from(Ipv4Addr::UNSPECIFIED), Choice::Uring), (Ipv6Addr::UNSPECIFIED.into(), Choice::Epoll)]
    {
        let site = site_with(engine, |config| {
            // A broadcast is for the socket of each worker.
            (config.workers, config.listen) = (1, (listen, 0).into());
        });
        site.put("file", 10);
        let client = Client::new(&site);
        client.0.set_broadcast(true).unwrap();
        let port = site.server.local_addr().port();
        client.0.send_to(&rrq(b"file", b""), (Ipv4Addr::new(127, 255, 255, 255), port)).unwrap();
        site.wait_for("the request", |stats| stats.broadcast == 1);
        // The first answer is to the second request.
        client.0.send_to(&rrq(b"file", b"tsize\x000\0"), (Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(client.receive().0, b"\0\x06tsize\x0010\0");
    }
}

#[test]
fn start_errors_name_the_object() {
    let site = site(Choice::Auto);
    assert_eq!(site.server.engine(), Running::Uring);
    let observer = || Arc::new(|_| {});
    let error = Server::start(Config::new(site.server.local_addr()), observer()).unwrap_err();
    assert!(matches!(error, Error::Listen { .. }));
    assert_eq!(error.to_string(), format!("TFTP: {}: port in use", site.server.local_addr()));
    let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
    config.roots = vec!["/no/such/folder".into()];
    let error = Server::start(config, observer()).unwrap_err();
    assert!(error.to_string().starts_with("TFTP: folder /no/such/folder: "), "{error}");
    site.server.shutdown();
}

/// Fetches a file with windows of `window` blocks of 512, by hand: its bytes, and the transfer's port.
fn fetch(client: &Client, options: &str, window: u16) -> (Vec<u8>, SocketAddr) {
    let (oack, transfer) = client.ask(&rrq(b"file", options.as_bytes()));
    assert_eq!(oack[..2], [0, 6], "{options:?}");
    client.0.send_to(&ack(0), transfer).unwrap();
    let (mut got, mut block) = (Vec::new(), 0_u16);
    loop {
        block += 1;
        let (data, from) = client.block(block);
        assert_eq!(from, transfer);
        got.extend_from_slice(&data);
        let is_last = data.len() < 512;
        if is_last || block.is_multiple_of(window) {
            client.0.send_to(&ack(block), transfer).unwrap();
        }
        if is_last {
            return (got, transfer);
        }
    }
}

#[test]
fn rfc1350_1_a_client_s_next_transfer_has_another_port_and_none_has_the_servers() {
    for engine in ENGINES {
        let site = site_with(engine, |config| config.ports = Ports::Any(8));
        let want = site.put("file", 5000);
        let own = site.server.local_addr().port();
        let (mut ports, client) = (HashSet::new(), Client::new(&site));
        let mut before = own;
        for _ in 0..20 {
            let (got, transfer) = fetch(&client, "windowsize\x004\0", 4);
            assert!(got == want);
            assert!(transfer.port() != before && transfer.port() != own);
            before = transfer.port();
            ports.insert(before);
            // A refusal, too, comes from a port that is neither the requests' nor that of the transfer before.
            let (error, refusal) = client.ask(&rrq(b"nothing", b""));
            assert_eq!(error[..4], *b"\0\x05\0\x01");
            assert!(refusal.port() != own && refusal.port() != before);
            before = refusal.port();
        }
        assert!(ports.len() <= 8, "of so many: {ports:?}");
    }
}

#[test]
fn transfers_come_from_the_ports_that_were_named() {
    let range = || {
        // Free ones, which nobody else is given: outside of what systems give out by themselves.
        (20_000..30_000)
            .step_by(4)
            .map(|first| first..=first + 3)
            .find(|range| range.clone().all(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()))
    };
    for engine in ENGINES {
        let range = range().unwrap();
        let named = range.clone();
        let site = site_with(engine, |config| (config.ports, config.workers) = (Ports::Range(named), 9));
        let want = site.put("file", 700);
        let ports: HashSet<u16> = (0..40)
            .map(|_| {
                let (got, transfer) = fetch(&Client::new(&site), "blksize\x00512\0", 1);
                assert!(got == want);
                transfer.port()
            })
            .collect();
        assert!(ports.iter().all(|port| range.contains(port)), "{ports:?}");
        let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
        config.ports = Ports::Range(range.clone());
        let error = Server::start(config, Arc::new(|_| {})).unwrap_err().to_string();
        assert_eq!(error, format!("TFTP: 127.0.0.1:{}: port in use", range.start()));
    }
}

#[test]
fn rfc1350_1_all_transfers_have_the_servers_port_where_it_is_said() {
    let any6 = (Ipv6Addr::UNSPECIFIED, 0).into();
    for (listen, asked) in [
        ((Ipv4Addr::UNSPECIFIED, 0).into(), Ipv4Addr::new(127, 0, 0, 5).into()),
        (any6, IpAddr::from(Ipv4Addr::new(127, 0, 0, 5))),
        (any6, Ipv6Addr::LOCALHOST.into()),
    ] {
        for engine in ENGINES {
            let site = site_with(engine, |config| (config.listen, config.ports) = (listen, Ports::Listen));
            let want = site.put("file", 50_000);
            let asked = SocketAddr::new(asked, site.server.local_addr().port());
            let any: SocketAddr = if asked.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { any6 };
            let clients: Vec<_> = (0..20).map(|_| Client(UdpSocket::bind(any).unwrap(), asked)).collect();
            for client in &clients {
                client.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let (answer, from) = client.ask(&rrq(b"nothing", b""));
                assert_eq!((&answer[..4], from), (&b"\0\x05\0\x01"[..], asked), "a refusal, {engine:?}");
            }
            // All at once, a block each in turn.
            let first = |client: &Client| {
                let (data, from) = client.ask(&rrq(b"file", b""));
                assert_eq!((&data[..4], from), (&b"\0\x03\0\x01"[..], asked), "{engine:?}");
                data[4..].to_vec()
            };
            let mut got: Vec<_> = clients.iter().map(first).collect();
            let last = (50_000 / 512 + 1) as u16;
            for block in 1..last {
                for (client, got) in clients.iter().zip(&mut got) {
                    client.0.send_to(&ack(block), asked).unwrap();
                    let (data, from) = client.block(block + 1);
                    assert_eq!(from, asked);
                    got.extend_from_slice(&data);
                }
            }
            for client in &clients {
                client.0.send_to(&ack(last), asked).unwrap();
            }
            assert!(got.iter().all(|got| *got == want), "{engine:?}");
            site.wait_for("all of them", |stats| (stats.done, stats.active) == (20, 0));
        }
    }
}

#[test]
fn rfc2347_6_a_request_of_more_than_512_bytes_is_answered() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 10);
        let padding = [&b"x-vendor\0"[..], &[b'v'; 1300], b"\0tsize\x000\0"].concat();
        let (answer, _) = Client::new(&site).ask(&rrq(b"file", &padding));
        assert_eq!(answer, b"\0\x06tsize\x0010\0");
    }
}

#[test]
fn rfc2349_3_a_client_that_only_asks_for_the_size_is_no_failure() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 700);
        let client = Client::new(&site);
        // As OVMF does: the size first, then the file from the same port.
        let (oack, transfer) = client.ask(&rrq(b"file", b"tsize\x000\0"));
        assert_eq!(oack, b"\0\x06tsize\x00700\0");
        client.0.send_to(b"\0\x05\0\0User aborted the transfer\0", transfer).unwrap();
        let event = site.event();
        assert_eq!((event.size, event.bytes, event.is_harmless()), (700, 0, true));
        assert_eq!(event.outcome, Outcome::Aborted);
        let (got, _) = fetch(&client, "blksize\x00512\0", 1);
        assert_eq!((got.len(), site.event().outcome), (700, Outcome::Done));
        let stats = site.server.stats();
        assert_eq!((stats.aborted, stats.failed), (1, 0));
    }
}

/// Both copies waited in the queue of the requests, while the transfer that the first one began went on.
#[test]
fn rfc1350_4_a_late_copy_of_the_request_leaves_the_transfer_alone() {
    for engine in ENGINES {
        for ports in PORTS {
            let site = site_with(engine, |config| config.ports = ports);
            let want = site.put("file", 1200);
            let client = Client::new(&site);
            let request = rrq(b"file", b"blksize\x00512\0");
            let (_, transfer) = client.ask(&request);
            let mut got = Vec::new();
            for block in 0..3_u16 {
                client.0.send_to(&ack(block), transfer).unwrap();
                let (data, from) = client.receive();
                assert_eq!((&data[..4], from), (&[0, 3, 0, block as u8 + 1][..], transfer));
                got.extend_from_slice(&data[4..]);
                client.0.send_to(&request, client.1).unwrap();
                site.wait_for("the copy", |stats| stats.requests == u64::from(block) + 2);
            }
            client.0.send_to(&ack(3), transfer).unwrap();
            assert_eq!((site.event().outcome, got == want), (Outcome::Done, true), "{engine:?}");
        }
    }
}

#[test]
fn another_request_of_the_same_client_ends_its_transfer_at_once() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("one", 1200);
        let want = site.put("file", 700);
        for answers in [false, true] {
            let client = Client::new(&site);
            let (_, transfer) = client.ask(&rrq(b"one", b""));
            if answers {
                client.0.send_to(&ack(1), transfer).unwrap();
                client.receive();
            }
            assert!(fetch(&client, "blksize\x00512\0", 1).0 == want);
            assert_eq!((site.event().outcome, site.event().outcome), (Outcome::Aborted, Outcome::Done));
        }
    }
}

#[test]
fn rfc1350_5_a_last_ack_that_is_lost_is_no_failure() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            (config.limits.timeout, config.limits.silence) = (Duration::from_millis(10), Duration::ZERO);
        });
        site.put("file", 600);
        let client = Client::new(&site);
        let (_, transfer) = client.ask(&rrq(b"file", b""));
        client.0.send_to(&ack(1), transfer).unwrap();
        let mut blocks = Vec::new();
        while blocks.len() < 6 {
            let (data, _) = client.receive();
            // The first may come twice, on a machine that was too slow to acknowledge it in time.
            blocks.extend((data[..4] == *b"\0\x03\0\x02").then_some(data));
        }
        let event = site.event();
        assert_eq!(
            (event.outcome, event.resent >= 5),
            (Outcome::Unconfirmed, true),
            "once, and five times again"
        );
    }
}

#[test]
fn windows_leave_as_one_and_arrive_as_many() {
    for engine in ENGINES {
        for ports in PORTS {
            let site = site_with(engine, |config| {
                (config.ports, config.limits.window_size) = (ports, 100);
            });
            // In memory, and, being larger, from the file; 100 are more than leave as one.
            for size in [0, 511, 512 * 16, 100_000, 5 << 20] {
                let want = site.put("file", size);
                for window in [1, 2, 16, 100] {
                    let (got, _) = fetch(&Client::new(&site), &format!("windowsize\0{window}\0"), window);
                    assert!(got == want, "{size} bytes, window {window}, {engine:?}");
                }
            }
            let stats = site.server.stats();
            assert_eq!(stats.apart, 0, "this kernel divides them");
            assert!(stats.as_one > 0);
        }
    }
}
