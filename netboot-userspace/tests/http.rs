//! The HTTP data plane against real clients over loopback, on both engines.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netboot_userspace::http::{Config, Error, Event, HandOver, Mount, Server, Stage};
use netboot_userspace::uring::{Choice, Running};

const ENGINES: [Choice; 2] = [Choice::Uring, Choice::Epoll];
/// Around the sizes where the lane changes: cached, whole by sendfile, in turns.
const SIZES: [usize; 8] = [0, 1, 65_536, 65_537, 1_000_000, 8 << 20, (8 << 20) + 1, 20_000_000];

struct Site {
    server: Server,
    folder: tempfile::TempDir,
    events: Arc<Mutex<Vec<Event>>>,
}

fn site(engine: Choice) -> Site {
    site_with(engine, |_| {})
}

fn site_with(engine: Choice, change: impl FnOnce(&mut Config)) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.mounts = vec![
        Mount::Folder { prefix: "/assets/".into(), roots: vec![folder.path().to_owned()] },
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
fn slow_lane(mut handed: HandOver) {
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
    fn put(&self, name: &str, size: usize) -> Vec<u8> {
        let bytes: Vec<u8> =
            (0..size).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        std::fs::write(self.folder.path().join(name), &bytes).unwrap();
        bytes
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.local_addr())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends bytes on a new connection and reads until the server closes.
    fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, path: &str, fields: &str) -> String {
        self.exchange(
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n").as_bytes(),
        )
    }

    fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(15);
        while !condition(self) {
            assert!(Instant::now() < end, "{what}: {:?}", self.server.stats());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl").args(["-sS", "--max-time", "30"]).args(arguments).output();
    let output = output.expect("curl is installed (cargo xtask setup)");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines()
        .find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)))
        .map(|(_, v)| v)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn curl_gets_the_same_bytes() {
    for engine in ENGINES {
        let site = site(engine);
        for size in SIZES {
            let want = site.put("file", size);
            let url = site.url("/assets/file");
            assert!(curl(&[&url]) == want, "{size} bytes, {engine:?}");
            for (range, part) in [
                ("0-0", 0..1),
                ("1-", 1..size),
                ("-5", size.saturating_sub(5)..size),
                ("70000-70009", 70_000..70_010),
            ] {
                if part.end <= size && part.start < part.end {
                    assert!(curl(&["-r", range, &url]) == want[part], "{range} of {size}, {engine:?}");
                }
            }
            let head = String::from_utf8(curl(&["-I", &url])).unwrap();
            assert_eq!(field(&head, "Content-Length"), Some(&*size.to_string()));
        }
        site.wait_for("all done", |site| site.server.stats().open == 0);
        assert_eq!(site.server.stats().broken, 0);
    }
}

#[test]
fn rfc9112_11_pipelined_answers_in_order_and_across_the_hand_over() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("a", 3);
        site.put("b", 100_000);
        let paths = ["/assets/a", "/assets/b", "/assets/none", "/assets/a", "/api/x", "/assets/a"];
        let requests: String = paths.iter().map(|p| format!("GET {p} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        let mut stream = site.connect();
        stream.write_all(requests.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let positions: Vec<_> = [
            "HTTP/1.1 200 OK",
            "100000\r\n",
            "HTTP/1.1 404",
            "slow lane: GET /api/x",
            "slow lane: GET /assets/a",
        ]
        .iter()
        .map(|part| answer.find(part).unwrap_or_else(|| panic!("{part} is missing")))
        .collect();
        assert!(positions.is_sorted(), "{positions:?}");
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 5);
    }
}

#[test]
fn what_is_not_a_static_file_is_handed_over() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("a", 3);
        let long = format!("POST /api/v1/x HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(9000));
        for (request, want) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "slow lane: GET / HTTP/1.1"),
            (&*long, "slow lane: POST /api/v1/x HTTP/1.1"),
            ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "slow lane: OPTIONS * HTTP/1.1"),
        ] {
            let mut stream = site.connect();
            // Byte by byte at first: the hand-over must not lose what came in several reads.
            for byte in &request.as_bytes()[..10] {
                stream.write_all(&[*byte]).unwrap();
            }
            stream.write_all(&request.as_bytes()[10..]).unwrap();
            stream.write_all(b"GET /assets/a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains(want), "{answer}");
            assert!(answer.contains("slow lane: GET /assets/a"), "the connection stays there");
        }
        // Their ends close before their places are given back.
        site.wait_for("handed over", |site| {
            site.server.stats().handed_over == 3 && site.server.stats().open == 0
        });
    }
}

#[test]
fn uhb_6_head_then_get_on_one_connection() {
    for engine in ENGINES {
        let site = site(engine);
        let want = site.put("boot.EFI", 70_000);
        let mut stream = site.connect();
        stream.write_all(b"HEAD //assets/./boot.EFI HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert_eq!(status(&head), 200);
        assert_eq!(field(&head, "Content-Length"), Some("70000"));
        assert_eq!(field(&head, "Content-Type"), Some("application/efi"));
        stream.write_all(b"GET /assets/boot.EFI HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let start = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert!(answer[start..] == want);
        let got = String::from_utf8_lossy(&answer[..start]).into_owned();
        let without_date = |head: &str| {
            let kept = |line: &&str| !line.starts_with("Date") && !line.starts_with("Connection");
            head.lines().filter(kept).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(without_date(&head), without_date(&got), "rfc9110_1");
    }
}

#[test]
fn validators_are_honoured() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 1000);
        let first = site.get("/assets/file", "");
        let (etag, modified) = (field(&first, "ETag").unwrap(), field(&first, "Last-Modified").unwrap());
        assert!(field(&first, "Date").is_some(), "rfc9110_6");
        let same = site.get("/assets/file", &format!("If-None-Match: {etag}\r\n"));
        assert_eq!((status(&same), field(&same, "ETag"), body(&same)), (304, Some(etag), ""));
        assert_eq!(status(&site.get("/assets/file", &format!("If-Modified-Since: {modified}\r\n"))), 304);
        assert_eq!(status(&site.get("/assets/file", "If-Match: \"x\"\r\n")), 412);
        let part = site.get("/assets/file", &format!("Range: bytes=10-19\r\nIf-Range: {etag}\r\n"));
        assert_eq!((status(&part), field(&part, "Content-Range")), (206, Some("bytes 10-19/1000")));
        let past = site.get("/assets/file", "Range: bytes=1000-\r\n");
        assert_eq!((status(&past), field(&past, "Content-Range")), (416, Some("bytes */1000")));
        assert_eq!(status(&site.get("/assets/file", "Range: bytes=0-1,5-6\r\n")), 200);
        let many = format!(
            "Range: bytes={}\r\n",
            (0..1000).map(|i| format!("{i}-{i}")).collect::<Vec<_>>().join(",")
        );
        assert_eq!(status(&site.get("/assets/file", &many)), 200);
    }
}

#[test]
fn a_changed_file_is_never_stale() {
    for engine in ENGINES {
        let site = site(engine);
        for content in ["one", "two", "six", "ten"] {
            std::fs::write(site.folder.path().join("kernel"), content).unwrap();
            let answer = site.get("/boot/kernel", "");
            assert_eq!(body(&answer), content);
        }
    }
}

#[test]
fn malformed_requests_are_refused_and_the_connection_closed() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("a", 3);
        for (request, code) in [
            ("GET /assets/a HTTP/1.1\r\n\r\n", 400),
            ("GET /assets/a HTTP/1.1\r\nHost : x\r\n\r\n", 400),
            ("GET /assets/a HTTP/1.1\nHost: x\n\n", 400),
            (
                "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400,
            ),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("GET /assets/../a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
            ("GET /assets/%2e%2e/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
            ("GET /assets/a%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
            ("GET /assets/%252e%252e/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
            ("GET /assets/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
            ("DELETE /assets/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
            ("BREW /assets/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 501),
            ("PUT /assets/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
            ("GET /assets/a HTTP/1.0\r\n\r\n", 200),
        ] {
            let answer = site.exchange(request.as_bytes());
            assert_eq!(status(&answer), code, "{request:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
        }
        let long = format!("GET /{}", "a".repeat(40_000));
        assert_eq!(status(&site.exchange(long.as_bytes())), 414);
        std::os::unix::fs::symlink("/etc/passwd", site.folder.path().join("link")).unwrap();
        assert_eq!(status(&site.get("/assets/link", "")), 404);
    }
}

#[test]
fn a_file_cut_short_ends_the_connection() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 64 << 20);
        let mut stream = site.connect();
        stream.write_all(b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .open(site.folder.path().join("file"))
            .unwrap()
            .set_len(1000)
            .unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 64 << 20, "never padded");
        site.wait_for("broken", |site| site.server.stats().broken == 1);
        assert!(site.events.lock().unwrap().iter().any(|e| e.stage == Stage::Broken && e.bytes < e.total));
    }
}

#[test]
fn slow_clients_run_into_deadlines() {
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            config.limits.head = Duration::from_millis(300);
            config.limits.idle = Duration::from_millis(400);
            config.limits.stall = Duration::from_millis(500);
        });
        site.put("a", 3);
        site.put("large", 64 << 20);
        let mut half = site.connect();
        half.write_all(b"GET /as").unwrap();
        let mut idle = site.connect();
        idle.write_all(b"GET /assets/a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut stalled = site.connect();
        stalled.write_all(b"GET /assets/large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        site.wait_for("all closed", |site| {
            site.server.stats().timeouts == 3 && site.server.stats().open == 0
        });
        let mut answer = Vec::new();
        idle.read_to_end(&mut answer).unwrap();
        assert_eq!(status(&String::from_utf8_lossy(&answer)), 200);
    }
}

#[test]
fn connections_of_one_peer_are_limited() {
    for engine in ENGINES {
        let site = site_with(engine, |config| config.limits.per_peer = 3);
        site.put("a", 3);
        let held: Vec<_> = (0..3).map(|_| site.connect()).collect();
        site.wait_for("held", |site| site.server.stats().open == 3);
        let mut fourth = site.connect();
        assert_eq!(fourth.read(&mut [0; 1]).unwrap_or(0), 0, "closed at once");
        drop(held);
        site.wait_for("left", |site| site.server.stats().open == 0);
        assert_eq!(status(&site.get("/assets/a", "")), 200);
    }
}

#[test]
fn a_thousand_kept_connections() {
    for engine in ENGINES {
        let site = site_with(engine, |config| config.limits.per_peer = 2000);
        let want = site.put("a", 500);
        let mut streams: Vec<_> = (0..1000).map(|_| site.connect()).collect();
        for _ in 0..3 {
            for stream in &mut streams {
                stream.write_all(b"GET /assets/a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            }
            for stream in &mut streams {
                let mut answer = vec![0; 8192];
                let mut len = 0;
                while !answer[..len].ends_with(&want) {
                    len += stream.read(&mut answer[len..]).unwrap();
                }
                assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
        }
        assert_eq!(site.server.stats().open, 1000);
        drop(streams);
        site.wait_for("all left", |site| site.server.stats().open == 0);
        assert_eq!(site.server.stats().responses, 3000);
    }
}

/// The server of the next test, alone in a process that may have few descriptors: says its address, then its counters
/// whenever asked.
fn serve_for_another_process(engine: &str) {
    let engine = if engine == "Uring" { Choice::Uring } else { Choice::Epoll };
    let site = site_with(engine, |config| config.workers = 1);
    site.put("file", 3);
    println!("\nat {}", site.server.local_addr());
    for _ in std::io::stdin().lines() {
        println!("pauses {}", site.server.stats().pauses);
    }
}

#[test]
fn accepting_pauses_without_descriptors_and_goes_on() {
    const NAME: &str = "accepting_pauses_without_descriptors_and_goes_on";
    if let Ok(engine) = std::env::var(NAME) {
        return serve_for_another_process(&engine);
    }
    for engine in ENGINES {
        let mut server = Command::new("prlimit");
        server.args(["--nofile=40:40", "--"]).arg(std::env::current_exe().unwrap());
        server.args(["--exact", NAME, "--nocapture"]).env(NAME, format!("{engine:?}"));
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ask = server.stdin.take().unwrap();
        let mut lines = std::io::BufReader::new(server.stdout.take().unwrap()).lines();
        let mut said = |word: &str| -> String {
            lines.find_map(|line| line.unwrap().strip_prefix(word).map(str::to_owned)).unwrap()
        };
        let address: SocketAddr = said("at ").parse().unwrap();
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream
        };
        let get = |stream: &mut TcpStream| {
            stream.write_all(b"GET /assets/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = [0; 15];
            stream.read_exact(&mut answer).map(|()| assert_eq!(&answer, b"HTTP/1.1 200 OK"))
        };
        let mut pauses = |ask: &mut dyn Write| -> u64 {
            ask.write_all(b"\n").unwrap();
            said("pauses ").parse().unwrap()
        };

        let mut first = connect();
        get(&mut first).unwrap();
        let start = Instant::now();
        let mut flood: Vec<TcpStream> = (0..60).map(|_| connect()).collect();
        while pauses(&mut ask) < 3 {
            assert!(start.elapsed() < Duration::from_secs(20), "no descriptors left, {engine:?}");
        }
        // Asked before the clock is read: however late the answer comes, the time that it took counts.
        let tried = u128::from(pauses(&mut ask));
        let most = start.elapsed().as_millis() / 100 + 2;
        assert!(tried <= most, "it tries ten times in a second, {engine:?}: {tried} of {most}");
        // Of those that wait in the backlog, all are served when others have gone.
        let mut waiting = flood.split_off(30);
        drop(flood);
        for stream in &mut waiting {
            get(stream).unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        }
        drop(ask);
        assert!(server.wait().unwrap().success());
    }
}

#[test]
fn events_tell_what_was_sent() {
    for engine in ENGINES {
        let site = site(engine);
        site.put("file", 100_000);
        curl(&["-r", "10-19", &site.url("/assets/file?x=y")]);
        site.wait_for("event", |site| !site.events.lock().unwrap().is_empty());
        let event = site.events.lock().unwrap().remove(0);
        assert_eq!((event.path.as_str(), event.status, event.stage), ("/assets/file", 206, Stage::Done));
        assert_eq!((event.bytes, event.total, event.range), (10, 10, Some((10, 20))));
        // A reader that takes its time over a large body is seen on its way.
        site.put("large", 40 << 20);
        curl(&["--limit-rate", "15M", "-o", "/dev/null", &site.url("/assets/large")]);
        site.wait_for("end", |site| {
            site.events.lock().unwrap().last().is_some_and(|e| e.stage == Stage::Done)
        });
        let events = site.events.lock().unwrap();
        assert!(
            events.iter().any(|e| e.stage == Stage::Progress && e.bytes > 0 && e.bytes < e.total),
            "{events:?}"
        );
    }
}

#[test]
fn start_errors_name_the_object() {
    let site = site(Choice::Auto);
    assert_eq!(site.server.engine(), Running::Uring);
    let again = Config::new(site.server.local_addr());
    let error = Server::start(again, Arc::new(slow_lane), Arc::new(|_| {})).unwrap_err();
    assert!(matches!(error, Error::Listen { .. }));
    assert_eq!(error.to_string(), format!("HTTP: {}: port in use", site.server.local_addr()));
    site.server.shutdown();
}
