//! What the requests come to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::Failure;
use crate::histogram::Histogram;

#[derive(Debug, Default)]
pub(crate) struct Score {
    pub(crate) requests: u64,
    /// Of bodies, also of those that did not come to their end.
    pub(crate) bytes: u64,
    /// Of those, what was compared with the file.
    pub(crate) compared: u64,
    /// Connections that the server closed between two requests.
    pub(crate) reopened: u64,
    failures: BTreeMap<Failure, u64>,
    latencies: Histogram,
}

impl Score {
    pub(crate) fn complete(&mut self, taken: Duration) {
        self.requests += 1;
        self.latencies.add(taken);
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.compared += other.compared;
        self.reopened += other.reopened;
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
        self.latencies.merge(&other.latencies);
    }

    pub(crate) fn failures(&self) -> BTreeMap<String, u64> {
        self.failures.iter().map(|(failure, count)| (format!("{failure:?}"), *count)).collect()
    }

    /// `seconds`: how long it was measured.
    pub(crate) fn report(&self, seconds: f64) -> Value {
        json!({
            "seconds": seconds,
            "requests": self.requests,
            "requests_per_second": self.requests as f64 / seconds,
            "bytes": self.bytes,
            "mb_per_second": self.bytes as f64 / seconds / 1e6,
            "compared": self.compared,
            "p50_us": self.latencies.microseconds(0.5),
            "p99_us": self.latencies.microseconds(0.99),
            "max_us": self.latencies.largest_microseconds(),
            "failed": self.failed(),
            "failures": self.failures(),
            "reopened": self.reopened,
        })
    }
}
