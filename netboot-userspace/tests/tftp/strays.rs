//! Datagrams at the ports of transfers, which all of them share: each has its transfer, or deserves an ERROR, or silence.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use netboot_userspace::tftp::{Outcome, Ports};

use crate::site::{Client, ENGINES, Site, ack, rrq, site, site_with};

const UNKNOWN: &[u8] = b"\0\x05\0\x05unknown transfer ID\0";

/// From another address.
fn at(address: [u8; 4], port: u16, site: &Site) -> Client {
    let socket = UdpSocket::bind(SocketAddr::from((address, port))).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Client(socket, site.server.local_addr())
}

/// So many datagrams were no transfer's; of other tests there may be some besides.
fn wait_for_strays(site: &Site, count: u64) {
    site.wait_for("the strays", |stats| stats.strays >= count);
}

#[test]
fn rfc1350_2_wrong_tid() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 600);
        let (client, stranger) = (Client::new(&site), Client::new(&site));
        let (_, transfer) = client.ask(&rrq(b"file", b""));
        for packet in [&ack(1)[..], b"\0\x03\0\x01data", b"\0\x01file\0octet\0"] {
            stranger.0.send_to(packet, transfer).unwrap();
            assert_eq!(stranger.receive(), (UNKNOWN.to_vec(), transfer), "{packet:?}");
        }
        client.0.send_to(&ack(1), transfer).unwrap();
        assert_eq!(client.receive().0.len(), 4 + 88, "the transfer goes on");
    }
}

#[test]
fn rfc1350_2_another_address_with_the_right_port_is_a_stranger() {
    for engine in ENGINES {
        let site = site_with(engine, |config| config.listen = (Ipv4Addr::UNSPECIFIED, 0).into());
        site.put("file", 600);
        let port = site.server.local_addr().port();
        let mut client = at([127, 0, 0, 2], 0, &site);
        client.1 = (Ipv4Addr::LOCALHOST, port).into();
        let (_, transfer) = client.ask(&rrq(b"file", b""));
        let stranger = at([127, 0, 0, 3], client.0.local_addr().unwrap().port(), &site);
        stranger.0.send_to(&ack(1), transfer).unwrap();
        assert_eq!(stranger.receive(), (UNKNOWN.to_vec(), transfer), "of the client's port");
        // Another address of ours was never its transfer's: that is as if it came late.
        client.0.send_to(&ack(1), (Ipv4Addr::new(127, 0, 0, 9), transfer.port())).unwrap();
        wait_for_strays(&site, 2);
        // It acknowledges nothing, and is not answered: what comes first answers the next one.
        client.0.send_to(&ack(1), transfer).unwrap();
        assert_eq!(client.receive(), ([&b"\0\x03\0\x02"[..], &client_rest(&site)].concat(), transfer));
    }
}

/// The bytes of the second block.
fn client_rest(site: &Site) -> Vec<u8> {
    std::fs::read(site.path("file")).unwrap()[512..].to_vec()
}

#[test]
fn rfc1350_4_an_error_of_a_stranger_gets_no_answer_and_ends_nothing() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 600);
        let (client, stranger) = (Client::new(&site), Client::new(&site));
        let (_, transfer) = client.ask(&rrq(b"file", b""));
        stranger.0.send_to(b"\0\x05\0\0stop\0", transfer).unwrap();
        // Nor does half a packet.
        stranger.0.send_to(b"\0\x04", transfer).unwrap();
        wait_for_strays(&site, 2);
        let (first, _) = stranger.ask(&rrq(b"file", b""));
        assert_eq!(first[..4], [0, 3, 0, 1], "before it nothing came: two confused ends would talk for ever");
        client.0.send_to(&ack(1), transfer).unwrap();
        assert_eq!(client.receive().0.len(), 4 + 88);
    }
}

#[test]
fn what_comes_late_for_a_transfer_that_is_over_is_no_answer_to_the_request_after_it() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put("file", 600);
        let client = Client::new(&site);
        let (first, before) = client.ask(&rrq(b"file", b""));
        client.0.send_to(&ack(1), before).unwrap();
        client.receive();
        // Its last block came twice, and is acknowledged twice.
        for _ in 0..2 {
            client.0.send_to(&ack(2), before).unwrap();
        }
        wait_for_strays(&site, 1);
        // An ERROR would come first, and nothing would tell it from the answer to this request.
        let (again, transfer) = client.ask(&rrq(b"file", b""));
        assert!(again == first && transfer != before);
        // Nor does it disturb the one after it.
        for block in [1, 2] {
            client.0.send_to(&ack(block), before).unwrap();
        }
        wait_for_strays(&site, 3);
        client.0.send_to(&ack(1), transfer).unwrap();
        assert_eq!(client.receive(), ([&b"\0\x03\0\x02"[..], &want[512..]].concat(), transfer));
    }
}

#[test]
fn a_client_whose_transfer_was_given_up_hears_so_when_it_comes_back() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            (config.limits.timeout, config.limits.first_retries) = (Duration::from_millis(10), 0);
        });
        site.put("file", 600);
        let client = Client::new(&site);
        let (_, transfer) = client.ask(&rrq(b"file", b""));
        assert!(matches!(site.event().outcome, Outcome::Failed(_)));
        client.0.send_to(&ack(1), transfer).unwrap();
        assert_eq!(client.receive(), (UNKNOWN.to_vec(), transfer));
    }
}

#[test]
fn clients_behind_one_address_and_two_of_one_client_share_a_port_and_nothing_else() {
    for engine in ENGINES {
        // Two ports for all: most of them share one.
        let site = site_with(engine, |config| (config.workers, config.ports) = (1, Ports::Any(2)));
        let files: Vec<Vec<u8>> = (0..30).map(|n| site.put(&format!("file-{n}"), 600 + n)).collect();
        let clients: Vec<_> = files.iter().map(|_| Client::new(&site)).collect();
        let mut transfers: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        for (n, client) in clients.iter().enumerate() {
            let (data, from) = client.ask(&rrq(format!("file-{n}").as_bytes(), b""));
            transfers.push((from, data[4..].to_vec()));
        }
        for (client, (transfer, got)) in clients.iter().zip(&mut transfers) {
            client.0.send_to(&ack(1), *transfer).unwrap();
            let (data, from) = client.block(2);
            assert_eq!(from, *transfer);
            got.extend_from_slice(&data);
            client.0.send_to(&ack(2), from).unwrap();
        }
        assert!(transfers.iter().zip(&files).all(|((_, got), want)| got == want), "{engine:?}");
        site.wait_for("all of them", |stats| (stats.done, stats.active) == (30, 0));
    }
}

#[test]
fn clients_that_are_gone_are_nobody_elses_fault() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            (config.workers, config.ports) = (1, Ports::Any(2));
            config.limits.timeout = Duration::from_millis(20);
        });
        let want = site.put("file", 1200);
        let client = Client::new(&site);
        let (first, transfer) = client.ask(&rrq(b"file", b""));
        let mut got = first[4..].to_vec();
        client.0.send_to(&ack(1), transfer).unwrap();
        got.extend_from_slice(&client.block(2).0);
        // What is repeated to them comes back as ICMP errors, to the two ports of all. Nobody else has their addresses.
        for last in 100..120 {
            drop(at([127, 0, 0, last], 0, &site).ask(&rrq(b"file", b"")));
        }
        site.wait_for("them to be given up", |stats| (stats.requests, stats.active) == (21, 1));
        client.0.send_to(&ack(2), transfer).unwrap();
        got.extend_from_slice(&client.block(3).0);
        client.0.send_to(&ack(3), transfer).unwrap();
        assert!(got == want, "{engine:?}");
        site.wait_for("the last ACK", |stats| stats.done == 1);
    }
}
