//! Requests in the name of another: whoever sends them hears no answer, and has to guess where it came from.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use netboot_userspace::tftp::{Outcome, Ports};

use crate::site::{Client, ENGINES, Site, ack, rrq, site, site_with};

/// All ports of transfers, as anybody finds them who asks often enough.
fn all_ports(site: &Site, count: usize) -> Vec<SocketAddr> {
    let mut ports = BTreeSet::new();
    for _ in 0..100_000 {
        ports.insert(Client::new(site).ask(&rrq(b"nothing", b"")).1);
        if ports.len() == count {
            return ports.into_iter().collect();
        }
    }
    panic!("{ports:?}");
}

/// This ACK at all of these ports at once: the workers hear it each in its own time.
fn acknowledge(victim: &Client, block: u16, ports: &[SocketAddr]) {
    let to: Vec<_> = ports.iter().map(|port| Some(SockaddrStorage::from(*port))).collect();
    let packet = ack(block);
    let packets = vec![[IoSlice::new(&packet)]; to.len()];
    let mut headers = MultiHeaders::preallocate(to.len(), None);
    let sent = sendmmsg(victim.0.as_raw_fd(), &mut headers, &packets, to, [], MsgFlags::empty()).unwrap();
    assert_eq!(sent.count(), ports.len());
}

/// How many blocks are sent to `victim`, as far as it is known now.
fn sent_blocks(victim: &Client) -> usize {
    victim.0.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| victim.0.recv(&mut buffer).ok().map(|_| buffer[1] == 3))
        .filter(|is_data| *is_data)
        .count()
}

#[test]
fn whoever_acknowledges_at_all_ports_in_the_name_of_another_has_no_more_than_a_window_sent_to_it() {
    const ROUNDS: u64 = 200;
    const PORTS: usize = 64;
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            (config.workers, config.ports) = (8, Ports::Any(PORTS as u16));
            config.limits.timeout = Duration::from_secs(16);
        });
        site.put("file", 200_000);
        let ports = all_ports(&site, PORTS);
        let mut hits = 0;
        for round in 1..=ROUNDS {
            // Its own socket sends what is forged: on the wire they are the same. What comes to it tells the forger nothing but the time.
            let victim = Client::new(&site);
            victim.ask(&rrq(b"file", b"windowsize\x0016\0"));
            for block in [0, 16, 32] {
                let before = site.server.stats().strays;
                acknowledge(&victim, block, &ports);
                site.wait_for("the wrong ones", |stats| stats.strays >= before + PORTS as u64 - 1);
            }
            site.wait_for("the end", |stats| stats.guessed == round);
            let blocks = sent_blocks(&victim);
            assert!(blocks == 0 || blocks == 16, "{blocks} in round {round}");
            hits += usize::from(blocks > 0);
        }
        // One in sixty-four is lucky, and whose worker is faster than all others.
        assert!(hits <= ROUNDS as usize / 8, "{hits} of {ROUNDS}, {engine:?}");
        let guessed = std::iter::repeat_with(|| site.event().outcome).find(
            |outcome| matches!(outcome, Outcome::Failed(reason) if reason.contains("somebody guesses")),
        );
        assert!(guessed.is_some());
    }
}

#[test]
fn what_comes_late_for_one_of_the_last_answers_is_no_guess() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 600);
        let client = Client::new(&site);
        let mut before = Vec::new();
        for _ in 0..2 {
            let (_, transfer) = client.ask(&rrq(b"file", b""));
            client.0.send_to(&ack(1), transfer).unwrap();
            client.block(2);
            client.0.send_to(&ack(2), transfer).unwrap();
            before.push(transfer);
            before.push(client.ask(&rrq(b"nothing", b"")).1);
        }
        let (_, transfer) = client.ask(&rrq(b"file", b""));
        for port in &before {
            client.0.send_to(&ack(2), port).unwrap();
        }
        site.wait_for("what is late", |stats| stats.strays == 4);
        client.0.send_to(&ack(1), transfer).unwrap();
        client.block(2);
        client.0.send_to(&ack(2), transfer).unwrap();
        site.wait_for("the end", |stats| (stats.done, stats.guessed) == (3, 0));
    }
}
