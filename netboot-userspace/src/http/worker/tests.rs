use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};

use rustix::net::{AddressFamily, SocketType};

use super::super::digests::Digests;
use super::super::machine::{Found, Site as _};
use super::super::mounts::{Mount, Mounts};
use super::super::stats::Peers;
use super::super::{Limits, Place, WayBack};
use super::*;
use crate::uring::{Choice, Settings};

const ENGINES: [Choice; 2] = [Choice::Uring, Choice::Epoll];
const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

/// What a worker shares with the others that there would be.
struct Site {
    folder: tempfile::TempDir,
    shared: Shared,
    counters: Arc<Counters>,
}

impl Site {
    /// With this file as `/a`.
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = vec![folder.path().to_owned()];
        let mounts = Mounts::open(&[Mount::Folder { prefix: "/".into(), roots, index: false }]).unwrap();
        let (hand_over, observer) = (Arc::new(|_| {}), Arc::new(|_| {}));
        let (limits, peers) = (Limits::default(), Arc::<Peers>::default());
        let (doors, digests) = (Default::default(), Digests::start(64).unwrap());
        let shared = Shared { limits, mounts, mirror: None, hand_over, observer, peers, doors, digests };
        let site = Self { folder, shared, counters: Arc::default() };
        site.put(content);
        site
    }

    fn put(&self, content: &[u8]) {
        std::fs::write(self.folder.path().join("a"), content).unwrap();
    }

    fn worker(&self, engine: Choice) -> Worker<'_> {
        let settings = Settings { entries: 8, buffers: 2, buffer_size: 4096 };
        let reactor = Reactor::new(engine, settings).unwrap();
        let listener = net::tcp_listeners(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap().remove(0);
        Worker::new(reactor, listener, &self.shared, &self.counters)
    }

    /// The end of a connection by which little is on its way at a time, and how the other end comes to the worker.
    fn connection(&self, worker: &Worker<'_>) -> (TcpStream, impl FnOnce() + use<>) {
        self.connection_as(worker, |place| place)
    }

    /// In a place that is made so.
    fn connection_as(
        &self,
        worker: &Worker<'_>,
        made: fn(Place) -> Place,
    ) -> (TcpStream, impl FnOnce() + use<>) {
        let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&client, 4096).unwrap();
        nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::TcpMaxSeg, &536).unwrap();
        rustix::net::connect(&client, &net::local_address(&worker.listener).unwrap()).unwrap();
        let stream = loop {
            // The listener does not block.
            if let Ok(stream) = rustix::net::accept(&worker.listener) {
                break stream;
            }
        };
        sockopt::set_socket_send_buffer_size(&stream, 2048).unwrap();
        let (stream, peer) = (TcpStream::from(stream), SocketAddr::from(([127, 0, 0, 1], 9)));
        stream.set_nonblocking(true).unwrap();
        let place = made(self.shared.peers.admit(peer.ip(), 1, 1, &self.counters).unwrap());
        let way_back = WayBack { inbox: worker.inbox.clone(), peer, place };
        let client = TcpStream::from(client);
        client.set_nonblocking(true).unwrap();
        (client, move || way_back.give_back(stream, REQUEST.to_vec()))
    }
}

thread_local! {
    /// When the test began, which has a thread to itself.
    static BEGAN: Instant = Instant::now();
}

impl Worker<'_> {
    /// A test that waits for what never comes fails here.
    fn take_turn(&mut self) {
        assert!(BEGAN.with(Instant::elapsed) < Duration::from_secs(60), "{:?}", self.counters.snapshot());
        self.reactor.wait(Some(Duration::from_millis(5))).unwrap();
        self.begin_turn();
        while let Some(event) = self.reactor.next_event() {
            self.event(event);
        }
    }

    /// So much later.
    fn later(&mut self, time: Duration) {
        self.clock.start -= time;
        self.begin_turn();
        self.expire();
    }
}

/// Of a connection that comes back nobody knows when its next request was sent.
#[test]
fn what_comes_back_while_a_turn_goes_on_is_never_answered_with_what_was_looked_at_in_it() {
    for engine in ENGINES {
        let site = Site::new(b"old");
        let mut worker = site.worker(engine);
        let (mut client, comes_back) = site.connection(&worker);
        // Something wakes the worker, and in this turn somebody else asks for the file.
        worker.inbox.wake();
        worker.reactor.wait(None).unwrap();
        worker.begin_turn();
        assert!(matches!(worker.files.find("/a", false), Found::File(_)));
        site.put(b"new");
        comes_back();
        while let Some(event) = worker.reactor.next_event() {
            worker.event(event);
        }
        let mut answer = Vec::new();
        for _ in 0..1000 {
            worker.take_turn();
            let _ = client.read_to_end(&mut answer);
            if !answer.is_empty() {
                break;
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.ends_with("new"), "{engine:?}: {answer}");
        client.flush().unwrap();
    }
}

#[test]
fn an_answer_goes_on_for_as_long_as_enough_of_it_is_read() {
    for engine in ENGINES {
        let site = Site::new(&vec![7; 64 << 10]);
        let mut worker = site.worker(engine);
        let (mut client, comes_back) = site.connection(&worker);
        comes_back();
        let patience = site.shared.limits.patience;
        for round in 0..2 {
            let mut read = 0;
            for _ in 0..2000 {
                worker.take_turn();
                read += client.read(&mut [0; 4096]).unwrap_or(0);
                if read >= 20 << 10 {
                    break;
                }
            }
            assert!(read >= 20 << 10, "{engine:?}: only {read} bytes come, {:?}", site.counters.snapshot());
            worker.later(patience.stall);
            assert_eq!(worker.connections.tokens().len(), 1, "{engine:?}: cut off in round {round}");
        }
        assert_eq!(site.counters.snapshot().responses, 0, "there is more of it");
        // Of what has been on its way, no more than the sockets hold.
        worker.take_turn();
        worker.later(patience.stall);
        assert_eq!(site.counters.snapshot().timeouts, 1, "{engine:?}: nothing of it is read any more");
    }
}

#[test]
fn what_is_behind_a_relay_is_not_judged_by_its_worker() {
    for engine in ENGINES {
        let site = Site::new(&vec![7; 64 << 10]);
        let mut worker = site.worker(engine);
        let (client, comes_back) =
            site.connection_as(&worker, |place| place.behind_relay(([127, 0, 0, 1], 8443).into()));
        comes_back();
        while client.peek(&mut [0]).is_err() {
            worker.take_turn();
        }
        for _ in 0..3 {
            worker.take_turn();
            worker.later(site.shared.limits.patience.stall);
        }
        let stats = site.counters.snapshot();
        assert_eq!((stats.timeouts, stats.responses, stats.open), (0, 0, 1), "{engine:?}");
    }
}

/// As it judges what came without TLS.
#[test]
fn what_the_kernel_enciphers_is_judged_by_its_worker() {
    for engine in ENGINES {
        let site = Site::new(&vec![7; 64 << 10]);
        let mut worker = site.worker(engine);
        let (client, comes_back) = site.connection_as(&worker, |place| {
            let room = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
            place.by_kernel(([127, 0, 0, 1], 8443).into(), room)
        });
        comes_back();
        while client.peek(&mut [0]).is_err() {
            worker.take_turn();
        }
        for _ in 0..2 {
            worker.take_turn();
            worker.later(site.shared.limits.patience.stall);
        }
        let stats = site.counters.snapshot();
        assert_eq!((stats.timeouts, stats.broken, stats.open), (1, 1, 0), "{engine:?}");
    }
}

#[test]
fn who_has_closed_its_half_keeps_its_place_until_the_kernel_has_enciphered_all_and_no_longer() {
    for engine in ENGINES {
        let site = Site::new(&vec![7; 64 << 10]);
        let mut worker = site.worker(engine);
        let (mut client, comes_back) = site.connection_as(&worker, |place| {
            let room = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
            place.by_kernel(([127, 0, 0, 1], 8443).into(), room)
        });
        comes_back();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut some, patience) = ([0; 4096], site.shared.limits.patience);
        loop {
            worker.take_turn();
            if site.counters.snapshot().responses > 0 {
                break;
            }
            // Less than makes room for a segment: what is on its way is always more.
            let _ = client.read(&mut some[..256]);
        }
        for _ in 0..3 {
            worker.later(patience.linger);
            assert_eq!(worker.connections.tokens().len(), 1, "{engine:?}: it has not all of it");
        }
        while !matches!(client.read(&mut some), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            || worker.connections.tokens().into_iter().any(|token| worker.is_to_be_taken(token))
        {
            worker.take_turn();
        }
        worker.later(patience.linger);
        let stats = site.counters.snapshot();
        assert_eq!((stats.open, stats.timeouts, stats.broken), (0, 0, 0), "{engine:?}");
    }
}

#[test]
fn a_client_that_goes_while_its_answer_stands_still_has_stalled() {
    for engine in ENGINES {
        // With a body from memory, and one from the file.
        for size in [16 << 10, 8 << 20] {
            let site = Site::new(&vec![7; size]);
            let mut worker = site.worker(engine);
            for (round, want) in [(1, None), (2, Some(12_500_000))] {
                let (client, comes_back) = site.connection(&worker);
                comes_back();
                while client.peek(&mut [0]).is_err() {
                    worker.take_turn();
                }
                worker.later(Duration::from_secs(3));
                // With what it has not read: a reset.
                drop(client);
                for _ in 0..1000 {
                    worker.take_turn();
                    if site.counters.snapshot().broken == round {
                        break;
                    }
                }
                let pace = site.shared.peers.paces().first().map(|(_, pace)| *pace);
                assert_eq!((site.counters.snapshot().broken, pace), (round, want), "{engine:?}, {size}");
            }
        }
    }
}

/// Its ring has 8 entries, and 2 buffers to receive into.
#[test]
fn many_connections_go_on_with_few_entries_and_buffers() {
    const CLIENTS: usize = 100;
    for engine in ENGINES {
        let site = Site::new(b"yes");
        let mut worker = site.worker(engine);
        worker.reactor.accept(&worker.listener, LISTENER);
        let address = net::local_address(&worker.listener).unwrap();
        let connect = |_| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        };
        let mut clients: Vec<TcpStream> = (0..CLIENTS).map(connect).collect();
        for _ in 0..3 {
            clients.iter_mut().for_each(|client| client.write_all(REQUEST).unwrap());
            let mut answers = vec![Vec::new(); CLIENTS];
            for _ in 0..2000 {
                worker.take_turn();
                for (client, answer) in clients.iter_mut().zip(&mut answers) {
                    let _ = client.read_to_end(answer);
                }
                if answers.iter().all(|answer| answer.ends_with(b"yes")) {
                    break;
                }
            }
            assert!(
                answers
                    .iter()
                    .all(|answer| answer.starts_with(b"HTTP/1.1 200 OK") && answer.ends_with(b"yes"))
            );
        }
        let stats = site.counters.snapshot();
        let want = (CLIENTS as u64, 3 * CLIENTS as u64, 0, 0);
        assert_eq!((stats.accepted, stats.responses, stats.timeouts, stats.broken), want, "{engine:?}");
    }
}

#[test]
fn who_breaks_off_what_gets_on_slowly_has_not_stalled() {
    for engine in ENGINES {
        let site = Site::new(&vec![7; 8 << 20]);
        let mut worker = site.worker(engine);
        for round in 1..=3 {
            let (mut client, comes_back) = site.connection(&worker);
            comes_back();
            // 20 kB in two seconds, again and again.
            for _ in 0..5 {
                let mut read = 0;
                while read < 20 << 10 {
                    worker.take_turn();
                    read += client.read(&mut [0; 4096]).unwrap_or(0);
                }
                worker.later(Duration::from_secs(2));
            }
            drop(client);
            while site.counters.snapshot().broken < round {
                worker.take_turn();
            }
        }
        assert_eq!(site.shared.peers.paces(), [], "{engine:?}");
    }
}

#[test]
fn what_nobody_takes_out_of_the_socket_is_given_up_with_its_place_and_not_before() {
    for engine in ENGINES {
        let site = Site::new(&vec![7; 64 << 10]);
        let mut worker = site.worker(engine);
        let (mut client, comes_back) = site.connection(&worker);
        comes_back();
        // All of it is in the socket, which is still full.
        let mut arrived = 0;
        while site.counters.snapshot().responses == 0 {
            arrived += client.read(&mut [0; 512]).unwrap_or(0);
            worker.take_turn();
        }
        let token = worker.connections.tokens()[0];
        let waiting = net::unacknowledged(&worker.connections.slot(token).unwrap().stream).unwrap();
        assert!(waiting > 0, "{engine:?}: it has taken all of it");
        let patience = site.shared.limits.patience;
        worker.later(patience.idle);
        worker.take_turn();
        let stats = site.counters.snapshot();
        assert_eq!((stats.open, stats.timeouts), (1, 0), "{engine:?}: what the socket has takes a place");
        worker.later(patience.stall);
        while site.counters.snapshot().open > 0 {
            worker.take_turn();
        }
        assert_eq!(site.counters.snapshot().timeouts, 1);
        // The kernel keeps nothing of it.
        let end = loop {
            worker.take_turn();
            match client.read(&mut [0; 4096]) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break Some(error.kind()),
                Ok(0) => break None,
                read => arrived += read.unwrap_or(0),
            }
        };
        // Its socket may have taken the rest meanwhile, though it did not.
        let is_whole = arrived > 64 << 10;
        assert!(end == Some(io::ErrorKind::ConnectionReset) || is_whole, "{engine:?}: {end:?}, {arrived}");
    }
}

#[test]
fn an_answer_that_ends_because_its_file_has_changed_has_not_stalled() {
    for engine in ENGINES {
        let site = Site::new(&vec![7; 8 << 20]);
        let mut worker = site.worker(engine);
        for round in 1..=3 {
            site.put(&vec![7; 8 << 20]);
            let (mut client, comes_back) = site.connection(&worker);
            comes_back();
            while client.peek(&mut [0]).is_err() {
                worker.take_turn();
            }
            worker.later(Duration::from_secs(4));
            site.put(b"short");
            while site.counters.snapshot().broken < round {
                worker.take_turn();
                let _ = client.read(&mut [0; 4096]);
            }
        }
        assert_eq!(site.shared.peers.paces(), [], "{engine:?}");
    }
}
