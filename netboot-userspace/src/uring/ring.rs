//! io_uring for sockets: multishot accept and receives into provided buffers, sends of owned bytes.
//!
//! What holds true: everything that the kernel can see (payloads, message headers, receive buffers, sockets) is owned by a
//! slot or by the ring itself, and a slot is freed only when its last completion was taken. Dropping the ring cancels all
//! operations and waits for them first; memory that the kernel won't give up is leaked, never freed under it. A full
//! submission queue is no error: entries wait in a backlog. Floor: Linux 6.1.
#![allow(unsafe_code)] // Submission entries carry raw pointers, and the buffer ring is memory shared with the kernel.

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use self::health::Health;
use self::message::{Message, Parts};
use self::receiving::Receiving;
use self::sending::MOST_SENDING;
use super::buffer_ring::{BUFFER_GROUP, BufferRing};
use super::buffers::Buffers;
use super::reactor::{Datagram, Event, Kind, Lease, OpId, Payload, Pool, Settings, Slots, Waker};
use crate::sys::Socket;
use crate::sys::datagram::{CONTROL_LEN, NAME_LEN, Outgoing, destination, read_name};

mod end;
mod health;
mod message;
mod receiving;
mod sending;
mod setup;

#[cfg(test)]
pub(super) use end::Breaker;

/// Completions of cancel requests: nobody waits for them.
const IGNORED: u64 = u64::MAX;

/// A ring, and everything that the kernel can reach through it.
pub struct Ring {
    ring: IoUring,
    slots: Slots<Slot>,
    backlog: VecDeque<squeue::Entry>,
    /// Completions that came while sends were waited for.
    later: VecDeque<cqueue::Entry>,
    /// What became of those sends.
    sent: VecDeque<Event>,
    /// Datagrams that the kernel will have: it is done with them as soon as it has them, as none waits for room.
    sending: usize,
    /// How much of what has come belongs to this turn: what comes while it is taken waits for the next one.
    turn: usize,
    receiving: Receiving,
    buffers: Buffers,
    /// Freed only after the kernel has forgotten it.
    published: ManuallyDrop<BufferRing>,
    /// Tells multishot receives how much room to leave for the sender's address and for control data; the kernel may read
    /// it at any time.
    receive_header: Box<libc::msghdr>,
    #[allow(clippy::vec_box)] // The kernel holds their addresses.
    messages: Vec<Box<Message>>,
    pool: Pool,
    waker: Waker,
    health: Health,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("live", &self.slots.live()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Slot {
    token: u64,
    cancelled: bool,
    op: Op,
}

#[derive(Debug)]
enum Op {
    Accept(Socket),
    Receive(Socket),
    Datagrams(Socket),
    Send { stream: Socket, payload: Payload, sent: usize, flags: i32, parts: Option<Box<Parts>> },
    SendTo { socket: Socket, message: Box<Message>, is_told: bool },
    Writable(Socket),
    Wake(Socket),
}

impl Ring {
    /// Asks the kernel for a ring and for each operation that a worker needs. EPERM and ENOSYS mean "use epoll".
    pub fn new(settings: Settings) -> io::Result<Self> {
        let waker = Waker::new()?;
        let mut ring = setup::build(settings.entries)?;
        setup::probe(&ring)?;
        let receiving = Receiving::probe(&mut ring, settings.buffer_size)?;
        let buffers = Buffers::new(settings.buffers, settings.buffer_size);
        let published = ManuallyDrop::new(BufferRing::register(&ring, &buffers)?);
        // SAFETY: msghdr is a plain C structure for which all zeroes is a valid value.
        let mut receive_header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        receive_header.msg_namelen = NAME_LEN as libc::socklen_t;
        receive_header.msg_controllen = CONTROL_LEN as _;
        let mut this = Self {
            ring,
            slots: Slots::default(),
            backlog: VecDeque::new(),
            later: VecDeque::new(),
            sent: VecDeque::new(),
            sending: 0,
            turn: 0,
            receiving,
            buffers,
            published,
            receive_header,
            messages: Vec::new(),
            pool: Pool::default(),
            waker,
            health: Health::default(),
        };
        let wake = this.waker.socket().clone();
        this.start(u64::MAX, Op::Wake(wake));
        Ok(this)
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
        self.published.add(&self.buffers, lease.buffer);
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
        // Not MSG_WAITALL: what a full socket leaves is sent from `complete`, which may have been told to stop.
        let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        let parts = Parts::of(&payload);
        self.start(token, Op::Send { stream: stream.clone(), payload, sent: 0, flags, parts })
    }

    pub(super) fn cancel(&mut self, op: OpId) {
        if let Some(slot) = self.slots.slot(op.0) {
            slot.cancelled = true;
            let builder = CancelBuilder::user_data(u64::from(op.0));
            self.push(opcode::AsyncCancel2::new(builder).build().user_data(IGNORED));
        }
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let outcome = self.enter(timeout);
        self.turn = self.sent.len() + self.later.len() + self.ring.completion().len();
        outcome
    }

    fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.flush_backlog();
        let ready = self.has_come() || !self.backlog.is_empty();
        // That datagrams are sent wakes nobody: something else is waited for.
        let wanted = 1 + self.sending;
        let result = match timeout {
            _ if ready => self.ring.submit(),
            None => self.ring.submit_and_wait(wanted),
            Some(timeout) => {
                let spec = Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
                self.ring.submitter().submit_with_args(wanted, &SubmitArgs::new().timespec(&spec))
            }
        };
        let error = match result {
            Ok(_) => return self.health.working(),
            Err(error) => error,
        };
        // What has come is taken first, whatever is wrong.
        if self.has_come() {
            return Ok(());
        }
        match error.raw_os_error() {
            // Time is up, or a signal came.
            Some(libc::ETIME | libc::EINTR) => self.health.working(),
            // The kernel has no memory for the moment.
            Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM) if self.health.may_recover() => {
                std::thread::sleep(Duration::from_millis(1));
                Ok(())
            }
            _ => Err(error),
        }
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        while self.turn > 0 {
            self.turn -= 1;
            if let Some(sent) = self.sent.pop_front() {
                return Some(sent);
            }
            let entry = self.next_entry()?;
            if let Some(event) = self.complete(&entry) {
                return Some(event);
            }
        }
        None
    }

    fn has_come(&mut self) -> bool {
        !(self.sent.is_empty() && self.later.is_empty() && self.ring.completion().is_empty())
    }

    fn next_entry(&mut self) -> Option<cqueue::Entry> {
        let later = self.later.pop_front();
        later.or_else(|| self.ring.completion().next())
    }

    fn start(&mut self, token: u64, op: Op) -> OpId {
        let index = self.slots.insert(Slot { token, cancelled: false, op });
        self.submit_slot(index);
        OpId(index)
    }

    /// Builds the entry for a slot's operation, at first or again.
    fn submit_slot(&mut self, index: u32) {
        let header: *const libc::msghdr = &*self.receive_header;
        let Some(slot) = self.slots.slot(index) else { return };
        let entry = match &mut slot.op {
            Op::Accept(socket) => {
                let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
                opcode::AcceptMulti::new(Fd(socket.as_raw_fd())).flags(flags).build()
            }
            Op::Receive(socket) => self.receiving.entry(Fd(socket.as_raw_fd())),
            Op::Datagrams(socket) => {
                opcode::RecvMsgMulti::new(Fd(socket.as_raw_fd()), header, BUFFER_GROUP).build()
            }
            Op::Send { stream, payload, sent, flags, parts: Some(parts) } => {
                parts.aim(payload.rest(*sent));
                let message = &raw const parts.header;
                opcode::SendMsg::new(Fd(stream.as_raw_fd()), message).flags(*flags as u32).build()
            }
            Op::Send { stream, payload, sent, flags, parts: None } => {
                let [rest, _] = payload.rest(*sent);
                let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
                opcode::Send::new(Fd(stream.as_raw_fd()), rest.as_ptr(), len).flags(*flags).build()
            }
            Op::SendTo { socket, message, .. } => {
                let flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as u32;
                opcode::SendMsg::new(Fd(socket.as_raw_fd()), &raw const message.header).flags(flags).build()
            }
            Op::Writable(socket) => {
                opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLOUT as u32).build()
            }
            Op::Wake(socket) => {
                opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLIN as u32).multi(true).build()
            }
        };
        self.push(entry.user_data(u64::from(index)));
    }

    fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() && self.try_push(&entry) {
            return;
        }
        self.backlog.push_back(entry);
        self.flush_backlog();
    }

    fn flush_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    /// Puts an entry into the queue, making room once by submitting what is there.
    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: every pointer in the entry leads into its slot's payload or boxed message, into the boxed receive
        // header, or into nothing; slots and header outlive the completion (see the top of this file).
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return true;
        }
        let _ = self.ring.submit();
        // SAFETY: as above.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Turns a completion into an event, or into the next round of an operation that isn't over.
    fn complete(&mut self, entry: &cqueue::Entry) -> Option<Event> {
        if entry.user_data() == IGNORED {
            return None;
        }
        let index = entry.user_data() as u32;
        let more = cqueue::more(entry.flags());
        let result = entry.result();
        self.health.completed(result);
        let outcome =
            if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result as usize) };
        let lease = cqueue::buffer_select(entry.flags());
        let slot = self.slots.slot(index)?;
        let (token, cancelled) = (slot.token, slot.cancelled);
        let again = !more && !cancelled;
        let kind = match &mut slot.op {
            Op::Accept(_) => {
                if again && result >= 0 {
                    self.submit_slot(index);
                }
                // SAFETY: a result that isn't negative is a new descriptor that nobody else has seen.
                Kind::Accepted(outcome.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) }))
            }
            Op::Receive(_) => {
                let out_of_buffers = result == -libc::ENOBUFS;
                if out_of_buffers && !cancelled {
                    self.submit_slot(index);
                    return None;
                }
                // It ran out of buffers before the cancel reached it: the stream is as sound as without that.
                let outcome = if out_of_buffers { Err(cancellation()) } else { outcome };
                let received = match (outcome, lease) {
                    (Ok(len), Some(buffer)) => Ok(Lease { buffer, start: 0, len }),
                    (Ok(_), None) => Err(io::ErrorKind::UnexpectedEof.into()),
                    (Err(error), _) => Err(error),
                };
                Kind::Received(received)
            }
            Op::Datagrams(_) => {
                return self.datagram(index, token, more, cancelled, outcome, lease);
            }
            Op::Send { payload, sent, .. } => {
                let len = payload.len();
                if let Ok(n) = &outcome {
                    *sent += n;
                    if *n > 0 && *sent < len && !cancelled {
                        self.submit_slot(index);
                        return None;
                    }
                }
                Kind::Sent(outcome.and(Ok(*sent)))
            }
            Op::SendTo { is_told: false, .. } if !outcome.as_ref().is_err_and(Outgoing::is_lost) => {
                self.release(index);
                return None;
            }
            Op::SendTo { .. } => Kind::Sent(outcome),
            Op::Writable(_) => Kind::Writable(outcome.map(|_| ())),
            Op::Wake(_) => {
                self.waker.drain();
                if again {
                    self.submit_slot(index);
                }
                return Some(Event { token, op: OpId(index), more: true, kind: Kind::Woken });
            }
        };
        let rearmed = again && matches!(&kind, Kind::Accepted(Ok(_)));
        Some(self.event(index, token, more || rearmed, kind))
    }

    fn datagram(
        &mut self,
        index: u32,
        token: u64,
        more: bool,
        cancelled: bool,
        outcome: io::Result<usize>,
        buffer: Option<u16>,
    ) -> Option<Event> {
        // A datagram socket has no end: what isn't fatal (no buffer free, a stray ICMP error) only starts it again.
        let fatal = matches!(&outcome, Err(e) if matches!(e.raw_os_error(), Some(libc::ECANCELED | libc::EBADF | libc::EINVAL)));
        let rearm = !more && !cancelled && !fatal;
        if rearm {
            self.submit_slot(index);
        }
        match (outcome, buffer) {
            (Ok(len), Some(buffer)) => {
                let lease = Lease { buffer, start: 0, len };
                match split(buffer, self.buffers.bytes(&lease), &self.receive_header) {
                    Some(datagram) => {
                        let kind = Kind::Datagram(Ok(datagram));
                        Some(self.event(index, token, more || rearm, kind))
                    }
                    None => {
                        self.give_back(lease);
                        None
                    }
                }
            }
            _ if more || rearm => None,
            (outcome, _) => {
                let error = outcome.err().unwrap_or_else(|| io::ErrorKind::Other.into());
                Some(self.event(index, token, false, Kind::Datagram(Err(error))))
            }
        }
    }

    fn event(&mut self, index: u32, token: u64, more: bool, kind: Kind) -> Event {
        if !more {
            self.release(index);
        }
        Event { token, op: OpId(index), more, kind }
    }

    /// Its last completion was taken.
    fn release(&mut self, index: u32) {
        match self.slots.remove(index).map(|slot| slot.op) {
            Some(Op::Send { payload, .. }) => {
                self.pool.put(payload.into_buffer());
            }
            Some(Op::SendTo { message, .. }) => {
                self.sending -= 1;
                if self.messages.len() < MOST_SENDING {
                    self.messages.push(message);
                }
            }
            _ => {}
        }
    }
}

fn cancellation() -> io::Error {
    io::Error::from_raw_os_error(libc::ECANCELED)
}

/// The ends and the place of the payload in a buffer that multishot recvmsg filled.
fn split(buffer: u16, bytes: &[u8], header: &libc::msghdr) -> Option<Datagram> {
    let message = RecvMsgOut::parse(bytes, header).ok()?;
    if message.is_payload_truncated() {
        return None;
    }
    let from = read_name(message.name_data())?;
    let len = message.payload_data().len();
    let lease = Lease { buffer, start: bytes.len() - len, len };
    Some(Datagram { from, to: destination(message.control_data()), lease })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
