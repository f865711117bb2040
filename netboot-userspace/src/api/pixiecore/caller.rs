//! Asks an API what a machine boots: once for a boot, however often its firmware, iPXE and script want to know.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netboot_common::Mac;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::inventory::events::{Event, Events, Lane};
use crate::pixiecore::{Base, Boot, Cpu, answer};

/// So long an answer is that of the same boot, unless its script was handed out before: then the next question by DHCP begins another.
const BOOT: Duration = Duration::from_secs(120);
/// So long a machine is not asked for again that the API has nothing for.
const NO: Duration = Duration::from_secs(10);
/// The same, where the API could not be understood.
const FAILED: Duration = Duration::from_secs(2);
/// Machines that are remembered.
const MACHINES: usize = 16_384;
/// Questions at once.
const AT_ONCE: usize = 64;

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
}

type Verdict = Result<Arc<Boot>, Refusal>;

/// The API, and what it said.
pub struct Caller {
    ask: Ask,
    /// Ends with `/`.
    prefix: String,
    base: Base,
    tells_arch: bool,
    runtime: Handle,
    events: Arc<Events>,
    known: Mutex<HashMap<Mac, Known>>,
    places: Semaphore,
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

/// What was asked for a machine.
struct Known {
    cpu: Option<Cpu>,
    asked: Instant,
    /// `None`: the answer is on its way.
    verdict: watch::Receiver<Option<Verdict>>,
    /// Its script was handed out.
    is_used: bool,
}

/// Who wants to know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Dhcp,
    Script,
}

impl Caller {
    /// `url`: the API's prefix. `tells_arch`: whether the machine's architecture is in the question.
    pub fn new(
        url: &str,
        base: Base,
        tells_arch: bool,
        ask: Ask,
        runtime: Handle,
        events: Arc<Events>,
    ) -> Self {
        let prefix = format!("{}/", url.trim_end_matches('/'));
        let (known, places) = (Mutex::default(), Semaphore::new(AT_ONCE));
        Self { ask, prefix, base, tells_arch, runtime, events, known, places }
    }

    /// What the script of `mac` boots.
    pub(super) async fn of_script(self: &Arc<Self>, mac: Mac, cpu: Option<Cpu>) -> Verdict {
        let verdict = settled(self.verdict(mac, cpu, Stage::Script)).await;
        if verdict.is_ok()
            && let Some(known) = self.known().get_mut(&mac)
        {
            known.is_used = true;
        }
        verdict
    }

    /// Tells `then` whether `mac` boots from here: at once, or when the API has answered.
    pub fn of_dhcp(
        self: &Arc<Self>,
        mac: Mac,
        cpu: Option<Cpu>,
        then: impl FnOnce(Result<(), Refusal>) + Send + 'static,
    ) {
        let verdict = self.verdict(mac, cpu, Stage::Dhcp);
        let there = verdict.borrow().clone();
        match there {
            Some(verdict) => then(verdict.map(drop)),
            None => drop(self.runtime.spawn(async move { then(settled(verdict).await.map(drop)) })),
        }
    }

    fn verdict(
        self: &Arc<Self>,
        mac: Mac,
        cpu: Option<Cpu>,
        stage: Stage,
    ) -> watch::Receiver<Option<Verdict>> {
        let (now, mut all) = (Instant::now(), self.known());
        if let Some(known) = all.get(&mac).filter(|known| known.counts(cpu, stage, now)) {
            return known.verdict.clone();
        }
        if all.len() >= MACHINES {
            all.retain(|_, known| known.counts(None, Stage::Script, now));
        }
        if all.len() >= MACHINES {
            all.clear();
        }
        let (tell, verdict) = watch::channel(None);
        all.insert(mac, Known { cpu, asked: now, verdict: verdict.clone(), is_used: false });
        let caller = self.clone();
        self.runtime.spawn(async move {
            let answered = caller.call(mac, cpu).await;
            if let Err(refusal) = &answered {
                tracing::warn!(%mac, "boots nothing: {refusal}");
                let text = format!("{mac} boots nothing: {refusal}");
                caller.events.publish(Event::new("refused", Lane::Api, text).mac(mac));
            }
            tell.send_replace(Some(answered));
        });
        verdict
    }

    async fn call(&self, mac: Mac, cpu: Option<Cpu>) -> Verdict {
        let _place =
            self.places.acquire().await.map_err(|_| Refusal::Failed("the server stops".to_owned()))?;
        let url = match cpu.filter(|_| self.tells_arch) {
            Some(cpu) => format!("{}v1/boot/{mac}?arch={}", self.prefix, cpu.name()),
            None => format!("{}v1/boot/{mac}", self.prefix),
        };
        let (status, body) =
            (self.ask)(url.clone()).await.map_err(|cause| Refusal::Failed(format!("{url}: {cause}")))?;
        if status != 200 {
            return Err(Refusal::No(format!("{url}: the API answered {status}")));
        }
        let boot = answer::read(&body, &self.base);
        boot.map(Arc::new).map_err(|fault| Refusal::Failed(format!("{url}: {fault}")))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Mac, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether it answers this question, too.
    fn counts(&self, cpu: Option<Cpu>, stage: Stage, now: Instant) -> bool {
        // A script is asked for by what DHCP has sent, whatever that is made for.
        let is_another = stage == Stage::Dhcp && cpu.is_some() && self.cpu.is_some() && cpu != self.cpu;
        let age = now.saturating_duration_since(self.asked);
        !is_another
            && match &*self.verdict.borrow() {
                None => age < BOOT,
                Some(Ok(_)) => age < BOOT && !(self.is_used && stage == Stage::Dhcp),
                Some(Err(Refusal::No(_))) => age < NO,
                Some(Err(Refusal::Failed(_))) => age < FAILED,
            }
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    const X64: Option<Cpu> = Some(Cpu::X86_64);

    /// An API that answers so, and what it was asked.
    fn caller(status: u16, body: &'static str) -> (Arc<Caller>, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let told = asked.clone();
        let ask: Ask = Arc::new(move |url| {
            told.lock().unwrap().push(url);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if status == 0 { Err("no answer within 5 s".to_owned()) } else { Ok((status, body.into())) }
            })
        });
        let base = Base::new("http://api/p", None).unwrap();
        let caller = Caller::new("http://api/p", base, true, ask, Handle::current(), Arc::default());
        (Arc::new(caller), asked)
    }

    async fn dhcp(caller: &Arc<Caller>, cpu: Option<Cpu>) -> Result<(), Refusal> {
        let (tell, told) = tokio::sync::oneshot::channel();
        caller.of_dhcp(MAC, cpu, |verdict| drop(tell.send(verdict)));
        told.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn px_28_one_boot_asks_the_api_once() {
        let (caller, asked) = caller(200, r#"{"kernel":"/k"}"#);
        let count = || asked.lock().unwrap().len();
        // Firmware that repeats itself before the answer is there, then iPXE, then the script, twice.
        let (a, b) = tokio::join!(dhcp(&caller, X64), dhcp(&caller, X64));
        assert_eq!((a, b), (Ok(()), Ok(())));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(dhcp(&caller, X64).await, Ok(()));
        assert_eq!(dhcp(&caller, None).await, Ok(()), "an iPXE that does not say what it is");
        caller.of_script(MAC, Some(Cpu::I386)).await.unwrap();
        caller.of_script(MAC, X64).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["http://api/p/v1/boot/52:54:00:00:00:01?arch=x86_64"]);
        // The next boot is another one, however soon it comes.
        assert_eq!(dhcp(&caller, X64).await, Ok(()));
        assert_eq!(count(), 2);
        assert_eq!(dhcp(&caller, Some(Cpu::I386)).await, Ok(()));
        assert_eq!(count(), 3, "another architecture is another question");
        tokio::time::advance(BOOT).await;
        assert_eq!(dhcp(&caller, X64).await, Ok(()));
        assert_eq!(count(), 4, "an answer is not kept for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn px_50_what_is_no_answer_boots_nothing_and_is_told_with_its_cause() {
        for (status, body, words, again) in [
            (404, "", "the API answered 404", NO),
            (0, "", "no answer within 5 s", FAILED),
            (200, "{", "is no JSON", FAILED),
            (200, "{}", "kernel: is missing", FAILED),
        ] {
            let (caller, asked) = caller(status, body);
            let refusal = dhcp(&caller, X64).await.unwrap_err();
            assert!(refusal.to_string().contains(words), "{refusal}");
            assert_eq!(caller.of_script(MAC, X64).await.unwrap_err(), refusal);
            assert_eq!(asked.lock().unwrap().len(), 1, "{words}");
            let (told, _) = caller.events.follow(9);
            let told: Vec<_> =
                told.iter().map(|event| (event.kind.as_str(), event.text.contains(words))).collect();
            assert_eq!(told, [("refused", true)]);
            tokio::time::advance(again).await;
            drop(dhcp(&caller, X64).await);
            assert_eq!(asked.lock().unwrap().len(), 2, "{words}");
        }
    }
}
