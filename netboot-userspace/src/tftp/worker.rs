//! One worker: its share of the requests, a socket for each transfer, and the timers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use netboot_common::wire::tftp::{
    ErrorCode, Granted, Malformed, Mode, Packet, Request, data_header, emit_error,
};

use crate::sys::net;
use crate::sys::open::Refusal;
use crate::uring::timers::Timers;
use crate::uring::workers::Stop;
use crate::uring::{Event as Completion, Kind, Lease, OpId, Reactor, Socket};

use super::files::{Content, Library, Problem};
use super::machine::{End, Send, Step, Transfer};
use super::names::{BadName, Candidates};
use super::stats::Counters;
use super::{Config, Event, Observer, Outcome};

/// The token of the request socket, and of sends whose outcome nobody waits for.
const REQUESTS: u64 = 0;

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) library: Library,
    pub(super) observer: Observer,
    pub(super) counters: Arc<Counters>,
}

struct Worker<'a> {
    reactor: Reactor,
    shared: &'a Shared,
    /// Refusals leave from here, so that the request port never looks like a transfer (RFC 1350 section 4).
    refusals: Socket,
    sessions: Sessions,
    timers: Timers,
    start: Instant,
    /// The request that is being answered.
    scratch: Vec<u8>,
}

struct Session {
    machine: Transfer,
    socket: Socket,
    receiving: OpId,
    content: Content,
    name: String,
    started: Duration,
    timer: Duration,
}

/// Serves until told to stop.
pub(super) fn run(mut reactor: Reactor, requests: OwnedFd, shared: &Shared, stop: &Stop) {
    let own_address = SocketAddr::new(shared.config.listen.ip(), 0);
    let refusals = match net::udp_socket(own_address) {
        Ok(socket) => Arc::new(socket),
        Err(error) => {
            tracing::error!(%error, "TFTP worker: no socket for refusals");
            return;
        }
    };
    let requests = Arc::new(requests);
    reactor.receive_from(&requests, REQUESTS);
    let (sessions, timers) = (Sessions::default(), Timers::default());
    let (start, scratch) = (Instant::now(), Vec::new());
    let mut worker = Worker { reactor, shared, refusals, sessions, timers, start, scratch };
    while !stop.load(Acquire) {
        let timeout = worker.timers.next().map(|at| at.saturating_sub(worker.now()));
        if let Err(error) = worker.reactor.wait(timeout) {
            tracing::error!(%error, "TFTP worker: waiting for packets");
            return;
        }
        while let Some(event) = worker.reactor.next_event() {
            worker.event(event, &requests);
        }
        worker.expire();
    }
}

impl Worker<'_> {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn event(&mut self, event: Completion, requests: &Socket) {
        match event.kind {
            Kind::Datagram(Ok((from, lease))) => {
                if event.token == REQUESTS {
                    self.request(from, &lease);
                } else {
                    self.datagram(event.token, from, &lease);
                }
                self.reactor.give_back(lease);
            }
            Kind::Datagram(Err(error)) if event.token == REQUESTS => {
                tracing::warn!(%error, "TFTP worker: receiving requests");
                self.reactor.receive_from(requests, REQUESTS);
            }
            // A send that failed is a packet lost: the timer repeats it.
            _ => {}
        }
    }

    fn request(&mut self, from: SocketAddr, lease: &Lease) {
        let shared = self.shared;
        if from.port() == 0 || !allowed(&shared.config.sources, from.ip()) {
            shared.counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        let mut datagram = std::mem::take(&mut self.scratch);
        datagram.clear();
        datagram.extend_from_slice(self.reactor.bytes(lease));
        self.answer(from, &datagram);
        self.scratch = datagram;
    }

    fn answer(&mut self, from: SocketAddr, datagram: &[u8]) {
        let shared = self.shared;
        match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => {
                shared.counters.requests.fetch_add(1, Relaxed);
                match self.open(from, &request) {
                    Ok(Some((content, name))) => {
                        let now = self.now();
                        let limits = shared.config.limits;
                        let (machine, step) = Transfer::new(from, &request, content.size(), limits, now);
                        self.begin(machine, step, content, name);
                    }
                    Ok(None) => {}
                    Err(refusal) => {
                        let name = printable(request.filename);
                        self.refuse(from, name, refusal);
                    }
                }
            }
            Ok(Packet::Write) => {
                shared.counters.requests.fetch_add(1, Relaxed);
                self.refuse(
                    from,
                    String::new(),
                    Answer::refused(ErrorCode::AccessViolation, "this server is read-only"),
                );
            }
            Err(Malformed::Unterminated | Malformed::Opcode(_)) => {
                self.refuse(
                    from,
                    String::new(),
                    Answer::refused(ErrorCode::IllegalOperation, "illegal operation"),
                );
            }
            // What belongs to a transfer, or to none, has nothing to say here, and answering could feed a loop.
            Ok(Packet::Ack(_) | Packet::Error(..) | Packet::NotForServers) | Err(Malformed::Short) => {
                shared.counters.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    /// The content that a request is for; nothing when the request is a repetition.
    fn open(&mut self, from: SocketAddr, request: &Request<'_>) -> Result<Option<(Content, String)>, Answer> {
        if let Some(token) = self.sessions.of_client(from) {
            match self.sessions.get(token) {
                Some(session) if !session.machine.answered() => return Ok(None),
                _ => self.end(token, End::Aborted),
            }
        }
        let config = &self.shared.config;
        if self.sessions.count() >= config.transfers
            || self.sessions.count_of(from.ip()) >= config.transfers_per_client
        {
            return Err(Answer::refused(ErrorCode::Undefined, "too many transfers"));
        }
        let names = Candidates::parse(request.filename)?;
        if request.mode == Mode::Other {
            return Err(Answer::refused(ErrorCode::Undefined, "only octet and netascii"));
        }
        let content = self.shared.library.find(&names, request.mode)?;
        Ok(Some((content, names.plain)))
    }

    fn begin(&mut self, machine: Transfer, step: Step, content: Content, name: String) {
        let client = machine.client();
        let own_address = SocketAddr::new(self.shared.config.listen.ip(), 0);
        let Ok(socket) = net::udp_socket(own_address) else {
            return self.refuse(client, name, Answer::refused(ErrorCode::Undefined, "busy"));
        };
        let socket = Arc::new(socket);
        let token = self.sessions.reserve();
        let receiving = self.reactor.receive_from(&socket, token);
        let (started, timer) = (self.now(), machine.deadline());
        self.timers.add(timer, token);
        self.sessions.fill(token, Session { machine, socket, receiving, content, name, started, timer });
        self.shared.counters.active.fetch_add(1, Relaxed);
        self.act(token, step);
    }

    fn datagram(&mut self, token: u64, from: SocketAddr, lease: &Lease) {
        let now = self.now();
        let Some(session) = self.sessions.get_mut(token) else { return };
        let step = session.machine.datagram(from, self.reactor.bytes(lease), now);
        self.act(token, step);
    }

    fn expire(&mut self) {
        let now = self.now();
        while let Some((at, token)) = self.timers.due(now) {
            let Some(session) = self.sessions.get_mut(token).filter(|s| s.timer == at) else { continue };
            let step = session.machine.timer(now);
            session.timer = session.machine.deadline().max(now + Duration::from_millis(1));
            self.timers.add(session.timer, token);
            self.act(token, step);
        }
    }

    fn act(&mut self, token: u64, step: Step) {
        let Some(session) = self.sessions.get_mut(token) else { return };
        let client = session.machine.client();
        let mut end = step.end;
        match step.send {
            Send::Nothing => {}
            Send::Oack => {
                let mut oack = [0; Granted::MAX];
                let len = session.machine.granted().emit(&mut oack);
                send_bytes(&mut self.reactor, &session.socket, client, &oack[..len]);
            }
            Send::Blocks(blocks) => {
                if let Err(error) = send_blocks(&mut self.reactor, session, blocks) {
                    send_error(
                        &mut self.reactor,
                        &session.socket,
                        client,
                        ErrorCode::Undefined,
                        "the file changed",
                    );
                    end = Some(End::Failed(format!("reading the file: {error}")));
                }
            }
            Send::Stranger(stranger) => {
                let (code, text) = (ErrorCode::UnknownTransfer, "unknown transfer ID");
                send_error(&mut self.reactor, &session.socket, stranger, code, text);
            }
            Send::Error(code, text) => send_error(&mut self.reactor, &session.socket, client, code, text),
        }
        // The adaptive timeout may have become shorter than the timer that runs.
        let deadline = session.machine.deadline();
        if deadline < session.timer {
            session.timer = deadline;
            self.timers.add(deadline, token);
        }
        if let Some(end) = end {
            self.end(token, end);
        }
    }

    fn end(&mut self, token: u64, end: End) {
        let now = self.now();
        let Some(session) = self.sessions.remove(token) else { return };
        self.reactor.cancel(session.receiving);
        self.shared.counters.active.fetch_sub(1, Relaxed);
        let outcome = match end {
            End::Done => Outcome::Done,
            End::Unconfirmed => Outcome::Unconfirmed,
            End::Aborted => Outcome::Aborted,
            End::Failed(reason) => Outcome::Failed(reason),
        };
        self.report(Event {
            client: session.machine.client(),
            file: session.name,
            size: session.content.size(),
            bytes: session.machine.acknowledged(),
            resent: session.machine.resent(),
            duration: now.saturating_sub(session.started),
            outcome,
        });
    }

    fn refuse(&mut self, client: SocketAddr, file: String, answer: Answer) {
        send_error(&mut self.reactor, &self.refusals, client, answer.code, answer.text);
        self.report(Event {
            client,
            file,
            size: 0,
            bytes: 0,
            resent: 0,
            duration: Duration::ZERO,
            outcome: answer.outcome,
        });
    }

    fn report(&self, event: Event) {
        self.shared.counters.ended(&event);
        (self.shared.observer)(event);
    }
}

fn send_blocks(
    reactor: &mut Reactor,
    session: &Session,
    blocks: std::ops::RangeInclusive<u64>,
) -> std::io::Result<()> {
    for block in blocks {
        let (offset, len) = session.machine.place(block);
        let header = data_header(session.machine.wire_number(block));
        reactor.send_to(&session.socket, session.machine.client(), REQUESTS, |out| {
            out.extend_from_slice(&header);
            session.content.append(offset, len, out)
        })?;
    }
    Ok(())
}

fn send_bytes(reactor: &mut Reactor, socket: &Socket, to: SocketAddr, packet: &[u8]) {
    // Only the closure could fail.
    let _ = reactor.send_to(socket, to, REQUESTS, |out| {
        out.extend_from_slice(packet);
        Ok(())
    });
}

fn send_error(reactor: &mut Reactor, socket: &Socket, to: SocketAddr, code: ErrorCode, text: &str) {
    let mut packet = [0; 128];
    let len = emit_error(code, text, &mut packet);
    send_bytes(reactor, socket, to, &packet[..len]);
}

/// A refusal on the wire and in the report.
struct Answer {
    code: ErrorCode,
    text: &'static str,
    outcome: Outcome,
}

impl Answer {
    fn refused(code: ErrorCode, text: &'static str) -> Self {
        Self { code, text, outcome: Outcome::Refused(text) }
    }

    fn not_found() -> Self {
        Self { code: ErrorCode::NotFound, text: "file not found", outcome: Outcome::NotFound }
    }
}

impl From<BadName> for Answer {
    fn from(bad: BadName) -> Self {
        match bad {
            BadName::NotAName => Self::not_found(),
            BadName::Climbs => Self::refused(ErrorCode::AccessViolation, "access violation"),
        }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::File(Refusal::NotFound) => Self::not_found(),
            Problem::File(Refusal::Forbidden) => {
                Self::refused(ErrorCode::AccessViolation, "access violation")
            }
            Problem::File(Refusal::Busy) => Self::refused(ErrorCode::Undefined, "busy"),
            Problem::TextTooLarge => Self::refused(ErrorCode::Undefined, "too large for netascii: use octet"),
        }
    }
}

fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).take(255).collect()
}

/// IPv4 clients of an IPv6 socket are IPv4 clients. Link-local addresses are always of the link.
fn allowed(sources: &[(IpAddr, u8)], client: IpAddr) -> bool {
    let inside = |&(network, prefix): &(IpAddr, u8)| match (network, client.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(client)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            network.to_bits() & mask == client.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(client)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            client.is_unicast_link_local() || network.to_bits() & mask == client.to_bits() & mask
        }
        _ => false,
    };
    sources.is_empty() || sources.iter().any(inside)
}

/// Sessions by token; a token is never used for two of them.
#[derive(Default)]
struct Sessions {
    by_token: HashMap<u64, Session>,
    by_client: HashMap<SocketAddr, u64>,
    last: u64,
}

impl Sessions {
    fn reserve(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn fill(&mut self, token: u64, session: Session) {
        self.by_client.insert(session.machine.client(), token);
        self.by_token.insert(token, session);
    }

    fn of_client(&self, client: SocketAddr) -> Option<u64> {
        self.by_client.get(&client).copied()
    }

    fn get(&self, token: u64) -> Option<&Session> {
        self.by_token.get(&token)
    }

    fn get_mut(&mut self, token: u64) -> Option<&mut Session> {
        self.by_token.get_mut(&token)
    }

    fn remove(&mut self, token: u64) -> Option<Session> {
        let session = self.by_token.remove(&token)?;
        self.by_client.remove(&session.machine.client());
        Some(session)
    }

    fn count(&self) -> usize {
        self.by_token.len()
    }

    fn count_of(&self, client: IpAddr) -> usize {
        self.by_client.keys().filter(|other| other.ip() == client).count()
    }
}
