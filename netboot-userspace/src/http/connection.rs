//! One connection's state: what was read, what is being sent, and until when that may take.

use std::net::SocketAddr;
use std::time::Duration;

use crate::sys::sendfile::FileBody;
use crate::uring::{OpId, Socket};

use super::{Event, Limits, Place, Stage};

/// Requests that were sent ahead are kept up to here; then the client has to wait.
pub(super) const READ_AHEAD: usize = 64 * 1024;
/// Bodies larger than this report their progress.
const LARGE: u64 = 8 << 20;
/// How long an ended connection waits for its client to close, so that the last answer isn't lost to a reset.
const LINGER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Socket,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
    pub(super) input: Vec<u8>,
    /// How much of `input` was looked at without finding the end of a head.
    pub(super) scanned: usize,
    pub(super) receiving: Option<OpId>,
    /// The client has closed its half.
    pub(super) ended: bool,
    pub(super) state: State,
    /// The operation that moves the response: a send, or a wait until the socket takes more.
    pub(super) moving: Option<OpId>,
    /// When the state began, or last saw progress.
    pub(super) since: Duration,
    pub(super) timer: Duration,
    served: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// Waiting for a head, or the rest of it.
    Reading,
    /// A response is on its way.
    Sending(Sending),
    /// To be handed over as soon as the receive has ended.
    HandingOver,
    /// Answered and shut down; waiting for the client to close.
    Draining,
}

#[derive(Debug)]
pub(super) struct Sending {
    pub(super) path: String,
    pub(super) status: u16,
    pub(super) body: Option<FileBody>,
    pub(super) total: u64,
    pub(super) range: Option<(u64, u64)>,
    pub(super) started: Duration,
    pub(super) reported: Duration,
    pub(super) keep_alive: bool,
}

impl Connection {
    pub(super) fn new(stream: Socket, peer: SocketAddr, place: Place, now: Duration) -> Self {
        Self {
            stream,
            peer,
            place,
            input: Vec::new(),
            scanned: 0,
            receiving: None,
            ended: false,
            state: State::Reading,
            moving: None,
            since: now,
            timer: Duration::MAX,
            served: false,
        }
    }

    /// When its time is up.
    pub(super) fn deadline(&self, limits: &Limits) -> Duration {
        self.since
            + match self.state {
                State::Reading if self.served && self.input.is_empty() => limits.idle,
                State::Reading => limits.head,
                State::Sending(_) => limits.stall,
                State::HandingOver | State::Draining => LINGER,
            }
    }

    /// Keeps what was received. The head's time starts with its first byte.
    pub(super) fn take(&mut self, bytes: &[u8], now: Duration) {
        if matches!(self.state, State::Draining) {
            return;
        }
        if matches!(self.state, State::Reading) && self.input.is_empty() {
            self.since = now;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Drops a head that was answered, and waits for the next.
    pub(super) fn next_request(&mut self, now: Duration) {
        self.state = State::Reading;
        self.since = now;
        self.served = true;
    }
}

impl Sending {
    /// What to tell the observer.
    pub(super) fn event(&self, peer: SocketAddr, now: Duration, stage: Stage) -> Event {
        let bytes = match &self.body {
            Some(body) => body.sent(),
            None if stage == Stage::Done => self.total,
            None => 0,
        };
        Event {
            peer,
            path: self.path.clone(),
            status: self.status,
            bytes,
            total: self.total,
            duration: now.saturating_sub(self.started),
            range: self.range,
            stage,
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
