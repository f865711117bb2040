//! A session: the machine that decides, the file that it is about, and its two ends.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use netboot_common::wire::tftp::{DATA_HEADER, ErrorCode, Granted, ack, emit_error};

use super::answer::Answer;
use super::content::{Content, Part, write_part};
use super::desk::Inbox;
use super::disk::{Disk, Job};
use super::guesses::Heard;
use super::machine::{End, FRESH, Send, Step, Transfer};
use super::sessions::OfClient;
use super::tids::Tids;
use super::upload::machine::{Reply, Step as Taken};
use super::upload::writing::{Said, Writing, Written};
use super::upload::{Full, Upload};
use super::{Direction, Event, Outcome};
use crate::sys::datagram::Outgoing;
use crate::uring::{Reactor, Socket};

/// The two ends of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    /// Our address that was asked, and answers; port 0.
    pub(super) own: SocketAddr,
    /// The index of the interface that it came by.
    pub(super) interface: u32,
    /// A hash of the request: by it a repetition is told from another request.
    pub(super) asked: u32,
}

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) work: Work,
    pub(super) ends: Ends,
    /// Which of our ports it has.
    pub(super) tid: u16,
    pub(super) name: Box<str>,
    pub(super) started: Duration,
    /// What had been heard of the client then, at ports that are not its own.
    pub(super) heard: Heard,
    /// How old it is when more of that ends it no longer: in milliseconds, for which there is room.
    pub(super) doubted: u32,
    /// When it is looked at next.
    pub(super) timer: Duration,
    /// What became of it is known already.
    pub(super) is_reported: bool,
    /// For the disk.
    pub(super) waits: bool,
}

/// So often a paced one is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Fifteen thousand clients at once are to take no more than this each, and their entries in tables beside it.
const _: () = assert!(size_of::<Session>() <= 384);

#[derive(Debug)]
pub(super) enum Work {
    /// A file that the client reads. `as_one`: its windows may leave as one. `left`: so many blocks of what is outstanding have.
    Read { machine: Transfer, content: Content, as_one: bool, left: u16 },
    /// A file that it writes.
    Write(Writing),
}

/// What to send, by either machine.
#[derive(Debug)]
pub(super) enum Out {
    Nothing,
    Oack,
    Blocks(RangeInclusive<u64>),
    Ack(u16),
    Error(ErrorCode, &'static str),
}

/// What to send, and whether that is the end.
#[derive(Debug)]
pub(super) struct Action {
    pub(super) out: Out,
    pub(super) end: Option<Outcome>,
}

impl From<End> for Outcome {
    fn from(end: End) -> Self {
        match end {
            End::Done => Self::Done,
            End::Unconfirmed => Self::Unconfirmed,
            End::Aborted => Self::Aborted,
            End::Failed(reason) => Self::Failed(reason),
        }
    }
}

impl Action {
    fn of_read(step: Step) -> Self {
        let out = match step.send {
            Send::Nothing => Out::Nothing,
            Send::Oack => Out::Oack,
            Send::Blocks(blocks) => Out::Blocks(blocks),
            Send::Error(code, text) => Out::Error(code, text),
        };
        Self { out, end: step.end.map(Outcome::from) }
    }

    /// What is said of an upload.
    fn of_said(said: Option<Said>) -> Self {
        let Some(Said { reply, end }) = said else { return Self { out: Out::Nothing, end: None } };
        let out = match reply {
            Reply::Nothing => Out::Nothing,
            Reply::Oack => Out::Oack,
            Reply::Ack(block) => Out::Ack(block),
            Reply::Error(code, text) => Out::Error(code, text),
        };
        Self { out, end: end.map(Outcome::from) }
    }

    fn of_refusal(full: Full) -> Self {
        let Answer { code, text, outcome } = full.into();
        Self { out: Out::Error(code, text), end: Some(outcome) }
    }
}

impl Work {
    /// What the first step of a machine comes to.
    pub(super) fn begin(&mut self, first: First) -> Action {
        match (self, first) {
            (Self::Write(writing), First::Write(taken)) => Action::of_said(writing.take(taken)),
            (_, First::Read(step)) => Action::of_read(step),
            (_, First::Write(_)) => Action { out: Out::Nothing, end: None },
        }
    }

    pub(super) fn answered(&self) -> bool {
        match self {
            Self::Read { machine, .. } => machine.answered(),
            Self::Write(writing) => writing.machine.answered(),
        }
    }

    pub(super) fn is_echo(&self, now: Duration) -> bool {
        match self {
            Self::Read { machine, .. } => machine.is_echo(now),
            Self::Write(writing) => writing.machine.is_echo(now),
        }
    }

    pub(super) fn deadline(&self) -> Duration {
        match self {
            Self::Read { machine, .. } => machine.deadline(),
            Self::Write(writing) => writing.machine.deadline(),
        }
    }

    pub(super) fn datagram(&mut self, bytes: &[u8], now: Duration) -> Action {
        match self {
            Self::Read { machine, .. } => Action::of_read(machine.datagram(bytes, now)),
            Self::Write(writing) => Action::of_said(writing.datagram(bytes, now)),
        }
    }

    pub(super) fn timer(&mut self, now: Duration) -> Action {
        match self {
            Self::Read { machine, .. } => Action::of_read(machine.timer(now)),
            Self::Write(writing) => Action::of_said(writing.timer(now)),
        }
    }

    fn granted(&self) -> &Granted {
        match self {
            Self::Read { machine, .. } => machine.granted(),
            Self::Write(writing) => writing.machine.granted(),
        }
    }

    /// The size of the file, and how much of it the other side has for sure.
    fn sizes(&self) -> (u64, u64) {
        match self {
            Self::Read { machine, content, .. } => (content.size(), machine.acknowledged()),
            Self::Write(writing) => (writing.machine.received(), writing.machine.received()),
        }
    }

    fn resent(&self) -> u64 {
        match self {
            Self::Read { machine, .. } => machine.resent(),
            Self::Write(writing) => writing.machine.resent(),
        }
    }

    fn is_paced(&self) -> bool {
        matches!(self, Self::Read { machine, .. } if machine.is_paced())
    }

    pub(super) fn was_paced(&self) -> bool {
        matches!(self, Self::Read { machine, .. } if machine.was_paced())
    }

    /// Whether it is an upload that is complete.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self, Self::Write(writing) if writing.stored.is_some())
    }

    fn direction(&self) -> Direction {
        match self {
            Self::Read { .. } => Direction::Read,
            Self::Write(writing) => Direction::Write { stored: writing.stored.clone() },
        }
    }
}

/// The first step of either machine.
#[derive(Debug)]
pub(super) enum First {
    Read(Step),
    Write(Taken<'static>),
}

impl OfClient for Session {
    fn client(&self) -> SocketAddr {
        self.ends.client
    }
}

impl Session {
    /// Whether a request that its client has sent before this one is a late copy, when it comes now: this one has just been heard, or
    /// its client. One that begins anew with it repeats it.
    pub(super) fn is_young(&self, now: Duration) -> bool {
        now.saturating_sub(self.started) < FRESH || self.work.answered() && self.work.is_echo(now)
    }

    /// When it has to be looked at: at its deadline, or before. A timer that is late is kept until it is due, and one that is paced has a
    /// near deadline in each window.
    pub(super) fn next_look(&self, now: Duration) -> Duration {
        let deadline = self.work.deadline();
        if self.work.is_paced() { deadline.min(now + LOOK) } else { deadline }
    }

    /// It has just been answered for the first time.
    pub(super) fn answered(&mut self, now: Duration) {
        self.doubted = self.age(now).saturating_add(FRESH.as_millis() as u32);
    }

    /// Whether it may be somebody else's guess that seems to be its client's answer.
    pub(super) fn is_doubted(&self, now: Duration) -> bool {
        self.work.answered() && self.age(now) < self.doubted
    }

    /// Milliseconds.
    fn age(&self, now: Duration) -> u32 {
        now.saturating_sub(self.started).as_millis().try_into().unwrap_or(u32::MAX)
    }

    /// What there is to say of it.
    pub(super) fn event(&self, outcome: Outcome, now: Duration) -> Event {
        let (size, bytes) = self.work.sizes();
        Event {
            client: self.ends.client,
            file: self.name.to_string(),
            size,
            bytes,
            resent: self.work.resent(),
            duration: now.saturating_sub(self.started),
            direction: self.work.direction(),
            outcome,
        }
    }

    /// Sends; an error is the file's.
    pub(super) fn send(
        &mut self,
        reactor: &mut Reactor,
        tids: &Tids,
        token: u64,
        out: Out,
    ) -> io::Result<()> {
        match out {
            Out::Nothing => {}
            Out::Oack => {
                let mut oack = [0; Granted::MAX];
                let len = self.work.granted().emit(&mut oack);
                self.send_bytes(reactor, tids, &oack[..len]);
            }
            Out::Blocks(blocks) => return self.send_blocks(reactor, tids, Some(token), blocks),
            Out::Ack(block) => self.send_bytes(reactor, tids, &ack(block)),
            Out::Error(code, text) => self.send_error(reactor, tids, code, text),
        }
        Ok(())
    }

    /// The window as it is, one datagram after the other from now on: the kernel could not divide it (see [`Outgoing`]).
    pub(super) fn send_apart(&mut self, reactor: &mut Reactor, tids: &Tids) -> io::Result<()> {
        let Work::Read { machine, as_one, .. } = &mut self.work else { return Ok(()) };
        *as_one = false;
        let Some(blocks) = machine.outstanding() else { return Ok(()) };
        self.send_blocks(reactor, tids, None, blocks)
    }

    pub(super) fn sends_as_one(&self) -> bool {
        matches!(self.work, Work::Read { as_one: true, .. })
    }

    pub(super) fn send_error(&self, reactor: &mut Reactor, tids: &Tids, code: ErrorCode, text: &str) {
        send_error(reactor, tids.socket(self.tid), &self.outgoing(tids), code, text);
    }

    fn outgoing(&self, tids: &Tids) -> Outgoing {
        tids.outgoing(self.ends.own, self.ends.client)
    }

    fn send_bytes(&self, reactor: &mut Reactor, tids: &Tids, packet: &[u8]) {
        send_bytes(reactor, tids.socket(self.tid), &self.outgoing(tids), packet);
    }

    /// The blocks that are outstanding and have not left.
    fn unsent(&self) -> Option<RangeInclusive<u64>> {
        let Work::Read { machine, left, .. } = &self.work else { return None };
        let (first, last) = machine.outstanding()?.into_inner();
        let first = first + u64::from(*left);
        (first <= last).then_some(first..=last)
    }

    /// Asks for what is to be sent, unless that was done. One that finds no room asks when its timer says so.
    pub(super) fn wait_for_the_disk(&mut self, token: u64, disk: &Disk, inbox: &Arc<Inbox>) {
        let Work::Read { machine, content, .. } = &self.work else { return };
        let part = self.unsent().and_then(|blocks| content.part(machine, &blocks));
        let Some(part) = part.filter(|_| !self.waits) else { return };
        self.waits = disk.try_send((Job::Read(token, part), inbox.clone())).is_ok();
    }

    /// Has what its client writes written, unless that is being done. What finds no room waits for the next datagram, or the timer.
    pub(super) fn write_on(&mut self, token: u64, disk: &Disk, inbox: &Arc<Inbox>) {
        let Work::Write(writing) = &mut self.work else { return };
        let Some((upload, orders)) = writing.give() else { return };
        let asked = disk.try_send((Job::Write(token, upload, orders), inbox.clone()));
        if let Err(TrySendError::Full((Job::Write(_, upload, orders), _))) = asked {
            writing.give_back(upload, orders);
        }
    }

    /// It was written, as far as `written` says.
    pub(super) fn give_back(&mut self, upload: Box<Upload>) {
        if let Work::Write(writing) = &mut self.work {
            writing.give_back(upload, Vec::new());
        }
    }

    /// What is said of what was written.
    pub(super) fn written(&mut self, written: Written) -> Action {
        let (name, said) = match written {
            Ok(written) => written,
            Err(full) => return Action::of_refusal(full),
        };
        if let (Work::Write(writing), Some(name)) = (&mut self.work, name) {
            writing.stored = Some(name);
        }
        Action::of_said(Some(said))
    }

    /// Sends what has not left, of what was read; [`io::ErrorKind::WouldBlock`]: that is something else by now.
    pub(super) fn send_part(
        &mut self,
        reactor: &mut Reactor,
        tids: &Tids,
        token: u64,
        part: &Part,
        bytes: &[u8],
    ) -> io::Result<()> {
        let Some(blocks) = self.unsent() else { return Ok(()) };
        self.send_each(reactor, tids, Some(token), blocks, |machine, _, blocks, out| {
            write_part(machine, blocks, out, (part.start, bytes))
        })
    }

    fn send_blocks(
        &mut self,
        reactor: &mut Reactor,
        tids: &Tids,
        token: Option<u64>,
        blocks: RangeInclusive<u64>,
    ) -> io::Result<()> {
        self.send_each(reactor, tids, token, blocks, |machine, content, blocks, out| {
            content.write(machine, blocks, out)
        })
    }

    /// As few sends as the kernel takes: a window costs the way through it once. What has left by the time of an error is not sent again
    /// with the rest: each DATA that comes twice is answered (RFC 1123 section 4.2.3.1).
    fn send_each(
        &mut self,
        reactor: &mut Reactor,
        tids: &Tids,
        token: Option<u64>,
        blocks: RangeInclusive<u64>,
        write: impl Fn(&Transfer, &Content, RangeInclusive<u64>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut outgoing, socket) = (self.outgoing(tids), tids.socket(self.tid));
        let Work::Read { machine, content, as_one, left } = &mut self.work else { return Ok(()) };
        let (machine, content) = (&*machine, &*content);
        let segment = usize::from(machine.block_size()) + DATA_HEADER;
        let most = (Outgoing::MOST_BYTES / segment).clamp(1, Outgoing::MOST_SEGMENTS);
        let most = if *as_one { most as u64 } else { 1 };
        let (first, last) = blocks.into_inner();
        let begin = machine.outstanding().map_or(first, |all| *all.start());
        // Before a further part of a window leaves what its first one waits for.
        let mut first = first.min(begin + u64::from(*left));
        *left = (first - begin) as u16;
        while first <= last {
            let end = last.min(first + most - 1);
            let token = token.filter(|_| end > first);
            outgoing.segment = (end > first).then_some(segment as u16);
            let fill = |out: &mut Vec<u8>| write(machine, content, first..=end, out);
            reactor.send_to(socket, &outgoing, token, fill)?;
            first = end + 1;
            *left = (first - begin) as u16;
        }
        Ok(())
    }
}

/// Sends an ERROR.
pub(super) fn send_error(
    reactor: &mut Reactor,
    socket: &Socket,
    outgoing: &Outgoing,
    code: ErrorCode,
    text: &str,
) {
    let mut packet = [0; 128];
    let len = emit_error(code, text, &mut packet);
    send_bytes(reactor, socket, outgoing, &packet[..len]);
}

/// Sends one datagram.
fn send_bytes(reactor: &mut Reactor, socket: &Socket, outgoing: &Outgoing, packet: &[u8]) {
    // Only the closure could fail.
    let _ = reactor.send_to(socket, outgoing, None, |out| {
        out.extend_from_slice(packet);
        Ok(())
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::sync::mpsc::sync_channel;

    use netboot_common::wire::tftp::Packet;

    use super::*;
    use crate::sys::net;
    use crate::sys::open::RegularFile;
    use crate::tftp::guesses::Guesses;
    use crate::tftp::machine::Limits;
    use crate::uring::{Choice, Settings};

    const SIZE: usize = 2000;

    /// A read in windows of four blocks of 512 bytes, whose OACK is acknowledged.
    fn begun(client: SocketAddr) -> Session {
        let Ok(Packet::Read(request)) = Packet::parse(b"\0\x01f\0octet\0windowsize\x004\0") else {
            panic!("no request")
        };
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE as u64).unwrap();
        let content = Content::File(RegularFile::of(file).unwrap().into());
        let now = Duration::ZERO;
        let (mut machine, _) = Transfer::new(&request, content.size(), Limits::default(), now);
        machine.datagram(&ack(0), now);
        Session {
            work: Work::Read { machine, content, as_one: false, left: 0 },
            ends: Ends { client, own: (Ipv4Addr::LOCALHOST, 0).into(), interface: 0, asked: 0 },
            tid: 0,
            name: "f".into(),
            started: now,
            heard: Guesses::new().of(client),
            doubted: 0,
            timer: now,
            is_reported: false,
            waits: false,
        }
    }

    /// What is in memory of the file: up to this block.
    fn up_to(most: u64) -> impl Fn(&Transfer, &Content, RangeInclusive<u64>, &mut Vec<u8>) -> io::Result<()> {
        move |machine, _, blocks, out| match *blocks.end() > most {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => write_part(machine, blocks, out, (0, &[7; SIZE][..])),
        }
    }

    #[test]
    fn what_has_left_of_a_window_is_not_sent_again_with_what_the_disk_had_to_be_waited_for() {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_nonblocking(true).unwrap();
        // Loopback has it in the queue when it is sent.
        let received = || -> Vec<u8> {
            let mut data = [0; 600];
            std::iter::from_fn(|| client.recv(&mut data).ok().map(|_| data[3])).collect()
        };
        let settings = Settings { entries: 8, buffers: 8, buffer_size: 2048 };
        let mut reactor = Reactor::new(Choice::Epoll, settings).unwrap();
        let requests = Arc::new(net::udp_port((Ipv4Addr::LOCALHOST, 0).into()).unwrap());
        let tids = Tids::new(Vec::new(), &requests).unwrap();
        let mut session = begun(client.local_addr().unwrap());
        let (disk, jobs) = sync_channel(1);
        let inbox = Inbox::new(reactor.waker());

        let sent = session.send_each(&mut reactor, &tids, Some(1), 1..=4, up_to(2));
        assert_eq!((sent.unwrap_err().kind(), received()), (io::ErrorKind::WouldBlock, vec![1, 2]));
        session.wait_for_the_disk(1, &disk, &inbox);
        let Ok((Job::Read(1, part), _)) = jobs.try_recv() else { panic!("the disk is not asked") };
        assert_eq!((part.start, part.length, part.is_last), (1024, SIZE - 1024, true));
        let bytes = [7; SIZE - 1024];
        session.send_part(&mut reactor, &tids, 1, &part, &bytes).unwrap();
        assert_eq!(received(), [3, 4]);
        session.send_part(&mut reactor, &tids, 1, &part, &bytes).unwrap();
        assert!(received().is_empty(), "all of it has left");
        session.send_each(&mut reactor, &tids, Some(1), 1..=4, up_to(4)).unwrap();
        assert_eq!(received(), [1, 2, 3, 4], "what the timer repeats is sent");

        session.send_each(&mut reactor, &tids, Some(1), 1..=2, up_to(0)).unwrap_err();
        assert!(received().is_empty());
        session.send_each(&mut reactor, &tids, Some(1), 3..=4, up_to(4)).unwrap();
        assert_eq!(received(), [1, 2, 3, 4], "the part of a window before this one, too, which had to wait");
    }
}
