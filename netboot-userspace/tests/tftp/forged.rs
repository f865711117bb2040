//! Requests in the name of another: whoever sends them hears no answer, and has to guess where it came from.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

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

/// Whether a file is sent to `victim`, as far as it is known now.
fn is_sent_blocks(victim: &Client) -> bool {
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| victim.0.recv(&mut buffer).ok().map(|_| buffer[1] == 3)).any(|is_data| is_data)
}

#[test]
fn whoever_acknowledges_at_all_ports_in_the_name_of_another_has_no_file_sent_to_it() {
    const ROUNDS: u64 = 24;
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            (config.workers, config.ports) = (2, Ports::Any(64));
            config.limits.timeout = Duration::from_secs(16);
        });
        site.put("file", 200_000);
        let ports = all_ports(&site, 64);
        let mut hits = 0;
        for round in 1..=ROUNDS {
            // Its own socket sends what is forged: on the wire they are the same. What comes to it tells the forger nothing but the time.
            let victim = Client::new(&site);
            victim.ask(&rrq(b"file", b"windowsize\x0016\0"));
            for block in [0, 16, 32] {
                for port in &ports {
                    victim.0.send_to(&ack(block), port).unwrap();
                }
            }
            victim.0.set_nonblocking(true).unwrap();
            let end = Instant::now() + Duration::from_secs(20);
            while site.server.stats().guessed + hits < round {
                hits += u64::from(is_sent_blocks(&victim));
                assert!(Instant::now() < end, "round {round}: {:?}", site.server.stats());
                std::thread::yield_now();
            }
        }
        // One in sixty-four is lucky.
        assert!(hits <= 5, "{hits} of {ROUNDS}, {engine:?}");
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
