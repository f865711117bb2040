//! One file from its upstream onto the shelf: asked for once, checked, and kept only when it is whole and right.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::http::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::ask::{self, Answer, Copy, Question, Source, ask};
use super::body::{Pace, Written, blocking, disk, length};
use super::expected::Expected;
use super::failure::Failure;
use super::flight::{Arriving, Phase};
use super::shelf::{Entry, Note};
use super::{Event, Mirror, Outcome};
use crate::http::date;
use crate::sys::clock::now;

/// An upstream that does not answer is left alone for so long, while there is a copy.
const RETRY: Duration = Duration::from_secs(30);
/// What an upstream does not have is not asked for again for so long; so many names are remembered.
const MISSING: Duration = Duration::from_secs(5);
const NAMES: usize = 1024;
/// Readers are woken for so much; for less, when nothing comes for so long.
const WAKE: u64 = 64 << 10;
const BRIEFLY: Duration = Duration::from_millis(5);

/// Ends a flight, however it ends.
struct Landing {
    mirror: Arc<Mirror>,
    name: String,
    _place: OwnedSemaphorePermit,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.mirror.flights().remove(&self.name);
    }
}

/// So many bytes may be sent on, of so many in all.
fn reached(flight: &watch::Sender<Phase>, all: Option<u64>, bytes: u64) {
    flight.send_modify(|state| {
        if let Phase::Arriving(arriving) = state {
            (arriving.total, arriving.there) = (all, bytes);
        }
    });
}

impl Mirror {
    /// A file that is on its way, or begins to be. `via`: who has asked for it on the way here.
    pub(super) fn flight(self: &Arc<Self>, name: &str, via: &str) -> Result<watch::Receiver<Phase>, Failure> {
        let (index, _) = self.cache.upstream(name).ok_or_else(|| Failure::missing("it has no upstream"))?;
        let mut flights = self.flights();
        if let Some(flight) = flights.get(name) {
            self.counters.joined.fetch_add(1, Relaxed);
            return Ok(flight.subscribe());
        }
        // Those who have come before have ended meanwhile.
        if let Some(entry) = self.fresh(name) {
            return Ok(watch::channel(Phase::Kept(entry)).1);
        }
        if self.is_folder(name) {
            return Err(Failure::missing(format!("{name}: is a folder")));
        }
        if self.missing().get(name).is_some_and(|until| Instant::now() < *until) {
            return Err(Failure::missing(format!("{name}: was not there a moment ago")));
        }
        let place = self.sources[index].flights.clone().try_acquire_owned();
        let place =
            place.map_err(|_| Failure::busy(format!("{name}: as many of its upstream wait as may")))?;
        let (flight, told) = watch::channel(Phase::Asking);
        let flight = Arc::new(flight);
        flights.insert(name.to_owned(), flight.clone());
        let landing = Landing { mirror: self.clone(), name: name.to_owned(), _place: place };
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
            let began = Instant::now();
            let name = landing.name.clone();
            let prior = self.copy(&name);
            let total = self.sources[index].upstream.deadlines.total;
            let fetched = timeout(total, self.fetch(&name, index, prior.as_ref(), &via, &flight)).await;
            let late = || Failure::late(format!("{name}: not whole within {} s", total.as_secs()));
            let fetched = fetched.unwrap_or_else(|_| Err(late()));
            let upstream = self.sources[index].upstream.origin.to_string();
            self.note_health(&upstream, fetched.as_ref().err());
            if fetched.as_ref().is_err_and(Failure::is_missing) {
                self.remember_missing(&name);
            }
            let is_arriving = matches!(*flight.borrow(), Phase::Arriving(_));
            let (state, outcome) = self.judge(fetched, prior, is_arriving);
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

    /// What those who wait get: where the upstream has nothing to say, the copy.
    fn judge(
        &self,
        fetched: Result<(Arc<Entry>, Outcome), Failure>,
        prior: Option<Arc<Entry>>,
        is_arriving: bool,
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
        match prior {
            Some(entry) if !failure.is_missing() => {
                entry.put_off(RETRY);
                counters.stale.fetch_add(1, Relaxed);
                let state = if is_arriving { Phase::Failed(failure) } else { Phase::Kept(entry) };
                (state, Outcome::Stale { cause })
            }
            prior => {
                counters.failed.fetch_add(1, Relaxed);
                if let Some(Err(error)) = prior.map(|entry| self.shelf.remove(&entry.note.path)) {
                    tracing::warn!("the cache of upstreams: {error}");
                }
                (Phase::Failed(failure), Outcome::Failed { status, cause })
            }
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
        let expected = self.expected(name, index, via).await?;
        let is_right = |entry: &&Arc<Entry>| expected.as_ref().is_none_or(|e| e.sha256 == entry.note.sha256);
        let copied = prior.filter(is_right);
        let copy = copied.map_or(Copy::default(), |entry| Copy {
            url: &entry.note.url,
            etag: entry.note.etag.as_deref(),
            last_modified: entry.note.last_modified.as_deref(),
        });
        let below = name.strip_prefix(&upstream.prefix).unwrap_or_default();
        let target = match upstream.by_url {
            true => format!("{}{below}", upstream.path),
            false => ask::target(&upstream.path, below),
        };
        let question = Question { copy, via, flight };
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
                Err(Failure::missing(format!("{url}: {status}")))
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
        let Answer { at, headers, mut body, url, link, place, .. } = answer;
        // Whoever has it in the end sets the bounds.
        let upstream = &self.sources[at].upstream;
        let may_end_openly = expected.is_some() || upstream.by_url;
        let total =
            length(&headers, may_end_openly).map_err(|cause| Failure::bad(format!("{url}: {cause}")))?;
        let text = |key| headers.get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let last_modified = text(header::LAST_MODIFIED);
        let modified = last_modified
            .as_deref()
            .and_then(|text| date::parse(text, Some(now() as i64)))
            .filter(|time| *time >= 0);
        let modified = modified.unwrap_or_else(|| now() as i64);
        let (shelf, most, from) = (self.shelf.clone(), upstream.most, url.clone());
        let begun = blocking(move || {
            let mut written = Written::begin(&shelf, most, from)?;
            written.expect(total.unwrap_or(0))?;
            Ok(written)
        });
        let mut written = begun.await?;
        let file = written.file();
        flight.send_replace(Phase::Arriving(Arriving { file, total, modified, there: 0 }));
        let mut pace = Pace::new(&upstream.deadlines);
        let mut told = 0;
        loop {
            let mut next = pin!(pace.next(&mut body, &url));
            let bytes = match timeout(BRIEFLY, &mut next).await {
                Ok(bytes) => bytes?,
                Err(_) => {
                    told = written.bytes;
                    reached(flight, total, told.saturating_sub(1));
                    next.await?
                }
            };
            let Some(bytes) = bytes else { break };
            self.counters.bytes.fetch_add(bytes.len() as u64, Relaxed);
            written = written.take(bytes).await?;
            if written.bytes - told >= WAKE {
                told = written.bytes;
                reached(flight, total, told - 1);
            }
        }
        drop((link, place));
        if let Some(total) = total.filter(|total| *total != written.bytes) {
            return Err(Failure::bad(format!("{url}: {} of {total} bytes", written.bytes)));
        }
        let bytes = written.bytes;
        let (sha256, partial) = written.finish();
        let is_wrong = |expected: &Expected| expected.sha256 != sha256;
        let mut wrong = expected.filter(is_wrong);
        // What is newer than the list is right by the next one.
        if let Some(list) = wrong.as_ref().and_then(|wrong| self.shelf.find(&wrong.by)) {
            list.doubt();
            wrong = self.expected(name, index, via).await?.filter(is_wrong);
        }
        if let Some(Expected { sha256: want, by }) = wrong {
            return Err(Failure::bad(format!(
                "{url}: has SHA-256 {sha256}, and not {want}, which {by} says"
            )));
        }
        // Nobody has to wait until the disk has it.
        reached(flight, Some(bytes), bytes);
        let (fetched, path) = (now(), name.to_owned());
        let etag = text(header::ETAG);
        let note = Note {
            path,
            upstream: self.sources[index].upstream.url(),
            url,
            etag,
            last_modified,
            sha256,
            fetched,
            checked: fetched,
            size: 0,
            inode: 0,
            modified,
        };
        blocking(move || partial.keep(note, modified).map_err(disk)).await
    }

    /// A file, once all of it is there.
    pub(super) async fn whole(self: &Arc<Self>, name: &str, via: &str) -> Result<Arc<Entry>, Failure> {
        if let Some(entry) = self.fresh(name) {
            return Ok(entry);
        }
        let mut flight = self.flight(name, via)?;
        let ended = flight.wait_for(|state| matches!(state, Phase::Kept(_) | Phase::Failed(_))).await;
        match ended.map(|state| state.clone()) {
            Ok(Phase::Kept(entry)) => Ok(entry),
            Ok(Phase::Failed(failure)) => Err(failure),
            _ => Err(Failure::ours("its fetching ended")),
        }
    }

    /// What is on the shelf and need not be asked for.
    pub(super) fn fresh(&self, name: &str) -> Option<Arc<Entry>> {
        self.shelf.find(name).filter(|entry| !self.is_stale(name, entry))
    }

    fn remember_missing(&self, name: &str) {
        let (mut missing, now) = (self.missing(), Instant::now());
        if missing.len() >= NAMES {
            missing.retain(|_, until| now < *until);
        }
        if missing.len() < NAMES {
            missing.insert(name.to_owned(), now + MISSING);
        }
    }

    /// Whether the upstream has to be asked first. What has the configuration's digest is right for ever.
    pub(super) fn is_stale(&self, name: &str, entry: &Entry) -> bool {
        self.is_old(name, entry) && (self.pinned(name).is_some() || !entry.is_put_off())
    }

    /// Whether it has come to the age at which its upstream is asked.
    pub(super) fn is_old(&self, name: &str, entry: &Entry) -> bool {
        match (self.pinned(name), self.cache.upstream(name)) {
            (Some(sha256), _) => *sha256 != entry.note.sha256,
            (None, Some((_, upstream))) => entry.is_old(upstream.check_after.as_secs()),
            (None, None) => false,
        }
    }

    /// What may stand in for what its upstream has: not what the configuration's digest speaks against.
    pub(super) fn copy(&self, name: &str) -> Option<Arc<Entry>> {
        let is_right = |entry: &Arc<Entry>| self.pinned(name).is_none_or(|own| *own == entry.note.sha256);
        self.shelf.find(name).filter(is_right)
    }

    /// The digest that the configuration has for it.
    pub(super) fn pinned(&self, name: &str) -> Option<&String> {
        let (_, upstream) = self.cache.upstream(name)?;
        upstream.digests.get(name.strip_prefix(&upstream.prefix)?)
    }
}
