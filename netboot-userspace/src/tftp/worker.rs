//! One worker: its share of the requests, the ports of its transfers, and the timers.
//!
//! Fairness: no transfer has more than one window on its way, and datagrams are answered in the order in which they came. Clients that lose
//! the ends of windows get them in parts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use netboot_common::wire::tftp::{ErrorCode, Malformed, Packet};

use crate::sys::datagram::{Destination, Outgoing};
use crate::sys::netif::Control;
use crate::uring::timers::Timers;
use crate::uring::workers::Stop;
use crate::uring::{Datagram, Event as Completion, Kind, Lease, Reactor, Socket};

use super::content::Part;
use super::desk::{Asking, Desk, Inbox};
use super::disk::Disk;
use super::files::Library;
use super::guesses::Guesses;
use super::past::{Answered, How};
use super::session::{Action, Ends, First, Session, Work, send_error};
use super::sessions::{Bounds, Room, Sessions};
use super::sources::{Sources, canonical};
use super::stats::Counters;
use super::strays::Gate;
use super::tids::Tids;
use super::upload::writing::Written;
use super::upload::{Folder, Upload};
use super::{Config, Event, Observer, Outcome, Ports};

mod requests;

/// The token of the request socket; the ports of transfers have those behind it.
const REQUESTS: u64 = 0;

pub(super) struct Shared {
    pub(super) config: Config,
    /// Who is answered now.
    pub(super) sources: Sources,
    /// How many transfers each worker may have.
    pub(super) transfers: usize,
    /// How many requests of one client address may wait for the site or the disk, of each worker.
    pub(super) questions: usize,
    /// What all workers hear at wrong ports.
    pub(super) guesses: Guesses,
    pub(super) library: Arc<Library>,
    /// `None`: write requests are refused.
    pub(super) uploads: Option<Arc<Folder>>,
    /// `None`: the site knows no names.
    pub(super) desk: Option<Desk>,
    pub(super) disk: Disk,
    /// Knows the MTU of interfaces.
    pub(super) interfaces: Control,
    pub(super) observer: Observer,
    pub(super) counters: Arc<Counters>,
}

impl Shared {
    fn report(&self, event: Event) {
        self.counters.ended(&event);
        (self.observer)(event);
    }
}

/// How long a socket waits after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// What a client is told of a file that can't be read to its end.
fn unread(error: &io::Error) -> &'static str {
    match error.kind() {
        // Too short, or what `Identity::check_content` says of it.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => "the file changed",
        _ => "the file can't be read",
    }
}

struct Worker<'s> {
    reactor: Reactor,
    shared: &'s Shared,
    requests: Socket,
    tids: Tids,
    /// Who hears that a datagram was no transfer's.
    gate: Gate,
    /// Of the requests that are refused: as [`netboot_common::limit::Budget::admit`] has it.
    refusals: u64,
    sessions: Sessions<Session>,
    timers: Timers,
    /// Sockets, by their tokens, that wait after an error.
    paused: Vec<u64>,
    start: Instant,
    /// The request that is being answered.
    scratch: Vec<u8>,
    /// Requests that wait for the site or the disk, and where their answers come.
    asking: Asking,
    inbox: Arc<Inbox>,
}

/// Serves until told to stop, or until there is no engine left to serve with. The sockets: of the requests, and of the transfers.
pub(super) fn run(
    reactor: Reactor,
    (requests, tids): (OwnedFd, Vec<OwnedFd>),
    shared: &Shared,
    stop: &Stop,
) -> io::Result<()> {
    let bounds = Bounds { total: shared.transfers, per_client: shared.config.transfers_per_client };
    let inbox = Inbox::new(reactor.waker());
    let requests = Arc::new(requests);
    let mut worker = Worker {
        reactor,
        shared,
        tids: Tids::new(tids, &requests)?,
        requests,
        gate: Gate::new(shared.sources.clone()),
        refusals: 0,
        sessions: Sessions::new(bounds),
        timers: Timers::default(),
        paused: Vec::new(),
        start: Instant::now(),
        scratch: Vec::new(),
        asking: Asking::new(shared.questions),
        inbox,
    };
    let last = if shared.config.ports == Ports::Listen { REQUESTS } else { worker.tids.count() as u64 };
    (REQUESTS..=last).for_each(|token| worker.listen(token));
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

    fn listen(&mut self, token: u64) {
        let socket = match token {
            REQUESTS => &self.requests,
            tid => self.tids.socket((tid - 1) as u16),
        };
        self.reactor.receive_from(socket, token);
    }

    fn event(&mut self, event: Completion) {
        match event.kind {
            Kind::Datagram(Ok(Datagram { from, to, lease })) => {
                match event.token {
                    REQUESTS => self.heard(from, to, &lease),
                    tid => self.arrived((tid - 1) as u16, from, to, &lease),
                }
                self.reactor.give_back(lease);
            }
            Kind::Datagram(Err(error)) => {
                tracing::warn!(%error, "TFTP worker: receiving pauses");
                self.paused.push(event.token);
                self.timers.add(self.now() + PAUSE, REQUESTS);
            }
            Kind::Sent(sent) => match sent {
                Ok(_) => drop(self.shared.counters.as_one.fetch_add(1, Relaxed)),
                Err(error) => self.not_sent(event.token, &error),
            },
            Kind::Woken => self.take_news(),
            _ => {}
        }
    }

    /// A datagram did not leave, or a window as one.
    fn not_sent(&mut self, token: u64, error: &io::Error) {
        if Outgoing::is_lost(error) {
            self.shared.counters.unsent.fetch_add(1, Relaxed);
        }
        let Some(session) = self.sessions.get_mut(token).filter(|session| session.sends_as_one()) else {
            return;
        };
        if !Outgoing::is_not_divided(error) {
            return;
        }
        // It is its path's, or its device's: those of other clients may be better.
        self.shared.counters.apart.fetch_add(1, Relaxed);
        // What can't be read is found out by the timer.
        let _ = session.send_apart(&mut self.reactor, &self.tids);
    }

    /// A datagram came to one of the ports of transfers.
    fn arrived(&mut self, tid: u16, from: SocketAddr, to: Destination, lease: &Lease) {
        let client = canonical(from);
        // Nobody is asked by a group there, and nobody hears that it was.
        let Destination::Own(own, _) = to else { return };
        match self.transfer_at(tid, client, own) {
            Some(token) => self.datagram(token, lease),
            None => self.stray(tid, client, own, lease),
        }
    }

    /// The transfer between this client and one of our ports, at the address that was asked.
    fn transfer_at(&self, tid: u16, client: SocketAddr, own: SocketAddr) -> Option<u64> {
        let (token, session) = self.sessions.of_client(client)?;
        (session.tid == tid && session.ends.own == own).then_some(token)
    }

    /// What is no transfer's is answered with ERROR 5 (RFC 1350 section 4). Not so an ERROR, or two confused ends would talk for
    /// ever; nor what comes late for a transfer that is over: its client may have asked for another one meanwhile, whose answer
    /// that would seem to be.
    fn stray(&mut self, tid: u16, client: SocketAddr, own: SocketAddr, lease: &Lease) {
        let packet = Packet::parse(self.reactor.bytes(lease));
        let has_no_answer = matches!(packet, Ok(Packet::Error(..)) | Err(Malformed::Short));
        let now_has = self.sessions.of_client(client).map(|(_, session)| session.tid);
        if !has_no_answer && now_has != Some(tid) && !self.tids.may_be_late(client, tid) {
            self.shared.guesses.note(client);
        }
        self.shared.counters.strays.fetch_add(1, Relaxed);
        if has_no_answer {
            return;
        }
        let had = self.tids.past.from(client, tid);
        let is_late = now_has.is_some() || had.is_some_and(|how| how != How::GivenUp);
        if is_late || !self.gate.admits(client, self.now()) {
            return;
        }
        let (socket, outgoing) = (self.tids.socket(tid), self.tids.outgoing(own, client));
        let code = ErrorCode::UnknownTransfer;
        send_error(&mut self.reactor, socket, &outgoing, code, "unknown transfer ID");
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
        let tid = self.tids.draw(ends.client, None);
        let (timer, started) = (work.deadline(), self.now());
        let heard = self.shared.guesses.of(ends.client);
        let action = work.begin(first);
        self.timers.add(timer, token);
        let name = name.into();
        let doubted = u32::MAX;
        let session = Session {
            work,
            ends,
            tid,
            name,
            started,
            heard,
            doubted,
            timer,
            is_reported: false,
            waits: false,
        };
        self.sessions.fill(token, session, started);
        self.shared.counters.active.fetch_add(1, Relaxed);
        self.act(token, action);
    }

    fn datagram(&mut self, token: u64, lease: &Lease) {
        let now = self.now();
        let Some(session) = self.sessions.get_mut(token) else { return };
        let was_answered = session.work.answered();
        let action = session.work.datagram(self.reactor.bytes(lease), now);
        let is_first = !was_answered && session.work.answered();
        if is_first {
            session.answered(now);
        }
        if session.is_doubted(now) && self.shared.guesses.any_since(session.heard, session.ends.client) {
            return self.end_guessed(token);
        }
        if is_first {
            self.sessions.answered(token);
        }
        self.act(token, action);
    }

    fn expire(&mut self) {
        let now = self.now();
        while let Some((at, token)) = self.timers.due(now) {
            if token == REQUESTS {
                std::mem::take(&mut self.paused).into_iter().for_each(|token| self.listen(token));
                continue;
            }
            let Some(session) = self.sessions.get_mut(token).filter(|s| s.timer == at) else { continue };
            let action = session.work.timer(now);
            session.timer = session.next_look(now).max(now + Duration::from_millis(1));
            self.timers.add(session.timer, token);
            self.act(token, action);
        }
    }

    fn act(&mut self, token: u64, Action { out, end }: Action) {
        let Some(session) = self.sessions.get_mut(token) else { return };
        let sent = session.send(&mut self.reactor, &self.tids, token, out);
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                session.wait_for_the_disk(token, &self.shared.disk, &self.inbox);
            }
            Err(error) => return self.unreadable(token, &error),
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
            self.shared.report(event);
        }
        match end {
            Some(end) => self.end(token, end),
            None => session.write_on(token, &self.shared.disk, &self.inbox),
        }
    }

    /// The disk has given what a transfer waits for, if it still does.
    fn read_on(&mut self, token: u64, part: &Part, bytes: io::Result<Vec<u8>>) {
        let Some(session) = self.sessions.get_mut(token) else { return };
        session.waits = false;
        let sent =
            bytes.and_then(|bytes| session.send_part(&mut self.reactor, &self.tids, token, part, &bytes));
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                session.wait_for_the_disk(token, &self.shared.disk, &self.inbox);
            }
            Err(error) => self.unreadable(token, &error),
        }
    }

    /// The disk has taken what a client wrote.
    fn written(&mut self, token: u64, upload: Box<Upload>, written: Vec<Written>) {
        let Some(session) = self.sessions.get_mut(token) else { return };
        session.give_back(upload);
        for written in written {
            let Some(session) = self.sessions.get_mut(token) else { return };
            let action = session.written(written);
            self.act(token, action);
        }
    }

    /// The client hears that it gets no more of its file.
    fn unreadable(&mut self, token: u64, error: &io::Error) {
        if let Some(session) = self.sessions.get_mut(token) {
            session.send_error(&mut self.reactor, &self.tids, ErrorCode::Undefined, unread(error));
        }
        self.end(token, Outcome::Failed(format!("reading the file: {error}")));
    }

    /// Silently: whoever is there has not asked.
    fn end_guessed(&mut self, token: u64) {
        self.shared.counters.guessed.fetch_add(1, Relaxed);
        let reason = "its client was heard at other ports, too: somebody guesses, from a forged address";
        self.end_as(token, Outcome::Failed(reason.to_owned()), How::Over);
    }

    fn end(&mut self, token: u64, outcome: Outcome) {
        // To what comes for one that was given up, an ERROR says so.
        let how = if matches!(outcome, Outcome::Failed(_)) { How::GivenUp } else { How::Over };
        self.end_as(token, outcome, how);
    }

    fn end_as(&mut self, token: u64, outcome: Outcome, how: How) {
        let Some(session) = self.sessions.remove(token) else { return };
        let answered = Answered { asked: session.ends.asked, tid: session.tid, how };
        self.tids.past.add(session.ends.client, answered);
        self.shared.counters.paced.fetch_add(session.work.was_paced().into(), Relaxed);
        self.shared.counters.active.fetch_sub(1, Relaxed);
        if !session.is_reported {
            self.report(session.event(outcome, self.now()));
        }
    }

    fn report(&self, event: Event) {
        self.shared.report(event);
    }
}
