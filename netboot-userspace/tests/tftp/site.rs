//! A server over a folder, and a client made by hand.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netboot_userspace::tftp::{Config, Event, Ports, Server, Stats};
use netboot_userspace::uring::Choice;

pub(crate) const ENGINES: [Choice; 2] = [Choice::Uring, Choice::Epoll];

pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Site {
    pub(crate) fn put(&self, name: &str, size: usize) -> Vec<u8> {
        let bytes: Vec<u8> =
            (0..size).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        std::fs::write(self.folder.path().join(name), &bytes).unwrap();
        bytes
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn port(&self) -> String {
        self.server.local_addr().port().to_string()
    }

    pub(crate) fn wait_for(&self, what: &str, condition: impl Fn(&Stats) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !condition(&self.server.stats()) {
            assert!(Instant::now() < end, "{what}: {:?}", self.server.stats());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the next event; events come after the client has already got its last block.
    pub(crate) fn event(&self) -> Event {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut events = self.events.lock().unwrap();
            if !events.is_empty() {
                return events.remove(0);
            }
            assert!(Instant::now() < end, "no event came");
            drop(events);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn site(engine: Choice) -> Site {
    site_with(engine, |_| {})
}

pub(crate) fn site_with(engine: Choice, change: impl FnOnce(&mut Config)) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let mut config = Config::new((Ipv4Addr::LOCALHOST, 0).into());
    config.roots = vec![folder.path().to_owned()];
    config.engine = engine;
    config.transfers_per_client = 1000;
    change(&mut config);
    let sink = events.clone();
    let server = Server::start(config, Arc::new(move |event| sink.lock().unwrap().push(event))).unwrap();
    Site { server, folder, events }
}

/// Ports for transfers, or that of the requests alone.
pub(crate) const PORTS: [Ports; 2] = [Ports::Any(64), Ports::Listen];

pub(crate) fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the client is installed (cargo xtask setup)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A client made by hand.
pub(crate) struct Client(pub(crate) UdpSocket, pub(crate) SocketAddr);

impl Client {
    pub(crate) fn new(site: &Site) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(socket, site.server.local_addr())
    }

    pub(crate) fn ask(&self, request: &[u8]) -> (Vec<u8>, SocketAddr) {
        self.0.send_to(request, self.1).unwrap();
        self.receive()
    }

    pub(crate) fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 65536];
        loop {
            match self.0.recv_from(&mut buffer) {
                Ok((len, from)) => return (buffer[..len].to_vec(), from),
                // A process that was held for a moment.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Client {
    /// The bytes of a block, and where they come from. Those before it are skipped: on a machine that is slow to acknowledge
    /// them they are sent again.
    pub(crate) fn block(&self, block: u16) -> (Vec<u8>, SocketAddr) {
        loop {
            let (data, from) = self.receive();
            assert_eq!(data[..2], [0, 3], "{data:?}");
            let number = u16::from_be_bytes([data[2], data[3]]);
            if number == block {
                return (data[4..].to_vec(), from);
            }
            assert!(number < block, "{number} in place of {block}");
        }
    }
}

pub(crate) fn rrq(name: &[u8], rest: &[u8]) -> Vec<u8> {
    [b"\0\x01", name, b"\0octet\0", rest].concat()
}

pub(crate) fn ack(block: u16) -> Vec<u8> {
    [&[0, 4][..], &block.to_be_bytes()].concat()
}
