use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::super::machine::{Found, Site as _};
use super::super::mounts::{Mount, Mounts};
use super::super::stats::Peers;
use super::super::{Limits, WayBack};
use super::*;
use crate::uring::{Choice, Settings};

/// Of a connection that comes back nobody knows when its next request was sent.
#[test]
fn what_comes_back_while_a_turn_goes_on_is_never_answered_with_what_was_looked_at_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let put = |content| std::fs::write(folder.path().join("a"), content).unwrap();
    put("old");
    let roots = vec![folder.path().to_owned()];
    let mounts = Mounts::open(&[Mount::Folder { prefix: "/".into(), roots, index: false }]).unwrap();
    let peers = Arc::<Peers>::default();
    let (hand_over, observer) = (Arc::new(|_| {}), Arc::new(|_| {}));
    let shared = Shared { limits: Limits::default(), mounts, hand_over, observer, peers: peers.clone() };
    let counters = Arc::<Counters>::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (stream, peer) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let settings = Settings { entries: 8, buffers: 2, buffer_size: 4096 };
    let reactor = Reactor::new(Choice::Epoll, settings).unwrap();
    let mut worker = Worker::new(reactor, listener.into(), &shared, &counters);
    let place = peers.admit(peer.ip(), 1, 1, &counters).unwrap();
    let way_back = WayBack { inbox: worker.inbox.clone(), peer, place };

    // Something wakes the worker, and in this turn somebody else asks for the file.
    worker.inbox.wake();
    worker.reactor.wait(None).unwrap();
    worker.begin_turn();
    assert!(matches!(worker.files.find("/a"), Found::File(_)));
    put("new");
    way_back.give_back(stream, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
    while let Some(event) = worker.reactor.next_event() {
        worker.event(event);
    }
    let mut answer = [0; 1000];
    let length = client.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.ends_with("new"), "{answer}");
    client.flush().unwrap();
}
