//! Asks an API what a machine boots: once for a boot, however often its firmware, iPXE and script want to know.
//!
//! **Bounds:** so many questions at once, so many that wait for a place or an answer, one DISCOVER that waits for each, and one
//! deadline over all of it: an API that hangs, and who invents machines, keep nobody longer than one answer may take.

mod book;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netboot_common::Mac;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use self::book::{Book, Known};
use crate::inventory::events::{Event, Events, Lane};
use crate::pixiecore::{Base, Boot, Cpu, answer};

/// Questions at once.
const AT_ONCE: usize = 64;
/// Machines whose answer is not there yet: of more, none is asked for.
const WAITING: usize = 4096;

/// GETs a URL, and reads the whole answer: its status and body, or why there is none.
pub type Ask =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<(u16, Vec<u8>), String>> + Send>> + Send + Sync>;

/// Why a machine boots nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    No(String),
    #[error("{0}")]
    Failed(String),
    #[error("the API is asked for {WAITING} other machines already")]
    Busy,
}

type Verdict = Result<Arc<Boot>, Refusal>;

/// What goes on when the answer is there. May block.
type Then = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// The API, and what it said.
pub struct Caller {
    ask: Ask,
    /// From when a machine wants to know until it is told.
    within: Duration,
    /// Ends with `/`.
    prefix: String,
    base: Base,
    tells_arch: bool,
    runtime: Handle,
    events: Arc<Events>,
    book: Mutex<Book>,
    places: Semaphore,
    waiting: Arc<Semaphore>,
    /// How often nobody was asked.
    busy: AtomicU64,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v1/boot/…", self.prefix)
    }
}

/// Who wants to know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Dhcp,
    Script,
}

/// What the API is asked.
#[derive(Clone, Copy)]
struct Question {
    mac: Mac,
    cpu: Option<Cpu>,
    /// Its number in the book.
    number: u64,
    asked: Instant,
}

impl Caller {
    /// `url`: the API's prefix. `within`: how long a machine waits for its answer. `tells_arch`: whether the machine's architecture is
    /// in the question.
    pub fn new(
        url: &str,
        base: Base,
        tells_arch: bool,
        within: Duration,
        ask: Ask,
        runtime: Handle,
        events: Arc<Events>,
    ) -> Self {
        let prefix = format!("{}/", url.trim_end_matches('/'));
        let (book, places, waiting) =
            (Mutex::default(), Semaphore::new(AT_ONCE), Arc::new(Semaphore::new(WAITING)));
        let busy = AtomicU64::new(0);
        Self { ask, within, prefix, base, tells_arch, runtime, events, book, places, waiting, busy }
    }

    /// What the script of `mac` boots.
    pub(super) async fn of_script(self: &Arc<Self>, mac: Mac, cpu: Option<Cpu>) -> Verdict {
        let verdict = self.known(&mut self.book(), mac, cpu, Stage::Script)?.verdict.clone();
        let verdict = settled(verdict).await;
        if verdict.is_ok() {
            self.book().used(mac);
        }
        verdict
    }

    /// Tells `then` whether `mac` boots from here: at once, or when the API has answered. Of several DISCOVERs of one machine that
    /// wait for an answer, the last one is told: the others are answered by it.
    pub fn of_dhcp(
        self: &Arc<Self>,
        mac: Mac,
        cpu: Option<Cpu>,
        then: impl FnOnce(Result<(), Refusal>) + Send + 'static,
    ) {
        let mut book = self.book();
        let there = match self.known(&mut book, mac, cpu, Stage::Dhcp) {
            Err(refusal) => Err(refusal),
            Ok(known) => {
                let there = known.verdict.borrow().clone();
                let Some(verdict) = there else {
                    known.then = Some(Box::new(then));
                    return;
                };
                verdict.map(drop)
            }
        };
        drop(book);
        then(there);
    }

    /// What is known of `mac`, or asked for it from now on.
    fn known<'a>(
        self: &Arc<Self>,
        book: &'a mut Book,
        mac: Mac,
        cpu: Option<Cpu>,
        stage: Stage,
    ) -> Result<&'a mut Known, Refusal> {
        let asked = Instant::now();
        if !book.answers(mac, cpu, stage, asked) {
            let waits = self.waiting.clone().try_acquire_owned().map_err(|_| self.is_busy())?;
            let (tell, verdict) = watch::channel(None);
            let number = book.ask(mac, Known::new(cpu, asked, verdict));
            let question = Question { mac, cpu, number, asked };
            drop(self.runtime.spawn(self.clone().answer(question, tell, waits)));
        }
        book.of(mac).ok_or(Refusal::Busy)
    }

    fn is_busy(&self) -> Refusal {
        let count = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(count, "machines boot nothing: {}", Refusal::Busy);
        }
        Refusal::Busy
    }

    async fn answer(
        self: Arc<Self>,
        question: Question,
        tell: watch::Sender<Option<Verdict>>,
        _waits: OwnedSemaphorePermit,
    ) {
        let Question { mac, number, .. } = question;
        let answered = self.call(question).await;
        if let Err(refusal) = &answered {
            tracing::warn!(%mac, "boots nothing: {refusal}");
            let text = format!("{mac} boots nothing: {refusal}");
            self.events.publish(Event::new("refused", Lane::Api, text).mac(mac));
        }
        let then = {
            let mut book = self.book();
            tell.send_replace(Some(answered.clone()));
            book.settle(mac, number, answered.is_ok())
        };
        if let Some(then) = then {
            // It may wait for who takes in what was seen: no thread of the runtime's for that.
            drop(self.runtime.spawn_blocking(move || then(answered.map(drop))));
        }
    }

    async fn call(&self, Question { mac, cpu, asked, .. }: Question) -> Verdict {
        let url = match cpu.filter(|_| self.tells_arch) {
            Some(cpu) => format!("{}v1/boot/{mac}?arch={}", self.prefix, cpu.name()),
            None => format!("{}v1/boot/{mac}", self.prefix),
        };
        let answer = timeout_at(asked + self.within, async {
            let _place = self.places.acquire().await.map_err(|_| "the server stops".to_owned())?;
            (self.ask)(url.clone()).await
        });
        let late = |_| Err(format!("no answer within {} s", self.within.as_secs_f32()));
        let answer = answer.await.unwrap_or_else(late);
        let (status, body) = answer.map_err(|cause| Refusal::Failed(format!("{url}: {cause}")))?;
        if status == 429 || status >= 500 {
            return Err(Refusal::Failed(format!("{url}: the API answered {status}")));
        }
        if status != 200 {
            return Err(Refusal::No(format!("{url}: the API answered {status}")));
        }
        let boot = answer::read(&body, &self.base);
        boot.map(Arc::new).map_err(|fault| Refusal::Failed(format!("{url}: {fault}")))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn settled(mut verdict: watch::Receiver<Option<Verdict>>) -> Verdict {
    let gone = || Err(Refusal::Failed("nobody asks the API any more".to_owned()));
    match verdict.wait_for(Option::is_some).await {
        Ok(verdict) => verdict.clone().unwrap_or_else(gone),
        Err(_) => gone(),
    }
}

#[cfg(test)]
mod tests;
