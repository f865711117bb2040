//! Connections without a network: bytes and time in, what would be done out.

use super::fake::{Fake, Named, site};
use super::*;

/// Of the files.
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
/// A minute later.
const DATE: Date<'static> = Date { seconds: 784_111_837, text: "Sun, 06 Nov 1994 08:50:37 GMT" };

/// A connection, what was written to its client, and what else was done.
struct Client {
    machine: Machine,
    site: Fake,
    now: Duration,
    date: Option<Date<'static>>,
    answers: Vec<(Answer<Named>, String)>,
    last: Action<Named>,
}

impl Client {
    fn new() -> Self {
        let now = Duration::from_secs(1);
        let (machine, site) = (Machine::new(now), site());
        Self { machine, site, now, date: Some(DATE), answers: Vec::new(), last: Action::Wait }
    }

    fn go(&mut self, bytes: Option<&[u8]>) {
        let (now, mut out) = (Now { time: self.now, date: self.date }, Vec::new());
        let action = match bytes {
            Some(bytes) => self.machine.received(bytes, now, &mut self.site, &mut out),
            None => self.machine.sent(now, &mut self.site, &mut out),
        };
        let text = String::from_utf8(out).unwrap();
        match action {
            Action::Send(answer) => {
                self.answers.push((answer, text));
                self.last = Action::Wait;
            }
            other => {
                assert_eq!(text, "", "only an answer is written");
                self.last = other;
            }
        }
    }

    fn receive(&mut self, bytes: impl AsRef<[u8]>) {
        self.go(Some(bytes.as_ref()));
    }

    /// As a worker does on a socket that takes everything.
    fn receive_and_send(&mut self, bytes: impl AsRef<[u8]>) {
        self.receive(bytes);
        while matches!(self.machine.state, State::Sending { .. }) {
            self.go(None);
        }
    }

    fn head(&self) -> &str {
        &self.answers.last().unwrap().1
    }

    fn status(&self) -> u16 {
        self.answers.last().map_or(0, |(answer, _)| answer.status.code())
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn body(&self) -> Option<Range<u64>> {
        self.answers.last().and_then(|(answer, _)| answer.body.clone()).map(|(_, range)| range)
    }
}

/// What comes of a request on a connection of its own.
fn asked(request: impl AsRef<[u8]>) -> Client {
    let mut client = Client::new();
    client.receive_and_send(request);
    client
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

/// Answered with this status, and then closed: never a second answer, whatever is behind it.
fn assert_refused(request: impl AsRef<[u8]>, status: u16) {
    let request = request.as_ref();
    let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
    let client = asked([request, get("/assets/a", "").as_bytes()].concat());
    assert_eq!((client.status(), client.answers.len()), (status, 1), "{shown:?}");
    assert_eq!(client.field("Connection"), Some("close"), "{shown:?}");
    assert_eq!(client.last, Action::Drain, "{shown:?}");
}

#[test]
fn rfc9112_1_a_host_that_is_missing_or_bad_ends_the_connection() {
    for fields in ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host:\r\n", "Host: a@b\r\n"] {
        assert_refused(format!("GET /assets/a HTTP/1.1\r\n{fields}\r\n"), 400);
    }
}

#[test]
fn rfc9112_2_an_absolute_target_is_answered_as_its_path() {
    let client = asked("GET http://other:8080/assets/a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((client.status(), client.body()), (200, Some(0..100)));
}

#[test]
fn rfc9112_3_one_empty_line_before_a_request_is_no_request() {
    let client = asked(format!("\r\n{}\r\n{}", get("/assets/a", ""), get("/assets/a", "")));
    assert_eq!((client.answers.len(), client.status()), (2, 200));
    assert_refused(format!("\r\n\r\n{}", get("/assets/a", "")), 400);
}

#[test]
fn rfc9112_6_7_8_framing_in_doubt_ends_the_connection() {
    for (fields, status) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ("Content-Length: 5,5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5_0\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 400),
    ] {
        for target in ["/assets/a", "/api/x"] {
            assert_refused(format!("POST {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"), status);
        }
    }
    assert_refused("POST /api HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

#[test]
fn rfc9112_10_persistence_is_what_both_versions_say() {
    for (request, connection, last) in [
        (get("/assets/a", ""), None, Action::Wait),
        (get("/assets/a", "Connection: close\r\n"), Some("close"), Action::Drain),
        (get("/assets/a", "Connection: keep-alive, Close\r\n"), Some("close"), Action::Drain),
        ("GET /assets/a HTTP/1.0\r\n\r\n".to_owned(), Some("close"), Action::Drain),
        (
            "GET /assets/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(),
            Some("keep-alive"),
            Action::Wait,
        ),
    ] {
        let client = asked(&request);
        assert_eq!((client.field("Connection"), &client.last), (connection, &last), "{request:?}");
    }
}

#[test]
fn rfc9112_10_a_body_that_nobody_reads_ends_the_connection() {
    for method in ["GET", "PUT"] {
        let request = format!("{method} /assets/a HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n");
        let client = asked(format!("{request}{}", get("/assets/a", "")));
        assert_eq!((client.answers.len(), client.field("Connection")), (1, Some("close")), "{method}");
        assert_eq!(client.last, Action::Drain);
    }
}

#[test]
fn rfc9112_11_one_answer_at_a_time_and_in_order() {
    let mut client = Client::new();
    let requests = ["/assets/a", "/assets/none", "/assets/empty"].map(|path| get(path, "")).concat();
    client.receive(&requests);
    assert_eq!((client.answers.len(), client.status()), (1, 200));
    client.receive(get("/assets/busy", ""));
    assert_eq!(client.answers.len(), 1, "the first answer is on its way");
    for (count, status) in [(2, 404), (3, 200), (4, 503)] {
        client.go(None);
        assert_eq!((client.answers.len(), client.status()), (count, status));
        assert_eq!(client.field("Retry-After"), (status == 503).then_some("1"));
    }
    client.go(None);
    assert_eq!((client.answers.len(), &client.last, client.machine.input.capacity()), (4, &Action::Wait, 0));
}

#[test]
fn requests_that_come_in_any_pieces_are_the_same_requests() {
    let requests =
        [get("/assets/a", "Range: bytes=1-2\r\n"), get("/assets/none", ""), get("/assets/a", "")].concat();
    let whole = asked(&requests);
    for size in [1, 2, 3, 7, 50] {
        let mut client = Client::new();
        requests.as_bytes().chunks(size).for_each(|piece| client.receive_and_send(piece));
        assert_eq!(client.answers, whole.answers, "in pieces of {size}");
    }
}

#[test]
fn rfc9112_12_nothing_but_cr_lf_ends_a_line() {
    for request in [
        "GET /assets/a HTTP/1.1\nHost: x\n\n",
        "GET /assets/a HTTP/1.1\r\nHost: x\n\r\n",
        "GET /assets/a HTTP/1.1\rHost: x\r\n\r\n",
        "GET /assets/a HTTP/1.1\r\r\nHost: x\r\n\r\n",
        "GET /assets/a HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        "GET /assets/\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /assets/a HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n",
        "GET /assets/a HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
    ] {
        assert_refused(request, 400);
    }
}

#[test]
fn rfc9112_4_5_spaces_that_hide_a_field_are_refused() {
    for fields in ["Range : bytes=0-1\r\n", "A: b\r\n c\r\n", "A: b\r\n\tc\r\n", " A: b\r\n"] {
        assert_refused(get("/assets/a", fields), 400);
    }
    assert_refused("GET /assets/a HTTP/1.1\r\n Host: x\r\n\r\n", 400);
}

#[test]
fn rfc9112_13_what_is_too_long_is_refused_before_it_is_complete() {
    assert_refused(format!("GET /assets/{}", "a".repeat(64 << 10)), 414);
    let many: String = (0..10_000).map(|n| format!("A{n}: b\r\n")).collect();
    assert_refused(get("/assets/a", &many), 431);
    assert_refused(format!("GET /assets/a HTTP/1.1\r\nHost: x\r\nA: {}", "b".repeat(64 << 10)), 431);
}

#[test]
fn rfc9110_1_head_is_get_without_the_body() {
    for (path, fields) in [
        ("/assets/a", ""),
        ("/assets/none", ""),
        ("/assets/a", "If-None-Match: \"abc\"\r\n"),
        ("/assets/a", "If-Match: \"x\"\r\n"),
    ] {
        let (get, head) =
            (asked(get(path, fields)), asked(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")));
        let (of_get, _) = get.head().split_once("\r\n\r\n").unwrap();
        assert_eq!(head.head(), format!("{of_get}\r\n\r\n"), "{path} {fields}");
        assert_eq!((head.body(), head.answers[0].0.length), (None, 0), "{path} {fields}");
    }
}

#[test]
fn rfc9110_2_methods() {
    for (method, status) in
        [("DELETE", 405), ("POST", 405), ("TRACE", 405), ("BREW", 501), ("get", 501), ("Get", 501)]
    {
        let client = asked(format!("{method} /assets/a HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!((client.status(), client.field("Allow")), (status, Some("GET, HEAD")), "{method}");
        assert_eq!(client.last, Action::Wait, "it was understood");
    }
    for (request, status) in [("BREW /api", 501), ("TRACE /api", 405), ("CONNECT x:80", 405)] {
        let client = asked(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(client.status(), status, "{request}: nobody is asked");
    }
}

#[test]
fn rfc9110_3_ranges() {
    for (range, status, part, content_range) in [
        ("bytes=0-9", 206, Some(0..10), Some("bytes 0-9/100")),
        ("bytes=-1", 206, Some(99..100), Some("bytes 99-99/100")),
        ("bytes=50-18446744073709551615", 206, Some(50..100), Some("bytes 50-99/100")),
        ("bytes=100-", 416, None, Some("bytes */100")),
        ("bytes=18446744073709551615-", 416, None, Some("bytes */100")),
        ("bytes=-0", 416, None, Some("bytes */100")),
        ("bytes=5-1", 200, Some(0..100), None),
        ("bytes=0-1,0-1", 200, Some(0..100), None),
        ("octets=0-1", 200, Some(0..100), None),
    ] {
        let client = asked(get("/assets/a", &format!("Range: {range}\r\n")));
        assert_eq!(
            (client.status(), client.body(), client.field("Content-Range")),
            (status, part, content_range)
        );
        let length = client.body().map_or(0, |part| part.end - part.start).to_string();
        assert_eq!(client.field("Content-Length"), Some(&*length), "{range}");
        assert_eq!(client.last, Action::Wait, "{range}");
    }
    let many: Vec<_> = (0..1000).map(|n| format!("{n}-{n}")).collect();
    let client = asked(get("/assets/a", &format!("Range: bytes={}\r\n", many.join(","))));
    assert_eq!((client.status(), client.body()), (200, Some(0..100)), "once, whatever was asked");
}

#[test]
fn rfc9110_4_a_range_of_other_content_is_all_of_this() {
    for (tag, status) in [("\"abc\"", 206), ("W/\"abc\"", 200), ("\"x\"", 200), (MODIFIED, 206)] {
        let client = asked(get("/assets/a", &format!("Range: bytes=0-0\r\nIf-Range: {tag}\r\n")));
        assert_eq!(client.status(), status, "{tag}");
    }
}

#[test]
fn rfc9110_5_not_modified_has_no_body_but_its_tag() {
    for fields in [
        "If-None-Match: \"x\"\r\nIf-None-Match: \"y\", W/\"abc\"\r\n".to_owned(),
        format!("If-Modified-Since: {MODIFIED}\r\n"),
    ] {
        let client = asked(get("/assets/a", &fields));
        assert_eq!((client.status(), client.body(), client.field("ETag")), (304, None, Some("\"abc\"")));
        assert!(client.head().ends_with("\r\n\r\n"));
    }
    let both = asked(get("/assets/a", &format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {MODIFIED}\r\n")));
    assert_eq!(both.status(), 200, "the tag is asked first");
}

#[test]
fn rfc9110_6_every_answer_has_the_date_if_it_is_known() {
    for request in [get("/assets/a", ""), get("/assets/none", ""), "\n".to_owned(), get("/assets/busy", "")] {
        assert_eq!(asked(&request).field("Date"), Some(DATE.text), "{request:?}");
        let mut client = Client::new();
        client.date = None;
        client.receive(&request);
        assert_eq!(client.field("Date"), None, "{request:?}");
    }
}

#[test]
fn rfc9110_7_an_expectation_that_nobody_knows_is_refused() {
    assert_refused(get("/assets/a", "Expect: tea\r\n"), 417);
    assert_eq!(asked(get("/assets/a", "Expect: 100-continue\r\n")).status(), 200, "no body is waited for");
    // Whoever reads the body says "continue".
    let post = "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    assert!(matches!(asked(post).last, Action::HandOver(Onward { body: Body::Length(5), .. })));
}

#[test]
fn rfc9110_8_9_a_boot_file_has_its_length_and_no_encoding() {
    let client = asked(get("/assets/a", "Accept-Encoding: gzip, br, zstd\r\nTE: trailers\r\n"));
    assert_eq!(
        (client.field("Content-Length"), client.field("Content-Type")),
        (Some("100"), Some("application/efi"))
    );
    for name in ["Content-Encoding", "Transfer-Encoding", "Vary"] {
        assert_eq!(client.field(name), None);
    }
    let empty = asked(get("/assets/empty", ""));
    assert_eq!((empty.field("Content-Length"), empty.body()), (Some("0"), None));
}

#[test]
fn rfc9110_8_8_2_the_date_of_a_content_is_told_once_its_second_is_over() {
    for (later, told) in [(-1, None), (0, None), (1, Some(MODIFIED))] {
        let mut client = Client::new();
        client.date = Some(Date { seconds: 784_111_777 + later, text: "now" });
        client.receive(get("/assets/a", ""));
        assert_eq!((client.field("Last-Modified"), client.field("ETag")), (told, Some("\"abc\"")), "{later}");
    }
}

#[test]
fn what_is_not_ours_is_handed_over_with_every_byte_and_where_it_ends() {
    for (request, body, whole) in [
        (get("/api/x?y", ""), Body::None, true),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), Body::None, true),
        ("POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nabc".to_owned(), Body::Length(7), true),
        (
            "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n".to_owned(),
            Body::Chunked,
            false,
        ),
        (get("/api", "Connection: close\r\n"), Body::None, false),
        ("GET /api HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(), Body::None, false),
    ] {
        let mut client = Client::new();
        client.receive_and_send(get("/assets/a", ""));
        client.receive_and_send(&request);
        let head = request.find("\r\n\r\n").unwrap() + 4;
        let Action::HandOver(onward) = client.last else { panic!("{request:?}: {:?}", client.last) };
        assert_eq!((onward.head, onward.body), (head, body), "{request:?}");
        let length = if let Body::Length(length) = body { length } else { 0 };
        assert_eq!(onward.whole(), whole.then_some(head as u64 + length), "{request:?}");
        assert!(client.machine.is_full(), "no more is received here");
        // What was already under way belongs to it.
        client.receive(b"behind");
        assert_eq!(client.machine.into_read(), format!("{request}behind").into_bytes());
    }
    let endless = "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n";
    let Action::HandOver(onward) = asked(endless).last else { panic!("not handed over") };
    assert_eq!(onward.whole(), None, "nothing can follow it");
}

#[test]
fn a_connection_that_comes_back_goes_on_with_what_was_read() {
    let now = Duration::from_secs(9);
    let mut client = Client::new();
    client.machine = Machine::returned(get("/assets/a", "").into_bytes(), now);
    client.now = now;
    let mut out = Vec::new();
    let action = client.machine.resume(Now { time: now, date: None }, &mut client.site, &mut out);
    assert!(matches!(action, Action::Send(_)), "{action:?}");
    let idle = Machine::returned(Vec::new(), now);
    let patience = Patience::default();
    assert_eq!(idle.deadline(&patience), now + patience.idle);
    let half = Machine::returned(b"GET".to_vec(), now);
    assert_eq!(half.deadline(&patience), now + patience.head);
}

#[test]
fn a_connection_of_which_something_was_read_before_begins_with_that() {
    let now = Duration::from_secs(9);
    let request = get("/assets/a", "");
    let (head, rest) = request.split_at(7);
    let mut client = Client::new();
    client.machine = Machine::begun(head.as_bytes().to_vec(), now);
    let resumed = client.machine.resume(Now { time: now, date: None }, &mut client.site, &mut Vec::new());
    assert_eq!(resumed, Action::Wait);
    assert_eq!(client.machine.deadline(&Patience::default()), now + Patience::default().head);
    client.receive(rest);
    assert_eq!(client.status(), 200);
}

#[test]
fn a_client_that_has_closed_gets_what_it_asked_for_and_no_more() {
    let mut client = Client::new();
    client.receive(format!("{}{}GET /assets/a HTT", get("/assets/a", ""), get("/assets/empty", "")));
    client.receive(b"");
    client.go(None);
    client.go(None);
    assert_eq!((client.answers.len(), &client.last), (2, &Action::Close), "half a request is none");
    let mut client = asked(get("/assets/a", "Connection: close\r\n"));
    assert_eq!(client.last, Action::Drain);
    client.receive(b"whatever else it sends");
    assert_eq!((&client.last, client.machine.input.capacity()), (&Action::Wait, 0));
    client.receive(b"");
    assert_eq!(client.last, Action::Close);
}

#[test]
fn a_head_has_its_time_from_its_first_byte_and_not_from_its_last() {
    let patience = Patience::default();
    let mut client = Client::new();
    let start = client.now;
    for byte in b"GET /assets" {
        assert_eq!(client.machine.deadline(&patience), start + patience.head, "1 byte per 9 s");
        client.receive([*byte]);
        client.now += Duration::from_secs(9);
    }
    assert!(client.machine.is_late(client.now, Taken::default(), &patience));

    let mut client = asked(get("/assets/a", ""));
    assert_eq!(client.machine.deadline(&patience), client.now + patience.idle);
    client.now += Duration::from_secs(59);
    client.receive(b"G");
    assert_eq!(client.machine.deadline(&patience), client.now + patience.head);
}

#[test]
fn a_body_is_given_up_only_where_too_little_of_it_is_taken() {
    let patience = Patience::default();
    let mut client = Client::new();
    client.receive(get("/assets/a", ""));
    let late = |client: &mut Client, seconds: u64, taken| {
        client.now = Duration::from_secs(1 + seconds);
        client.machine.is_late(client.now, Taken { taken: Some(taken), waiting: 0 }, &patience)
    };
    assert!(!late(&mut client, 29, 0), "it has its time");
    assert!(!late(&mut client, 30, patience.least), "as much as is asked for");
    assert!(!late(&mut client, 59, patience.least));
    assert!(late(&mut client, 60, 2 * patience.least - 1), "a byte now and then holds nothing open");
    assert!(!late(&mut client, 60, 2 * patience.least));
}

#[test]
fn who_still_takes_the_rest_of_an_answer_keeps_its_place_and_nobody_else() {
    let patience = Patience::default();
    for (fields, first) in [("", patience.idle), ("Connection: close\r\n", patience.linger)] {
        let mut client = asked(get("/assets/a", fields));
        let mut late = |after: Duration, waiting: u64| {
            client.now += after;
            client.machine.is_late(client.now, Taken { taken: Some(0), waiting }, &patience)
        };
        let all = 3 * patience.least;
        assert!(!late(first, all), "it is in the socket, and was not taken");
        assert!(!late(patience.stall - Duration::from_secs(1), all), "it has its time");
        assert!(!late(Duration::from_secs(1), all - patience.least), "as much as is asked for");
        assert!(late(patience.stall, all - 2 * patience.least + 1), "too little");
        assert!(late(Duration::ZERO, 0), "and who has all of it is idle");
    }
    // Who has closed its half has nothing to say any more, and takes its answer none the less.
    let mut client = asked(get("/assets/a", ""));
    client.receive(b"");
    assert!(client.machine.is_over());
    client.now += patience.linger;
    assert!(!client.machine.is_late(client.now, Taken { taken: Some(0), waiting: 1 }, &patience));
    assert_eq!(client.machine.deadline(&patience), client.now + patience.stall);
    let mut client = asked(get("/assets/a", ""));
    client.now += patience.idle;
    assert!(!client.machine.is_late(client.now, Taken { taken: Some(0), waiting: 1 }, &patience));
    client.receive(b"G");
    assert_eq!(client.machine.deadline(&patience), client.now + patience.head, "it asks on");
}

#[test]
fn what_is_sent_ahead_is_kept_up_to_a_bound() {
    let mut client = Client::new();
    client.receive(get("/assets/a", ""));
    client.receive(vec![b'G'; READ_AHEAD]);
    assert!(!client.machine.is_full());
    client.receive(b"G");
    assert!(client.machine.is_full());
    client.go(None);
    assert!(!client.machine.is_full(), "a head may be longer");
}

proptest::proptest! {
    #[test]
    fn no_bytes_in_any_pieces_bring_it_down(pieces: Vec<Vec<u8>>, drained: bool) {
        let mut client = Client::new();
        for piece in &pieces {
            client.receive(piece);
            if drained {
                client.go(None);
            }
        }
    }
}
