//! One file from its upstream onto the shelf: checked, and kept only when it is whole and right.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::sync::watch;
use tokio::time::timeout;

use super::ask::{self, Answer, Asked, Known, Question, ask};
use super::body::{Pace, Written, blocking, disk, length};
use super::expected::Expected;
use super::failure::Failure;
use super::flight::{Arriving, Phase};
use super::shelf::{Entry, Note, Partial};
use super::{Mirror, Outcome};
use crate::http::date;
use crate::sys::clock::now;

/// Readers are woken for so much; for less, when nothing comes for so long.
const WAKE: u64 = 64 << 10;
const BRIEFLY: Duration = Duration::from_millis(5);

/// A file that is to be fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    /// Which upstream has it.
    pub(super) index: usize,
    /// Who has asked us, and what we are called ourselves (RFC 9110 section 7.6.3).
    pub(super) via: &'a str,
    pub(super) flight: &'a watch::Sender<Phase>,
    pub(super) asked: &'a Asked,
}

/// What an upstream has, and is to be kept.
#[derive(Debug)]
pub(super) enum Fetched {
    New(Partial, Box<Note>),
    /// The copy is what it has.
    Unchanged(Arc<Entry>),
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
    /// What its upstream has of it. `prior`: the copy.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        wanted: Wanted<'_>,
        prior: Option<&Arc<Entry>>,
    ) -> Result<Fetched, Failure> {
        let Wanted { name, index, .. } = wanted;
        let upstream = &self.sources[index].upstream;
        if self.is_folder(name).await {
            let remedy = "`netboot assets purge` takes away what is kept below it";
            return Err(Failure::missing(format!("{name}: is a folder here ({remedy})")));
        }
        let expected = self.expected(wanted).await?;
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
        let question = Question { known, is_update: prior.is_some(), wanted };
        let answer = ask(&self.sources, target, question).await?;
        let url = &answer.url;
        match (answer.status, copied) {
            (StatusCode::OK, _) => self.take(wanted, answer, expected).await,
            (StatusCode::NOT_MODIFIED, Some(entry)) if answer.is_conditional => {
                Ok(Fetched::Unchanged(entry.clone()))
            }
            (status @ (StatusCode::NOT_FOUND | StatusCode::GONE), _) => {
                Err(Failure::gone(format!("{url}: {status}")))
            }
            (StatusCode::LOOP_DETECTED, _) => Err(Failure::circle()),
            (status, _) => Err(Failure::bad(format!("{url}: answered {status}"))),
        }
    }

    /// Puts it on the shelf.
    pub(super) async fn keep(&self, fetched: Fetched) -> Result<(Arc<Entry>, Outcome), Failure> {
        let shelf = self.shelf.clone();
        let keep = move || match fetched {
            Fetched::Unchanged(entry) => shelf.confirm(&entry).map(|()| (entry, Outcome::Unchanged)),
            Fetched::New(partial, note) => partial.keep(*note).map(|entry| {
                let bytes = entry.note.size;
                (entry, Outcome::Fetched { bytes })
            }),
        };
        blocking(move || keep().map_err(disk)).await
    }

    /// The body of an answer, all of it here, and right.
    async fn take(
        self: &Arc<Self>,
        wanted: Wanted<'_>,
        answer: Answer<'_>,
        expected: Option<Expected>,
    ) -> Result<Fetched, Failure> {
        let Wanted { name, index, flight, .. } = wanted;
        let (url, text) = (answer.url.clone(), |key| text(&answer.headers, key));
        let (etag, last_modified) = (text(header::ETAG), text(header::LAST_MODIFIED));
        let modified = last_modified.as_deref().and_then(|text| date::parse(text, Some(now() as i64)));
        let modified = modified.filter(|time| *time >= 0).unwrap_or_else(|| now() as i64);
        let told = expected.is_none().then_some(modified);
        let written = self.receive(answer, expected.is_some(), told, flight).await?;
        let bytes = written.bytes;
        let (sha256, partial) = written.finish();
        self.check(wanted, &url, &sha256, expected).await?;
        // Nobody has to wait until the disk has it.
        reached(flight, Some(bytes), bytes, true);
        let (path, upstream) = (name.to_owned(), self.sources[index].upstream.url());
        let (fetched, size, inode) = (now(), bytes, 0);
        let note = Note { path, upstream, url, etag, last_modified, sha256, fetched, size, inode, modified };
        Ok(Fetched::New(partial, Box::new(note)))
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
        wanted: Wanted<'_>,
        url: &str,
        sha256: &str,
        expected: Option<Expected>,
    ) -> Result<(), Failure> {
        let is_wrong = |expected: &Expected| expected.sha256 != sha256;
        let mut wrong = expected.filter(is_wrong);
        if let Some(list) = wrong.as_ref().and_then(|wrong| self.shelf.find(&wrong.by)) {
            list.doubt();
            wrong = self.expected(wanted).await?.filter(is_wrong);
        }
        match wrong {
            Some(Expected { sha256: want, by }) => {
                Err(Failure::wrong(format!("{url}: has SHA-256 {sha256}, and not {want}, which {by} says")))
            }
            None => Ok(()),
        }
    }
}
