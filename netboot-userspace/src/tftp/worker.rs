//! One worker: its share of the requests, a socket for each transfer, and the timers.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use netboot_common::wire::tftp::{
    ErrorCode, Granted, Malformed, Mode, Packet, Request, data_header, emit_error,
};

use arc_swap::ArcSwap;

use crate::sys::datagram::Destination;
use crate::sys::net;
use crate::sys::open::Refusal;
use crate::uring::timers::Timers;
use crate::uring::workers::Stop;
use crate::uring::{Datagram, Event as Completion, Kind, Lease, OpId, Reactor, Socket};

use super::files::{Content, Library, Problem};
use super::machine::{End, Send, Step, Transfer};
use super::names::{BadName, Candidates};
use super::sessions::{Bounds, Room, Sessions};
use super::stats::Counters;
use super::{Config, Event, Observer, Outcome};

/// The token of the request socket, and of sends whose outcome nobody waits for.
const REQUESTS: u64 = 0;

/// Subnets, which may be exchanged while workers read them.
pub(super) type Sources = Arc<ArcSwap<Vec<(IpAddr, u8)>>>;

pub(super) struct Shared {
    pub(super) config: Config,
    /// Who is answered now.
    pub(super) sources: Sources,
    /// How many transfers each worker may have.
    pub(super) transfers: usize,
    pub(super) library: Library,
    pub(super) observer: Observer,
    pub(super) counters: Arc<Counters>,
}

/// Of so many of our addresses the sockets for refusals are kept.
const REFUSAL_SOCKETS: usize = 16;
/// How long requests wait after an error of their socket.
const PAUSE: Duration = Duration::from_millis(100);

struct Worker<'a> {
    reactor: Reactor,
    shared: &'a Shared,
    /// Refusals leave from here, so that the request port never looks like a transfer (RFC 1350 section 4): a socket for
    /// each of our addresses that was asked.
    refusals: HashMap<SocketAddr, Socket>,
    requests: Socket,
    sessions: Sessions<Session>,
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

/// The two ends of a request.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    /// Our address that was asked, and answers; port 0.
    own: SocketAddr,
}

/// Serves until told to stop, or until there is no engine left to serve with.
pub(super) fn run(reactor: Reactor, requests: OwnedFd, shared: &Shared, stop: &Stop) -> io::Result<()> {
    let bounds = Bounds { total: shared.transfers, per_client: shared.config.transfers_per_client };
    let mut worker = Worker {
        reactor,
        shared,
        refusals: HashMap::new(),
        requests: Arc::new(requests),
        sessions: Sessions::new(bounds),
        timers: Timers::default(),
        start: Instant::now(),
        scratch: Vec::new(),
    };
    worker.listen();
    while !stop.load(Acquire) {
        let timeout = worker.timers.next().map(|at| at.saturating_sub(worker.now()));
        worker.reactor.wait(timeout)?;
        while let Some(event) = worker.reactor.next_event() {
            worker.event(event);
        }
        worker.expire();
    }
    Ok(())
}

impl Worker<'_> {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn listen(&mut self) {
        self.reactor.receive_from(&self.requests, REQUESTS);
    }

    fn event(&mut self, event: Completion) {
        match event.kind {
            Kind::Datagram(Ok(Datagram { from, to, lease })) => {
                if event.token == REQUESTS {
                    self.request(from, to, &lease);
                } else {
                    self.datagram(event.token, from, &lease);
                }
                self.reactor.give_back(lease);
            }
            Kind::Datagram(Err(error)) if event.token == REQUESTS => {
                tracing::warn!(%error, "TFTP worker: receiving requests pauses");
                self.timers.add(self.now() + PAUSE, REQUESTS);
            }
            // A send that failed is a packet lost: the timer repeats it.
            _ => {}
        }
    }

    fn request(&mut self, from: SocketAddr, to: Destination, lease: &Lease) {
        let counters = &self.shared.counters;
        // A client of IPv4 is one of IPv4, whatever the socket that heard it.
        let client = canonical(from);
        if client.port() == 0 || !allowed(&self.shared.sources.load(), client.ip()) {
            counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        let Destination::Own(own) = to else {
            // RFC 1123 4.2.3.5. That the kernel doesn't say where it was sent to never happens.
            counters.broadcast.fetch_add(1, Relaxed);
            return;
        };
        let mut datagram = std::mem::take(&mut self.scratch);
        datagram.clear();
        datagram.extend_from_slice(self.reactor.bytes(lease));
        self.answer(Ends { client, own }, &datagram);
        self.scratch = datagram;
    }

    fn answer(&mut self, ends: Ends, datagram: &[u8]) {
        let counters = &self.shared.counters;
        match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => {
                counters.requests.fetch_add(1, Relaxed);
                self.read_request(ends, &request);
            }
            Ok(Packet::Write) => {
                counters.requests.fetch_add(1, Relaxed);
                let answer = Answer::refused(ErrorCode::AccessViolation, "this server is read-only");
                self.refuse(ends, String::new(), answer);
            }
            Err(Malformed::Unterminated | Malformed::Opcode(_)) => {
                let answer = Answer::refused(ErrorCode::IllegalOperation, "illegal operation");
                self.refuse(ends, String::new(), answer);
            }
            // What belongs to a transfer, or to none, has nothing to say here, and answering could feed a loop.
            Ok(Packet::Ack(_) | Packet::Error(..) | Packet::NotForServers) | Err(Malformed::Short) => {
                counters.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    /// A request for which there is no room gets no answer: clients ask again after a while, but give up at an ERROR.
    fn read_request(&mut self, ends: Ends, request: &Request<'_>) {
        match self.sessions.of_client(ends.client) {
            // A repetition.
            Some((_, false)) => return,
            Some((token, true)) => self.end(token, End::Aborted),
            None => {}
        }
        match self.open(request) {
            Ok((content, name)) => {
                if self.make_room(ends.client.ip()) {
                    self.begin(ends, request, content, name);
                }
            }
            Err(answer) => self.refuse(ends, printable(request.filename), answer),
        }
    }

    fn open(&self, request: &Request<'_>) -> Result<(Content, String), Answer> {
        let names = Candidates::parse(request.filename)?;
        if request.mode == Mode::Other {
            return Err(Answer::refused(ErrorCode::Undefined, "only octet and netascii"));
        }
        let content = self.shared.library.find(&names, request.mode)?;
        Ok((content, names.plain))
    }

    fn make_room(&mut self, client: IpAddr) -> bool {
        let counters = &self.shared.counters;
        match self.sessions.room(client) {
            Room::Free => true,
            Room::InsteadOf(token) => {
                self.evict(token);
                true
            }
            Room::ClientFull => {
                counters.client_full.fetch_add(1, Relaxed);
                false
            }
            Room::Full => {
                counters.full.fetch_add(1, Relaxed);
                false
            }
        }
    }

    fn evict(&mut self, token: u64) {
        self.shared.counters.evicted.fetch_add(1, Relaxed);
        self.end(token, End::Failed("it made room for another, as its client had not answered".to_owned()));
    }

    fn begin(&mut self, ends: Ends, request: &Request<'_>, content: Content, name: String) {
        let Some(socket) = self.transfer_socket(ends.own) else {
            self.shared.counters.no_socket.fetch_add(1, Relaxed);
            return;
        };
        let (now, limits) = (self.now(), self.shared.config.limits);
        let (machine, step) = Transfer::new(ends.client, request, content.size(), limits, now);
        let token = self.sessions.reserve();
        let receiving = self.reactor.receive_from(&socket, token);
        let timer = machine.deadline();
        self.timers.add(timer, token);
        let session = Session { machine, socket, receiving, content, name, started: now, timer };
        self.sessions.fill(token, ends.client, session);
        self.shared.counters.active.fetch_add(1, Relaxed);
        self.act(token, step);
    }

    /// A port of its own, at the address that was asked: both together are our TID.
    fn transfer_socket(&mut self, own: SocketAddr) -> Option<Socket> {
        net::udp_socket(own).or_else(|error| self.without_one(error, own)).map(Arc::new).ok()
    }

    /// Without a descriptor left, a transfer that nobody has answered gives its own.
    fn without_one(&mut self, error: io::Error, own: SocketAddr) -> io::Result<OwnedFd> {
        match self.sessions.least() {
            Some(token) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                self.evict(token);
                net::udp_socket(own)
            }
            _ => Err(error),
        }
    }

    fn datagram(&mut self, token: u64, from: SocketAddr, lease: &Lease) {
        let now = self.now();
        let Some(session) = self.sessions.get_mut(token) else { return };
        let step = session.machine.datagram(from, self.reactor.bytes(lease), now);
        if session.machine.answered() {
            self.sessions.answered(token);
        }
        self.act(token, step);
    }

    fn expire(&mut self) {
        let now = self.now();
        while let Some((at, token)) = self.timers.due(now) {
            if token == REQUESTS {
                self.listen();
                continue;
            }
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

    fn refuse(&mut self, ends: Ends, file: String, answer: Answer) {
        if let Some(socket) = self.refusal_socket(ends.own) {
            send_error(&mut self.reactor, &socket, ends.client, answer.code, answer.text);
        }
        self.report(Event {
            client: ends.client,
            file,
            size: 0,
            bytes: 0,
            resent: 0,
            duration: Duration::ZERO,
            outcome: answer.outcome,
        });
    }

    fn refusal_socket(&mut self, own: SocketAddr) -> Option<Socket> {
        if !self.refusals.contains_key(&own) {
            // A host may answer for whole networks: not with a socket for each of their addresses.
            if self.refusals.len() >= REFUSAL_SOCKETS {
                self.refusals.clear();
            }
            self.refusals.insert(own, Arc::new(net::udp_socket(own).ok()?));
        }
        self.refusals.get(&own).cloned()
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

/// An IPv4 client that an IPv6 socket heard, as an IPv4 client.
fn canonical(client: SocketAddr) -> SocketAddr {
    match client.ip().to_canonical() {
        IpAddr::V4(address) => (address, client.port()).into(),
        IpAddr::V6(_) => client,
    }
}

/// Link-local addresses are always of the link.
fn allowed(sources: &[(IpAddr, u8)], client: IpAddr) -> bool {
    let inside = |&(network, prefix): &(IpAddr, u8)| match (network, client) {
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
