//! One file from its upstream onto the shelf: asked for once, checked, and kept only when it is whole and right.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::ask::{self, Answer, Known, Question, Source, ask};
use super::body::{Pace, Written, blocking, disk, length};
use super::expected::Expected;
use super::failure::Failure;
use super::flight::{Arriving, Phase};
use super::shelf::{Entry, Note};
use super::{Event, Mirror, Outcome};
use crate::config::Upstream;
use crate::http::date;
use crate::sys::clock::now;

/// An upstream that does not answer is left alone for so long, while there is a copy.
const RETRY: Duration = Duration::from_secs(30);
/// What an upstream does not have, or has wrong, is not asked for again for so long; what stays wrong for twice as long each time. So many
/// names are remembered.
const REFUSED: Duration = Duration::from_secs(5);
const NAMES: usize = 1024;
/// Readers are woken for so much; for less, when nothing comes for so long.
const WAKE: u64 = 64 << 10;
const BRIEFLY: Duration = Duration::from_millis(5);

/// Who asks for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Client,
    /// A file that is on its way, which has its place among those, and needs this one's digests.
    File,
    /// Who wants to know what the upstream has now, whatever is known.
    Operator,
}

/// Why a name is not asked for.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    until: Instant,
    pub(super) time: Duration,
    failure: Failure,
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

/// So many bytes may be sent on, of so many in all.
fn reached(flight: &watch::Sender<Phase>, all: Option<u64>, bytes: u64, is_right: bool) {
    flight.send_modify(|state| {
        if let Phase::Arriving(arriving) = state {
            (arriving.total, arriving.there, arriving.is_right) = (all, bytes, is_right);
        }
    });
}

fn text(headers: &HeaderMap, key: HeaderName) -> Option<String> {
    headers.get(key).and_then(|value| value.to_str().ok()).map(str::to_owned)
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
        if let Some(above) = self.shelf.above(name) {
            return Err(Failure::missing(format!("{name}: {} is kept, and is a file", above.note.path)));
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

    /// Boxed: it may ask for others, which ask for none.
    fn fly(
        self: Arc<Self>,
        index: usize,
        via: String,
        flight: Arc<watch::Sender<Phase>>,
        landing: Landing,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let (began, name) = (Instant::now(), landing.name.clone());
            let (prior, source) = (landing.prior.clone(), &self.sources[index]);
            let total = source.upstream.deadlines.total;
            let fetched = timeout(total, self.fetch(&name, index, prior.as_ref(), &via, &flight)).await;
            let late = || Failure::late(format!("{name}: not whole within {} s", total.as_secs()));
            let fetched = fetched.unwrap_or_else(|_| Err(late()));
            let upstream = source.upstream.origin.to_string();
            self.note_health(&upstream, fetched.as_ref().err());
            source.note_silence(fetched.as_ref().is_err_and(Failure::is_silent).then_some(RETRY));
            let refused = self.refuse(&name, source.upstream.check_after, fetched.as_ref().err());
            let whole = match &*flight.borrow() {
                Phase::Arriving(arriving) if arriving.is_right => Some(arriving.there),
                _ => None,
            };
            let (state, outcome) = self.judge(fetched, prior, whole, refused).await;
            drop(landing);
            flight.send_replace(state);
            (self.observer)(Event {
                path: format!("/assets/{name}"),
                upstream,
                outcome,
                duration: began.elapsed(),
            });
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

    async fn fetch(
        self: &Arc<Self>,
        name: &str,
        index: usize,
        prior: Option<&Arc<Entry>>,
        via: &str,
        flight: &watch::Sender<Phase>,
    ) -> Result<(Arc<Entry>, Outcome), Failure> {
        let Source { upstream, .. } = &self.sources[index];
        if self.is_folder(name).await {
            return Err(Failure::missing(format!("{name}: is a folder")));
        }
        let expected = self.expected(name, index, via).await?;
        let is_right = |entry: &&Arc<Entry>| expected.as_ref().is_none_or(|e| e.sha256 == entry.note.sha256);
        let copied = prior.filter(is_right);
        let known = copied.map_or(Known::default(), |entry| Known {
            url: &entry.note.url,
            etag: entry.note.etag.as_deref(),
            last_modified: entry.note.last_modified.as_deref(),
        });
        let below = name.strip_prefix(&upstream.prefix).unwrap_or_default();
        let target = match upstream.by_url {
            true => format!("{}{below}", upstream.path),
            false => ask::target(&upstream.path, below),
        };
        let question = Question { known, is_update: prior.is_some(), via, flight };
        let answer = ask(&self.sources, index, target, question).await?;
        let url = &answer.url;
        match (answer.status, copied) {
            (StatusCode::OK, _) => {
                let entry = self.take(name, index, answer, expected, question).await?;
                let bytes = entry.note.size;
                Ok((entry, Outcome::Fetched { bytes }))
            }
            (StatusCode::NOT_MODIFIED, Some(entry)) if answer.is_conditional => {
                let (shelf, entry) = (self.shelf.clone(), entry.clone());
                blocking(move || shelf.confirm(&entry).map(|()| (entry, Outcome::Unchanged)).map_err(disk))
                    .await
            }
            (status @ (StatusCode::NOT_FOUND | StatusCode::GONE), _) => {
                Err(Failure::gone(format!("{url}: {status}")))
            }
            (StatusCode::LOOP_DETECTED, _) => Err(Failure::circle()),
            (status, _) => Err(Failure::bad(format!("{url}: answered {status}"))),
        }
    }

    /// The body of an answer, until it is on the shelf.
    async fn take(
        self: &Arc<Self>,
        name: &str,
        index: usize,
        answer: Answer<'_>,
        expected: Option<Expected>,
        Question { via, flight, .. }: Question<'_>,
    ) -> Result<Arc<Entry>, Failure> {
        let (url, text) = (answer.url.clone(), |key| text(&answer.headers, key));
        let (etag, last_modified) = (text(header::ETAG), text(header::LAST_MODIFIED));
        let modified = last_modified.as_deref().and_then(|text| date::parse(text, Some(now() as i64)));
        let modified = modified.filter(|time| *time >= 0).unwrap_or_else(|| now() as i64);
        let told = expected.is_none().then_some(modified);
        let written = self.receive(answer, expected.is_some(), told, flight).await?;
        let bytes = written.bytes;
        let (sha256, partial) = written.finish();
        self.check(name, index, via, &url, &sha256, expected).await?;
        // Nobody has to wait until the disk has it.
        reached(flight, Some(bytes), bytes, true);
        let (path, upstream) = (name.to_owned(), self.sources[index].upstream.url());
        let note = Note {
            path,
            upstream,
            url,
            etag,
            last_modified,
            sha256,
            fetched: now(),
            size: 0,
            inode: 0,
            modified,
        };
        blocking(move || partial.keep(note, modified).map_err(disk)).await
    }

    /// All bytes of an answer. `modified`: as those are told who are sent them while they come.
    async fn receive(
        &self,
        answer: Answer<'_>,
        is_checked: bool,
        modified: Option<i64>,
        flight: &watch::Sender<Phase>,
    ) -> Result<Written, Failure> {
        let Answer { at, headers, mut body, url, link, place, .. } = answer;
        // Whoever has it in the end sets the bounds.
        let upstream = &self.sources[at].upstream;
        let may_end_openly = is_checked || upstream.by_url;
        let total = length(&headers, is_checked, may_end_openly)
            .map_err(|cause| Failure::bad(format!("{url}: {cause}")))?;
        let (shelf, most, from) = (self.shelf.clone(), upstream.most, url.clone());
        let begun = blocking(move || {
            let written = Written::begin(&shelf, most, from)?;
            written.expect(total.unwrap_or(0))?;
            Ok(written)
        });
        let mut written = begun.await?;
        let file = written.file();
        let arriving = Arriving { file, total, modified, there: 0, is_right: false };
        flight.send_replace(Phase::Arriving(arriving));
        let mut pace = Pace::new(&upstream.deadlines);
        let mut told = 0;
        loop {
            let mut next = pin!(pace.next(&mut body, &url));
            let bytes = match timeout(BRIEFLY, &mut next).await {
                Ok(bytes) => bytes?,
                Err(_) => {
                    told = written.bytes;
                    reached(flight, total, told.saturating_sub(1), false);
                    next.await?
                }
            };
            let Some(bytes) = bytes else { break };
            self.counters.bytes.fetch_add(bytes.len() as u64, Relaxed);
            written = written.take(bytes).await?;
            if written.bytes - told >= WAKE {
                told = written.bytes;
                reached(flight, total, told - 1, false);
            }
        }
        drop((link, place));
        match total.filter(|total| *total != written.bytes) {
            Some(total) => Err(Failure::bad(format!("{url}: {} of {total} bytes", written.bytes))),
            None => Ok(written),
        }
    }

    /// Whether what came is what it has to be. What is newer than the list is right by the next one.
    async fn check(
        self: &Arc<Self>,
        name: &str,
        index: usize,
        via: &str,
        url: &str,
        sha256: &str,
        expected: Option<Expected>,
    ) -> Result<(), Failure> {
        let is_wrong = |expected: &Expected| expected.sha256 != sha256;
        let mut wrong = expected.filter(is_wrong);
        if let Some(list) = wrong.as_ref().and_then(|wrong| self.shelf.find(&wrong.by)) {
            list.doubt();
            wrong = self.expected(name, index, via).await?.filter(is_wrong);
        }
        match wrong {
            Some(Expected { sha256: want, by }) => {
                Err(Failure::wrong(format!("{url}: has SHA-256 {sha256}, and not {want}, which {by} says")))
            }
            None => Ok(()),
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

    /// What is on the shelf and need not be asked for.
    pub(super) fn fresh(&self, name: &str) -> Option<Arc<Entry>> {
        self.shelf.find(name).filter(|entry| !self.is_stale(name, entry))
    }

    /// Why it is not asked for now.
    fn refusal(&self, name: &str) -> Option<Failure> {
        let refused = self.refused();
        refused
            .get(name)
            .filter(|refused| Instant::now() < refused.until)
            .map(|refused| refused.failure.clone())
    }

    /// For how long it is not asked for again, which is remembered. `longest`: of what stays wrong.
    fn refuse(&self, name: &str, longest: Duration, failure: Option<&Failure>) -> Duration {
        let (mut all, now) = (self.refused(), Instant::now());
        let before = all.remove(name);
        let Some(failure) = failure.filter(|failure| failure.is_missing() || failure.is_wrong()) else {
            return Duration::ZERO;
        };
        let again = before.filter(|_| failure.is_wrong()).map(|before| (2 * before.time).min(longest));
        let time = again.unwrap_or(REFUSED).max(REFUSED);
        if all.len() >= NAMES {
            all.retain(|_, refused| now < refused.until);
        }
        if all.len() < NAMES {
            all.insert(name.to_owned(), Refused { until: now + time, time, failure: failure.clone() });
        }
        time
    }

    /// Whether the upstream has to be asked first. What has the configuration's digest is right for ever.
    pub(super) fn is_stale(&self, name: &str, entry: &Entry) -> bool {
        let Some((at, upstream)) = self.cache.upstream(name) else { return false };
        let is_left_alone = || entry.is_put_off() || self.sources[at].is_silent();
        is_old(upstream, name, entry) && (pinned(upstream, name).is_some() || !is_left_alone())
    }

    /// Whether it has come to the age at which its upstream is asked.
    pub(super) fn is_old(&self, name: &str, entry: &Entry) -> bool {
        self.cache.upstream(name).is_some_and(|(_, upstream)| is_old(upstream, name, entry))
    }

    /// What may stand in for what its upstream has: not what the configuration's digest speaks against.
    pub(super) fn copy(&self, name: &str) -> Option<Arc<Entry>> {
        let is_right = |entry: &Arc<Entry>| self.pinned(name).is_none_or(|own| *own == entry.note.sha256);
        self.shelf.find(name).filter(is_right)
    }

    fn is_pinned(&self, name: &str) -> bool {
        self.pinned(name).is_some()
    }

    /// The digest that the configuration has for it.
    pub(super) fn pinned(&self, name: &str) -> Option<&String> {
        pinned(self.cache.upstream(name)?.1, name)
    }
}

fn pinned<'a>(upstream: &'a Upstream, name: &str) -> Option<&'a String> {
    upstream.digests.get(name.strip_prefix(&upstream.prefix)?)
}

fn is_old(upstream: &Upstream, name: &str, entry: &Entry) -> bool {
    match pinned(upstream, name) {
        Some(sha256) => *sha256 != entry.note.sha256,
        None => entry.is_old(upstream.check_after.as_secs()),
    }
}
