//! A connection: bytes and time in, what to do out (RFC 9112). No clock, no socket, no file.
//!
//! One request is answered at a time; what was sent ahead waits. What can't be read in one way only is refused, and the connection
//! closed; what is no static file is handed over with every byte that was read of it. Whatever comes, no more is kept than the longest
//! head, or, while an answer is on its way, [`READ_AHEAD`], and what one receive brings: who sends on has to wait ([`Machine::is_full`]).

use std::mem;
use std::ops::Range;
use std::time::Duration;

use super::conditional::Validators;
use super::head::{self, Body, Head, MAX_HEAD, Method, Parsed, Status};
use super::response::{self, Frame, Written, goes_on};

/// While an answer is on its way, requests that were sent ahead are kept up to here; then the client has to wait.
pub const READ_AHEAD: usize = 2048;

/// What clients may take of a connection's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the first byte of a request, or from the connection, to the end of its head.
    pub head: Duration,
    /// In this time a client takes [`Patience::least`] bytes of its body, or its rest.
    pub stall: Duration,
    /// Bytes.
    pub least: u64,
    /// A kept connection without a request.
    pub idle: Duration,
    /// An ended connection waits so long for its client to close, so that the last answer isn't lost to a reset.
    pub linger: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            least: 16 * 1024,
            idle: Duration::from_secs(60),
            linger: Duration::from_secs(2),
        }
    }
}

/// Knows which paths are static files.
pub trait Site {
    /// A file that is open.
    type File: Entity;

    /// Looks up what `path`, as it was sent, leads to; `wants_digest`: with the SHA-256 of the whole file, where it is known.
    fn find(&mut self, path: &str, wants_digest: bool) -> Found<Self::File>;
}

/// A file, as far as its answer's head tells.
pub trait Entity {
    /// What a client can compare its copy with.
    fn validators(&self) -> &Validators;
    /// Its media type.
    fn media_type(&self) -> &'static str;
    /// The SHA-256 of the whole file in base64, where it is wanted and known.
    fn digest(&self) -> Option<&str> {
        None
    }
}

/// What a path leads to.
#[derive(Debug)]
pub enum Found<F> {
    /// A static file.
    File(F),
    /// A static path without a file behind it, or one that is badly written.
    Nothing(Problem),
    /// Not ours to answer.
    Elsewhere,
}

/// Why a static path has no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// There is none.
    Missing,
    /// No file can have this path.
    Malformed,
    /// The system has no descriptors or memory left for now, or the file is being changed.
    Busy,
    /// The disk, or the network before it, doesn't give it.
    Failed,
}

impl Problem {
    fn status(self) -> Status {
        match self {
            Self::Missing => Status::NotFound,
            Self::Malformed => Status::BadRequest,
            Self::Busy => Status::Unavailable,
            Self::Failed => Status::ServerError,
        }
    }
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<F> {
    /// Wait for bytes, until [`Machine::deadline`].
    Wait,
    /// Send what was written, then this part of a file; then tell [`Machine::sent`].
    Send(Answer<F>),
    /// Stop receiving, and give the connection away with [`Machine::into_read`].
    HandOver(Onward),
    /// Close the sending half, and go on receiving until the client closes as well.
    Drain,
    /// Close.
    Close,
}

/// An answer whose head, and short body, are written.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<F> {
    /// What follows by itself, and never more or less of it.
    pub body: Option<(F, Range<u64>)>,
    /// For the observer: the path as it was sent; empty where the request was refused.
    pub path: String,
    /// For the observer: the boot that it was for.
    pub boot: Option<u64>,
    /// For the observer.
    pub status: Status,
    /// Body bytes in all.
    pub length: u64,
    /// First byte and the one after the last, of a 206.
    pub part: Option<(u64, u64)>,
}

/// A request that somebody else answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Onward {
    /// Bytes of its head.
    pub head: usize,
    /// What follows the head.
    pub body: Body,
    /// Whether its client wants the connection to go on after the answer.
    pub keep_alive: bool,
}

impl Onward {
    /// How many bytes of the connection the request is, if that can be told, and if another may follow it.
    pub fn whole(&self) -> Option<u64> {
        match self.body {
            _ if !self.keep_alive => None,
            Body::None => Some(self.head as u64),
            Body::Length(length) => (self.head as u64).checked_add(length),
            Body::Chunked => None,
        }
    }
}

/// The clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Since the worker's start; never goes back.
    pub time: Duration,
    /// `None` while the clock is unknown.
    pub date: Option<Date<'a>>,
}

/// The time of day.
#[derive(Debug, Clone, Copy)]
pub struct Date<'a> {
    /// Since 1970.
    pub seconds: i64,
    /// As [`super::date::format`] writes it.
    pub text: &'a str,
}

/// A connection.
#[derive(Debug)]
pub struct Machine {
    /// Of the next request: as much as was read of it.
    input: Vec<u8>,
    state: State,
    /// When the state began, or last saw progress.
    since: Duration,
    /// How much of `input` was looked at without finding the end of a head.
    scanned: u32,
    /// The client has closed its half.
    ended: bool,
    /// At least one request was answered.
    served: bool,
    /// Of an answer that is in the socket, how much the client had still to take when `since` was set.
    untaken: u64,
}

/// How much of its answer a client has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taken {
    /// Bytes in all of the answer that is on its way. `None`: somebody else sees to that.
    pub taken: Option<u64>,
    /// Bytes that are in the socket, and not taken.
    pub waiting: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting for a head, or the rest of it.
    Reading,
    /// An answer is on its way; of it so much was taken when `since` was set.
    Sending { keep_alive: bool, taken: u64 },
    /// Answered; waiting for the client to close.
    Draining,
    /// To be given away, or closed.
    Over,
}

impl Machine {
    /// A connection that was just accepted.
    pub fn new(now: Duration) -> Self {
        let (input, state) = (Vec::new(), State::Reading);
        Self { input, state, since: now, scanned: 0, ended: false, served: false, untaken: 0 }
    }

    /// One of which something was read before it came here. Go on with [`Machine::resume`].
    pub fn begun(read: Vec<u8>, now: Duration) -> Self {
        Self { input: read, ..Self::new(now) }
    }

    /// One that comes back from where it was handed over, with what was read and not answered there. Go on with [`Machine::resume`].
    pub fn returned(read: Vec<u8>, now: Duration) -> Self {
        Self { input: read, served: true, ..Self::new(now) }
    }

    /// When its time is up.
    pub fn deadline(&self, patience: &Patience) -> Duration {
        self.since
            + match self.state {
                State::Reading | State::Draining | State::Over if self.untaken > 0 => patience.stall,
                State::Reading if self.served && self.input.is_empty() => patience.idle,
                State::Reading => patience.head,
                State::Sending { .. } => patience.stall,
                State::Draining | State::Over => patience.linger,
            }
    }

    /// Whether the client has closed its half.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether there is nothing left to do but to close it.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether what is kept is enough for now: receive no more until the next [`Action::Wait`].
    pub fn is_full(&self) -> bool {
        match self.state {
            State::Reading => self.input.len() > MAX_HEAD + READ_AHEAD,
            State::Sending { .. } => self.input.len() > READ_AHEAD,
            State::Draining => false,
            State::Over => true,
        }
    }

    /// What was read of the connection and not answered.
    pub fn into_read(self) -> Vec<u8> {
        self.input
    }

    /// Takes what was received; nothing is the client's end. Of a head that was answered, `out` has the answer's.
    pub fn received<S: Site>(
        &mut self,
        bytes: &[u8],
        now: Now<'_>,
        site: &mut S,
        out: &mut Vec<u8>,
    ) -> Action<S::File> {
        self.ended |= bytes.is_empty();
        match self.state {
            State::Reading => {
                // The head's time starts with its first byte.
                if self.input.is_empty() && self.served {
                    (self.since, self.untaken) = (now.time, 0);
                }
                self.read(bytes, now, site, out)
            }
            State::Draining if self.ended => self.over(Action::Close),
            State::Draining => Action::Wait,
            State::Sending { .. } | State::Over => {
                self.input.extend_from_slice(bytes);
                Action::Wait
            }
        }
    }

    /// All of the answer is in the socket.
    pub fn sent<S: Site>(&mut self, now: Now<'_>, site: &mut S, out: &mut Vec<u8>) -> Action<S::File> {
        let State::Sending { keep_alive, .. } = self.state else { return Action::Wait };
        (self.served, self.since) = (true, now.time);
        if keep_alive {
            self.state = State::Reading;
            return self.resume(now, site, out);
        }
        self.input = Vec::new();
        if self.ended {
            return self.over(Action::Close);
        }
        self.state = State::Draining;
        Action::Drain
    }

    /// Looks at what was kept.
    pub fn resume<S: Site>(&mut self, now: Now<'_>, site: &mut S, out: &mut Vec<u8>) -> Action<S::File> {
        self.read(&[], now, site, out)
    }

    /// Whether its time is up: the deadline has come, and of its answer the client has taken too little, or all.
    pub fn is_late(&mut self, now: Duration, of: Taken, patience: &Patience) -> bool {
        if now < self.deadline(patience) {
            return false;
        }
        let Taken { taken, waiting } = of;
        let is_answered = !matches!(self.state, State::Sending { .. }) && self.input.is_empty();
        // Whoever takes the rest of an answer is not idle, and keeps its place for as long.
        if is_answered
            && waiting > 0
            && (self.untaken == 0 || self.untaken >= waiting.saturating_add(patience.least))
        {
            (self.untaken, self.since) = (waiting, now);
            return false;
        }
        match &mut self.state {
            State::Sending { taken: before, .. }
                if taken.is_none_or(|taken| taken.saturating_sub(*before) >= patience.least) =>
            {
                (*before, self.since) = (taken.unwrap_or(*before), now);
                false
            }
            _ => true,
        }
    }

    fn over<F>(&mut self, action: Action<F>) -> Action<F> {
        self.state = State::Over;
        action
    }

    /// Looks for a head in what was kept and what came; the latter is copied only if it is not used up here.
    fn read<S: Site>(
        &mut self,
        fresh: &[u8],
        now: Now<'_>,
        site: &mut S,
        out: &mut Vec<u8>,
    ) -> Action<S::File> {
        let mut kept = mem::take(&mut self.input);
        if kept.is_empty() {
            let (action, used) = self.step(fresh, now, site, out);
            self.input = fresh[used..].to_vec();
            return action;
        }
        kept.extend_from_slice(fresh);
        let (action, used) = self.step(&kept, now, site, out);
        if used > 0 {
            kept.drain(..used);
            // What is left needs no room for a long head.
            if kept.capacity() > 2 * kept.len() + READ_AHEAD {
                kept.shrink_to_fit();
            }
        }
        self.input = kept;
        action
    }

    /// What to do about these bytes, and how many of them are used up.
    fn step<S: Site>(
        &mut self,
        bytes: &[u8],
        now: Now<'_>,
        site: &mut S,
        out: &mut Vec<u8>,
    ) -> (Action<S::File>, usize) {
        let parsed = head::parse(bytes, self.scanned as usize);
        self.scanned = 0;
        match parsed {
            Parsed::Incomplete if self.ended => (self.over(Action::Close), bytes.len()),
            Parsed::Incomplete => {
                self.scanned = bytes.len() as u32;
                (Action::Wait, 0)
            }
            Parsed::Refused(status) => {
                let frame = Frame { date: now.date, keep_alive: false, old: false };
                let written = response::refusal(status, frame, out);
                (self.send(written, None, (String::new(), None), false, now), bytes.len())
            }
            Parsed::Head(head) => match self.answer(&head, now, site, out) {
                Some(action) => (action, head.len),
                None => {
                    self.since = now.time;
                    let Head { len, body, .. } = head;
                    // What HTTP/1.0 means by keeping a connection depends on the answer.
                    let keep_alive = head.keep_alive && !head.old;
                    (self.over(Action::HandOver(Onward { head: len, body, keep_alive })), 0)
                }
            },
        }
    }

    /// Answers what is ours to answer.
    fn answer<S: Site>(
        &mut self,
        head: &Head<'_>,
        now: Now<'_>,
        site: &mut S,
        out: &mut Vec<u8>,
    ) -> Option<Action<S::File>> {
        let frame = Frame { date: now.date, keep_alive: goes_on(head), old: head.old };
        let asked = || (head.path.unwrap_or_default().to_owned(), head.boot);
        let mut plain = |status| response::plain(status, head.method, frame, out);
        let written = match head.method {
            Method::Unknown => plain(Status::NotImplemented),
            Method::Forbidden => plain(Status::MethodNotAllowed),
            method => match site.find(head.path?, head.wants_digest.any()) {
                Found::Elsewhere => return None,
                _ if method == Method::Known => plain(Status::MethodNotAllowed),
                Found::Nothing(problem) => plain(problem.status()),
                Found::File(file) => {
                    let written = response::file(head, &file, frame, out);
                    return Some(self.send(written, Some(file), asked(), frame.keep_alive, now));
                }
            },
        };
        Some(self.send(written, None, asked(), frame.keep_alive, now))
    }

    fn send<F>(
        &mut self,
        written: Written,
        file: Option<F>,
        (path, boot): (String, Option<u64>),
        keep_alive: bool,
        now: Now<'_>,
    ) -> Action<F> {
        self.state = State::Sending { keep_alive, taken: 0 };
        self.since = now.time;
        let Written { status, file: range, length, part } = written;
        Action::Send(Answer { body: file.zip(range), path, boot, status, length, part })
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
