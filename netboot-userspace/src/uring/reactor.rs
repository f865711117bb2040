//! One completion interface over two engines: io_uring, and epoll where io_uring is forbidden.
//!
//! A worker starts operations and takes [`Event`]s; it never learns which engine runs below. Every operation keeps its
//! socket alive until its last event (`more == false`) has been taken, so a descriptor number is never reused under it.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::{epoll::Epoll, ring::Ring};
use crate::sys::Socket;
use crate::sys::datagram::{Destination, Outgoing};

/// Which engine a server should use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// io_uring, else epoll.
    #[default]
    Auto,
    /// io_uring, else an error.
    Uring,
    /// epoll, without asking.
    Epoll,
}

/// Which engine runs, and why it isn't the fast one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Running {
    /// io_uring does the work.
    Uring,
    /// epoll does the work, for this reason.
    Epoll {
        /// "asked for", or the kernel's refusal.
        reason: String,
    },
    /// Nothing is served any more, for this reason.
    Ended {
        /// What the worker failed of.
        reason: String,
    },
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uring => f.write_str("io_uring"),
            Self::Epoll { reason } => write!(f, "epoll ({reason})"),
            Self::Ended { reason } => write!(f, "ended ({reason})"),
        }
    }
}

/// Sizes of a reactor.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Submission queue entries: a power of two.
    pub entries: u32,
    /// Receive buffers: a power of two, at most 32,768.
    pub buffers: u16,
    /// Bytes in each receive buffer.
    pub buffer_size: usize,
}

/// Names an operation that is under way. Valid until the event with `more == false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpId(pub(super) u32);

/// Bytes that were received; give it back with [`Reactor::give_back`].
#[derive(Debug)]
#[must_use = "a lease that isn't given back is a receive buffer lost"]
pub struct Lease {
    pub(super) buffer: u16,
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Lease {
    /// How many bytes were received; 0 is the end of a stream.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether this is the end of a stream, or an empty datagram.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What came of an operation.
#[derive(Debug)]
pub struct Event {
    /// The token that the operation was started with.
    pub token: u64,
    /// The operation.
    pub op: OpId,
    /// Whether more events will follow from the same operation.
    pub more: bool,
    /// What happened.
    pub kind: Kind,
}

/// A datagram, and its two ends.
#[derive(Debug)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// To which of our addresses; the request sockets of `sys::net` know.
    pub to: Destination,
    /// Its bytes.
    pub lease: Lease,
}

/// The kinds of events, one for each kind of operation.
#[derive(Debug)]
pub enum Kind {
    /// A connection was accepted; its socket does not block. An error ends the operation.
    Accepted(io::Result<OwnedFd>),
    /// Bytes of a stream. An empty lease, or an error, is its end.
    Received(io::Result<Lease>),
    /// A datagram. An error ends the operation.
    Datagram(io::Result<Datagram>),
    /// All bytes were sent, or an error.
    Sent(io::Result<usize>),
    /// The socket takes more bytes (or has failed: the next write tells).
    Writable(io::Result<()>),
    /// A [`Waker`] was used.
    Woken,
}

/// Bytes to send; the reactor owns them until the kernel is done with them.
#[derive(Debug)]
pub enum Payload {
    /// A buffer of the reactor's pool ([`Reactor::buffer`]): goes back there.
    Owned(Vec<u8>),
    /// A buffer of the pool, then part of what others read too, as one.
    Headed(Vec<u8>, Arc<[u8]>, Range<usize>),
}

impl Payload {
    pub(super) fn len(&self) -> usize {
        let [head, body] = self.rest(0);
        head.len() + body.len()
    }

    /// What is left after so many bytes, in two parts of which either may be empty.
    pub(super) fn rest(&self, sent: usize) -> [&[u8]; 2] {
        let (head, body) = match self {
            Self::Owned(bytes) => (bytes.as_slice(), &[][..]),
            Self::Headed(head, body, range) => (head.as_slice(), body.get(range.clone()).unwrap_or_default()),
        };
        let of_body = sent.saturating_sub(head.len());
        [head.get(sent..).unwrap_or_default(), body.get(of_body..).unwrap_or_default()]
    }

    /// Its buffer of the pool.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        let (Self::Owned(bytes) | Self::Headed(bytes, ..)) = self;
        bytes
    }
}

/// Wakes a reactor from another thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.0
    }

    /// Makes the reactor's worker see [`Kind::Woken`]. An error can only mean that it is awake already.
    pub fn wake(&self) {
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    pub(super) fn drain(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0u8; 8]);
    }
}

/// Vectors that are used again, so that a warm worker allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Pool(Vec<Vec<u8>>);

impl Pool {
    /// Buffers above this size, or beyond this number, are given to the allocator instead.
    const KEEP_BYTES: usize = 128 * 1024;
    const KEEP: usize = 1024;

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    pub(super) fn put(&mut self, mut bytes: Vec<u8>) {
        if self.0.len() < Self::KEEP && bytes.capacity() <= Self::KEEP_BYTES {
            bytes.clear();
            self.0.push(bytes);
        }
    }
}

/// A worker's engine. Make it on the thread that uses it.
///
/// A ring that fails for good is replaced by epoll, once, in [`Reactor::wait`]: operations go on under their numbers, but
/// sends end with an error, as nobody knows how much of them left.
#[derive(Debug)]
pub struct Reactor {
    engine: Engine,
    settings: Settings,
    running: Arc<State>,
}

#[derive(Debug)]
enum Engine {
    Uring(Box<Ring>),
    Epoll(Box<Epoll>),
}

macro_rules! either {
    ($self:ident, $engine:ident => $call:expr) => {
        match &mut $self.engine {
            Engine::Uring($engine) => $call,
            Engine::Epoll($engine) => $call,
        }
    };
}

/// What one worker's engine is, for others to see.
#[derive(Debug)]
pub(super) struct State(Mutex<Running>);

impl State {
    pub(super) fn get(&self) -> Running {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, running: Running) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}

impl Reactor {
    /// Makes the engine that was chosen; with [`Choice::Auto`], a refusal of io_uring is remembered as the reason.
    pub fn new(choice: Choice, settings: Settings) -> io::Result<Self> {
        let uring = || Ring::new(settings).map(|ring| (Engine::Uring(Box::new(ring)), Running::Uring));
        let epoll = |reason| {
            let epoll = Epoll::new(settings, Waker::new()?)?;
            Ok((Engine::Epoll(Box::new(epoll)), Running::Epoll { reason }))
        };
        let (engine, running) = match choice {
            Choice::Epoll => epoll("asked for".to_owned()),
            Choice::Uring => uring(),
            Choice::Auto => uring().or_else(|error| epoll(format!("io_uring refused: {error}"))),
        }?;
        Ok(Self { engine, settings, running: Arc::new(State(Mutex::new(running))) })
    }

    /// Which engine it has: kept up to date.
    pub(super) fn running(&self) -> Arc<State> {
        self.running.clone()
    }

    #[cfg(test)]
    pub(super) fn breaker(&self) -> Option<super::ring::Breaker> {
        match &self.engine {
            Engine::Uring(ring) => Some(ring.breaker()),
            Engine::Epoll(_) => None,
        }
    }

    /// A handle that wakes this reactor.
    pub fn waker(&self) -> Waker {
        match &self.engine {
            Engine::Uring(ring) => ring.waker(),
            Engine::Epoll(epoll) => epoll.waker(),
        }
    }

    /// An empty buffer for [`Reactor::send`].
    pub fn buffer(&mut self) -> Vec<u8> {
        either!(self, engine => engine.pool().take())
    }

    /// Takes back a buffer that wasn't sent.
    pub fn put_back(&mut self, buffer: Vec<u8>) {
        either!(self, engine => engine.pool().put(buffer));
    }

    /// Accepts connections until an error.
    pub fn accept(&mut self, listener: &Socket, token: u64) -> OpId {
        either!(self, engine => engine.accept(listener, token))
    }

    /// Receives from a stream. The operation may end with what it has received (`more == false`), and is then to be begun anew: of one
    /// stream less than two buffers come between two waits, so that who has enough of it can say so in time ([`Reactor::cancel`]).
    pub fn receive(&mut self, stream: &Socket, token: u64) -> OpId {
        either!(self, engine => engine.receive(stream, token))
    }

    /// Receives datagrams until an error.
    pub fn receive_from(&mut self, socket: &Socket, token: u64) -> OpId {
        either!(self, engine => engine.receive_from(socket, token))
    }

    /// Sends all of the payload. `more` says that bytes will follow at once, so a part-filled segment may wait.
    pub fn send(&mut self, stream: &Socket, payload: Payload, more: bool, token: u64) -> OpId {
        either!(self, engine => engine.send(stream, payload, more, token))
    }

    /// Sends one datagram, or several as one ([`Outgoing::segment`]), which `fill` writes into an empty buffer; nothing is
    /// sent when it fails, and its error comes back. What the socket's buffer has no room for is lost, as it would be on the wire.
    /// What became of the sending is an event, if there is a token; without one, only that it was lost is, with token 0.
    pub fn send_to(
        &mut self,
        socket: &Socket,
        outgoing: &Outgoing,
        token: Option<u64>,
        fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        either!(self, engine => engine.send_to(socket, outgoing, token, fill))
    }

    /// Reports once when the stream takes more bytes.
    pub fn writable(&mut self, stream: &Socket, token: u64) -> OpId {
        either!(self, engine => engine.writable(stream, token))
    }

    /// Ends an operation; its last event still comes.
    pub fn cancel(&mut self, op: OpId) {
        either!(self, engine => engine.cancel(op))
    }

    /// Waits for events, at most `timeout`. All leases were given back.
    ///
    /// # Errors
    /// There is no engine left: what the worker serves it can't serve any more.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match &mut self.engine {
            Engine::Epoll(epoll) => epoll.wait(timeout),
            Engine::Uring(ring) => match ring.wait(timeout) {
                Ok(()) => Ok(()),
                Err(failure) => self.step_down(&failure),
            },
        }
    }

    /// The ring is gone before epoll reads from its sockets, so that no bytes go to the one that nobody asks any more.
    fn step_down(&mut self, failure: &io::Error) -> io::Result<()> {
        let worker = std::thread::current();
        let reason = format!("io_uring failed: {failure}");
        tracing::warn!("worker {}: {reason}; epoll serves from now on", worker.name().unwrap_or_default());
        let waker = self.waker();
        let epoll = Engine::Epoll(Box::new(Epoll::new(self.settings, waker)?));
        if let Engine::Uring(ring) = std::mem::replace(&mut self.engine, epoll)
            && let Engine::Epoll(epoll) = &mut self.engine
        {
            epoll.adopt(ring.dismantle(failure));
        }
        self.running.set(Running::Epoll { reason });
        Ok(())
    }

    /// The next of the events that had come when [`Reactor::wait`] returned, or that our own operations have brought about since: nothing
    /// that was received later is among them.
    pub fn next_event(&mut self) -> Option<Event> {
        either!(self, engine => engine.next_event())
    }

    /// The bytes of a lease.
    pub fn bytes(&self, lease: &Lease) -> &[u8] {
        match &self.engine {
            Engine::Uring(ring) => ring.buffers().bytes(lease),
            Engine::Epoll(epoll) => epoll.buffers().bytes(lease),
        }
    }

    /// Lets the kernel use the buffer again.
    pub fn give_back(&mut self, lease: Lease) {
        either!(self, engine => engine.give_back(lease))
    }
}

/// Numbered slots for operations under way; a number is used again only after its last event.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Option<T>>,
    free: VecDeque<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: VecDeque::new() }
    }
}

/// Each value under its place's number.
impl<T> FromIterator<Option<T>> for Slots<T> {
    fn from_iter<I: IntoIterator<Item = Option<T>>>(values: I) -> Self {
        let slots: Vec<Option<T>> = values.into_iter().collect();
        let free = (0..).zip(&slots).filter(|(_, slot)| slot.is_none()).map(|(index, _)| index).collect();
        Self { slots, free }
    }
}

impl<T> IntoIterator for Slots<T> {
    type Item = Option<T>;
    type IntoIter = std::vec::IntoIter<Option<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.slots.into_iter()
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop_front() {
            self.slots[index as usize] = Some(value);
            return index;
        }
        self.slots.push(Some(value));
        (self.slots.len() - 1) as u32
    }

    pub(super) fn slot(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.empty(index)?;
        self.release(index);
        Some(value)
    }

    /// The value, whose number is not free before [`Slots::release`].
    pub(super) fn empty(&mut self, index: u32) -> Option<T> {
        self.slots.get_mut(index as usize)?.take()
    }

    /// These are free no more, before their release.
    pub(super) fn withhold(&mut self, indices: &HashSet<u32>) {
        self.free.retain(|index| !indices.contains(index));
    }

    /// The last event of what was emptied is taken.
    pub(super) fn release(&mut self, index: u32) {
        self.free.push_back(index);
    }

    /// Above every number.
    pub(super) fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn live(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
