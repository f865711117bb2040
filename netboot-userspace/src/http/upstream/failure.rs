//! Why a file can't be had from its upstream: what the client is told, and what operators.

use std::fmt;
use std::sync::Arc;

/// A status, and the cause in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: u16,
    cause: Arc<str>,
    sign: Sign,
}

/// What it says beyond this one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Nothing,
    /// The upstream itself has said that the file is no more.
    Gone,
    /// What it has of this file is of no use, and will not be in a moment.
    Wrong,
    /// Nobody answers there.
    Silent,
}

impl Failure {
    /// There is no such file, for all that is known here.
    pub(super) fn missing(cause: impl Into<String>) -> Self {
        Self::new(404, cause)
    }

    /// The upstream has answered that there is no such file.
    pub(super) fn gone(cause: impl Into<String>) -> Self {
        Self { sign: Sign::Gone, ..Self::new(404, cause) }
    }

    /// What it answers is of no use.
    pub(super) fn bad(cause: impl Into<String>) -> Self {
        Self::new(502, cause)
    }

    /// All of it came, or would, and is not what may be kept.
    pub(super) fn wrong(cause: impl Into<String>) -> Self {
        Self { sign: Sign::Wrong, ..Self::new(502, cause) }
    }

    /// It takes too long.
    pub(super) fn late(cause: impl Into<String>) -> Self {
        Self::new(504, cause)
    }

    /// The fault is ours: disk, descriptors.
    pub(super) fn ours(cause: impl Into<String>) -> Self {
        Self::new(500, cause)
    }

    /// There is too much to do.
    pub(super) fn busy(cause: impl Into<String>) -> Self {
        Self::new(503, cause)
    }

    /// There is no room for it.
    pub(super) fn full(cause: impl Into<String>) -> Self {
        Self::new(507, cause)
    }

    /// It would be fetched from ourselves (RFC 5842 section 7.2).
    pub(super) fn circle() -> Self {
        Self::new(508, "an upstream leads back to this server")
    }

    /// Of the system.
    pub(super) fn io(what: &str, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::full(format!("{what}: {error}"))
            }
            _ => Self::ours(format!("{what}: {error}")),
        }
    }

    fn new(status: u16, cause: impl Into<String>) -> Self {
        Self { status, cause: cause.into().into(), sign: Sign::Nothing }
    }

    /// The same of an upstream from which nothing comes.
    pub(super) fn silent(self) -> Self {
        Self { sign: Sign::Silent, ..self }
    }

    /// The same of what can't be had because of it. That something else is missing does not mean that this is.
    pub(super) fn of(&self, what: &str) -> Self {
        let status = if self.is_missing() { 502 } else { self.status };
        let sign = if self.is_gone() { Sign::Nothing } else { self.sign };
        Self { status, cause: format!("{what}: {self}").into(), sign }
    }

    /// Whether there is no such file, to who has no copy of it.
    pub(super) fn is_missing(&self) -> bool {
        self.status == 404
    }

    /// Whether a copy goes with it.
    pub(super) fn is_gone(&self) -> bool {
        self.sign == Sign::Gone
    }

    /// Whether it will be the same when it is asked for again.
    pub(super) fn is_wrong(&self) -> bool {
        self.sign == Sign::Wrong
    }

    /// Whether nobody answers there.
    pub(super) fn is_silent(&self) -> bool {
        self.sign == Sign::Silent
    }

    /// Whether the upstream is to blame.
    pub(super) fn is_theirs(&self) -> bool {
        matches!(self.status, 502 | 504)
    }

    /// What a client is told: nothing of addresses and hosts, which are in the cause.
    pub(super) fn told(&self) -> &'static str {
        match self.status {
            404 => "its upstream has no such file, or none that may be had",
            502 => "its upstream can't be used: events and log of this server say why",
            503 => "there is too much to do: ask again",
            504 => "its upstream takes too long",
            507 => "there is no room for it",
            508 => "an upstream leads back to this server",
            _ => "this server can't keep it: its log says why",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Failure {}
