//! What needs a hand inside the server: rings that fail while transfers are under way.

use super::*;
use crate::sys::seccomp;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc;

mod crowd;
mod fair;

fn client() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn receive(client: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = client.recv_from(&mut buffer).unwrap();
    (buffer[..len].to_vec(), from)
}

#[test]
fn transfers_and_requests_go_on_when_the_rings_fail() {
    let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
    (config.workers, config.engine) = (2, Choice::Uring);
    config.files = vec![("file".to_owned(), (0..2000).map(|at: u32| at as u8).collect())];
    let want = config.files[0].1.clone();
    let (events, ended) = mpsc::channel();
    let mut server =
        Server::start(config, Arc::new(move |event| events.send(event.outcome).unwrap())).unwrap();
    let request = b"\0\x01file\0octet\0";

    // Enough of them for both workers.
    let mut transfers: Vec<_> = (0..16)
        .map(|_| {
            let client = client();
            client.send_to(request, server.local_addr()).unwrap();
            let (block, transfer) = receive(&client);
            (client, transfer, block[4..].to_vec())
        })
        .collect();
    assert_eq!(server.engine(), Running::Uring);
    server.workers.break_rings();
    for (client, transfer, got) in &mut transfers {
        for block in 1..=4_u16 {
            client.send_to(&[&[0, 4][..], &block.to_be_bytes()].concat(), *transfer).unwrap();
            if block < 4 {
                got.extend_from_slice(&receive(client).0[4..]);
            }
        }
        assert!(**got == *want, "the same transfer goes on, on the other engine");
        assert_eq!(ended.recv_timeout(Duration::from_secs(10)), Ok(Outcome::Done));
    }
    for _ in 0..16 {
        let client = client();
        client.send_to(request, server.local_addr()).unwrap();
        assert_eq!(receive(&client).0[..4], *b"\0\x03\0\x01", "new requests are heard");
    }
    let engine = server.engine().to_string();
    assert!(engine.starts_with("epoll (io_uring failed: "), "{engine}");
    server.shutdown();
}

/// As containers do.
#[test]
fn what_may_have_no_ring_is_served_by_epoll() {
    seccomp::refuse(libc::SYS_io_uring_setup, libc::EPERM).unwrap();
    let config = || Config {
        workers: 2,
        files: vec![("file".to_owned(), vec![7; 600].into())],
        ..Config::new((Ipv4Addr::LOCALHOST, 0).into())
    };
    assert!(matches!(
        Server::start(Config { engine: Choice::Uring, ..config() }, Arc::new(|_| {})),
        Err(Error::Engine(_))
    ));
    let server = Server::start(config(), Arc::new(|_| {})).unwrap();
    let engine = server.engine().to_string();
    assert!(engine.starts_with("epoll (io_uring refused: "), "{engine}");
    // Enough of them for both workers.
    for _ in 0..16 {
        let client = client();
        client.send_to(b"\0\x01file\0octet\0", server.local_addr()).unwrap();
        let (block, transfer) = receive(&client);
        assert_eq!(block, [&b"\0\x03\0\x01"[..], &[7; 512]].concat());
        client.send_to(b"\0\x04\0\x01", transfer).unwrap();
        assert_eq!(receive(&client).0, [&b"\0\x03\0\x02"[..], &[7; 88]].concat());
    }
    server.shutdown();
}
