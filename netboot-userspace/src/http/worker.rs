//! One worker: its listener, its connections, and what their machines want done.

use std::io;
use std::mem;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, sockopt};

use crate::sys::clock;
use crate::sys::ktls;
use crate::sys::net;
use crate::sys::sendfile::{FileBody, Progress};
use crate::uring::timers::Timers;
use crate::uring::workers::{Begun, Stop};
use crate::uring::{Event as Completion, Kind, Lease, OpId, Payload, Reactor, Socket};

use super::connection::{Connection, Sending};
use super::connections::{Connections, FIRST};
use super::date;
use super::files::{Content, Files, Opened};
use super::inbox::{Inbox, Returned, WayBack};
use super::machine::{Action, Answer, Date, Machine, Now, Onward, Taken};
use super::stats::{Counters, one};
use super::tls::doors::Door;
use super::{Event, HandOver, Shared, Stage};

/// Tokens of the worker's own, below those of connections.
const LISTENER: u64 = 0;
const SWEEP: u64 = 1;
/// How long accepting pauses when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);
/// How often is looked, at the end, whether a client has its answer.
const LOOK: Duration = Duration::from_millis(5);

struct Worker<'a> {
    reactor: Reactor,
    shared: &'a Shared,
    counters: &'a Arc<Counters>,
    listener: Socket,
    connections: Connections,
    inbox: Arc<Inbox>,
    timers: Timers,
    files: Files<'a>,
    is_sweeping: bool,
    /// Nothing was accepted since it was said that it is not.
    is_pausing: bool,
    clock: Clock,
}

/// Serves until told to stop, or until there is no engine left to serve with.
pub(super) fn run(
    reactor: Reactor,
    listener: OwnedFd,
    shared: &Shared,
    counters: &Arc<Counters>,
    begun: Begun,
    stop: &Stop,
) -> io::Result<()> {
    let mut worker = Worker::new(reactor, listener, shared, counters);
    worker.reactor.accept(&worker.listener, LISTENER);
    shared.doors.open(Door { inbox: worker.inbox.clone(), counters: counters.clone() });
    begun.say();
    let served = worker.serve(stop);
    worker.inbox.close();
    worker.close_all();
    served
}

fn reset() -> io::Error {
    io::Error::from_raw_os_error(libc::ECONNRESET)
}

/// Read once in each turn, and written as a date once in each second.
struct Clock {
    start: Instant,
    time: Duration,
    second: i64,
    date: Option<String>,
}

impl Clock {
    fn new() -> Self {
        let mut this = Self { start: Instant::now(), time: Duration::ZERO, second: 0, date: None };
        this.read();
        this
    }

    fn read(&mut self) {
        self.time = self.start.elapsed();
        let second = clock::now() as i64;
        if second != self.second {
            self.second = second;
            self.date = clock::is_set(second).then(|| date::format(second));
        }
    }

    fn now(&self) -> Now<'_> {
        let date = self.date.as_deref().map(|text| Date { seconds: self.second, text });
        Now { time: self.time, date }
    }
}

impl<'a> Worker<'a> {
    fn new(reactor: Reactor, listener: OwnedFd, shared: &'a Shared, counters: &'a Arc<Counters>) -> Self {
        Self {
            inbox: Inbox::new(reactor.waker()),
            reactor,
            shared,
            counters,
            listener: Arc::new(listener),
            connections: Connections::default(),
            timers: Timers::default(),
            files: Files::new(
                &shared.mounts,
                &shared.digests,
                shared.mirror.as_deref(),
                shared.limits.open_files,
            ),
            is_sweeping: false,
            is_pausing: false,
            clock: Clock::new(),
        }
    }

    fn serve(&mut self, stop: &Stop) -> io::Result<()> {
        while !stop.load(Acquire) {
            self.clock.read();
            let timeout = self.timers.next().map(|at| at.saturating_sub(self.clock.time));
            self.reactor.wait(timeout)?;
            self.begin_turn();
            while let Some(event) = self.reactor.next_event() {
                self.event(event);
            }
            self.expire();
        }
        Ok(())
    }

    fn begin_turn(&mut self) {
        self.clock.read();
        self.files.turn(self.clock.time);
    }

    fn event(&mut self, event: Completion) {
        let token = event.token;
        match event.kind {
            Kind::Accepted(Ok(stream)) => self.accepted(stream),
            Kind::Accepted(Err(error)) => self.accept_later(&error),
            Kind::Received(outcome) => self.received(token, outcome, event.more),
            Kind::Sent(outcome) => self.moved(token, event.op, outcome.map(|_| ())),
            Kind::Writable(outcome) => self.moved(token, event.op, outcome),
            Kind::Woken => {
                let returned = self.inbox.take();
                // Their requests may have been sent after this turn began: it ends here.
                self.begin_turn();
                for returned in returned {
                    self.returned(returned);
                }
            }
            Kind::Datagram(outcome) => {
                if let Ok(datagram) = outcome {
                    self.reactor.give_back(datagram.lease);
                }
            }
        }
    }

    fn accepted(&mut self, stream: OwnedFd) {
        self.is_pausing = false;
        let Ok(peer) = net::peer_address(&stream) else { return };
        let limits = &self.shared.limits;
        let peers = &self.shared.peers;
        let Some(place) = peers.admit(peer.ip(), limits.per_peer, limits.total, self.counters) else {
            return one(&self.counters.over_limit);
        };
        one(&self.counters.accepted);
        place.pace().iter().for_each(|pace| net::slow(&stream, *pace));
        let machine = Machine::new(self.clock.time);
        let token = self.connections.insert(Connection::new(Arc::new(stream), peer, place, machine));
        self.receive(token);
        self.arm(token);
    }

    /// No descriptor or memory: those who are here go on, the next ones wait in the backlog.
    fn accept_later(&mut self, error: &io::Error) {
        if error.raw_os_error().is_some_and(net::is_of_one_connection) {
            tracing::debug!(%error, "HTTP: a connection was not accepted");
            return self.timers.add(self.clock.time, LISTENER);
        }
        // Until one is accepted again, it is one pause.
        if !mem::replace(&mut self.is_pausing, true) {
            tracing::warn!(%error, "HTTP: accepting pauses until there is room; `pauses` of `netboot status` counts the tries");
        }
        one(&self.counters.pauses);
        self.files.close_all();
        self.timers.add(self.clock.time + PAUSE, LISTENER);
    }

    /// Back from where it was handed over: perhaps with the next request. Or accepted elsewhere.
    fn returned(&mut self, returned: Returned) {
        let Returned { stream, read, peer, place, is_new } = returned;
        one(if is_new { &self.counters.accepted } else { &self.counters.returned });
        let now = self.clock.time;
        let machine = if is_new { Machine::begun(read, now) } else { Machine::returned(read, now) };
        let stream = Arc::new(OwnedFd::from(stream));
        let token = self.connections.insert(Connection::new(stream, peer, place, machine));
        self.step(token, |machine, now, files, out| machine.resume(now, files, out));
    }

    fn received(&mut self, token: u64, outcome: io::Result<Lease>, more: bool) {
        let Some(connection) = self.connections.slot(token) else {
            if let Ok(lease) = outcome {
                self.reactor.give_back(lease);
            }
            return;
        };
        if !more {
            connection.receiving = None;
        }
        match outcome {
            Ok(lease) => self.take(token, lease),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || ktls::is_end(&error) => {
                self.step(token, |machine, now, files, out| machine.received(&[], now, files, out));
            }
            // It was cancelled for what the machine has no room for; meanwhile it may have.
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => self.balance(token),
            Err(error) => return self.broken_off(token, &error),
        }
        self.leave(token);
    }

    /// Shows received bytes to the machine where they lie.
    fn take(&mut self, token: u64, lease: Lease) {
        let mut out = self.reactor.buffer();
        let Some(connection) = self.connections.slot(token) else {
            self.reactor.put_back(out);
            return self.reactor.give_back(lease);
        };
        let bytes = self.reactor.bytes(&lease);
        let action = connection.machine.received(bytes, self.clock.now(), &mut self.files, &mut out);
        self.reactor.give_back(lease);
        self.act(token, action, out);
    }

    /// Asks the machine for the next action, and does it.
    fn step(
        &mut self,
        token: u64,
        next: impl FnOnce(&mut Machine, Now<'_>, &mut Files<'_>, &mut Vec<u8>) -> Action<Arc<Opened>>,
    ) {
        let mut out = self.reactor.buffer();
        let Some(connection) = self.connections.slot(token) else { return self.reactor.put_back(out) };
        let action = next(&mut connection.machine, self.clock.now(), &mut self.files, &mut out);
        self.act(token, action, out);
    }

    fn act(&mut self, token: u64, action: Action<Arc<Opened>>, out: Vec<u8>) {
        match action {
            Action::Send(answer) => self.send(token, answer, out),
            other => {
                self.reactor.put_back(out);
                match other {
                    Action::HandOver(request) => {
                        if let Some(connection) = self.connections.slot(token) {
                            connection.leaving = Some(request);
                        }
                    }
                    Action::Drain => self.drain(token),
                    Action::Close if self.is_to_be_taken(token) => self.drain(token),
                    Action::Close => return self.close(token),
                    Action::Wait | Action::Send(_) => {}
                }
            }
        }
        self.balance(token);
        self.leave(token);
        self.arm(token);
    }

    /// Receives as much as the machine has room for.
    fn balance(&mut self, token: u64) {
        let Some(connection) = self.connections.slot(token) else { return };
        match (connection.machine.is_full(), connection.receiving) {
            (true, Some(op)) => self.reactor.cancel(op),
            (false, None) if !connection.machine.is_ended() => self.receive(token),
            _ => {}
        }
    }

    fn receive(&mut self, token: u64) {
        if let Some(connection) = self.connections.slot(token) {
            connection.receiving = Some(self.reactor.receive(&connection.stream, token));
        }
    }

    /// Sends the head, and the body where it is in memory, as one; else the body follows by sendfile.
    fn send(&mut self, token: u64, answer: Answer<Arc<Opened>>, out: Vec<u8>) {
        let cause = self.files.failure();
        let Some(connection) = self.connections.slot(token) else { return self.reactor.put_back(out) };
        if answer.path.is_empty() && answer.status.code() >= 400 {
            one(&self.counters.refused);
        }
        let mut answer = answer;
        let (payload, body) = match answer.body.take() {
            None => (Payload::Owned(out), None),
            Some((file, bytes)) => match &file.content {
                Content::Memory(content) => {
                    let range = bytes.start as usize..bytes.end as usize;
                    (Payload::Headed(out, content.clone(), range), None)
                }
                Content::File(open) => {
                    let socket = connection.stream.clone();
                    let body = FileBody::new(open.clone(), file.identity, bytes, socket);
                    (Payload::Owned(out), Some(body))
                }
            },
        };
        let more = body.is_some();
        connection.moving = Some(self.reactor.send(&connection.stream, payload, more, token));
        let pace = connection.place.pace();
        connection.sending = Some(Sending::new(answer, body, pace, self.clock.time, cause));
    }

    /// A send ended, or the socket takes more: the body goes on.
    fn moved(&mut self, token: u64, op: OpId, outcome: io::Result<()>) {
        let now = self.clock.time;
        let Some(connection) = self.connections.slot(token) else { return };
        if connection.moving == Some(op) {
            connection.moving = None;
        }
        let Some(sending) = &mut connection.sending else {
            // There is room for its end now.
            if outcome.is_ok() {
                self.drain(token);
            }
            return;
        };
        let is_gone = connection.place.is_by_kernel() && net::peer_address(&connection.stream).is_err();
        // What is written behind a reset may be taken, and enciphered, for nobody.
        if let Err(error) = outcome.and(if is_gone { Err(reset()) } else { Ok(()) }) {
            return self.broken_off(token, &error);
        }
        match sending.advance(now) {
            Ok(Progress::Done) => self.sent(token),
            Ok(Progress::Waiting) => {
                if sending.wants_report(now) {
                    (self.shared.observer)(sending.event(connection.peer, now, Stage::Progress));
                }
                connection.moving = Some(self.reactor.writable(&connection.stream, token));
            }
            Err(error) => self.broken_off(token, &error),
        }
    }

    fn sent(&mut self, token: u64) {
        let Some(connection) = self.connections.slot(token) else { return };
        let Some(mut sending) = connection.sending.take() else { return };
        if sending.body.is_some() {
            // sendfile(2) may hold a part-filled last segment back; setting the option again pushes it out.
            let _ = sockopt::set_tcp_nodelay(&connection.stream, true);
        }
        one(&self.counters.responses);
        let event = sending.event(connection.peer, self.clock.start.elapsed(), Stage::Done);
        self.report(event);
        self.step(token, |machine, now, files, out| machine.sent(now, files, out));
    }

    fn report(&self, event: Event) {
        self.counters.bytes.fetch_add(event.bytes, Relaxed);
        (self.shared.observer)(event);
    }

    fn drain(&mut self, token: u64) {
        let Some(connection) = self.connections.slot(token) else { return };
        if !connection.place.is_by_kernel() {
            let _ = rustix::net::shutdown(&connection.stream, Shutdown::Write);
            return;
        }
        // To close the half would take from the client what the kernel has not enciphered yet.
        let waits = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        if connection.say_end().as_ref().is_err_and(waits) && connection.moving.is_none() {
            connection.moving = Some(self.reactor.writable(&connection.stream, token));
        }
    }

    /// Whether to close a connection would take from its client what is answered already.
    fn is_to_be_taken(&mut self, token: u64) -> bool {
        let connection = self.connections.slot(token);
        connection.is_some_and(|connection| connection.place.is_by_kernel() && connection.is_waited_for())
    }

    /// Hands over what is to leave, as soon as nothing is under way on it any more.
    fn leave(&mut self, token: u64) {
        let Some(connection) = self.connections.slot(token) else { return };
        if let (Some(request), None) = (connection.leaving, connection.receiving) {
            self.hand_over(token, request);
        }
    }

    fn hand_over(&mut self, token: u64, request: Onward) {
        let Some(connection) = self.connections.remove(token) else { return };
        let Connection { stream, peer, place, machine, .. } = *connection;
        // Nothing is under way on it any more; if something were, a second descriptor does as well.
        match Arc::try_unwrap(stream).or_else(|shared| shared.try_clone()) {
            Ok(stream) => {
                one(&self.counters.handed_over);
                let (stream, read) = (TcpStream::from(stream), machine.into_read());
                let tls = place.tls();
                let way_back = WayBack { inbox: self.inbox.clone(), peer, place };
                (self.shared.hand_over)(HandOver { stream, read, request, peer, tls, way_back });
            }
            Err(error) => tracing::warn!(%error, %peer, "HTTP: a connection is lost"),
        }
    }

    /// By the client; or, whatever else the error is, by us: the file is not what was promised, and the length can't be kept.
    fn broken_off(&mut self, token: u64, error: &io::Error) {
        let is_gone = error.raw_os_error().is_some_and(net::is_gone) || ktls::is_of_client(error);
        if !is_gone {
            return self.close_for(token, Some(error.to_string()));
        }
        let now = self.clock.time;
        if let Some(connection) = self.connections.slot(token)
            && connection.sending.as_ref().is_some_and(|sending| sending.has_stalled(now))
        {
            connection.place.stalled();
        }
        self.close(token);
    }

    fn close(&mut self, token: u64) {
        self.close_for(token, None);
    }

    /// At the end. What the kernel enciphers of answers that are whole is waited for a little; of all else it sees to what is left.
    fn close_all(&mut self) {
        let tokens = self.connections.tokens();
        let until = Instant::now() + self.shared.limits.patience.linger;
        for &token in &tokens {
            while self.is_to_be_taken(token) && Instant::now() < until {
                thread::sleep(LOOK);
            }
        }
        tokens.into_iter().for_each(|token| self.close(token));
    }

    fn close_for(&mut self, token: u64, cause: Option<String>) {
        let Some(mut connection) = self.connections.remove(token) else { return };
        [connection.receiving, connection.moving]
            .into_iter()
            .flatten()
            .for_each(|op| self.reactor.cancel(op));
        if let Some(sending) = &mut connection.sending {
            let event = sending.event(connection.peer, self.clock.start.elapsed(), Stage::Broken);
            self.report(Event { cause: cause.or(event.cause), ..event });
            one(&self.counters.broken);
        }
        if connection.sending.is_none() && connection.place.is_by_kernel() {
            let _ = connection.say_end();
        }
        // Operations that are being cancelled hold the socket open a little longer: tell the client now.
        let _ = rustix::net::shutdown(&connection.stream, Shutdown::Both);
    }

    /// Makes sure that the connection is looked at when its time is up.
    fn arm(&mut self, token: u64) {
        let Some(connection) = self.connections.slot(token) else { return };
        let patience = &self.shared.limits.patience;
        let mut deadline = connection.machine.deadline(patience);
        // Nothing tells that its client has all.
        if connection.machine.is_over() {
            deadline = deadline.min(self.clock.time + patience.linger);
        }
        if deadline < connection.timer {
            connection.timer = deadline;
            self.timers.add(deadline, token);
        }
    }

    fn expire(&mut self) {
        let now = self.clock.time;
        if !self.is_sweeping && !self.files.is_empty() {
            self.sweep();
        }
        while let Some((at, token)) = self.timers.due(now) {
            match token {
                LISTENER => drop(self.reactor.accept(&self.listener, LISTENER)),
                SWEEP => self.sweep(),
                token => self.look_at(token, at),
            }
        }
    }

    fn sweep(&mut self) {
        let next = self.files.sweep();
        self.is_sweeping = next.is_some();
        next.into_iter().for_each(|at| self.timers.add(at, SWEEP));
    }

    /// At a connection whose time may be up.
    fn look_at(&mut self, token: u64, at: Duration) {
        debug_assert!(token >= FIRST);
        let Some(connection) = self.connections.slot(token).filter(|c| c.timer == at) else { return };
        connection.timer = Duration::MAX;
        if connection.machine.is_over() && connection.leaving.is_none() && !connection.is_waited_for() {
            return self.close(token);
        }
        let patience = &self.shared.limits.patience;
        let taken = connection.sending.as_ref().map_or(0, |sending| sending.taken());
        // What lies in the socket's buffer was not taken by the client.
        let waiting = net::unacknowledged(&connection.stream).unwrap_or(0);
        // A relay knows what the client takes, and gives it up.
        let (taken, waiting) = match connection.place.is_relayed() {
            false => (Some(taken.saturating_sub(waiting)), waiting),
            true => (None, 0),
        };
        if connection.machine.is_late(self.clock.time, Taken { taken, waiting }, patience) {
            one(&self.counters.timeouts);
            if waiting > 0 {
                // The kernel would keep it, and go on trying, with nobody's place taken.
                let _ = sockopt::set_socket_linger(&connection.stream, Some(Duration::ZERO));
            }
            if connection.sending.is_some() {
                connection.place.stalled();
            }
            return self.close(token);
        }
        self.arm(token);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
