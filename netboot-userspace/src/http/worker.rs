//! One worker: its listener, its connections, and their deadlines.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::net::{Shutdown, sockopt};

use crate::sys::net;
use crate::sys::sendfile::Progress;
use crate::uring::timers::Timers;
use crate::uring::workers::Stop;
use crate::uring::{Event as Completion, Kind, Lease, OpId, Payload, Reactor, Socket};

use super::connection::{Connection, READ_AHEAD, Sending, State};
use super::machine::{self, Head, Method, Parsed, Status};
use super::mounts::{Found, Problem};
use super::response::{self, Cache, Response};
use super::{HandOver, Shared, Stage};

const LISTENER: u64 = 0;
/// How long accepting pauses when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

struct Worker<'a> {
    reactor: Reactor,
    shared: &'a Shared,
    listener: Socket,
    connections: HashMap<u64, Connection>,
    last: u64,
    timers: Timers,
    start: Instant,
    cache: Cache,
    /// A path in its normal form.
    scratch: String,
}

/// Serves until told to stop, or until there is no engine left to serve with.
pub(super) fn run(reactor: Reactor, listener: OwnedFd, shared: &Shared, stop: &Stop) -> io::Result<()> {
    let mut worker = Worker {
        reactor,
        shared,
        listener: Arc::new(listener),
        connections: HashMap::new(),
        last: LISTENER,
        timers: Timers::default(),
        start: Instant::now(),
        cache: Cache::default(),
        scratch: String::new(),
    };
    worker.reactor.accept(&worker.listener, LISTENER);
    let served = worker.serve(stop);
    let tokens: Vec<_> = worker.connections.keys().copied().collect();
    tokens.into_iter().for_each(|token| worker.close(token));
    served
}

/// What became of looking at a connection's input.
enum Lane {
    /// The head isn't complete.
    Wait,
    /// Answered from here: the head of the response is in the buffer.
    Answer(Response, Answered),
    /// Not for us.
    HandOver,
}

struct Answered {
    path: String,
    head_len: usize,
    keep_alive: bool,
}

impl Worker<'_> {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn serve(&mut self, stop: &Stop) -> io::Result<()> {
        while !stop.load(Acquire) {
            let timeout = self.timers.next().map(|at| at.saturating_sub(self.now()));
            self.reactor.wait(timeout)?;
            while let Some(event) = self.reactor.next_event() {
                self.event(event);
            }
            self.expire();
        }
        Ok(())
    }

    fn event(&mut self, event: Completion) {
        let token = event.token;
        match event.kind {
            Kind::Accepted(Ok(stream)) => self.accepted(stream),
            Kind::Accepted(Err(error)) => self.accept_later(&error),
            Kind::Received(outcome) => self.received(token, outcome, event.more),
            Kind::Sent(outcome) => self.moved(token, event.op, outcome.map(|_| ())),
            Kind::Writable(outcome) => self.moved(token, event.op, outcome),
            Kind::Woken => {}
            Kind::Datagram(outcome) => {
                if let Ok(datagram) = outcome {
                    self.reactor.give_back(datagram.lease);
                }
            }
        }
    }

    fn accepted(&mut self, stream: OwnedFd) {
        let Ok(peer) = net::peer_address(&stream) else { return };
        let limits = &self.shared.limits;
        let Some(place) = self.shared.counters.admit(peer.ip(), limits.per_peer, limits.total) else {
            return;
        };
        // Heads and last segments leave at once; a head waits for its body by MSG_MORE.
        let _ = sockopt::set_tcp_nodelay(&stream, true);
        self.last += 1;
        let (token, now) = (self.last, self.now());
        let mut connection = Connection::new(Arc::new(stream), peer, place, now);
        connection.receiving = Some(self.reactor.receive(&connection.stream, token));
        self.connections.insert(token, connection);
        self.arm(token);
    }

    /// No descriptor or memory: those who are here go on, the next ones wait in the backlog.
    fn accept_later(&mut self, error: &io::Error) {
        tracing::warn!(%error, "HTTP: accepting pauses");
        self.shared.counters.pauses.fetch_add(1, Relaxed);
        self.timers.add(self.now() + PAUSE, LISTENER);
    }

    fn received(&mut self, token: u64, outcome: io::Result<Lease>, more: bool) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&token) else {
            if let Ok(lease) = outcome {
                self.reactor.give_back(lease);
            }
            return;
        };
        if !more {
            connection.receiving = None;
        }
        match outcome {
            Ok(lease) => {
                connection.ended |= lease.is_empty();
                connection.take(self.reactor.bytes(&lease), now);
                self.reactor.give_back(lease);
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => connection.ended = true,
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => {}
            Err(_) => return self.close(token),
        }
        if connection.input.len() > READ_AHEAD
            && let Some(op) = connection.receiving
        {
            self.reactor.cancel(op);
        }
        self.go_on(token);
    }

    /// Does what the state and the input allow.
    fn go_on(&mut self, token: u64) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        match connection.state {
            State::Reading => self.read(token),
            State::HandingOver if connection.receiving.is_none() => self.hand_over(token),
            State::Draining if connection.ended => self.close(token),
            _ => self.arm(token),
        }
    }

    fn read(&mut self, token: u64) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        let mut out = self.reactor.buffer();
        let lane = self.lane(&connection, &mut out);
        let now = self.now();
        match lane {
            Lane::Wait if connection.ended => {
                self.reactor.put_back(out);
                self.connections.insert(token, connection);
                return self.close(token);
            }
            Lane::Wait => {
                self.reactor.put_back(out);
                connection.scanned = connection.input.len();
                if connection.receiving.is_none() {
                    connection.receiving = Some(self.reactor.receive(&connection.stream, token));
                }
            }
            Lane::Answer(response, answered) => {
                connection.input.drain(..answered.head_len);
                connection.scanned = 0;
                connection.since = now;
                let more = response.body.is_some();
                let sent = self.reactor.send(&connection.stream, Payload::Owned(out), more, token);
                connection.moving = Some(sent);
                connection.state = State::Sending(Sending {
                    path: answered.path,
                    status: response.status.code(),
                    body: response.body,
                    total: response.length,
                    range: response.range,
                    started: now,
                    reported: now,
                    keep_alive: answered.keep_alive,
                });
            }
            Lane::HandOver => {
                self.reactor.put_back(out);
                connection.since = now;
                connection.state = State::HandingOver;
                match connection.receiving {
                    Some(op) => self.reactor.cancel(op),
                    None => {
                        self.connections.insert(token, connection);
                        return self.hand_over(token);
                    }
                }
            }
        }
        self.connections.insert(token, connection);
        self.arm(token);
    }

    /// Answers what is a static file; the rest is handed over as it came.
    fn lane(&mut self, connection: &Connection, out: &mut Vec<u8>) -> Lane {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs() as i64);
        let head = match machine::parse(&connection.input, connection.scanned) {
            Parsed::Incomplete => return Lane::Wait,
            Parsed::Refused(status) => {
                self.shared.counters.refused.fetch_add(1, Relaxed);
                let response = response::refusal(status, now, out);
                let head_len = connection.input.len();
                return Lane::Answer(response, Answered { path: String::new(), head_len, keep_alive: false });
            }
            Parsed::Head(head) => head,
        };
        let Some(path) = head.path else { return Lane::HandOver };
        let found = self.shared.mounts.find(path, &mut self.scratch);
        let response = match found {
            Found::Elsewhere => return Lane::HandOver,
            _ if head.method == Method::Known => response::plain(Status::MethodNotAllowed, &head, now, out),
            _ if head.method == Method::Unknown => response::plain(Status::NotImplemented, &head, now, out),
            Found::Nothing(problem) => response::plain(status_of(problem), &head, now, out),
            Found::File(file) => {
                match response::file(
                    &head,
                    &self.scratch,
                    file,
                    &connection.stream,
                    &mut self.cache,
                    now,
                    out,
                ) {
                    Ok(response) => response,
                    Err(_) => {
                        out.clear();
                        response::plain(Status::Unavailable, &head, now, out)
                    }
                }
            }
        };
        Lane::Answer(response, answered(&head, path))
    }

    /// A send ended, or the socket takes more: the body goes on.
    fn moved(&mut self, token: u64, op: OpId, outcome: io::Result<()>) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.moving == Some(op) {
            connection.moving = None;
        }
        let State::Sending(sending) = &mut connection.state else { return };
        if outcome.is_err() {
            return self.close(token);
        }
        connection.since = now;
        let progress = match &mut sending.body {
            None => Ok(Progress::Done),
            Some(body) => body.advance(),
        };
        match progress {
            Ok(Progress::Waiting) => {
                if sending.wants_report(now) {
                    (self.shared.observer)(sending.event(connection.peer, now, Stage::Progress));
                }
                connection.moving = Some(self.reactor.writable(&connection.stream, token));
                self.arm(token);
            }
            Ok(Progress::Done) => self.sent(token),
            // The file is shorter than promised, or the client is gone: either way the length can't be kept.
            Err(_) => self.close(token),
        }
    }

    fn sent(&mut self, token: u64) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let State::Sending(sending) = &connection.state else { return };
        if sending.body.is_some() {
            // sendfile(2) may hold a part-filled last segment back; setting the option again pushes it out.
            let _ = sockopt::set_tcp_nodelay(&connection.stream, true);
        }
        let event = sending.event(connection.peer, now, Stage::Done);
        let keep_alive = sending.keep_alive;
        connection.next_request(now);
        self.shared.counters.responses.fetch_add(1, Relaxed);
        self.shared.counters.bytes.fetch_add(event.bytes, Relaxed);
        (self.shared.observer)(event);
        if keep_alive {
            return self.read(token);
        }
        connection.state = State::Draining;
        connection.input = Vec::new();
        let _ = rustix::net::shutdown(&connection.stream, Shutdown::Write);
        if connection.receiving.is_none() && !connection.ended {
            connection.receiving = Some(self.reactor.receive(&connection.stream, token));
        }
        self.go_on(token);
    }

    fn hand_over(&mut self, token: u64) {
        let Some(connection) = self.connections.remove(&token) else { return };
        let counters = &self.shared.counters;
        // Nothing is under way on it any more; if something were, a second descriptor does as well.
        let stream = match Arc::try_unwrap(connection.stream) {
            Ok(stream) => Ok(stream),
            Err(shared) => shared.try_clone(),
        };
        match stream {
            Ok(stream) => {
                counters.handed_over.fetch_add(1, Relaxed);
                let stream = TcpStream::from(stream);
                let Connection { input: read, peer, place, .. } = connection;
                (self.shared.hand_over)(HandOver { stream, read, peer, place });
            }
            Err(error) => tracing::warn!(%error, peer = %connection.peer, "HTTP: a connection is lost"),
        }
    }

    fn close(&mut self, token: u64) {
        let now = self.now();
        let Some(connection) = self.connections.remove(&token) else { return };
        [connection.receiving, connection.moving]
            .into_iter()
            .flatten()
            .for_each(|op| self.reactor.cancel(op));
        if let State::Sending(sending) = &connection.state {
            let event = sending.event(connection.peer, now, Stage::Broken);
            self.shared.counters.broken.fetch_add(1, Relaxed);
            self.shared.counters.bytes.fetch_add(event.bytes, Relaxed);
            (self.shared.observer)(event);
        }
        // Operations that are being cancelled hold the socket open a little longer: tell the client now.
        let _ = rustix::net::shutdown(&connection.stream, Shutdown::Both);
    }

    /// Makes sure that the connection is looked at when its time is up.
    fn arm(&mut self, token: u64) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let deadline = connection.deadline(&self.shared.limits);
        if deadline < connection.timer {
            connection.timer = deadline;
            self.timers.add(deadline, token);
        }
    }

    fn expire(&mut self) {
        let now = self.now();
        while let Some((at, token)) = self.timers.due(now) {
            if token == LISTENER {
                self.reactor.accept(&self.listener, LISTENER);
                continue;
            }
            let Some(connection) = self.connections.get_mut(&token).filter(|c| c.timer == at) else {
                continue;
            };
            if connection.deadline(&self.shared.limits) <= now {
                self.shared.counters.timeouts.fetch_add(1, Relaxed);
                self.close(token);
            } else {
                connection.timer = Duration::MAX;
                self.arm(token);
            }
        }
    }
}

fn answered(head: &Head<'_>, path: &str) -> Answered {
    // A body that nobody reads can't be told from the next request: end here.
    Answered { path: path.to_owned(), head_len: head.len, keep_alive: head.keep_alive && !head.body }
}

fn status_of(problem: Problem) -> Status {
    match problem {
        Problem::Missing => Status::NotFound,
        Problem::Malformed => Status::BadRequest,
        Problem::Busy => Status::Unavailable,
    }
}
