//! One file from its upstream onto the shelf: asked for once, checked, and kept only when it is whole and right.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use super::ask::{self, Answer, Copy, Source, ask, causes};
use super::failure::Failure;
use super::flight::{Arriving, State};
use super::shelf::{Entry, Note, Partial};
use super::{Event, Mirror, Outcome, digests};
use crate::config::Deadlines;
use crate::http::date;
use crate::sys::clock::now;

/// An upstream that does not answer is left alone for so long, while there is a copy. Seconds.
const RETRY: u64 = 30;
/// Bytes of a list of digests.
const LIST: u64 = 4 << 20;

/// What a file has to be.
struct Expected {
    sha256: String,
    /// Who says so; a list that was fetched, by its path.
    by: String,
}

impl Mirror {
    /// A file that is on its way, or begins to be.
    pub(super) fn flight(self: &Arc<Self>, name: &str) -> Result<watch::Receiver<State>, Failure> {
        let (index, _) = self.cache.upstream(name).ok_or_else(|| Failure::missing("it has no upstream"))?;
        let mut flights = self.flights();
        if let Some(flight) = flights.get(name) {
            self.counters.joined.fetch_add(1, Relaxed);
            return Ok(flight.subscribe());
        }
        // Those who have come before have ended meanwhile.
        if let Some(entry) = self.fresh(name) {
            return Ok(watch::channel(State::Kept(entry)).1);
        }
        let (flight, told) = watch::channel(State::Asking);
        let flight = Arc::new(flight);
        flights.insert(name.to_owned(), flight.clone());
        tokio::spawn(self.clone().fly(name.to_owned(), index, flight));
        Ok(told)
    }

    /// Boxed: it may ask for others, which ask for none.
    fn fly(
        self: Arc<Self>,
        name: String,
        index: usize,
        flight: Arc<watch::Sender<State>>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let began = Instant::now();
            // What the configuration's digest speaks against is no copy.
            let prior = self
                .shelf
                .find(&name)
                .filter(|entry| self.pinned(&name).is_none_or(|own| *own == entry.note.sha256));
            let total = self.sources[index].upstream.deadlines.total;
            let fetched = timeout(total, self.fetch(&name, index, prior.as_ref(), &flight)).await;
            let late = || Failure::late(format!("{name}: not whole within {} s", total.as_secs()));
            let fetched = fetched.unwrap_or_else(|_| Err(late()));
            let is_arriving = matches!(*flight.borrow(), State::Arriving(_));
            let (state, outcome) = self.judge(fetched, prior, is_arriving);
            self.flights().remove(&name);
            flight.send_replace(state);
            let upstream = self.sources[index].upstream.origin.to_string();
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
    ) -> (State, Outcome) {
        let counters = &self.counters;
        let failure = match fetched {
            Ok((entry, outcome)) => {
                let counter = match outcome {
                    Outcome::Unchanged => &counters.unchanged,
                    _ => &counters.fetched,
                };
                counter.fetch_add(1, Relaxed);
                return (State::Kept(entry), outcome);
            }
            Err(failure) => failure,
        };
        let (status, cause) = (failure.status, failure.to_string());
        match prior {
            Some(entry) if !failure.is_missing() => {
                entry.put_off(RETRY);
                counters.stale.fetch_add(1, Relaxed);
                let state = if is_arriving { State::Failed(failure) } else { State::Kept(entry) };
                (state, Outcome::Stale { cause })
            }
            prior => {
                counters.failed.fetch_add(1, Relaxed);
                if let Some(Err(error)) = prior.map(|entry| self.shelf.remove(&entry.note.path)) {
                    tracing::warn!("the cache of upstreams: {error}");
                }
                (State::Failed(failure), Outcome::Failed { status, cause })
            }
        }
    }

    async fn fetch(
        self: &Arc<Self>,
        name: &str,
        index: usize,
        prior: Option<&Arc<Entry>>,
        flight: &watch::Sender<State>,
    ) -> Result<(Arc<Entry>, Outcome), Failure> {
        let Source { upstream, .. } = &self.sources[index];
        let expected = self.expected(name, index).await?;
        let waited = timeout(upstream.deadlines.read, self.permits[index].acquire()).await;
        let busy = || {
            let (origin, count) = (&upstream.origin, upstream.connections);
            Failure::late(format!("{origin}: {count} connections are in use"))
        };
        let _permit = waited.map_err(|_| busy())?.map_err(|_| busy())?;
        let is_right = |entry: &&Arc<Entry>| expected.as_ref().is_none_or(|e| e.sha256 == entry.note.sha256);
        let copied = prior.filter(is_right);
        let copy = copied.map_or(Copy::default(), |entry| Copy {
            etag: entry.note.etag.as_deref(),
            last_modified: entry.note.last_modified.as_deref(),
        });
        let target = ask::target(&upstream.path, name.strip_prefix(&upstream.prefix).unwrap_or_default());
        let answer = ask(&self.sources, index, target, copy, &self.me).await?;
        let url = &answer.url;
        match (answer.status, copied) {
            (StatusCode::OK, _) => {
                let entry =
                    self.take(name, upstream.most, &upstream.deadlines, answer, expected, flight).await?;
                let bytes = entry.note.size;
                Ok((entry, Outcome::Fetched { bytes }))
            }
            (StatusCode::NOT_MODIFIED, Some(entry)) => {
                let (shelf, entry) = (self.shelf.clone(), entry.clone());
                blocking(move || shelf.confirm(&entry).map(|()| (entry, Outcome::Unchanged))).await
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
        &self,
        name: &str,
        most: u64,
        deadlines: &Deadlines,
        answer: Answer,
        expected: Option<Expected>,
        flight: &watch::Sender<State>,
    ) -> Result<Arc<Entry>, Failure> {
        let Answer { headers, mut body, url, link, .. } = answer;
        let total =
            length(&headers, expected.is_some()).map_err(|cause| Failure::bad(format!("{url}: {cause}")))?;
        let text = |key| headers.get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let last_modified = text(header::LAST_MODIFIED);
        let modified = last_modified.as_deref().and_then(date::parse).filter(|time| *time >= 0);
        let modified = modified.unwrap_or_else(|| now() as i64);
        let partial = self.shelf.begin().map_err(|error| Failure::io("the cache of upstreams", &error))?;
        let mut written = Written { partial, hasher: Sha256::new(), bytes: 0, most };
        written.expect(total.unwrap_or(0), &url)?;
        let file = written.partial.file.clone();
        flight.send_replace(State::Arriving(Arriving { file, total, modified, there: 0 }));
        let mut pace = Pace::new(deadlines);
        while let Some(bytes) = pace.next(&mut body, &url).await? {
            self.counters.bytes.fetch_add(bytes.len() as u64, Relaxed);
            written = written.take(bytes, &url).await?;
            flight.send_modify(|state| {
                if let State::Arriving(arriving) = state {
                    arriving.there = written.bytes.saturating_sub(1);
                }
            });
        }
        drop(link);
        if let Some(total) = total.filter(|total| *total != written.bytes) {
            return Err(Failure::bad(format!("{url}: {} of {total} bytes", written.bytes)));
        }
        let sha256 = hex(&written.hasher.finalize());
        if let Some(Expected { sha256: want, by }) = expected.filter(|expected| expected.sha256 != sha256) {
            // What is newer than the list is right by the next one.
            if let Some(list) = self.shelf.find(&by) {
                list.doubt();
            }
            return Err(Failure::bad(format!(
                "{url}: has SHA-256 {sha256}, and not {want}, which {by} says"
            )));
        }
        let (fetched, path) = (now(), name.to_owned());
        let etag = text(header::ETAG);
        let note = Note {
            path,
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
        blocking(move || written.partial.keep(note, modified)).await
    }

    /// What is known of a file before it is fetched. A list that can't be had is no reason to take anything.
    async fn expected(self: &Arc<Self>, name: &str, index: usize) -> Result<Option<Expected>, Failure> {
        let upstream = &self.sources[index].upstream;
        let rest = name.strip_prefix(&upstream.prefix).unwrap_or_default();
        if let Some(sha256) = self.pinned(name) {
            return Ok(Some(Expected { sha256: sha256.clone(), by: "the configuration".to_owned() }));
        }
        if upstream.digest_files.iter().any(|list| is_list(list, rest)) {
            return Ok(None);
        }
        for list in &upstream.digest_files {
            let Some((list, named, only)) = list_of(list, rest) else { continue };
            let by = format!("{}{list}", upstream.prefix);
            let text = match self.list(&by).await {
                Ok(text) => text,
                Err(failure) if failure.is_missing() => continue,
                Err(failure) => {
                    return Err(Failure::bad(format!("{name}: its digest can't be had: {failure}")));
                }
            };
            if let Some(sha256) = digests::find(&text, named, only) {
                return Ok(Some(Expected { sha256, by }));
            }
        }
        Ok(None)
    }

    /// The text of a list of digests.
    async fn list(self: &Arc<Self>, name: &str) -> Result<String, Failure> {
        let entry = self.whole(name).await?;
        if entry.note.size > LIST {
            return Err(Failure::bad(format!(
                "{name}: has {} bytes, more than a list of digests",
                entry.note.size
            )));
        }
        let body = self.shelf.body(name);
        blocking(move || std::fs::read(body).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())).await
    }

    /// A file, once all of it is there.
    pub(super) async fn whole(self: &Arc<Self>, name: &str) -> Result<Arc<Entry>, Failure> {
        if let Some(entry) = self.fresh(name) {
            return Ok(entry);
        }
        let mut flight = self.flight(name)?;
        let ended = flight.wait_for(|state| matches!(state, State::Kept(_) | State::Failed(_))).await;
        match ended.map(|state| state.clone()) {
            Ok(State::Kept(entry)) => Ok(entry),
            Ok(State::Failed(failure)) => Err(failure),
            _ => Err(Failure::ours("its fetching ended")),
        }
    }

    /// What is on the shelf and need not be asked for.
    pub(super) fn fresh(&self, name: &str) -> Option<Arc<Entry>> {
        self.shelf.find(name).filter(|entry| !self.is_stale(name, entry))
    }

    /// Whether the upstream has to be asked first. What has the configuration's digest is right for ever.
    pub(super) fn is_stale(&self, name: &str, entry: &Entry) -> bool {
        match (self.pinned(name), self.cache.upstream(name)) {
            (Some(sha256), _) => *sha256 != entry.note.sha256,
            (None, Some((_, upstream))) => entry.is_stale(upstream.check_after.as_secs()),
            (None, None) => false,
        }
    }

    /// The digest that the configuration has for it.
    fn pinned(&self, name: &str) -> Option<&String> {
        let (_, upstream) = self.cache.upstream(name)?;
        upstream.digests.get(name.strip_prefix(&upstream.prefix)?)
    }
}

/// A body, as far as it was written.
struct Written {
    partial: Partial,
    hasher: Sha256,
    bytes: u64,
    most: u64,
}

impl Written {
    /// Whether so many bytes are no more than may be, and have room.
    fn expect(&mut self, bytes: u64, url: &str) -> Result<(), Failure> {
        if bytes > self.most {
            return Err(Failure::bad(format!(
                "{url}: has more than {} bytes, the most that is taken",
                self.most
            )));
        }
        if !self.partial.reserve(bytes) {
            return Err(Failure::full(format!("{url}: the cache has no room for it (assets: cache)")));
        }
        Ok(())
    }

    async fn take(mut self, bytes: Bytes, url: &str) -> Result<Self, Failure> {
        self.expect(self.bytes + bytes.len() as u64, url)?;
        blocking(move || {
            std::os::unix::fs::FileExt::write_all_at(&*self.partial.file, &bytes, self.bytes)?;
            self.hasher.update(&bytes);
            self.bytes += bytes.len() as u64;
            Ok(self)
        })
        .await
    }
}

/// How fast a body has to come.
struct Pace<'a> {
    deadlines: &'a Deadlines,
    until: tokio::time::Instant,
    /// Bytes since the last look.
    came: u64,
}

impl<'a> Pace<'a> {
    fn new(deadlines: &'a Deadlines) -> Self {
        Self { deadlines, until: tokio::time::Instant::now() + deadlines.read, came: 0 }
    }

    /// The next bytes of it.
    async fn next(&mut self, body: &mut Incoming, url: &str) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame =
                timeout_at(self.until, poll_fn(|context| Pin::new(&mut *body).poll_frame(context))).await;
            // Who is at the end is not too slow.
            let is_over = matches!(frame, Ok(None));
            if tokio::time::Instant::now() >= self.until && !is_over {
                let Deadlines { read, least, .. } = self.deadlines;
                if self.came < least * read.as_secs() {
                    let (seconds, came) = (read.as_secs(), self.came);
                    return Err(Failure::late(format!(
                        "{url}: {came} bytes in {seconds} s, less than {least} a second"
                    )));
                }
                (self.until, self.came) = (self.until + *read, 0);
            }
            match frame {
                Err(_) => {}
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(Failure::bad(format!("{url}: {}", causes(&error)))),
                // Trailers say nothing here.
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.came += bytes.len() as u64;
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

/// How many bytes a body has. Where neither that nor its chunks say where it ends, any part of it looks whole.
fn length(headers: &HeaderMap, is_checked: bool) -> Result<Option<u64>, String> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes());
    if let Some(encoding) = encoding.filter(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(format!("encoded as {}, which was not asked for", String::from_utf8_lossy(encoding)));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(None);
    }
    match headers.get(header::CONTENT_LENGTH).map(|value| value.to_str().map(str::parse)) {
        Some(Ok(Ok(length))) => Ok(Some(length)),
        Some(_) => Err("its Content-Length is no number".to_owned()),
        None if is_checked => Ok(None),
        None => Err("it does not say where it ends, and no digest of it is known".to_owned()),
    }
}

/// Whether this file is one of these lists.
fn is_list(list: &str, file: &str) -> bool {
    match list.split_once('*') {
        Some((before, after)) => {
            file.len() > before.len() + after.len() && file.starts_with(before) && file.ends_with(after)
        }
        None => file == list,
    }
}

/// The list that a file may be in, what the file is called there, and whether it is about that file alone.
fn list_of<'a>(list: &str, file: &'a str) -> Option<(String, &'a str, bool)> {
    if list.contains('*') {
        let name = file.rsplit('/').next().unwrap_or(file);
        return Some((list.replace('*', file), name, true));
    }
    let folder = list.rsplit_once('/').map_or("", |(folder, _)| folder);
    let named = if folder.is_empty() { file } else { file.strip_prefix(folder)?.strip_prefix('/')? };
    Some((list.to_owned(), named, false))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What waits for the disk, where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Failure::ours(error.to_string()))?;
    done.map_err(|error| Failure::io("the cache of upstreams", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_list_is_beside_it_or_in_a_folder_above() {
        assert_eq!(list_of("*.sha256", "a/b.img"), Some(("a/b.img.sha256".to_owned(), "b.img", true)));
        assert_eq!(list_of("a/SHA256SUMS", "a/c/d"), Some(("a/SHA256SUMS".to_owned(), "c/d", false)));
        assert_eq!(list_of("SHA256SUMS", "a/c"), Some(("SHA256SUMS".to_owned(), "a/c", false)));
        assert_eq!(list_of("a/SHA256SUMS", "ab/c"), None);
        for (list, file, is) in [
            ("*.sha256", "a/b.sha256", true),
            ("*.sha256", ".sha256", false),
            ("*.sha256", "a/b", false),
            ("a/SUMS", "a/SUMS", true),
            ("a/SUMS", "SUMS", false),
        ] {
            assert_eq!(is_list(list, file), is, "{list} {file}");
        }
    }
}
