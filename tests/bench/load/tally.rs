//! What the exchanges come to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::samples::at;

/// What may be wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Another address than the client's own, than the offered one, or than the pool has.
    Address,
    /// One address, two clients.
    GivenTwice,
    /// Not to this client, or not from this server.
    Wrong,
    /// A wrong length or checksum.
    Unsound,
    /// A NAK.
    Refused,
    /// A second reply to one message.
    Duplicate,
    /// To an exchange that was given up.
    Stray,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::GivenTwice => "given_twice",
            Self::Wrong => "wrong",
            Self::Unsound => "unsound",
            Self::Refused => "refused",
            Self::Duplicate => "duplicate",
            Self::Stray => "late",
        }
    }

    /// Late and double replies are a matter of load; all else is an error.
    const fn invalid(self) -> bool {
        !matches!(self, Self::Duplicate | Self::Stray)
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    begun: u64,
    lost: u64,
    without_offer: u64,
    faults: BTreeMap<Fault, u64>,
    microseconds: Vec<f64>,
}

impl Tally {
    /// Counts one more; how many there were before.
    pub(super) fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun - 1
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    pub(super) fn completed(&self) -> u64 {
        self.microseconds.len() as u64
    }

    pub(super) fn complete(&mut self, after: Duration) {
        self.microseconds.push(after.as_nanos() as f64 / 1000.0);
    }

    pub(super) fn lose(&mut self, without_offer: bool) {
        self.lost += 1;
        self.without_offer += u64::from(without_offer);
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// `rate`: completed in time, in each second; `late`: how far the generator itself fell behind.
    pub(super) fn report(&self, rate: f64, late: Duration) -> Value {
        let invalid: u64 =
            self.faults.iter().filter(|(fault, _)| fault.invalid()).map(|(_, count)| count).sum();
        let faults: BTreeMap<_, _> = self.faults.iter().map(|(fault, count)| (fault.name(), count)).collect();
        json!({
            "rate": rate,
            "begun": self.begun,
            "completed": self.completed(),
            "lost": self.lost,
            "lost_without_offer": self.without_offer,
            "loss_percent": 100.0 * self.lost as f64 / self.begun.max(1) as f64,
            "invalid": invalid,
            "faults": faults,
            "p50_us": at(&self.microseconds, 0.5),
            "p99_us": at(&self.microseconds, 0.99),
            "max_us": at(&self.microseconds, 1.0),
            "generator_late_ms": late.as_secs_f64() * 1000.0,
        })
    }
}
