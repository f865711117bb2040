//! A server on loopback with a folder of its own, and what asks it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netboot_userspace::http::{Config, Event, HandOver, Mount, Server};
use netboot_userspace::uring::Choice;

pub(crate) const ENGINES: [Choice; 2] = [Choice::Uring, Choice::Epoll];
/// Around the sizes where the lane changes: cached, whole by sendfile, in turns.
pub(crate) const SIZES: [usize; 8] = [0, 1, 65_536, 65_537, 1_000_000, 8 << 20, (8 << 20) + 1, 20_000_000];

pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

pub(crate) fn site(engine: Choice) -> Site {
    site_with(engine, |_| {})
}

pub(crate) fn site_with(engine: Choice, change: impl FnOnce(&mut Config)) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.mounts = vec![
        Mount::Folder { prefix: "/assets/".into(), roots: vec![folder.path().to_owned()], index: false },
        Mount::File { path: "/boot/kernel".into(), file: folder.path().join("kernel") },
    ];
    config.engine = engine;
    change(&mut config);
    let sink = events.clone();
    let observer = Arc::new(move |event| sink.lock().unwrap().push(event));
    let server = Server::start(config, Arc::new(slow_lane), observer).unwrap();
    Site { server, folder, events }
}

/// A server behind: answers each request on the connection with what it was asked, until `Connection: close`.
pub(crate) fn slow_lane(mut handed: HandOver) {
    std::thread::spawn(move || {
        handed.stream.set_nonblocking(false).unwrap();
        let mut input = handed.read;
        loop {
            while let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = input.drain(..end + 4).collect();
                let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
                let body = format!("slow lane: {line}");
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                handed.stream.write_all(answer.as_bytes()).unwrap();
            }
            let mut buffer = [0; 4096];
            match handed.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(n) => input.extend_from_slice(&buffer[..n]),
            }
        }
    });
}

impl Site {
    pub(crate) fn put(&self, name: &str, size: usize) -> Vec<u8> {
        let bytes: Vec<u8> =
            (0..size).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        std::fs::write(self.folder.path().join(name), &bytes).unwrap();
        bytes
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.local_addr())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends bytes on a new connection and reads until the server closes.
    pub(crate) fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn get(&self, path: &str, fields: &str) -> String {
        self.exchange(
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n").as_bytes(),
        )
    }

    pub(crate) fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(15);
        while !condition(self) {
            assert!(Instant::now() < end, "{what}: {:?}", self.server.stats());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl").args(["-sS", "--max-time", "30"]).args(arguments).output();
    let output = output.expect("curl is installed (cargo xtask setup)");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

pub(crate) fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines()
        .find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)))
        .map(|(_, v)| v)
}

pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

