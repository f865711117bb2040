//! A server on loopback with a folder of its own, and what asks it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use netboot_userspace::api;
use netboot_userspace::http::{Config, Event, Folders, HandOver, Mount, Server};
use netboot_userspace::uring::Choice;
use tokio::runtime::{Handle, Runtime};

pub(crate) const ENGINES: [Choice; 2] = [Choice::Uring, Choice::Epoll];
/// Around the sizes where the lane changes: cached, whole by sendfile, in turns.
pub(crate) const SIZES: [usize; 8] = [0, 1, 16_384, 16_385, 1_000_000, 2 << 20, (2 << 20) + 1, 20_000_000];

/// What `/api/large` is made of, 1,048,576 times.
pub(crate) const LARGE: &str = "0123456789abcdef";

type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    /// Paths and bodies of what was handed over.
    pub(crate) asked: Asked,
    _runtime: Runtime,
}

pub(crate) fn site(engine: Choice) -> Site {
    site_with(engine, |_| {})
}

pub(crate) fn site_with(engine: Choice, change: impl FnOnce(&mut Config)) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let (events, asked) = (Arc::new(Mutex::new(Vec::new())), Asked::default());
    let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.mounts = vec![
        Mount::Folder { prefix: "/assets/".into(), roots: vec![folder.path().to_owned()], index: false },
        Mount::File { path: "/boot/kernel".into(), file: folder.path().join("kernel") },
    ];
    config.engine = engine;
    change(&mut config);
    let sink = events.clone();
    let observer = Arc::new(move |event| sink.lock().unwrap().push(event));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folders = Folders::open(&config.mounts).unwrap();
    let behind = axum(runtime.handle().clone(), folders, asked.clone());
    let server = Server::start(config, Arc::new(behind), observer).unwrap();
    Site { server, folder, events, asked, _runtime: runtime }
}

/// The real thing behind: axum, which says what it was asked, and gives back what can go on.
fn axum(runtime: Handle, folders: Folders, asked: Asked) -> impl Fn(HandOver) + Send + Sync {
    let says = move |request: Request| says(request, asked.clone());
    let router = folders.before(Router::new().fallback(says));
    move |connection: HandOver| {
        let router = router.clone();
        runtime.spawn(async move {
            let HandOver { stream, read, request, peer, tls, way_back } = connection;
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let by_tls = |address| api::Ends { peer, local: api::Local { address, by_tls: true } };
            let ends = tls.map_or_else(|| api::Ends::of(&stream).unwrap(), by_tls);
            let times = api::Times::lingering(Duration::from_secs(2));
            let served = api::serve_connection(stream, ends, read, request.whole(), times, router).await;
            if let Ok(Some((stream, read))) = served {
                way_back.give_back(stream.into_std().unwrap(), read);
            }
        });
    }
}

async fn says(request: Request, asked: Asked) -> Result<String, StatusCode> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    asked.lock().unwrap().push((parts.uri.path().to_owned(), body.to_vec()));
    let body = String::from_utf8_lossy(&body).into_owned();
    if parts.uri.path() == "/api/slow" {
        // Longer than it takes to see that the client has closed its half.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    if let ("/api/size", Some(size)) = (parts.uri.path(), parts.uri.query()) {
        return Ok("x".repeat(size.parse().map_err(|_| StatusCode::BAD_REQUEST)?));
    }
    if parts.uri.path() == "/api/large" {
        return Ok(LARGE.repeat(1 << 20));
    }
    Ok(format!("axum: {} {} {body}", parts.method, parts.uri))
}

impl Site {
    pub(crate) fn put(&self, name: &str, size: usize) -> Vec<u8> {
        let bytes = content(size);
        std::fs::write(self.folder.path().join(name), &bytes).unwrap();
        bytes
    }

    /// Of so many zeros, which are nowhere.
    pub(crate) fn put_hole(&self, name: &str, size: u64) {
        std::fs::File::create(self.folder.path().join(name)).unwrap().set_len(size).unwrap();
    }

    /// As of an hour ago: what was modified in this second has no date.
    pub(crate) fn put_long_ago(&self, name: &str, size: usize) -> Vec<u8> {
        let bytes = self.put(name, size);
        let file = std::fs::File::options().write(true).open(self.folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
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

/// What [`Site::put`] puts.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size).map(content_at).collect()
}

pub(crate) fn content_at(at: usize) -> u8 {
    (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

/// How it ended, and what it said. In the emulated machine of `cargo xtask vm-test kernel-tls` curl was seen to be ended by a signal;
/// there it runs once more, and the console says so.
pub(crate) fn try_curl(arguments: &[&str]) -> Output {
    let asked = || Command::new("curl").args(["-sS", "--max-time", "30"]).args(arguments).output();
    let output = asked().expect("curl is installed (cargo xtask setup)");
    match output.status.signal() {
        Some(signal) if std::env::var_os("NETBOOT_TEST_KERNEL_TLS").is_some() => {
            let _ = writeln!(
                std::io::stderr(),
                "curl was ended by signal {signal}, and runs once more: {arguments:?}"
            );
            asked().unwrap()
        }
        _ => output,
    }
}

pub(crate) fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = try_curl(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}, {said}", output.status);
    output.stdout
}

/// Reads one answer, by its own length; its head, and its body.
pub(crate) fn read_answer(stream: &mut impl Read) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = field(&head, "Content-Length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
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
