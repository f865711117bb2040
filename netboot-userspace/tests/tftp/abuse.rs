//! Floods, forged requests, and who is answered at all.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use netboot_userspace::tftp::{Outcome, Served};

use crate::site::{Client, ENGINES, ack, rrq, site_with, succeed};

#[test]
fn a_spoofed_request_yields_at_most_four_packets() {
    for engine in ENGINES {
        let site = site_with(engine, |config| config.limits.timeout = Duration::from_millis(100));
        site.put("file", 60_000);
        let client = Client::new(&site);
        let request = rrq(b"file", b"windowsize\x0016\0");
        client.0.send_to(&request, client.1).unwrap();
        client.0.send_to(&request, client.1).unwrap(); // repeated by the firmware: no second transfer
        assert_eq!(site.event().outcome, Outcome::Failed("the client never answered".into()));
        client.0.set_nonblocking(true).unwrap();
        let mut packets = 0;
        while client.0.recv_from(&mut [0; 2048]).is_ok() {
            packets += 1;
        }
        assert_eq!(packets, 4);
    }
}

#[test]
fn only_allowed_sources_are_answered() {
    for engine in ENGINES {
        let sources = vec![(Ipv4Addr::new(10, 0, 0, 0).into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
        let site = site_with(engine, |config| config.sources = Served::These(sources));
        let client = Client::new(&site);
        client.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        client.0.send_to(&rrq(b"file", b""), client.1).unwrap();
        assert!(client.0.recv_from(&mut [0; 16]).is_err());
        assert_eq!(site.server.stats().dropped, 1);
        let file = site.put("file", 1);
        site.server.serve_only(vec![(Ipv4Addr::LOCALHOST.into(), 8)]);
        assert_eq!(client.ask(&rrq(b"file", b"")).0, [b"\0\x03\0\x01", &file[..]].concat());
    }
}

#[test]
fn a_flood_of_forged_requests_does_not_lock_clients_out() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            (config.workers, config.transfers) = (1, 20);
            config.listen = (Ipv4Addr::UNSPECIFIED, 0).into();
        });
        let want = site.put("file", 5000);
        let port = site.server.local_addr().port();
        let forged = |from: u32| {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + from);
            let socket = UdpSocket::bind((address, 0)).unwrap();
            socket.send_to(&rrq(b"file", b""), (Ipv4Addr::LOCALHOST, port)).unwrap();
            socket
        };
        // Clients that are there answer the first block; what follows must not cost them their place.
        let clients: Vec<_> = (0..5)
            .map(|_| Client(UdpSocket::bind("127.0.0.1:0").unwrap(), (Ipv4Addr::LOCALHOST, port).into()))
            .collect();
        let mut transfers = Vec::new();
        for client in &clients {
            client.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let (block, transfer) = client.ask(&rrq(b"file", b""));
            client.0.send_to(b"\0\x04\0\x01", transfer).unwrap();
            let (next, _) = client.receive();
            transfers.push((transfer, [&block[4..], &next[4..]].concat()));
        }
        let flood: Vec<_> = (0..200).map(forged).collect();
        // A request is counted before what becomes of it: one that finds no room, or that of one which nobody has answered for a
        // second, where the flood lasts so long.
        site.wait_for("the flood", |stats| {
            (stats.requests, stats.active, stats.evicted + stats.full) == (205, 20, 185)
        });
        let to = site.folder.path().join("got");
        succeed(
            Command::new("curl")
                .args(["-sS", "--max-time", "20", "-o"])
                .arg(&to)
                .arg(format!("tftp://127.0.0.1:{port}/file")),
        );
        assert!(std::fs::read(&to).unwrap() == want, "a client that comes now, {engine:?}");
        for (client, (transfer, mut got)) in clients.iter().zip(transfers) {
            for block in 2..=10_u16 {
                client.0.send_to(&[&[0, 4][..], &block.to_be_bytes()].concat(), transfer).unwrap();
                // Those that it was sent again meanwhile, for it was silent, it has.
                let is_next = |data: &[u8]| data[2..4] == (block + 1).to_be_bytes();
                if block < 10 {
                    let data =
                        std::iter::repeat_with(|| client.receive().0).find(|data| is_next(data)).unwrap();
                    got.extend_from_slice(&data[4..]);
                }
            }
            assert!(got == want, "a client that was there before, {engine:?}");
        }
        drop(flood);
    }
}

#[test]
fn one_address_has_its_share_of_the_transfers_and_what_finds_no_room_is_not_answered() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            (config.workers, config.transfers, config.transfers_per_client) = (1, 4, 3)
        });
        site.put("file", 5000);
        let at = |last: u8| {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            Client(socket, site.server.local_addr())
        };
        // Answered, and so never given up for others.
        let begin = |client: Client| {
            let (_, transfer) = client.ask(&rrq(b"file", b""));
            client.0.send_to(b"\0\x04\0\x01", transfer).unwrap();
            client.receive();
            (client, transfer)
        };
        let mut held: Vec<_> = (0..3).map(|_| begin(at(1))).collect();
        let (silent, third) = (at(1), at(3));
        silent.0.send_to(&rrq(b"file", b""), silent.1).unwrap();
        site.wait_for("the refusal", |stats| stats.client_full == 1);
        held.push(begin(at(2)));
        third.0.send_to(&rrq(b"file", b""), third.1).unwrap();
        site.wait_for("the refusal", |stats| stats.full == 1);
        // Once there is room, what comes first is a block: nothing came before it.
        for client in [silent, third] {
            let (other, transfer) = held.remove(0);
            other.0.send_to(b"\0\x05\0\0enough\0", transfer).unwrap();
            site.wait_for("the room", |stats| stats.active == 3);
            assert_eq!(client.ask(&rrq(b"file", b"")).0[..4], [0, 3, 0, 1], "silence, {engine:?}");
        }
    }
}

#[test]
fn a_flood_of_requests_that_are_refused_gets_so_many_errors_and_no_more() {
    for engine in ENGINES {
        let site = site_with(engine, |config| config.workers = 1);
        let want = site.put("file", 100);
        let began = Instant::now();
        let flood = Client::new(&site);
        // Faster than a worker may refuse, on any machine.
        for round in 0..1_000_000_u32 {
            flood.0.send_to(&rrq(format!("../{round}").as_bytes(), b""), flood.1).unwrap();
            if round % 100 == 0 && site.server.stats().silenced > 1000 {
                break;
            }
        }
        let stats = site.server.stats();
        let most = 1000 + began.elapsed().as_millis() as u64;
        assert!(stats.silenced > 1000, "{stats:?}");
        assert!(stats.refused <= most, "{} of {most}, {engine:?}", stats.refused);
        // Who asks for what is there is served meanwhile; who does not, and asks again, hears so when it has its turn.
        assert_eq!(Client::new(&site).ask(&rrq(b"file", b"")).0[4..], want);
        let other = Client::new(&site);
        other.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut answer = [0; 64];
        while other.0.recv(&mut answer).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60));
            other.0.send_to(&rrq(b"../nothing", b""), other.1).unwrap();
        }
        assert_eq!(answer[..4], *b"\0\x05\0\x02");
    }
}

/// As firmware does that opens a socket for each attempt.
#[test]
fn a_request_that_is_repeated_from_new_ports_is_served_at_the_last_and_the_others_end() {
    for engine in ENGINES {
        let site = site_with(engine, |config| config.limits.timeout = Duration::from_millis(100));
        let want = site.put("file", 700);
        let attempts: Vec<_> = (0..6).map(|_| Client::new(&site)).collect();
        let answers: Vec<_> = attempts.iter().map(|client| client.ask(&rrq(b"file", b""))).collect();
        let ((first, transfer), last) = (answers.last().unwrap(), attempts.last().unwrap());
        last.0.send_to(&ack(1), transfer).unwrap();
        let rest = last.block(2).0;
        last.0.send_to(&ack(2), transfer).unwrap();
        assert!([&first[4..], &rest].concat() == want);
        let ended: Vec<_> = attempts.iter().map(|_| site.event()).collect();
        let given_up = Outcome::Failed("the client never answered".into());
        let count = |outcome: &Outcome| ended.iter().filter(|event| event.outcome == *outcome).count();
        assert_eq!((count(&Outcome::Done), count(&given_up)), (1, 5), "{ended:?}");
        for client in &attempts[..5] {
            client.0.set_nonblocking(true).unwrap();
            let more = std::iter::from_fn(|| client.0.recv(&mut [0; 2048]).ok()).count();
            assert_eq!(more, 3, "and no more than four packets each");
        }
        assert_eq!(site.server.stats().active, 0);
    }
}
