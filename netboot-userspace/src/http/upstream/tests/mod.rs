//! The cache in front of upstreams that do as they please, behind the engine and the API's way in, over real sockets.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, Sender, channel};

use tempfile::TempDir;

use super::*;
use crate::config::{Deadlines, Origin};
use crate::http::{self, Mount, Server};

mod arriving;
mod bounds;
mod copies;
mod kept;
mod lists;
mod names;
mod secured;
mod wrong;

pub(super) fn upstream(prefix: &str, origin: Origin, path: &str) -> Upstream {
    let second = Duration::from_secs(1);
    Upstream {
        prefix: prefix.to_owned(),
        origin,
        path: path.to_owned(),
        by_url: false,
        ca: None,
        allow_private: true,
        is_named: false,
        digests: BTreeMap::new(),
        digest_files: Vec::new(),
        digest_required: false,
        check_after: 3600 * second,
        most: 64 << 20,
        connections: 8,
        deadlines: Deadlines { connect: 5 * second, read: second, total: 20 * second, least: 1 },
    }
}

/// An upstream in a thread: whatever it is asked, `answer` decides.
struct Fake {
    address: SocketAddr,
    /// The heads of all requests.
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    accepting: std::thread::JoinHandle<()>,
}

impl Fake {
    /// `answer`: to the path and the head of a request.
    fn start(answer: impl Fn(&str, &str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let is_over = Arc::new(AtomicBool::new(false));
        let (answer, noted, over) = (Arc::new(answer), asked.clone(), is_over.clone());
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !over.load(SeqCst)) {
                let (mut stream, answer, noted) = (stream.unwrap(), answer.clone(), noted.clone());
                std::thread::spawn(move || {
                    let head = read_head(&mut stream).unwrap_or_default();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    noted.lock().unwrap().push(head.clone());
                    // Whoever has had enough of it hangs up.
                    let _ = answer(&path, &head, &mut stream);
                });
            }
        });
        Self { address, asked, is_over, accepting }
    }

    /// From now on nobody is there.
    fn stop(self) {
        self.is_over.store(true, SeqCst);
        drop(TcpStream::connect(self.address));
        self.accepting.join().unwrap();
    }

    /// Whatever is asked, this answer.
    fn of(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::start(move |_, _, stream| stream.write_all(answer.as_ref()))
    }

    fn origin(&self) -> Origin {
        Origin { is_https: false, host: self.address.ip().to_string(), port: self.address.port() }
    }

    /// It as the upstream of `/assets/up/`.
    fn upstream(&self) -> Upstream {
        upstream("up/", self.origin(), "/files/")
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn heads(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn ok(body: &[u8], fields: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server with a cache, and what it has told.
struct Site {
    server: Server,
    mirror: Arc<Mirror>,
    runtime: tokio::runtime::Runtime,
    told: Receiver<Event>,
    accesses: Receiver<http::Event>,
    folder: TempDir,
}

impl Site {
    fn new(upstreams: Vec<Upstream>) -> Self {
        Self::sized(upstreams, 1 << 30)
    }

    fn sized(upstreams: Vec<Upstream>, size: u64) -> Self {
        Self::in_folder(upstreams, size, tempfile::tempdir().unwrap())
    }

    fn in_folder(upstreams: Vec<Upstream>, size: u64, folder: TempDir) -> Self {
        Self::of(Cache { size, keep_free: 0, upstreams }, folder)
    }

    fn of(cache: Cache, folder: TempDir) -> Self {
        let site = Self::begun(cache, folder);
        while !*site.mirror.ready.borrow() {
            std::thread::yield_now();
        }
        site
    }

    /// It looks through what was kept still.
    fn begun(cache: Cache, folder: TempDir) -> Self {
        let ((tell, told), (access, accesses)) = (channel(), channel());
        let accesses_of = |to: Sender<http::Event>| Arc::new(move |event| drop(to.send(event)));
        let observer = Arc::new(move |event| drop(tell.send(event)));
        let assets = folder.path().join("assets");
        let mirror = Mirror::open(
            cache,
            None,
            &folder.path().join("cache"),
            &assets,
            100,
            observer,
            accesses_of(access),
        )
        .unwrap();
        std::fs::create_dir_all(&assets).unwrap();
        let mut config = http::Config::new((Ipv4Addr::LOCALHOST, 0).into());
        let roots = vec![assets, mirror.files().to_owned()];
        config.mounts = MOUNTS
            .map(|prefix| Mount::Folder { prefix: prefix.to_owned(), roots: roots.clone(), index: true })
            .to_vec();
        let folders = http::Folders::open(&config.mounts).unwrap().before(axum::Router::new());
        (config.workers, config.mirror) = (2, Some(mirror.clone()));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (handle, router) = (runtime.handle().clone(), mirror.before(folders));
        let hand_over = move |connection: http::HandOver| {
            let router = router.clone();
            handle.spawn(async move {
                let http::HandOver { stream, read, request, way_back, .. } = connection;
                let stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let ends = crate::api::Ends::of(&stream).unwrap();
                let times = crate::api::Times::lingering(std::time::Duration::from_secs(2));
                let served =
                    crate::api::serve_connection(stream, ends, read, request.whole(), times, router).await;
                if let Ok(Some((stream, read))) = served {
                    way_back.give_back(stream.into_std().unwrap(), read);
                }
            });
        };
        let server = Server::start(config, Arc::new(hand_over), Arc::new(|_| {})).unwrap();
        Self { server, mirror, runtime, told, accesses, folder }
    }

    /// The next server, on the same folder.
    fn again(self, upstreams: Vec<Upstream>) -> Self {
        self.server.shutdown();
        Self::in_folder(upstreams, 1 << 30, self.folder)
    }

    fn ask(&self, path: &str, fields: &str) -> TcpStream {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"))
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// The answer, when whatever was fetched for it is kept or given up.
    fn get(&self, path: &str) -> Said {
        let said = Said::read(&mut self.ask(path, ""));
        while self.stat("arriving") > 0 {
            std::thread::yield_now();
        }
        said
    }

    /// What was told of the next file that an upstream was asked for.
    fn outcome(&self) -> Outcome {
        self.told.recv_timeout(Duration::from_secs(30)).unwrap().outcome
    }

    fn stat(&self, name: &str) -> u64 {
        self.mirror.stats().find(|(key, _)| *key == name).unwrap().1
    }

    /// Nothing is on its way, and nothing is there but these.
    fn assert_kept(&self, paths: &[&str]) {
        let kept: Vec<String> = self.mirror.shelf.all().iter().map(|entry| entry.note.path.clone()).collect();
        assert_eq!(kept, paths);
        let cache = self.folder.path().join("cache");
        let count = |name: &str| std::fs::read_dir(cache.join(name)).unwrap().count();
        // A write that was cut off by a deadline takes its file along a moment later.
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while count("partial") > 0 {
            assert!(std::time::Instant::now() < end, "parts are left");
            std::thread::yield_now();
        }
        assert_eq!(count("notes"), paths.len());
    }
}

/// An answer, as far as it came.
#[derive(Debug)]
struct Said {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether all came that the head has said.
    is_whole: bool,
}

impl Said {
    fn read(stream: &mut TcpStream) -> Self {
        let head = read_head(stream).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut said = Self { status, head, body: Vec::new(), is_whole: true };
        match said.field("content-length").map(|length| length.parse().unwrap()) {
            _ if status == 304 => {}
            Some(length) => {
                let mut part = stream.take(length);
                // A reset is an end, too.
                let _ = part.read_to_end(&mut said.body);
                said.is_whole = said.body.len() as u64 == length;
            }
            None => said.read_chunks(stream),
        }
        said
    }

    fn read_chunks(&mut self, stream: &mut TcpStream) {
        assert_eq!(self.field("transfer-encoding").as_deref(), Some("chunked"), "{}", self.head);
        loop {
            match chunk(stream) {
                Ok(chunk) if chunk.is_empty() => return,
                Ok(mut chunk) => self.body.append(&mut chunk),
                Err(_) => {
                    self.is_whole = false;
                    return;
                }
            }
        }
    }

    /// An error that says so, or less than was promised: never what looks whole.
    fn is_refused_or_cut(&self) -> bool {
        matches!(self.status, 502 | 504) || (self.status == 200 && !self.is_whole)
    }

    fn field(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The next chunk of a body; the last one is empty.
fn chunk(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk)?;
    chunk.truncate(size);
    Ok(chunk)
}

/// Bytes of which no two parts are alike.
fn bytes(count: u32) -> Vec<u8> {
    (0..count.div_ceil(4))
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .take(count as usize)
        .collect()
}
