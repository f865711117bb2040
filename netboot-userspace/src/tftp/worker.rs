//! One worker: its share of the requests, a socket for each transfer or one for all, and the timers.
//!
//! Fairness: no transfer has more than one window on its way, and datagrams are answered in the order in which they came.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use netboot_common::wire::tftp::{ErrorCode, Malformed, Mode, Packet, Request, emit_error};

use crate::sys::datagram::{Destination, Outgoing};
use crate::sys::net;
use crate::sys::open::Refusal;
use crate::uring::timers::Timers;
use crate::uring::workers::Stop;
use crate::uring::{Datagram, Event as Completion, Kind, Lease, Reactor, Socket};

use super::answer::Answer;
use super::content::Content;
use super::desk::{Desk, Found, Inbox, Question, Turn};
use super::files::{Library, Problem};
use super::machine::Transfer;
use super::names::Candidates;
use super::session::{Action, First, NOBODY, Port, Session, Work, send_bytes};
use super::sessions::{Bounds, Room, Sessions};
use super::sources::{Sources, allowed, canonical};
use super::stats::Counters;
use super::upload::machine::Reception;
use super::upload::{Folder, Upload};
use super::{Config, Direction, Event, Observer, Outcome};

/// The token of the request socket.
const REQUESTS: u64 = NOBODY;

pub(super) struct Shared {
    pub(super) config: Config,
    /// Who is answered now.
    pub(super) sources: Sources,
    /// How many transfers each worker may have.
    pub(super) transfers: usize,
    pub(super) library: Library,
    /// `None`: write requests are refused.
    pub(super) uploads: Option<Folder>,
    /// `None`: the site knows no names.
    pub(super) desk: Option<Desk>,
    pub(super) observer: Observer,
    pub(super) counters: Arc<Counters>,
}

/// Of so many of our addresses the sockets for refusals are kept.
const REFUSAL_SOCKETS: usize = 16;
/// How long requests wait after an error of their socket.
const PAUSE: Duration = Duration::from_millis(100);

struct Worker<'s> {
    reactor: Reactor,
    shared: &'s Shared,
    /// Refusals leave from here, so that the request port never looks like a transfer (RFC 1350 section 4): a socket for
    /// each of our addresses that was asked.
    refusals: HashMap<SocketAddr, Socket>,
    requests: Socket,
    sessions: Sessions<Session>,
    timers: Timers,
    start: Instant,
    /// The request that is being answered.
    scratch: Vec<u8>,
    /// Windows leave as one.
    as_one: bool,
    /// Those whose requests wait for the site, and where its answers come.
    asking: HashSet<SocketAddr>,
    inbox: Arc<Inbox>,
}

/// The two ends of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    /// The client as the request socket heard it.
    heard: SocketAddr,
    /// Our address that was asked, and answers; port 0.
    own: SocketAddr,
    /// A hash of the request: by it a repetition is told from another request.
    pub(super) asked: u64,
}

/// What a name was found to be.
enum Opened {
    /// A file, and what it is called.
    File(Content, String),
    /// What the site may know under this name.
    Elsewhere(String),
}

/// Serves until told to stop, or until there is no engine left to serve with.
pub(super) fn run(reactor: Reactor, requests: OwnedFd, shared: &Shared, stop: &Stop) -> io::Result<()> {
    let bounds = Bounds { total: shared.transfers, per_client: shared.config.transfers_per_client };
    let inbox = Inbox::new(reactor.waker());
    let mut worker = Worker {
        reactor,
        shared,
        refusals: HashMap::new(),
        requests: Arc::new(requests),
        sessions: Sessions::new(bounds),
        timers: Timers::default(),
        start: Instant::now(),
        scratch: Vec::new(),
        as_one: true,
        asking: HashSet::new(),
        inbox,
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

impl<'s> Worker<'s> {
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
                    self.heard(from, to, &lease);
                } else {
                    self.datagram(event.token, from, &lease);
                }
                self.reactor.give_back(lease);
            }
            Kind::Datagram(Err(error)) if event.token == REQUESTS => {
                tracing::warn!(%error, "TFTP worker: receiving requests pauses");
                self.timers.add(self.now() + PAUSE, REQUESTS);
            }
            Kind::Sent(sent) if event.token != NOBODY => match sent {
                Ok(_) => drop(self.shared.counters.as_one.fetch_add(1, Relaxed)),
                Err(error) => self.not_sent(event.token, &error),
            },
            Kind::Woken => self.take_answers(),
            // A send that failed is a packet lost: the timer repeats it.
            _ => {}
        }
    }

    /// A window did not leave as one.
    fn not_sent(&mut self, token: u64, error: &io::Error) {
        let Some(session) = self.sessions.get_mut(token).filter(|session| session.sends_as_one()) else {
            return;
        };
        if !Outgoing::is_not_divided(error) {
            return;
        }
        self.shared.counters.apart.fetch_add(1, Relaxed);
        // A path that takes no blocks of this size is this client's; a device without checksums is everybody's.
        if self.as_one && error.raw_os_error() != Some(libc::EINVAL) {
            tracing::info!(%error, "TFTP worker: windows leave one datagram at a time");
            self.as_one = false;
        }
        // What can't be read is found out by the timer.
        let _ = session.send_apart(&mut self.reactor);
    }

    /// A datagram came to the request port.
    fn heard(&mut self, from: SocketAddr, to: Destination, lease: &Lease) {
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
        match self.at_one_port(client, &datagram) {
            Some(token) => self.datagram(token, from, lease),
            None => self.answer(Ends { client, heard: from, own, asked: hash(&datagram) }, &datagram),
        }
        self.scratch = datagram;
    }

    /// The transfer that a datagram at the request port is for: any but a request, where there is one port for all.
    fn at_one_port(&self, client: SocketAddr, datagram: &[u8]) -> Option<u64> {
        let is_request = matches!(datagram, [0, 1 | 2, ..]);
        let (token, _) = self.sessions.of_client(client).filter(|_| self.shared.config.one_port)?;
        (!is_request).then_some(token)
    }

    fn answer(&mut self, ends: Ends, datagram: &[u8]) {
        let counters = &self.shared.counters;
        match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => {
                counters.requests.fetch_add(1, Relaxed);
                self.read(ends, &request, datagram);
            }
            Ok(Packet::Write(request, size)) => {
                counters.requests.fetch_add(1, Relaxed);
                self.write(ends, &request, size);
            }
            Err(Malformed::Unterminated | Malformed::Opcode(_)) => {
                self.refuse(ends, String::new(), Direction::Read, Answer::illegal());
            }
            // What belongs to a transfer, or to none, has nothing to say here, and answering could feed a loop.
            Ok(Packet::Ack(_) | Packet::Data(..) | Packet::Error(..) | Packet::NotForServers)
            | Err(Malformed::Short) => {
                counters.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    fn read(&mut self, ends: Ends, request: &Request<'_>, datagram: &[u8]) {
        if self.is_repeated(ends) {
            return;
        }
        match self.open(request) {
            Ok(Opened::File(content, name)) => self.send_file(ends, request, content, name),
            Ok(Opened::Elsewhere(name)) => self.ask(Question { ends, name, datagram: datagram.to_vec() }),
            Err(answer) => self.refuse(ends, printable(request.filename), Direction::Read, answer),
        }
    }

    /// Whether it is a request that is being answered. Another one, or one that begins anew, ends what was.
    fn is_repeated(&mut self, ends: Ends) -> bool {
        let Some((token, session)) = self.sessions.of_client(ends.client) else {
            return self.asking.contains(&ends.client);
        };
        if session.asked == ends.asked && session.work.is_echo(self.now()) {
            return true;
        }
        self.end(token, Outcome::Aborted);
        false
    }

    fn open(&self, request: &Request<'_>) -> Result<Opened, Answer> {
        let names = Candidates::parse(request.filename)?;
        if request.mode == Mode::Other {
            return Err(Answer::refused(ErrorCode::Undefined, "only octet and netascii"));
        }
        let site = self.shared.config.site.as_ref();
        let known = |name: &str| site.map_or(Turn::Never, |site| site.turn(name));
        let turn = names.iter().map(|name| (known(name), name)).find(|(turn, _)| *turn != Turn::Never);
        if let Some((Turn::First, name)) = turn {
            return Ok(Opened::Elsewhere(name.to_owned()));
        }
        match (self.shared.library.find(&names, request.mode), turn) {
            (Err(Problem::File(Refusal::NotFound)), Some((_, name))) => {
                Ok(Opened::Elsewhere(name.to_owned()))
            }
            (found, _) => Ok(Opened::File(found?, names.plain)),
        }
    }

    /// One that finds no room at the desk is as one that was lost: its client asks again.
    fn ask(&mut self, question: Question) {
        let client = question.ends.client;
        let desk = self.shared.desk.as_ref();
        if desk.is_some_and(|desk| desk.try_send((question, self.inbox.clone())).is_ok()) {
            self.asking.insert(client);
        }
    }

    fn take_answers(&mut self) {
        for (Question { ends, name: _, datagram }, found) in self.inbox.take() {
            self.asking.remove(&ends.client);
            let Ok(Packet::Read(request)) = Packet::parse(&datagram) else { continue };
            if self.is_repeated(ends) {
                continue;
            }
            match self.found(&request, found) {
                Ok((content, name)) => self.send_file(ends, &request, content, name),
                Err(answer) => self.refuse(ends, printable(request.filename), Direction::Read, answer),
            }
        }
    }

    /// What the site named is looked for in the folders as if it had been asked for.
    fn found(&self, request: &Request<'_>, found: Found) -> Result<(Content, String), Answer> {
        let names = Candidates::parse(request.filename)?;
        let (library, mode) = (&self.shared.library, request.mode);
        let content = match found {
            Found::Bytes(bytes) => Library::made(bytes, mode)?,
            Found::File(name) => library.find(&Candidates::parse(name.as_bytes())?, mode)?,
            Found::Nothing => library.find(&names, mode)?,
        };
        Ok((content, names.plain))
    }

    fn send_file(&mut self, ends: Ends, request: &Request<'_>, content: Content, name: String) {
        let limits = self.shared.config.limits;
        let (machine, step) = Transfer::new(ends.client, request, content.size(), limits, self.now());
        let work = Work::Read { machine, content, as_one: self.as_one };
        self.begin(ends, work, First::Read(step), name);
    }

    fn write(&mut self, ends: Ends, request: &Request<'_>, size: Option<u64>) {
        if self.is_repeated(ends) {
            return;
        }
        let name = printable(request.filename);
        match self.take(ends, request, size) {
            Ok((folder, upload)) => {
                let (most, limits, now) = (folder.caps.most, self.shared.config.limits, self.now());
                let (machine, step) = Reception::new(ends.client, request, size, most, limits, now);
                self.begin(ends, Work::Write { machine, upload, stored: None }, First::Write(step), name);
            }
            Err(answer) => self.refuse(ends, name, Direction::Write { stored: None }, answer),
        }
    }

    fn take(
        &self,
        ends: Ends,
        request: &Request<'_>,
        size: Option<u64>,
    ) -> Result<(&'s Folder, Upload), Answer> {
        let Some(folder) = &self.shared.uploads else {
            return Err(Answer::refused(ErrorCode::AccessViolation, "this server is read-only"));
        };
        if request.mode != Mode::Octet {
            return Err(Answer::refused(ErrorCode::Undefined, "only octet"));
        }
        let announced = size.unwrap_or(0).min(folder.caps.most);
        Ok((folder, folder.begin(ends.client.ip(), announced)?))
    }

    fn make_room(&mut self, client: IpAddr) -> bool {
        let counters = &self.shared.counters;
        match self.sessions.room(client, self.now()) {
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
        let reason = "it made room for another, as its client had not answered";
        self.end(token, Outcome::Failed(reason.to_owned()));
    }

    /// A request for which there is no room gets no answer: clients ask again after a while, but give up at an ERROR.
    fn begin(&mut self, ends: Ends, mut work: Work, first: First, name: String) {
        if !self.make_room(ends.client.ip()) {
            return;
        }
        let token = self.sessions.reserve();
        let Some(port) = self.port(ends, token) else {
            self.shared.counters.no_socket.fetch_add(1, Relaxed);
            return;
        };
        let (timer, started) = (work.deadline(), self.now());
        let action = work.begin(first);
        self.timers.add(timer, token);
        let session = Session { work, port, name, asked: ends.asked, started, timer, is_reported: false };
        self.sessions.fill(token, ends.client, session, started);
        self.shared.counters.active.fetch_add(1, Relaxed);
        self.act(token, action);
    }

    fn port(&mut self, ends: Ends, token: u64) -> Option<Port> {
        if self.shared.config.one_port {
            return Some(Port::Shared { socket: self.requests.clone(), heard: ends.heard, own: ends.own });
        }
        let own = ends.own;
        let socket = net::udp_socket(own).or_else(|error| self.without_one(error, own)).map(Arc::new).ok()?;
        let receiving = self.reactor.receive_from(&socket, token);
        Some(Port::Own { socket, receiving })
    }

    /// Without a descriptor left, a transfer that nobody has answered for a while gives its own.
    fn without_one(&mut self, error: io::Error, own: SocketAddr) -> io::Result<OwnedFd> {
        match self.sessions.least(self.now()) {
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
        let action = session.work.datagram(canonical(from), self.reactor.bytes(lease), now);
        if session.work.answered() {
            self.sessions.answered(token);
        }
        self.act(token, action);
    }

    fn expire(&mut self) {
        let now = self.now();
        while let Some((at, token)) = self.timers.due(now) {
            if token == REQUESTS {
                self.listen();
                continue;
            }
            let Some(session) = self.sessions.get_mut(token).filter(|s| s.timer == at) else { continue };
            let action = session.work.timer(now);
            session.timer = session.work.deadline().max(now + Duration::from_millis(1));
            self.timers.add(session.timer, token);
            self.act(token, action);
        }
    }

    fn act(&mut self, token: u64, Action { out, end }: Action) {
        let Some(session) = self.sessions.get_mut(token) else { return };
        let mut end = end;
        if let Err(error) = session.send(&mut self.reactor, token, out) {
            let client = session.work.client();
            session.send_error(&mut self.reactor, client, ErrorCode::Undefined, "the file changed");
            end = Some(Outcome::Failed(format!("reading the file: {error}")));
        }
        // The adaptive timeout may have become shorter than the timer that runs.
        let deadline = session.work.deadline();
        if deadline < session.timer {
            session.timer = deadline;
            self.timers.add(deadline, token);
        }
        // An upload that is stored is done, though it stays to repeat its last ACK.
        if end.is_none() && session.work.is_stored() && !session.is_reported {
            session.is_reported = true;
            let event = session.event(Outcome::Done, self.start.elapsed());
            self.report(event);
        }
        if let Some(end) = end {
            self.end(token, end);
        }
    }

    fn end(&mut self, token: u64, outcome: Outcome) {
        let Some(session) = self.sessions.remove(token) else { return };
        if let Port::Own { receiving, .. } = session.port {
            self.reactor.cancel(receiving);
        }
        self.shared.counters.active.fetch_sub(1, Relaxed);
        if !session.is_reported {
            self.report(session.event(outcome, self.now()));
        }
    }

    fn refuse(&mut self, ends: Ends, file: String, direction: Direction, answer: Answer) {
        self.send_refusal(ends, answer.code, answer.text);
        self.report(Event {
            client: ends.client,
            file,
            size: 0,
            bytes: 0,
            resent: 0,
            duration: Duration::ZERO,
            direction,
            outcome: answer.outcome,
        });
    }

    fn send_refusal(&mut self, ends: Ends, code: ErrorCode, text: &str) {
        let mut packet = [0; 128];
        let len = emit_error(code, text, &mut packet);
        let (socket, outgoing) = if self.shared.config.one_port {
            (self.requests.clone(), Outgoing { from: Some(ends.own), ..Outgoing::to(ends.heard) })
        } else {
            let Some(socket) = self.refusal_socket(ends.own) else { return };
            (socket, Outgoing::to(ends.client))
        };
        send_bytes(&mut self.reactor, &socket, &outgoing, &packet[..len]);
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

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).take(255).collect()
}
