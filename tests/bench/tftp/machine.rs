//! One client as a state machine: a datagram or the time in, what to send out. No clock, no socket. RFC 1350, 2347, 2348, 2349,
//! 7440, written apart from the server's, so that one mistake can't be in both.
//!
//! It takes blocks in their order alone. A block ahead of its turn makes it acknowledge, once, what it has (RFC 7440 section 4);
//! one that it has already makes it acknowledge again only if it is the newest, whose ACK may be lost.

use std::ops::Range;
use std::time::Duration;

/// What clients ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// `blksize`, in bytes.
    pub(crate) block_size: u16,
    /// `windowsize`, in blocks; 1 is not asked for, as most firmware doesn't.
    pub(crate) window: u16,
    /// How long an answer may take at first; each repetition waits twice as long.
    pub(crate) patience: Duration,
}

/// A client repeats itself so often before it gives up.
pub(crate) const REPETITIONS: u8 = 3;
/// Without options (RFC 1350 section 2).
const BLOCK_SIZE: u16 = 512;

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Send {
    /// The read request, to the server's well-known port.
    Request,
    Ack(u16),
    /// An ERROR with this code.
    Error(u16),
}

/// What came of a datagram or of time that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) send: Option<Send>,
    pub(crate) news: News,
}

/// What the tally counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum News {
    #[default]
    Nothing,
    /// The next block, with so many bytes, which are the file's.
    Block(usize),
    /// As [`News::Block`], and it was the last one.
    Done(usize),
    /// A block that the client had, or one ahead of its turn, which it can't keep: it comes, or came, once more.
    Surplus,
    /// The client repeated what it had said last.
    Repeated,
    /// From another port than the transfer's.
    Stranger,
    Failed(Failure),
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// Nobody answered, [`REPETITIONS`] times.
    Silence,
    /// ERROR, with this code.
    Refused(u16),
    /// Other bytes than the file's, or another number of them.
    Content,
    /// Options that were not asked for, or values above those.
    Options,
    /// Neither OACK nor DATA nor ERROR.
    Malformed,
    /// The run was over before the transfer.
    Deadline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asking,
    Fetching,
    Done,
    Failed,
}

/// A transfer, from the client's side.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    phase: Phase,
    tries: u8,
    /// What is missing before the block that came was reported.
    gap: bool,
    /// The server's port, its TID; 0 until it has answered.
    port: u16,
    block_size: u16,
    window: u16,
    /// Blocks that came since the last ACK.
    since_ack: u16,
    /// The block whose turn it is, counted from 1 without end.
    next: u32,
    begun: Duration,
    deadline: Duration,
}

impl Client {
    /// It has sent its request.
    pub(crate) fn new(ask: &Ask, now: Duration) -> Self {
        Self {
            phase: Phase::Asking,
            tries: 0,
            gap: false,
            port: 0,
            block_size: BLOCK_SIZE,
            window: 1,
            since_ack: 0,
            next: 1,
            begun: now,
            deadline: now + ask.patience,
        }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Asking | Phase::Fetching)
    }

    /// The port to send ACKs to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// When it asked first.
    pub(crate) fn begun(&self) -> Duration {
        self.begun
    }

    /// When [`Client::timer`] has something to do.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What was agreed on.
    pub(crate) fn granted(&self) -> (u16, u16) {
        (self.block_size, self.window)
    }

    /// Ends it: the run is over.
    pub(crate) fn give_up(&mut self) {
        self.phase = Phase::Failed;
    }

    /// A datagram came from the server's `port`.
    pub(crate) fn datagram(
        &mut self,
        ask: &Ask,
        file: &[u8],
        port: u16,
        bytes: &[u8],
        now: Duration,
    ) -> Step {
        if self.port != 0 && port != self.port {
            return Step { send: Some(Send::Error(5)), news: News::Stranger };
        }
        let (Some(code), Some(word)) = (word(bytes, 0..2), word(bytes, 2..4)) else {
            return self.fail(Failure::Malformed);
        };
        match (code, self.phase) {
            (_, Phase::Failed) => Step::default(),
            // Its last ACK was lost.
            (3, Phase::Done) if word == self.last() => {
                Step { send: Some(Send::Ack(word)), news: News::Surplus }
            }
            (3 | 6, Phase::Done) => Step { send: None, news: News::Surplus },
            (_, Phase::Done) => Step::default(),
            (3, _) => self.data(ask, file, port, word, &bytes[4..], now),
            (5, _) => {
                self.phase = Phase::Failed;
                Step { send: None, news: News::Failed(Failure::Refused(word)) }
            }
            (6, Phase::Asking) => self.oack(ask, file.len(), port, &bytes[2..], now),
            // Its ACK was lost.
            (6, Phase::Fetching) if self.next == 1 => Step { send: Some(Send::Ack(0)), news: News::Nothing },
            (6, Phase::Fetching) => Step::default(),
            _ => self.fail(Failure::Malformed),
        }
    }

    /// Time has passed.
    pub(crate) fn timer(&mut self, ask: &Ask, now: Duration) -> Step {
        if now < self.deadline || !self.is_under_way() {
            return Step::default();
        }
        if self.tries == REPETITIONS {
            self.phase = Phase::Failed;
            return Step { send: None, news: News::Failed(Failure::Silence) };
        }
        self.tries += 1;
        self.gap = false;
        self.deadline = now + ask.patience * (1 << self.tries);
        let send = match self.phase {
            Phase::Asking => Send::Request,
            _ => self.ack(),
        };
        Step { send: Some(send), news: News::Repeated }
    }

    fn oack(&mut self, ask: &Ask, size: usize, port: u16, options: &[u8], now: Duration) -> Step {
        let Some(granted) = Granted::read(options).filter(|granted| granted.are_asked(ask, size)) else {
            return self.fail(Failure::Options);
        };
        self.block_size = granted.block_size.unwrap_or(BLOCK_SIZE);
        self.window = granted.window.unwrap_or(1);
        self.answered(ask, port, now);
        Step { send: Some(self.ack()), news: News::Nothing }
    }

    fn data(&mut self, ask: &Ask, file: &[u8], port: u16, block: u16, bytes: &[u8], now: Duration) -> Step {
        match block.wrapping_sub(self.next as u16) as i16 {
            0 => {}
            ahead @ 1.. => return self.ahead(ahead),
            // The newest one again: its ACK was lost, unless there was none yet.
            -1 if self.since_ack == 0 && self.next > 1 => {
                return Step { send: Some(self.ack()), news: News::Surplus };
            }
            _ => return Step { send: None, news: News::Surplus },
        }
        let range = self.range(file.len());
        let is_last = range.len() < usize::from(self.block_size);
        if file.get(range) != Some(bytes) {
            return self.fail(Failure::Content);
        }
        self.answered(ask, port, now);
        self.gap = false;
        self.next = self.next.wrapping_add(1);
        self.since_ack += 1;
        if is_last {
            self.phase = Phase::Done;
            return Step { send: Some(self.ack()), news: News::Done(bytes.len()) };
        }
        let send = (self.since_ack >= self.window).then(|| self.ack());
        Step { send, news: News::Block(bytes.len()) }
    }

    fn ahead(&mut self, by: i16) -> Step {
        if self.gap || by.unsigned_abs() >= self.window {
            return Step { send: None, news: News::Surplus };
        }
        self.gap = true;
        Step { send: Some(self.ack()), news: News::Surplus }
    }

    /// Something came: the server listens, and is at this port.
    fn answered(&mut self, ask: &Ask, port: u16, now: Duration) {
        self.port = port;
        self.phase = Phase::Fetching;
        self.tries = 0;
        self.deadline = now + ask.patience;
    }

    fn ack(&mut self) -> Send {
        self.since_ack = 0;
        Send::Ack(self.last())
    }

    /// The last block that it has, as the wire counts.
    fn last(&self) -> u16 {
        self.next.wrapping_sub(1) as u16
    }

    /// Where the next block is in the file: empty behind its end.
    fn range(&self, size: usize) -> Range<usize> {
        let offset = (self.next as usize - 1) * usize::from(self.block_size);
        let end = (offset + usize::from(self.block_size)).min(size);
        offset.min(end)..end
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.phase = Phase::Failed;
        let code = if failure == Failure::Options { 8 } else { 4 };
        Step { send: Some(Send::Error(code)), news: News::Failed(failure) }
    }
}

/// What an OACK says.
#[derive(Debug, Default)]
struct Granted {
    block_size: Option<u16>,
    window: Option<u16>,
    transfer_size: Option<u64>,
}

impl Granted {
    /// Names and values, each with a NUL; `None`: something else is there.
    fn read(options: &[u8]) -> Option<Self> {
        let mut words = options.strip_suffix(b"\0")?.split(|byte| *byte == 0);
        let mut granted = Self::default();
        while let Some(name) = words.next() {
            let value: u64 = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
            match name.to_ascii_lowercase().as_slice() {
                b"blksize" => granted.block_size = Some(value.try_into().ok()?),
                b"windowsize" => granted.window = Some(value.try_into().ok()?),
                b"tsize" => granted.transfer_size = Some(value),
                _ => return None,
            }
        }
        Some(granted)
    }

    fn are_asked(&self, ask: &Ask, size: usize) -> bool {
        self.block_size.is_none_or(|granted| (8..=ask.block_size).contains(&granted))
            && self.window.is_none_or(|granted| ask.window > 1 && (1..=ask.window).contains(&granted))
            && self.transfer_size.is_none_or(|granted| granted == size as u64)
    }
}

fn word(bytes: &[u8], at: Range<usize>) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at)?.try_into().ok()?))
}
