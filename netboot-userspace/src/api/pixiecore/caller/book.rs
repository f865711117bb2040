//! What an API said of each machine, and how long it counts. Pure: the time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use netboot_common::Mac;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Refusal, Stage, Then, Verdict};
use crate::pixiecore::Cpu;

/// So long an answer is that of the same boot, unless its script was handed out before: then the next question by DHCP begins another.
pub(super) const BOOT: Duration = Duration::from_secs(120);
/// So long a machine is not asked for again that the API has nothing for.
pub(super) const NO: Duration = Duration::from_secs(10);
/// The same, where the API could not be understood.
pub(super) const FAILED: Duration = Duration::from_secs(2);
/// Machines that are remembered.
pub(super) const MACHINES: usize = 16_384;

/// What was asked for a machine.
pub(super) struct Known {
    number: u64,
    cpu: Option<Cpu>,
    asked: Instant,
    /// `None`: the answer is on its way.
    pub(super) verdict: watch::Receiver<Option<Verdict>>,
    /// Its script was handed out.
    is_used: bool,
    /// Who is told when the answer is there.
    pub(super) then: Option<Then>,
}

/// All of them. Of those whose answer is there, the oldest go where there is no more room: refusals first, which cost nobody a boot.
#[derive(Default)]
pub(super) struct Book {
    next: u64,
    known: HashMap<Mac, Known>,
    refused: BTreeMap<u64, Mac>,
    answered: BTreeMap<u64, Mac>,
}

impl Book {
    pub(super) fn of(&mut self, mac: Mac) -> Option<&mut Known> {
        self.known.get_mut(&mac)
    }

    /// Whether what is known answers this question, too.
    pub(super) fn answers(&self, mac: Mac, cpu: Option<Cpu>, stage: Stage, now: Instant) -> bool {
        self.known.get(&mac).is_some_and(|known| known.counts(cpu, stage, now))
    }

    /// A machine is asked for, in place of what was known of it. The question's number.
    pub(super) fn ask(&mut self, mac: Mac, known: Known) -> u64 {
        self.forget(mac);
        while self.known.len() >= MACHINES {
            let oldest = self.refused.values().next().or_else(|| self.answered.values().next());
            let Some(mac) = oldest.copied() else { break };
            self.forget(mac);
        }
        self.next += 1;
        self.known.insert(mac, Known { number: self.next, ..known });
        self.next
    }

    /// The answer of a question is there: who is to be told.
    pub(super) fn settle(&mut self, mac: Mac, number: u64, boots: bool) -> Option<Then> {
        let known = self.known.get_mut(&mac).filter(|known| known.number == number)?;
        let settled = if boots { &mut self.answered } else { &mut self.refused };
        settled.insert(number, mac);
        known.then.take()
    }

    /// The script of a machine was handed out.
    pub(super) fn used(&mut self, mac: Mac) {
        self.known.entry(mac).and_modify(|known| known.is_used = true);
    }

    fn forget(&mut self, mac: Mac) {
        if let Some(known) = self.known.remove(&mac) {
            self.refused.remove(&known.number);
            self.answered.remove(&known.number);
        }
    }
}

impl Known {
    /// One whose answer is on its way.
    pub(super) fn new(cpu: Option<Cpu>, asked: Instant, verdict: watch::Receiver<Option<Verdict>>) -> Self {
        Self { number: 0, cpu, asked, verdict, is_used: false, then: None }
    }

    fn counts(&self, cpu: Option<Cpu>, stage: Stage, now: Instant) -> bool {
        // A script is asked for by what DHCP has sent, whatever that is made for.
        let is_another = stage == Stage::Dhcp && cpu.is_some() && self.cpu.is_some() && cpu != self.cpu;
        let age = now.saturating_duration_since(self.asked);
        !is_another
            && match &*self.verdict.borrow() {
                // As long as somebody asks.
                None => self.verdict.has_changed().is_ok(),
                Some(Ok(_)) => age < BOOT && !(self.is_used && stage == Stage::Dhcp),
                Some(Err(Refusal::No(_))) => age < NO,
                Some(Err(Refusal::Failed(_) | Refusal::Busy)) => age < FAILED,
            }
    }
}
