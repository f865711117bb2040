//! HTTP: the head of a request, the same whether it comes whole or in parts, and what its conditions select; a connection under any
//! sequence of bytes, sends and time.

use std::time::Duration;

use netboot_userspace::http::conditional::{Selection, Validators, select};
use netboot_userspace::http::head::{MAX_HEAD, Parsed, parse};
use netboot_userspace::http::machine::{
    Action, Entity, Found, Machine, Now, Onward, Patience, Problem, READ_AHEAD, Site, Taken,
};

use self::fake::{Fake, Named, site};
use super::input::Input;

#[path = "../../netboot-userspace/src/http/machine/fake.rs"]
mod fake;

pub(crate) fn head(data: &[u8]) {
    let whole = parse(data, 0);
    in_parts(data, &whole);
    match &whole {
        Parsed::Incomplete => assert!(data.len() <= MAX_HEAD + 2, "for ever incomplete"),
        Parsed::Refused(status) => assert!(status.code() >= 400),
        Parsed::Head(head) => {
            assert!(head.len <= data.len());
            another_reads(&data[..head.len]);
            assert!(
                head.path
                    .is_none_or(|path| path.starts_with('/') && !path.contains(['?', ' ', '\r', '\n', '\0']))
            );
            for size in [0, 1, 10, u64::MAX] {
                let file = Validators::new("\"1-a\"".to_owned(), 1_000_000_000, size);
                for ranges in [false, true] {
                    if let Selection::Part(start, end) =
                        select(&head.conditions, &file, Some(1_500_000_000), ranges)
                    {
                        assert!(ranges && start < end && end <= size, "{start}..{end} of {size}");
                    }
                }
            }
        }
    }
}

/// Byte by byte: what is decided early is decided for good, and looking at the new bytes only changes nothing.
fn in_parts(data: &[u8], whole: &Parsed<'_>) {
    let step = (data.len() / 64).max(1);
    let mut scanned = 0;
    for length in (0..data.len()).step_by(step) {
        match parse(&data[..length], scanned) {
            Parsed::Incomplete => scanned = length,
            early => return assert_eq!(&early, whole, "of the first {length} bytes"),
        }
    }
    assert_eq!(&parse(data, scanned), whole, "though {scanned} bytes were seen before");
}

/// `httparse` alone, which skips any number of empty lines, ends where we do.
fn another_reads(head: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 200];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(head), Ok(httparse::Status::Complete(head.len())));
}

/// Without these, few inputs get beyond their first request.
const SOUND: &[&str] = &[
    "GET /assets/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /assets/b HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /assets/a HTTP/1.1\r\nHost: x\r\nRange: bytes=1-\r\n\r\n",
    "GET /assets/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /assets/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET /assets/a HTTP/1.1\r\nHost: x\r\nA: ",
    "\r\n",
];

/// A connection, and its client.
struct Session {
    machine: Machine,
    site: Fake,
    now: Duration,
    /// What was written, answer by answer.
    answers: Vec<Vec<u8>>,
    is_sending: bool,
    /// An answer has said so.
    closes: bool,
    /// The client has closed its half.
    has_ended: bool,
    /// Somebody else has it, with all that was read of it.
    handed_over: Option<(Onward, Vec<u8>)>,
}

/// Nothing more comes of it.
struct Over;

impl Session {
    fn new() -> Self {
        let (now, site, answers) = (Duration::ZERO, site(), Vec::new());
        let (machine, handed_over) = (Machine::new(now), None);
        let [is_sending, closes, has_ended] = [false; 3];
        Self { machine, site, now, answers, is_sending, closes, has_ended, handed_over }
    }

    /// Whether more of what its client sends is received now.
    fn receives(&self) -> bool {
        let has_room = match &self.handed_over {
            // Whoever has it receives no more than its request.
            Some((request, read)) => request.whole().is_none_or(|whole| (read.len() as u64) < whole),
            None => !self.machine.is_full(),
        };
        !self.has_ended && has_room
    }

    /// Nothing: the client closes its half.
    fn receive(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.has_ended |= bytes.is_empty();
        if let Some((_, read)) = &mut self.handed_over {
            read.extend_from_slice(bytes);
            return Ok(());
        }
        let (now, mut out) = (Now { time: self.now, date: None }, Vec::new());
        let action = self.machine.received(bytes, now, &mut self.site, &mut out);
        self.check(action, out)
    }

    fn send(&mut self) -> Result<(), Over> {
        if !std::mem::take(&mut self.is_sending) {
            return Ok(());
        }
        let (now, mut out) = (Now { time: self.now, date: None }, Vec::new());
        let action = self.machine.sent(now, &mut self.site, &mut out);
        assert!(!self.closes || matches!(action, Action::Drain | Action::Close), "it was said that it ends");
        self.check(action, out)
    }

    /// Of what was handed over, all has come.
    fn is_answered_elsewhere(&self) -> bool {
        let of = self.handed_over.as_ref();
        of.is_some_and(|(request, read)| request.whole().is_none_or(|whole| read.len() as u64 >= whole))
    }

    /// What was handed over comes back, with what is behind it, if it can.
    fn comes_back(&mut self) -> Result<(), Over> {
        let Some((request, mut read)) = self.handed_over.take() else { return Ok(()) };
        let whole = request.whole().ok_or(Over)?;
        self.machine = Machine::returned(read.split_off(whole as usize), self.now);
        let (now, mut out) = (Now { time: self.now, date: None }, Vec::new());
        let action = self.machine.resume(now, &mut self.site, &mut out);
        self.check(action, out)?;
        // The end is received again.
        if self.has_ended && self.handed_over.is_none() { self.receive(&[]) } else { Ok(()) }
    }

    fn wait(&mut self, time: Duration, taken: u64) -> Result<(), Over> {
        if self.handed_over.is_some() {
            return Ok(());
        }
        self.now += time;
        let patience = Patience::default();
        let is_due = self.machine.deadline(&patience) <= self.now;
        let is_late = self.machine.is_late(self.now, Taken { taken: Some(taken), waiting: taken }, &patience);
        assert!(is_due || !is_late, "it had its time");
        if is_late { Err(Over) } else { Ok(()) }
    }

    fn check(&mut self, action: Action<Named>, out: Vec<u8>) -> Result<(), Over> {
        match action {
            Action::Send(answer) => {
                assert!(!self.is_sending && !self.closes, "one at a time, and none after the last");
                self.is_sending = true;
                self.closes = is_head(&out, answer.status.code());
                if let Some((_, bytes)) = answer.body {
                    assert!(bytes.start < bytes.end && bytes.end <= 100, "{bytes:?} of 100");
                    assert_eq!(answer.length, bytes.end - bytes.start);
                }
                assert!(!answer.path.is_empty() || answer.status.code() >= 400);
                self.answers.push(out);
                return Ok(());
            }
            Action::HandOver(request) => {
                let read = std::mem::replace(&mut self.machine, Machine::new(self.now)).into_read();
                let Parsed::Head(head) = parse(&read, 0) else { panic!("no head: {read:?}") };
                assert_eq!((head.len, head.body), (request.head, request.body));
                assert!(request.whole().is_none_or(|whole| whole >= request.head as u64));
                assert!(!self.is_sending && !self.closes);
                self.handed_over = Some((request, read));
            }
            Action::Drain => assert!(self.closes),
            Action::Wait => assert!(self.is_sending || !self.machine.is_ended(), "it waits for who has gone"),
            Action::Close => {}
        }
        assert!(out.is_empty(), "only an answer is written");
        if matches!(action, Action::Close) { Err(Over) } else { Ok(()) }
    }
}

/// A head of lines, with nothing in them that could end one; whether it says that the connection ends.
fn is_head(out: &[u8], status: u16) -> bool {
    let end = out.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head has an end");
    let head = std::str::from_utf8(&out[..end]).expect("a head is text");
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    let mut lines = head.split("\r\n");
    assert!(lines.clone().all(|line| !line.is_empty() && !line.chars().any(char::is_control)), "{head}");
    assert!(status == 304 || lines.clone().any(|line| line.starts_with("Content-Length: ")), "{head}");
    lines.any(|line| line == "Connection: close")
}

/// Bytes, sends and time, the client's end and what comes back, in any order.
pub(crate) fn session(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut session, mut received) = (Session::new(), Vec::new());
    for _ in 0..400 {
        if input.is_empty() {
            break;
        }
        let bytes = match input.byte() % 10 {
            0..=2 => input.string().to_vec(),
            3 | 4 => input.of(SOUND).as_bytes().to_vec(),
            5 => vec![b'a'; input.word().into()],
            6 => {
                let time = Duration::from_millis(input.word().into());
                if session.wait(time, input.word().into()).is_err() {
                    break;
                }
                continue;
            }
            decision => {
                let outcome = match decision {
                    7 => session.send(),
                    8 if session.is_answered_elsewhere() => session.comes_back(),
                    9 if session.receives() => session.receive(&[]),
                    _ => Ok(()),
                };
                if outcome.is_err() {
                    break;
                }
                continue;
            }
        };
        if bytes.is_empty() || !session.receives() {
            continue;
        }
        received.extend_from_slice(&bytes);
        if session.receive(&bytes).is_err() {
            break;
        }
    }
    let answers = std::mem::take(&mut session.answers);
    assert!(
        session.machine.into_read().len() <= MAX_HEAD + READ_AHEAD + usize::from(u16::MAX),
        "it keeps too much"
    );
    // The same bytes at once, to a client that takes every answer at once, have these answers and perhaps more.
    let mut whole = Session::new();
    let mut outcome = whole.receive(&received);
    while outcome.is_ok() && (whole.is_sending || whole.is_answered_elsewhere()) {
        outcome = if whole.is_sending { whole.send() } else { whole.comes_back() };
    }
    assert!(whole.answers.starts_with(&answers), "in pieces: {answers:?}, at once: {:?}", whole.answers);
}
