//! One upload as a state machine: a datagram or the time in, what to keep and what to send out. No clock, no socket, no file.
//!
//! The client sends, so what is repeated here are ACKs. The last block is acknowledged only after the file is complete
//! ([`Step::is_last`]), and the transfer stays for a while after that, to repeat an ACK that was lost (RFC 1350 section 6).

use std::time::Duration;

use netboot_common::wire::tftp::{BLOCK_SIZE, ErrorCode, Granted, Packet, Request};

use crate::tftp::machine::{End, FRESH, Limits, MOST_PATIENCE, describe};

/// What to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// The OACK ([`Reception::granted`]).
    Oack,
    /// The ACK of a block, by its wire number.
    Ack(u16),
    /// An ERROR to the client, which ends the transfer.
    Error(ErrorCode, &'static str),
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// The next bytes of the file.
    pub keep: Option<&'a [u8]>,
    /// With these bytes the file is complete: `reply` may leave only if it could be stored.
    pub is_last: bool,
    /// What to send.
    pub reply: Reply,
    /// Set when the transfer is over.
    pub end: Option<End>,
}

impl Step<'_> {
    const NOTHING: Self = Self { keep: None, is_last: false, reply: Reply::Nothing, end: None };

    fn reply(reply: Reply) -> Self {
        Self { reply, ..Self::NOTHING }
    }

    fn error(code: ErrorCode, text: &'static str) -> Self {
        Self { reply: Reply::Error(code, text), end: Some(End::Failed(text.to_owned())), ..Self::NOTHING }
    }
}

/// An upload under way.
#[derive(Debug)]
pub struct Reception {
    granted: Granted,
    limits: Limits,
    /// Most bytes that are taken.
    most: u64,
    block_size: u16,
    window: u64,
    /// Blocks that came, in order.
    got: u64,
    /// Of them, how many were acknowledged.
    acked: u64,
    bytes: u64,
    /// A gap was reported, and nothing came in order since.
    nagged: bool,
    is_complete: bool,
    tries: u8,
    heard_at: Duration,
    patience: Duration,
    resent: u64,
}

impl Reception {
    /// Answers a write request; `announced` by its `tsize`, `most` bytes are taken.
    pub fn new(
        request: &Request<'_>,
        announced: Option<u64>,
        most: u64,
        limits: Limits,
        now: Duration,
    ) -> (Self, Step<'static>) {
        let granted = Granted {
            block_size: request.block_size.map(|asked| asked.min(limits.block_size)),
            timeout: request.timeout.filter(|&seconds| Duration::from_secs(seconds.into()) <= MOST_PATIENCE),
            transfer_size: announced,
            window_size: request.window_size.map(|asked| asked.min(limits.window_size.max(1))),
        };
        let this = Self {
            granted,
            limits,
            most,
            block_size: granted.block_size.unwrap_or(BLOCK_SIZE),
            window: u64::from(granted.window_size.unwrap_or(1)),
            got: 0,
            acked: 0,
            bytes: 0,
            nagged: false,
            is_complete: false,
            tries: 0,
            heard_at: now,
            patience: granted.timeout.map_or(limits.timeout, |s| Duration::from_secs(s.into())),
            resent: 0,
        };
        let step = match announced {
            Some(size) if size > most => Step::error(ErrorCode::DiskFull, TOO_LARGE),
            _ => Step::reply(this.first()),
        };
        (this, step)
    }

    /// The options to put into the OACK.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// Bytes that came.
    pub fn received(&self) -> u64 {
        self.bytes
    }

    /// ACKs that were sent more than once.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Whether the client has shown that it exists and listens.
    pub fn answered(&self) -> bool {
        self.got > 0
    }

    /// Whether the request that it answers, when it comes once more, is a late copy (see `Transfer::is_echo`).
    pub fn is_echo(&self, now: Duration) -> bool {
        let is_fresh = self.tries == 0 && now.saturating_sub(self.heard_at) < FRESH;
        !self.answered() || !self.is_complete && is_fresh
    }

    /// When [`Reception::timer`] wants to be called.
    pub fn deadline(&self) -> Duration {
        // A client whose last ACK was lost repeats its last block after a wait of its own.
        let tries = if self.is_complete { 2 } else { self.tries.min(6) };
        self.heard_at + self.patience.saturating_mul(1 << tries).min(MOST_PATIENCE)
    }

    /// A datagram came from the client. Those of others are not the transfer's (RFC 1350 section 4).
    pub fn datagram<'a>(&mut self, datagram: &'a [u8], now: Duration) -> Step<'a> {
        match Packet::parse(datagram) {
            Ok(Packet::Data(block, bytes)) => self.data(block, bytes, now),
            Ok(Packet::Error(code, text)) => {
                Step { end: Some(self.client_error(code, text)), ..Step::NOTHING }
            }
            Ok(Packet::Read(_) | Packet::Write(..) | Packet::Ack(_) | Packet::NotForServers) | Err(_) => {
                Step::error(ErrorCode::IllegalOperation, "illegal operation")
            }
        }
    }

    /// The deadline has come: repeat the last ACK, or end. Where the end has to wait for the disk, there is another deadline.
    pub fn timer(&mut self, now: Duration) -> Step<'static> {
        if now < self.deadline() {
            return Step::NOTHING;
        }
        self.heard_at = now;
        if self.is_complete {
            return Step { end: Some(End::Done), ..Step::NOTHING };
        }
        let most = if self.answered() { self.limits.retries } else { self.limits.first_retries };
        if self.tries >= most {
            return Step { end: Some(End::Failed(self.silence())), ..Step::NOTHING };
        }
        self.tries += 1;
        self.again()
    }

    fn data<'a>(&mut self, block: u16, bytes: &'a [u8], now: Duration) -> Step<'a> {
        if bytes.len() > usize::from(self.block_size) {
            return Step::error(ErrorCode::IllegalOperation, "a block larger than was agreed on");
        }
        if self.is_complete || block != self.wire_number(self.got + 1) {
            return self.out_of_order(block, now);
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most {
            return Step::error(ErrorCode::DiskFull, TOO_LARGE);
        }
        self.got += 1;
        (self.nagged, self.tries, self.heard_at) = (false, 0, now);
        self.is_complete = bytes.len() < usize::from(self.block_size);
        let is_due = self.is_complete || self.got - self.acked >= self.window;
        let reply = if is_due { self.ack() } else { Reply::Nothing };
        Step { keep: Some(bytes), is_last: self.is_complete, reply, end: None }
    }

    /// The last block again: our ACK was lost. One from further on: one between was, which is said once (RFC 7440 section 4).
    /// What is older came late, and is done with.
    fn out_of_order(&mut self, block: u16, now: Duration) -> Step<'static> {
        if self.got > 0 && block == self.wire_number(self.got) {
            // Who repeats it is there, and waits: for our ACK, or for our disk.
            self.heard_at = now;
            return self.again();
        }
        let is_ahead =
            !self.is_complete && (2..=self.window).any(|on| block == self.wire_number(self.got + on));
        if is_ahead && !self.nagged {
            self.nagged = true;
            return self.again();
        }
        Step::NOTHING
    }

    fn again(&mut self) -> Step<'static> {
        if self.got == 0 {
            self.resent += 1;
            return Step::reply(self.first());
        }
        self.resent += u64::from(self.acked == self.got);
        Step::reply(self.ack())
    }

    fn ack(&mut self) -> Reply {
        self.acked = self.got;
        Reply::Ack(self.wire_number(self.got))
    }

    /// Answers the request: by an OACK, or as if it were block 0.
    fn first(&self) -> Reply {
        if self.granted.is_empty() { Reply::Ack(0) } else { Reply::Oack }
    }

    fn wire_number(&self, block: u64) -> u16 {
        match self.limits.after_wrap {
            0 => block as u16,
            _ => ((block - 1) % 65535 + 1) as u16,
        }
    }

    fn client_error(&self, code: u16, text: &[u8]) -> End {
        match (self.is_complete, self.answered()) {
            (true, _) => End::Done,
            (_, true) => End::Failed(describe(code, text)),
            (_, false) => End::Aborted,
        }
    }

    fn silence(&self) -> String {
        match self.answered() {
            true => format!("the client fell silent after block {}", self.got),
            false => "the client never answered".to_owned(),
        }
    }
}

const TOO_LARGE: &str = "larger than an upload may be";

#[cfg(test)]
mod tests;
