//! What is handed over is exactly what a second parser reads: our machine and hyper, on the same bytes.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use netboot_userspace::http::conditional::Validators;
use netboot_userspace::http::machine::{self, Action, Entity, Found, Machine, Now, Problem};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::site::*;

/// A request as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    path: String,
    body: Vec<u8>,
    whose: Whose,
}

/// Who answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// We do, and read no body.
    Ours,
    /// It is handed over, all of it and no more.
    Theirs,
    /// It is handed over with all that follows, and the connection does not come back.
    TheirsForGood,
}

/// What we take a connection for.
#[derive(Debug)]
struct Ours {
    read: Vec<Read>,
    /// It was refused, or its last answer ends it: whatever follows nobody reads. Else it waits for more.
    is_over: bool,
}

/// Nothing below `/assets/`, and all else handed over.
struct Nothing;

#[derive(Debug)]
struct Never(Infallible);

impl Entity for Never {
    fn validators(&self) -> &Validators {
        match self.0 {}
    }

    fn media_type(&self) -> &'static str {
        match self.0 {}
    }
}

impl machine::Site for Nothing {
    type File = Never;

    fn find(&mut self, path: &str, _: bool) -> Found<Never> {
        if path.starts_with("/assets/") { Found::Nothing(Problem::Missing) } else { Found::Elsewhere }
    }
}

/// What our machine takes these bytes for.
fn ours(bytes: &[u8]) -> Ours {
    let now = Now { time: Duration::ZERO, date: None };
    let (mut read, mut machine, mut out) = (Vec::new(), Machine::new(now.time), Vec::new());
    let mut action = machine.received(bytes, now, &mut Nothing, &mut out);
    loop {
        match action {
            Action::Send(answer) if answer.path.is_empty() => return Ours { read, is_over: true },
            Action::Send(answer) => {
                read.push(Read { path: answer.path, body: Vec::new(), whose: Whose::Ours });
                action = machine.sent(now, &mut Nothing, &mut out);
            }
            Action::HandOver(request) => {
                let mut rest = machine.into_read();
                let head = httparse_path(&rest[..request.head]);
                let Some(whole) = request.whole().and_then(|whole| usize::try_from(whole).ok()) else {
                    read.push(Read { path: head, body: Vec::new(), whose: Whose::TheirsForGood });
                    return Ours { read, is_over: true };
                };
                if rest.len() < whole {
                    return Ours { read, is_over: false };
                }
                let behind = rest.split_off(whole);
                let body = rest.split_off(request.head);
                read.push(Read { path: head, body, whose: Whose::Theirs });
                machine = Machine::returned(behind, now.time);
                action = machine.resume(now, &mut Nothing, &mut out);
            }
            Action::Drain | Action::Close => return Ours { read, is_over: true },
            Action::Wait => return Ours { read, is_over: false },
        }
    }
}

/// The path of a head, by `httparse` alone.
fn httparse_path(head: &[u8]) -> String {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(head), Ok(httparse::Status::Complete(head.len())), "it ends where we say");
    let target = request.path.unwrap();
    let path =
        target.split_once("://").map_or(target, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    path.split('?').next().unwrap().to_owned()
}

/// What hyper takes them for: paths and bodies.
async fn hypers(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let read = std::sync::Mutex::new(Vec::new());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let read = &read;
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = to_bytes(Body::new(body), 1 << 20).await {
                let path = parts.uri.path().to_owned();
                read.lock().unwrap().push((path, body.to_vec()));
            }
            Ok::<_, Infallible>(hyper::Response::new(Body::empty()))
        }
    });
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let _ = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service).await;
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.unwrap();
    drop(client);
    read.into_inner().unwrap()
}

/// Everything that we took for a request hyper takes for the same one, or refuses; where it refuses, it reads nothing behind it. What only
/// hyper takes for one comes where nobody of ours reads on.
fn check(bytes: &[u8], runtime: &tokio::runtime::Runtime) -> usize {
    let Ours { read, is_over } = ours(bytes);
    let hypers = runtime.block_on(hypers(bytes));
    let shown = String::from_utf8_lossy(bytes);
    for (at, (one, (path, body))) in read.iter().zip(&hypers).enumerate() {
        let is_last = at + 1 == read.len();
        assert_eq!(one.path, *path, "request {at} of {shown:?}");
        let is_right = match one.whose {
            // A body that nobody reads ends the connection.
            Whose::Ours => body.is_empty() || is_last && is_over,
            Whose::Theirs => one.body == *body,
            // Of one that we can't count the other knows the end.
            Whose::TheirsForGood => is_last,
        };
        assert!(is_right, "request {at} of {shown:?}: {one:?}, {:?}", String::from_utf8_lossy(body));
    }
    assert!(hypers.len() <= read.len() || is_over, "only hyper reads on in {shown:?}: {read:?}, {hypers:?}");
    read.len().min(hypers.len())
}

/// What a whole server takes them for, of what it does not answer itself.
fn beyond_the_border(site: &Site, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    site.asked.lock().unwrap().clear();
    let mut stream = site.connect();
    // Who is refused early has the rest of it thrown away.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let _ = stream.read_to_end(&mut Vec::new());
    std::mem::take(&mut site.asked.lock().unwrap())
}

/// What comes out of the machine, the worker and the border together is what the machine alone said, request by request.
fn check_border(site: &Site, bytes: &[u8], runtime: &tokio::runtime::Runtime) -> usize {
    let (Ours { read, .. }, hypers) = (ours(bytes), runtime.block_on(hypers(bytes)));
    let beyond = beyond_the_border(site, bytes);
    let shown = String::from_utf8_lossy(bytes);
    let handed: Vec<(usize, &Read)> =
        read.iter().enumerate().filter(|(_, read)| read.whose != Whose::Ours).collect();
    assert!(beyond.len() <= handed.len(), "{shown:?}: {beyond:?}, not {handed:?}");
    for ((path, body), (at, one)) in beyond.iter().zip(&handed) {
        // The length of a body in chunks we don't know; the other parser does.
        let want =
            if one.whose == Whose::Theirs { Some(&one.body) } else { hypers.get(*at).map(|(_, body)| body) };
        assert_eq!((path, Some(body)), (&one.path, want), "request {at} of {shown:?}");
    }
    if let Some((at, one)) = handed.get(beyond.len()) {
        assert!(hypers.len() <= *at, "{shown:?}: nobody was asked {one:?}");
    }
    beyond.len()
}

const TARGETS: &[&str] = &[
    "/api",
    "/assets/a",
    "/a?b=c",
    "*",
    "http://x/api",
    "http://x",
    "/a#b",
    "/%2e%2e/b",
    "//a",
    "/a b",
    "a:1",
];
const FIELDS: &[&str] = &[
    "Host: x",
    "Host: y",
    "host:x",
    "Host : x",
    " Host: x",
    "Connection: close",
    "Connection: keep-alive",
    "Content-Length: 5",
    "Content-Length: 38",
    "Content-Length: 0",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length:\t5 ",
    "Content-Length : 5",
    "content-length: 05",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding:chunked\x0b",
    "Transfer-Encoding\t: chunked",
    "A: b\r\n c",
    "A: b\rc",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "A: ä",
    "A",
    ": b",
    "A:",
    "X: GET /x HTTP/1.1",
];
const BODIES: &[&str] = &[
    "",
    "hello",
    "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "23\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "\r\n",
    "0_5\r\nhello\r\n",
];

fn sound() -> impl Strategy<Value = String> {
    let method = proptest::sample::select(&["GET", "POST", "HEAD", "PUT"][..]);
    let target = proptest::sample::select(&["/api", "/a?b", "/assets/a", "http://x/a"][..]);
    let connection =
        proptest::sample::select(&["", "", "Connection: keep-alive\r\n", "Connection: close\r\n"][..]);
    (method, target, connection, proptest::sample::select(BODIES)).prop_map(
        |(method, target, connection, body)| {
            let length =
                if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{connection}{length}\r\n{body}")
        },
    )
}

fn hostile() -> impl Strategy<Value = String> {
    let method = proptest::sample::select(&["GET", "GET", "HEAD", "POST", "POST", "OPTIONS", "BREW"][..]);
    let version = proptest::sample::select(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2"][..]);
    let end =
        proptest::sample::select(&["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r"][..]);
    let field = (proptest::sample::select(FIELDS), end);
    let fields = proptest::collection::vec(field, 0..4);
    let parts =
        (method, proptest::sample::select(TARGETS), version, fields, proptest::sample::select(BODIES));
    (parts, prop::bool::weighted(0.9)).prop_map(|((method, target, version, fields, body), has_host)| {
        let host = if has_host { "Host: x\r\n" } else { "" };
        let fields: String = fields.into_iter().map(|(field, end)| format!("{field}{end}")).collect();
        format!("{method} {target} {version}\r\n{host}{fields}\r\n{body}")
    })
}

/// Has connections of all kinds checked; how many requests were alike.
fn on_all(cases: u32, check: impl Fn(&[u8], &tokio::runtime::Runtime) -> usize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let alike = std::cell::Cell::new(0);
    let bytes = (
        proptest::collection::vec(prop_oneof![3 => sound(), 1 => hostile()], 1..5),
        any::<(bool, u16, u8)>(),
    );
    let outcome = runner.run(&bytes, |(requests, (is_changed, at, byte))| {
        let mut bytes = requests.concat().into_bytes();
        if is_changed && byte & 1 == 0 {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        alike.set(alike.get() + check(&bytes, &runtime));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    alike.get()
}

#[test]
fn a_second_parser_reads_what_we_hand_over() {
    let alike = on_all(20_000, check);
    assert!(alike > 10_000, "both read {alike} requests: too few to say anything");
}

#[test]
fn what_is_read_beyond_the_border_is_what_was_handed_over_and_nothing_else() {
    for engine in ENGINES {
        let site = site(engine);
        let alike = on_all(1000, |bytes, runtime| check_border(&site, bytes, runtime));
        assert!(alike > 500, "{alike} requests were handed over: too few to say anything");
    }
}
