//! A file on its way here: one for all who ask for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::ask::Asked;
use super::body::{blocking, disk};
use super::failure::Failure;
use super::fetch::Wanted;
use super::health::RETRY;
use super::shelf::{Entry, Held};
use super::{Event, Mirror, Outcome};

/// How far it is.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Its upstream has not answered yet.
    Asking,
    Arriving(Arriving),
    /// It is on the shelf.
    Kept(Arc<Entry>),
    /// Its upstream can't say: this is what there was before.
    Stale(Arc<Entry>, Failure),
    /// So many bytes came, all of them right, and could not be kept: who is being sent them gets them.
    Unkept(u64, Failure),
    Failed(Failure),
}

/// A body, as far as it is there.
#[derive(Clone, Debug)]
pub(super) struct Arriving {
    pub(super) file: Arc<Held>,
    /// Bytes in all, if its upstream has said so.
    pub(super) total: Option<u64>,
    /// Unix time. `None` while it may prove wrong: the next one, which is right, may have the same.
    pub(super) modified: Option<i64>,
    /// Bytes that may be sent on. The last one is held back until all is known to be right, so that whoever has a whole body has a right one;
    /// the disk need not have all of it by then.
    pub(super) there: u64,
    pub(super) is_right: bool,
}

impl Arriving {
    /// How long it is, where a client can be told: of no byte, none can be held back.
    pub(super) fn known(&self) -> Option<u64> {
        self.total.filter(|total| self.is_right || *total > 0)
    }
}

/// Waits until byte `at` is there; how many are. `None`: it has fewer.
pub(super) async fn reach(flight: &mut watch::Receiver<Phase>, at: u64) -> Result<Option<u64>, Failure> {
    let there = |state: &Phase| match state {
        Phase::Asking => None,
        Phase::Arriving(arriving) => (arriving.there > at).then_some(Ok(arriving.there)),
        Phase::Kept(entry) => Some(Ok(entry.note.size)),
        Phase::Unkept(bytes, _) => Some(Ok(*bytes)),
        Phase::Stale(_, failure) | Phase::Failed(failure) => Some(Err(failure.clone())),
    };
    let state = flight.wait_for(|state| there(state).is_some()).await;
    let state = state.map_err(|_| Failure::ours("its fetching ended"))?;
    match there(&state) {
        Some(Ok(there)) => Ok((there > at).then_some(there)),
        Some(Err(failure)) => Err(failure),
        None => Ok(None),
    }
}

/// Who asks for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Client,
    /// A file that is on its way, which has its place among those, and needs this one's digests.
    File,
    /// Who wants to know what the upstream has now, whatever is known.
    Operator,
}

/// Ends a flight, however it ends.
struct Landing {
    mirror: Arc<Mirror>,
    name: String,
    prior: Option<Arc<Entry>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Landing {
    fn new(mirror: &Arc<Mirror>, name: &str, place: Option<OwnedSemaphorePermit>) -> Self {
        let prior = mirror.copy(name);
        prior.iter().for_each(|entry| entry.is_being_replaced.store(true, Relaxed));
        Self { mirror: mirror.clone(), name: name.to_owned(), prior, _place: place }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.prior.iter().for_each(|entry| entry.is_being_replaced.store(false, Relaxed));
        self.mirror.flights().remove(&self.name);
    }
}

impl Mirror {
    /// A file that is on its way, or begins to be. `via`: who has asked for it on the way here.
    pub(super) fn flight(
        self: &Arc<Self>,
        name: &str,
        via: &str,
        asker: Asker,
    ) -> Result<watch::Receiver<Phase>, Failure> {
        let (index, _) = self.cache.upstream(name).ok_or_else(|| Failure::missing("it has no upstream"))?;
        let mut flights = self.flights();
        if let Some(flight) = flights.get(name) {
            self.counters.joined.fetch_add(1, Relaxed);
            return Ok(flight.subscribe());
        }
        // Those who have come before have ended meanwhile.
        if let Some(entry) = self.fresh(name).filter(|_| asker != Asker::Operator || self.is_pinned(name)) {
            return Ok(watch::channel(Phase::Kept(entry)).1);
        }
        if let Some(above) = self.above(name) {
            return Err(Failure::missing(format!("{name}: {above} is a file")));
        }
        if let Some(failure) = self.refusal(name).filter(|_| asker != Asker::Operator) {
            return Err(failure);
        }
        let place = match asker {
            Asker::File => None,
            Asker::Client | Asker::Operator => {
                let place = self.sources[index].flights.clone().try_acquire_owned();
                let busy = |_| Failure::busy(format!("{name}: as many of its upstream wait as may"));
                Some(place.map_err(busy)?)
            }
        };
        let (flight, told) = watch::channel(Phase::Asking);
        let flight = Arc::new(flight);
        flights.insert(name.to_owned(), flight.clone());
        let landing = Landing::new(self, name, place);
        tokio::spawn(self.clone().fly(index, format!("{via}1.1 {}", self.me), flight, landing));
        Ok(told)
    }

    /// Boxed: it may ask for lists, those below a longer prefix for lists of their own.
    fn fly(
        self: Arc<Self>,
        index: usize,
        via: String,
        flight: Arc<watch::Sender<Phase>>,
        landing: Landing,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let (began, asked, upstream) = (Instant::now(), Asked::default(), &self.sources[index].upstream);
            let (name, prior, total) = (&landing.name, landing.prior.clone(), upstream.deadlines.total);
            let wanted = Wanted { name, index, via: &via, flight: &flight, asked: &asked };
            let fetched = timeout(total, self.fetch(wanted, prior.as_ref())).await;
            let late = |_| Err(Failure::late(format!("{name}: not whole within {} s", total.as_secs())));
            let fetched = fetched.unwrap_or_else(late);
            self.note_health(index, asked.last(), fetched.as_ref().err());
            // What is right stays, however long the disk takes.
            let kept = match fetched {
                Ok(fetched) => self.keep(fetched).await,
                Err(failure) => Err(failure),
            };
            let refused = self.refuse(name, upstream.check_after, kept.as_ref().err());
            let whole = match &*flight.borrow() {
                Phase::Arriving(arriving) if arriving.is_right => Some(arriving.there),
                _ => None,
            };
            let (state, outcome) = self.judge(kept, prior, whole, refused).await;
            let path = format!("/assets/{name}");
            drop(landing);
            flight.send_replace(state);
            let (upstream, duration) = (upstream.origin.to_string(), began.elapsed());
            (self.observer)(Event { path, upstream, outcome, duration });
        })
    }

    /// What those who wait get: where the upstream has nothing to say, the copy. `whole`: all bytes of it came, and they are right; `refused`:
    /// it is not asked for again for so long.
    async fn judge(
        self: &Arc<Self>,
        fetched: Result<(Arc<Entry>, Outcome), Failure>,
        prior: Option<Arc<Entry>>,
        whole: Option<u64>,
        refused: Duration,
    ) -> (Phase, Outcome) {
        let counters = &self.counters;
        let failure = match fetched {
            Ok((entry, outcome)) => {
                let counter = match outcome {
                    Outcome::Unchanged => &counters.unchanged,
                    _ => &counters.fetched,
                };
                counter.fetch_add(1, Relaxed);
                return (Phase::Kept(entry), outcome);
            }
            Err(failure) => failure,
        };
        let (status, cause) = (failure.status, failure.to_string());
        let (state, outcome) = match prior {
            Some(entry) if !failure.is_gone() => {
                entry.put_off(RETRY.max(refused));
                counters.stale.fetch_add(1, Relaxed);
                (Phase::Stale(entry, failure.clone()), Outcome::Stale { cause })
            }
            prior => {
                counters.failed.fetch_add(1, Relaxed);
                self.take_away(prior).await;
                (Phase::Failed(failure.clone()), Outcome::Failed { status, cause })
            }
        };
        (whole.map_or(state, |bytes| Phase::Unkept(bytes, failure)), outcome)
    }

    /// Its upstream has it no more.
    async fn take_away(&self, prior: Option<Arc<Entry>>) {
        let Some(entry) = prior else { return };
        let shelf = self.shelf.clone();
        if let Err(failure) = blocking(move || shelf.remove(&entry.note.path).map_err(disk)).await {
            tracing::warn!("{failure}");
        }
    }

    /// A list of digests, once all of it is there: the copy, where its upstream has nothing to say.
    pub(super) async fn whole(self: &Arc<Self>, name: &str, via: &str) -> Result<(), Failure> {
        if self.fresh(name).is_some() {
            return Ok(());
        }
        match self.ended(name, via, Asker::File).await? {
            Phase::Failed(failure) => Err(failure),
            Phase::Unkept(_, failure) if self.copy(name).is_none() => Err(failure),
            _ => Ok(()),
        }
    }

    /// What its upstream has now.
    pub(super) async fn asked(self: &Arc<Self>, name: &str) -> Result<Arc<Entry>, Failure> {
        match self.ended(name, "", Asker::Operator).await? {
            Phase::Kept(entry) => Ok(entry),
            Phase::Stale(_, failure) => Err(failure.of("the copy stays as it is")),
            Phase::Failed(failure) | Phase::Unkept(_, failure) => Err(failure),
            Phase::Asking | Phase::Arriving(_) => Err(Failure::ours("its fetching ended")),
        }
    }

    async fn ended(self: &Arc<Self>, name: &str, via: &str, asker: Asker) -> Result<Phase, Failure> {
        let mut flight = self.flight(name, via, asker)?;
        let is_over = |state: &Phase| !matches!(state, Phase::Asking | Phase::Arriving(_));
        let ended = flight.wait_for(is_over).await.map(|state| state.clone());
        ended.map_err(|_| Failure::ours("its fetching ended"))
    }
}
