//! Copies of requests that come late, and clients that begin anew: both ask for what was asked for before.

use std::time::{Duration, Instant};

use netboot_userspace::tftp::Outcome;

use crate::site::{Client, ENGINES, PORTS, ack, rrq, site_with};

#[test]
fn a_late_copy_of_an_earlier_request_leaves_the_transfer_alone() {
    for engine in ENGINES {
        for ports in PORTS {
            let site = site_with(engine, |config| config.ports = ports);
            site.put("one", 5);
            let want = site.put("file", 1200);
            let client = Client::new(&site);
            // One that has ended, one that was refused.
            let earlier = [rrq(b"one", b""), rrq(b"nothing", b"")];
            let (_, transfer) = client.ask(&earlier[0]);
            client.0.send_to(&ack(1), transfer).unwrap();
            assert_eq!(site.event().outcome, Outcome::Done);
            assert_eq!(client.ask(&earlier[1]).0[..4], *b"\0\x05\0\x01");
            assert_eq!(site.event().outcome, Outcome::NotFound);

            let (oack, transfer) = client.ask(&rrq(b"file", b"blksize\x00512\0"));
            assert_eq!(oack[..2], [0, 6]);
            let mut got = Vec::new();
            for block in 0..3_u16 {
                for (copies, request) in (1..).zip(&earlier) {
                    client.0.send_to(request, client.1).unwrap();
                    site.wait_for("the copy", |stats| stats.requests == 3 + u64::from(block) * 2 + copies);
                }
                client.0.send_to(&ack(block), transfer).unwrap();
                let (data, from) = client.block(block + 1);
                assert_eq!(from, transfer);
                got.extend_from_slice(&data);
            }
            client.0.send_to(&ack(3), transfer).unwrap();
            assert_eq!((site.event().outcome, got == want), (Outcome::Done, true), "{engine:?}");
        }
    }
}

#[test]
fn a_client_that_begins_anew_with_an_earlier_file_is_served() {
    for engine in ENGINES {
        for ports in PORTS {
            let site = site_with(engine, |config| config.ports = ports);
            let want = site.put("one", 5);
            site.put("file", 5000);
            let client = Client::new(&site);
            let (first, transfer) = client.ask(&rrq(b"one", b""));
            client.0.send_to(&ack(1), transfer).unwrap();
            site.wait_for("the first one's end", |stats| stats.done == 1);
            let (_, transfer) = client.ask(&rrq(b"file", b""));
            client.0.send_to(&ack(1), transfer).unwrap();
            client.block(2);
            // It has started again, and repeats what it asks for, as firmware does.
            client.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let end = Instant::now() + Duration::from_secs(20);
            let mut buffer = [0; 2048];
            let mut answer = Vec::new();
            while answer != first {
                assert!(Instant::now() < end, "it is not served, {engine:?}");
                client.0.send_to(&rrq(b"one", b""), client.1).unwrap();
                answer = client.0.recv(&mut buffer).map(|len| buffer[..len].to_vec()).unwrap_or_default();
            }
            assert_eq!(answer[4..], want);
            assert_eq!([site.event().outcome, site.event().outcome], [Outcome::Done, Outcome::Aborted]);
        }
    }
}
