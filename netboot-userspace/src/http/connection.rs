//! What a worker keeps of a connection beside its machine.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use crate::sys::ktls;
use crate::sys::net;
use crate::sys::sendfile::{FileBody, Progress};
use crate::uring::{OpId, Socket};

use super::machine::{Answer, Machine};
use super::{Event, Place, Stage, pace};

/// Bodies larger than this report their progress.
const LARGE: u64 = 8 << 20;

/// **Invariant:** an idle one has nothing on the heap but itself and its socket's count; see `memory` of the tests.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Socket,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
    pub(super) machine: Machine,
    pub(super) receiving: Option<OpId>,
    /// The operation that moves the answer: a send, or a wait until the socket takes more.
    pub(super) moving: Option<OpId>,
    pub(super) timer: Duration,
    /// The answer that is on its way.
    pub(super) sending: Option<Box<Sending>>,
    /// To be given away as soon as the receive has ended.
    pub(super) leaving: Option<super::machine::Onward>,
    /// The client was told that nothing more comes: by TLS, where the kernel enciphers.
    has_ended: bool,
}

#[derive(Debug)]
pub(super) struct Sending {
    path: String,
    boot: Option<u64>,
    status: u16,
    pub(super) body: Option<FileBody>,
    total: u64,
    range: Option<(u64, u64)>,
    pace: Option<u64>,
    started: Duration,
    /// When the socket took some of it last.
    moved: Duration,
    reported: Duration,
    /// Why there is no file, though there should be one.
    cause: Option<Box<str>>,
}

/// What the allocator adds to each of them is in the measured test.
const _: () = assert!(size_of::<Connection>() <= 320);
const _: () = assert!(size_of::<Sending>() <= 288);

impl Connection {
    pub(super) fn new(stream: Socket, peer: SocketAddr, place: Place, machine: Machine) -> Self {
        Self {
            stream,
            peer,
            place,
            machine,
            receiving: None,
            moving: None,
            timer: Duration::MAX,
            sending: None,
            leaving: None,
            has_ended: false,
        }
    }

    /// Whether its client is there, and has still to take what was answered whole.
    pub(super) fn is_waited_for(&self) -> bool {
        let is_there = || net::peer_address(&self.stream).is_ok();
        self.sending.is_none()
            && net::unacknowledged(&self.stream).is_ok_and(|waiting| waiting > 0)
            && is_there()
    }

    /// Says so once.
    pub(super) fn say_end(&mut self) -> io::Result<()> {
        if !self.has_ended {
            ktls::say_end(&self.stream)?;
            self.has_ended = true;
        }
        Ok(())
    }
}

impl Sending {
    /// On a connection that is sent so many bytes per second at most.
    pub(super) fn new<F>(
        answer: Answer<F>,
        body: Option<FileBody>,
        pace: Option<u64>,
        now: Duration,
        cause: Option<String>,
    ) -> Box<Self> {
        let Answer { path, boot, status, length: total, part: range, .. } = answer;
        let (status, cause) = (status.code(), cause.map(String::into_boxed_str));
        let [started, moved, reported] = [now; 3];
        Box::new(Self { path, boot, status, body, total, range, pace, started, moved, reported, cause })
    }

    /// Bytes of a file that the socket has taken.
    pub(super) fn taken(&self) -> u64 {
        self.body.as_ref().map_or(0, FileBody::sent)
    }

    /// Sends what the socket takes now of its file.
    pub(super) fn advance(&mut self, now: Duration) -> io::Result<Progress> {
        let Some(body) = &mut self.body else { return Ok(Progress::Done) };
        let before = body.sent();
        let progress = body.advance();
        if body.sent() > before {
            self.moved = now;
        }
        progress
    }

    /// Whether it has stalled, where it is the client that breaks it off now.
    pub(super) fn has_stalled(&self, now: Duration) -> bool {
        pace::has_stalled(now.saturating_sub(self.moved))
    }

    /// What to tell the observer; the last time that there is anything to tell, the path is his.
    pub(super) fn event(&mut self, peer: SocketAddr, now: Duration, stage: Stage) -> Event {
        let bytes = match &self.body {
            Some(body) => body.sent().min(self.total),
            None if stage == Stage::Done => self.total,
            None => 0,
        };
        let path = if stage == Stage::Progress { self.path.clone() } else { mem::take(&mut self.path) };
        Event {
            peer,
            path,
            boot: self.boot,
            status: self.status,
            bytes,
            total: self.total,
            duration: now.saturating_sub(self.started),
            range: self.range,
            pace: self.pace,
            stage,
            cause: self.cause.as_deref().map(str::to_owned),
        }
    }

    /// Whether a second has passed since the last report of a large body.
    pub(super) fn wants_report(&mut self, now: Duration) -> bool {
        let due = self.total > LARGE && now.saturating_sub(self.reported) >= Duration::from_secs(1);
        if due {
            self.reported = now;
        }
        due
    }
}
