//! Clients whose sockets hold less than a window.

use std::thread::sleep;
use std::time::Duration;

use rustix::net::sockopt;

use crate::site::{Client, ENGINES, ack, rrq, site};

/// What a client gets that takes a block in a millisecond, and whose socket holds so many bytes meanwhile.
fn fetch(client: &Client, holds: usize) -> Vec<u8> {
    sockopt::set_socket_recv_buffer_size(&client.0, holds).unwrap();
    let (oack, server) = client.ask(&rrq(b"file", b"windowsize\x0016\0blksize\x001428\0"));
    assert_eq!(oack[1], 6);
    client.0.send_to(&ack(0), server).unwrap();
    let (mut file, mut got, mut unacknowledged) = (Vec::new(), 0, 0);
    loop {
        sleep(Duration::from_millis(1));
        let (data, from) = client.receive();
        assert_eq!((data[1], from), (3, server));
        let is_next = u16::from_be_bytes([data[2], data[3]]) == got + 1;
        if is_next {
            (got, unacknowledged) = (got + 1, unacknowledged + 1);
            file.extend_from_slice(&data[4..]);
        }
        let is_last = is_next && data.len() < 1432;
        if unacknowledged == 16 || is_last || !is_next {
            client.0.send_to(&ack(got), server).unwrap();
            unacknowledged = 0;
        }
        if is_last {
            return file;
        }
    }
}

#[test]
fn a_client_with_a_small_socket_gets_windows_in_parts_and_one_with_a_large_one_does_not() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put("file", 400_000);
        for (holds, paced) in [(1 << 20, 0), (9 << 10, 1)] {
            assert!(fetch(&Client::new(&site), holds) == want, "{engine:?}, {holds}");
            site.wait_for("done", |stats| stats.active == 0);
            assert_eq!(site.server.stats().paced, paced, "{engine:?}, {holds}");
        }
    }
}
