//! The same interface as [`super::ring`], made from epoll and plain system calls: slower, allowed everywhere.
//!
//! An operation is tried when its socket is ready, and its outcome queued as an event; readiness is level-triggered, so
//! nothing is missed when the receive buffers run out for a while.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags};
use rustix::time::Timespec;

use super::buffers::Buffers;
use super::reactor::{Datagram, Event, Kind, Lease, OpId, Payload, Pool, Settings, Slots, Waker};
use crate::sys::datagram::Outgoing;
use crate::sys::{Socket, datagram};

/// How many datagrams, or connections, are taken from one socket before others get their turn. Of a stream nothing is read before it
/// was said what becomes of the last that was: its peer may be the one that has to wait.
const BATCH: usize = 32;

/// An epoll instance, and the operations that wait for it.
pub struct Epoll {
    epoll: OwnedFd,
    slots: Slots<Slot>,
    watched: HashMap<RawFd, Watch>,
    queue: VecDeque<Event>,
    ready: Vec<epoll::Event>,
    buffers: Buffers,
    free: Vec<u16>,
    pool: Pool,
    waker: Waker,
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll").field("live", &self.slots.live()).finish_non_exhaustive()
    }
}

/// An operation of an engine that is no more.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) token: u64,
    pub(super) then: Then,
}

/// What becomes of it.
#[derive(Debug)]
pub(super) enum Then {
    GoOn(Op),
    /// Its last event.
    End(Kind),
}

#[derive(Debug)]
struct Slot {
    token: u64,
    op: Op,
}

#[derive(Debug)]
pub(super) enum Op {
    Accept(Socket),
    Receive(Socket),
    Datagrams(Socket),
    Send { stream: Socket, payload: Payload, sent: usize, flags: SendFlags },
    Writable(Socket),
}

impl Op {
    fn socket(&self) -> &Socket {
        match self {
            Self::Accept(s) | Self::Receive(s) | Self::Datagrams(s) | Self::Writable(s) => s,
            Self::Send { stream, .. } => stream,
        }
    }

    fn reads(&self) -> bool {
        matches!(self, Self::Accept(_) | Self::Receive(_) | Self::Datagrams(_))
    }
}

/// What is wanted of one descriptor: at most one reading and one writing operation.
#[derive(Debug, Default)]
struct Watch {
    reading: Option<u32>,
    writing: Option<u32>,
    registered: Option<EventFlags>,
}

impl Watch {
    fn wanted(&self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.reading.is_some());
        flags.set(EventFlags::OUT, self.writing.is_some());
        flags
    }
}

impl Epoll {
    /// Makes an epoll instance with its buffers. `waker` wakes it.
    pub fn new(settings: Settings, waker: Waker) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, waker.socket(), EventData::new_u64(u64::MAX), EventFlags::IN)?;
        let buffers = Buffers::new(settings.buffers, settings.buffer_size);
        Ok(Self {
            epoll,
            slots: Slots::default(),
            watched: HashMap::new(),
            queue: VecDeque::new(),
            ready: Vec::with_capacity(256),
            free: (0..buffers.count()).rev().collect(),
            buffers,
            pool: Pool::default(),
            waker,
        })
    }

    /// Goes on with the operations of another engine, under their own numbers; those without a socket to go on with end.
    pub(super) fn adopt(&mut self, orphans: Vec<Option<Orphan>>) {
        let mut ended = Vec::new();
        let slots = orphans.into_iter().enumerate().map(|(index, orphan)| match orphan? {
            Orphan { token, then: Then::GoOn(op) } => Some(Slot { token, op }),
            Orphan { token, then: Then::End(kind) } => {
                ended.push(Event { token, op: OpId(index as u32), more: false, kind });
                None
            }
        });
        self.slots = slots.collect();
        self.slots.withhold(&ended.iter().map(|event| event.op.0).collect());
        self.queue.extend(ended);
        (0..self.slots.end()).for_each(|index| self.watch(index));
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(super) fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    pub(super) fn give_back(&mut self, lease: Lease) {
        self.free.push(lease.buffer);
    }

    pub(super) fn accept(&mut self, listener: &Socket, token: u64) -> OpId {
        self.start(token, Op::Accept(listener.clone()))
    }

    pub(super) fn receive(&mut self, stream: &Socket, token: u64) -> OpId {
        self.start(token, Op::Receive(stream.clone()))
    }

    pub(super) fn receive_from(&mut self, socket: &Socket, token: u64) -> OpId {
        self.start(token, Op::Datagrams(socket.clone()))
    }

    pub(super) fn writable(&mut self, stream: &Socket, token: u64) -> OpId {
        self.start(token, Op::Writable(stream.clone()))
    }

    pub(super) fn send(&mut self, stream: &Socket, payload: Payload, more: bool, token: u64) -> OpId {
        let mut flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        flags.set(SendFlags::MORE, more);
        let op = OpId(
            self.slots
                .insert(Slot { token, op: Op::Send { stream: stream.clone(), payload, sent: 0, flags } }),
        );
        // Most sends fit into the socket's buffer: try before asking epoll.
        if self.advance_send(op.0) {
            self.watch(op.0);
        }
        op
    }

    pub(super) fn send_to(
        &mut self,
        socket: &Socket,
        outgoing: &Outgoing,
        token: Option<u64>,
        fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut bytes = self.pool.take();
        if let Err(error) = fill(&mut bytes) {
            self.pool.put(bytes);
            return Err(error);
        }
        let outcome = datagram::send(socket, &bytes, outgoing);
        self.pool.put(bytes);
        if token.is_some() || outcome.as_ref().is_err_and(Outgoing::is_lost) {
            let token = token.unwrap_or_default();
            self.queue.push_back(Event { token, op: OpId(u32::MAX), more: false, kind: Kind::Sent(outcome) });
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self, op: OpId) {
        self.end(op.0, io::Error::from_raw_os_error(libc::ECANCELED));
    }

    fn end(&mut self, index: u32, error: io::Error) {
        let Some(slot) = self.slots.slot(index) else { return };
        let kind = match slot.op {
            Op::Accept(_) => Kind::Accepted(Err(error)),
            Op::Receive(_) => Kind::Received(Err(error)),
            Op::Datagrams(_) => Kind::Datagram(Err(error)),
            Op::Send { .. } => Kind::Sent(Err(error)),
            Op::Writable(_) => Kind::Writable(Err(error)),
        };
        self.finish(index, kind);
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.queue.is_empty() { timeout } else { Some(Duration::ZERO) };
        let spec = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let outcome = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), spec.as_ref());
        for event in &ready {
            let (flags, data) = (event.flags, event.data.u64());
            if data == u64::MAX {
                self.waker.drain();
                self.queue.push_back(Event {
                    token: u64::MAX,
                    op: OpId(u32::MAX),
                    more: true,
                    kind: Kind::Woken,
                });
                continue;
            }
            self.advance(data as RawFd, flags);
        }
        self.ready = ready;
        match outcome {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        // Until now somebody may have meant this one by its number: in its name others would have been cancelled.
        if !event.more && event.op.0 != u32::MAX {
            self.slots.release(event.op.0);
        }
        Some(event)
    }

    fn start(&mut self, token: u64, op: Op) -> OpId {
        let index = self.slots.insert(Slot { token, op });
        self.watch(index);
        OpId(index)
    }

    /// Asks epoll for what the operation waits for; one that epoll refuses ends, as it would wait for ever.
    fn watch(&mut self, index: u32) {
        let Some(slot) = self.slots.slot(index) else { return };
        let fd = slot.op.socket().as_raw_fd();
        let reads = slot.op.reads();
        let watch = self.watched.entry(fd).or_default();
        if reads {
            watch.reading = Some(index);
        } else {
            watch.writing = Some(index);
        }
        if let Err(error) = self.register(fd) {
            self.end(index, error.into());
        }
    }

    /// Makes epoll's idea of a descriptor equal to ours.
    fn register(&mut self, fd: RawFd) -> Result<(), Errno> {
        let Some(watch) = self.watched.get_mut(&fd) else { return Ok(()) };
        let wanted = watch.wanted();
        if watch.registered == Some(wanted) {
            return Ok(());
        }
        let Some(slot) = watch.reading.or(watch.writing).and_then(|index| self.slots.slot(index)) else {
            return Ok(());
        };
        let (socket, data) = (slot.op.socket(), EventData::new_u64(fd as u64));
        match watch.registered {
            Some(_) => epoll::modify(&self.epoll, socket, data, wanted)?,
            None => epoll::add(&self.epoll, socket, data, wanted)?,
        }
        watch.registered = Some(wanted);
        Ok(())
    }

    fn advance(&mut self, fd: RawFd, flags: EventFlags) {
        let Some(watch) = self.watched.get(&fd) else { return };
        let (reading, writing) = (watch.reading, watch.writing);
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if let Some(index) = writing.filter(|_| broken || flags.contains(EventFlags::OUT)) {
            match self.slots.slot(index).map(|slot| &slot.op) {
                Some(Op::Writable(_)) => self.finish(index, Kind::Writable(Ok(()))),
                _ => {
                    self.advance_send(index);
                }
            }
        }
        if let Some(index) = reading.filter(|_| broken || flags.contains(EventFlags::IN)) {
            let is_stream = matches!(self.slots.slot(index), Some(Slot { op: Op::Receive(_), .. }));
            for _ in 0..if is_stream { 1 } else { BATCH } {
                if !self.advance_read(index) {
                    break;
                }
            }
        }
    }

    /// Reads or accepts once; whether another try makes sense.
    fn advance_read(&mut self, index: u32) -> bool {
        let Some(slot) = self.slots.slot(index) else { return false };
        let token = slot.token;
        let kind = if let Op::Accept(listener) = &slot.op {
            match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(stream) => Kind::Accepted(Ok(stream)),
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return false,
                Err(error) => return self.fail(index, Kind::Accepted(Err(error.into()))),
            }
        } else {
            let Some(buffer) = self.free.pop() else { return false };
            let space = self.buffers.whole(buffer);
            let outcome = match &slot.op {
                Op::Datagrams(socket) => match datagram::receive(socket, space) {
                    Ok((len, Some(from), to)) => {
                        let lease = Lease { buffer, start: 0, len };
                        Ok(Kind::Datagram(Ok(Datagram { from, to, lease })))
                    }
                    // Of neither family: there is no such sender.
                    Ok((_, None, _)) => Err(Errno::AGAIN),
                    Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)),
                },
                op => rustix::net::recv(op.socket(), space, RecvFlags::DONTWAIT)
                    .map(|(len, _)| Kind::Received(Ok(Lease { buffer, start: 0, len }))),
            };
            let datagrams = matches!(slot.op, Op::Datagrams(_));
            match outcome {
                Ok(Kind::Received(Ok(lease))) if lease.is_empty() => {
                    return self.fail(index, Kind::Received(Ok(lease)));
                }
                Ok(kind) => kind,
                Err(error) => {
                    self.free.push(buffer);
                    if datagrams || matches!(error, Errno::AGAIN | Errno::INTR) {
                        return false;
                    }
                    return self.fail(index, Kind::Received(Err(error.into())));
                }
            }
        };
        self.queue.push_back(Event { token, op: OpId(index), more: true, kind });
        true
    }

    fn fail(&mut self, index: u32, kind: Kind) -> bool {
        self.finish(index, kind);
        false
    }

    /// Sends what the socket takes; whether some of it must wait.
    fn advance_send(&mut self, index: u32) -> bool {
        let Some(Slot { op: Op::Send { stream, payload, sent, flags }, .. }) = self.slots.slot(index) else {
            return false;
        };
        let outcome = loop {
            let rest = payload.rest(*sent).map(IoSlice::new);
            if rest.iter().all(|part| part.is_empty()) {
                break Ok(*sent);
            }
            match rustix::net::sendmsg(&stream, &rest, &mut SendAncillaryBuffer::default(), *flags) {
                Ok(n) => *sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(error) => break Err(error.into()),
            }
        };
        self.finish(index, Kind::Sent(outcome));
        false
    }

    /// Queues the last event of an operation, and lets go of its socket; of its number with that event.
    fn finish(&mut self, index: u32, kind: Kind) {
        let Some(slot) = self.slots.empty(index) else { return };
        let fd = slot.op.socket().as_raw_fd();
        if let Some(watch) = self.watched.get_mut(&fd) {
            watch.reading = watch.reading.filter(|&other| other != index);
            watch.writing = watch.writing.filter(|&other| other != index);
            if watch.wanted().is_empty() {
                // Unregistered while the descriptor is still open: its number may belong to another socket soon.
                if watch.registered.is_some() {
                    let _ = epoll::delete(&self.epoll, slot.op.socket());
                }
                self.watched.remove(&fd);
            } else {
                // Less is wanted than before: that epoll knew the descriptor, and goes on reporting it, harms nothing.
                let _ = self.register(fd);
            }
        }
        if let Op::Send { payload, .. } = slot.op {
            self.pool.put(payload.into_buffer());
        }
        self.queue.push_back(Event { token: slot.token, op: OpId(index), more: false, kind });
    }
}
