//! What the transfers come to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::machine::{Failure, News};
use crate::samples::at;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    bytes: u64,
    blocks: u64,
    surplus: u64,
    repeated: u64,
    strangers: u64,
    failures: BTreeMap<Failure, u64>,
    milliseconds: Vec<f64>,
}

impl Tally {
    /// `taken`: since the client asked.
    pub(crate) fn count(&mut self, news: News, taken: Duration) {
        match news {
            News::Nothing => {}
            News::Block(bytes) => self.block(bytes),
            News::Done(bytes) => {
                self.block(bytes);
                self.milliseconds.push(taken.as_secs_f64() * 1000.0);
            }
            News::Surplus => self.surplus += 1,
            News::Repeated => self.repeated += 1,
            News::Stranger => self.strangers += 1,
            News::Failed(failure) => self.failed(failure),
        }
    }

    fn block(&mut self, bytes: usize) {
        self.blocks += 1;
        self.bytes += bytes as u64;
    }

    pub(crate) fn failed(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    /// How many came so far.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// `seconds`: from the first request to the last block.
    pub(crate) fn report(&self, seconds: f64) -> Map<String, Value> {
        let failed: u64 = self.failures.values().sum();
        let failures: BTreeMap<_, _> =
            self.failures.iter().map(|(failure, count)| (format!("{failure:?}"), count)).collect();
        let value = json!({
            "seconds": seconds,
            "completed": self.milliseconds.len(),
            "failed": failed,
            "failures": failures,
            "bytes": self.bytes,
            "mb_per_second": self.bytes as f64 / seconds / 1e6,
            "transfers_per_second": self.milliseconds.len() as f64 / seconds,
            "blocks": self.blocks,
            "surplus_blocks": self.surplus,
            "surplus_percent": 100.0 * self.surplus as f64 / self.blocks.max(1) as f64,
            "clients_repeated": self.repeated,
            "strangers": self.strangers,
            "p50_ms": at(&self.milliseconds, 0.5),
            "p99_ms": at(&self.milliseconds, 0.99),
            "max_ms": at(&self.milliseconds, 1.0),
        });
        match value {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}
