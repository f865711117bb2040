//! Answers about a file where the runtime gives them, as the engine would: what follows from its validators and the request's head.

use std::borrow::Borrow;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::conditional::{Selection, Validators, select};
use super::head::{Conditions, Lines, wanted_sha256, wants_sha256};
use super::mounts::media_type;
use super::tally::Taken;
use super::{Observer, Stage};
use crate::sys::clock;
use crate::sys::open::{Refusal, RegularFile, Root};

/// Bytes that are read at once.
pub(super) const CHUNK: u64 = 64 << 10;
/// Clients that are sent something at once, each from buffers of its own, and those of one address.
const READERS: usize = 1024;
const READERS_EACH: usize = READERS / 8;

/// Answers with files that no mount has: those that somebody names one by one.
pub struct Named {
    readers: Readers,
    observer: Observer,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").finish_non_exhaustive()
    }
}

impl Named {
    /// `observer` is told of each answer.
    pub fn new(observer: Observer) -> Self {
        Self { readers: Readers::default(), observer }
    }

    /// The file at `path` as it is now, links followed: the operator has named it.
    pub async fn answer(&self, path: &Path, request: Parts) -> Response<Body> {
        let (owned, name) = (path.to_owned(), path.to_string_lossy().into_owned());
        self.opened(move || RegularFile::open(&owned), &name, request).await
    }

    /// The file of this name below `folder`: links are followed, and none leads out of it.
    pub async fn answer_below(&self, folder: &Path, name: &Path, request: Parts) -> Response<Body> {
        let (folder, name) = (folder.to_owned(), name.to_string_lossy().into_owned());
        let shown = name.clone();
        let open = move || Root::open(&folder).map_err(|_| Refusal::NotFound)?.linked(&name);
        self.opened(open, &shown, request).await
    }

    async fn opened(
        &self,
        open: impl FnOnce() -> Result<RegularFile, Refusal> + Send + 'static,
        name: &str,
        request: Parts,
    ) -> Response<Body> {
        let mut told = Told::new(&self.observer, &request);
        if let Some(refused) = of_method(&request) {
            return told.of(refused);
        }
        let opened = tokio::task::spawn_blocking(open).await.unwrap_or(Err(Refusal::Busy));
        let RegularFile { file, identity } = match opened {
            Ok(file) => file,
            Err(refusal) => {
                let (status, cause) = match refusal {
                    Refusal::NotFound => (StatusCode::NOT_FOUND, "the file is not there (any more)"),
                    Refusal::Forbidden => (StatusCode::NOT_FOUND, "it is no file that may be read"),
                    Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "no more files can be opened"),
                    Refusal::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the disk does not give it"),
                };
                tracing::warn!(file = name, %refusal, "HTTP: {cause}");
                told.failed(&refusal);
                return told.of(plain(status, cause));
            }
        };
        let validators = Validators::of(&identity);
        let facts = Facts { validators: &validators, is_tagged: true, is_dated: true, digest: None };
        let (part, answer) = head(facts, &request, name);
        let Some(part) = part else { return told.of(answer) };
        let Some(reader) = self.readers.admit(told.peer()) else {
            return told.of(plain(StatusCode::SERVICE_UNAVAILABLE, "as many are sent something as may"));
        };
        let (sending, answer) = Sending::new(reader, told, answer, part);
        tokio::spawn(send(RegularFile { file, identity }, part, sending));
        answer
    }
}

/// Sends a part; an error breaks the connection off, and whoever has all of it has one content.
async fn send(RegularFile { file, identity }: RegularFile, (start, end): (u64, u64), mut sending: Sending) {
    let (file, mut at) = (Arc::new(file), start);
    while at < end {
        let count = (end - at).min(CHUNK);
        let mut bytes = read(&file, at, count as usize).await;
        if bytes.is_ok() && at + count == end {
            bytes = identity.check_content(&file).and(bytes);
        }
        if sending.put(bytes).await.is_none() {
            return;
        }
        at += count;
    }
    sending.done();
}

/// So many bytes of a file, without holding up the runtime.
pub(super) async fn read<F>(file: &Arc<F>, at: u64, count: usize) -> io::Result<Bytes>
where
    F: Borrow<File> + Send + Sync + 'static,
{
    let file = file.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; count];
        let file: &File = (*file).borrow();
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes.into())
    });
    read.await.map_err(io::Error::other)?
}

/// What is answered to methods that files have not (RFC 9110 section 15.5.6).
pub(super) fn of_method(request: &Parts) -> Option<Response<Body>> {
    let is_known = request.method == Method::GET || request.method == Method::HEAD;
    (!is_known).then(|| {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        refused
    })
}

/// What a head says of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) validators: &'a Validators,
    /// Whether a client may know it by its tag,
    pub(super) is_tagged: bool,
    /// … or by its date.
    pub(super) is_dated: bool,
    /// The SHA-256 of the whole file, in base64, where it is known.
    pub(super) digest: Option<&'a str>,
}

/// The answer's head, and the part of the file that its body is.
pub(super) fn head(
    Facts { validators, is_tagged, is_dated, digest }: Facts<'_>,
    request: &Parts,
    name: &str,
) -> (Option<(u64, u64)>, Response<Body>) {
    let (is_get, now) = (request.method == Method::GET, clock::known());
    let conditions = conditions(&request.headers, is_dated);
    let (size, selection) = (validators.size, select(&conditions, validators, now, is_get));
    let (status, part) = match selection {
        Selection::Whole => (StatusCode::OK, Some((0, size))),
        Selection::Part(start, end) => (StatusCode::PARTIAL_CONTENT, Some((start, end))),
        Selection::NotModified => (StatusCode::NOT_MODIFIED, None),
        Selection::PreconditionFailed => return (None, plain(StatusCode::PRECONDITION_FAILED, "")),
        Selection::NotSatisfiable => {
            let answer = Response::builder().status(StatusCode::RANGE_NOT_SATISFIABLE);
            let answer = answer.header(header::CONTENT_RANGE, format!("bytes */{size}"));
            return (None, answer.body(Body::empty()).unwrap_or_default());
        }
    };
    let mut answer = Response::builder().status(status);
    if is_tagged {
        answer = answer.header(header::ETAG, &validators.etag);
    }
    if is_dated && validators.is_dated(now) {
        answer = answer.header(header::LAST_MODIFIED, &validators.date);
    }
    if let Some((start, end)) = part {
        answer = answer.header(header::CONTENT_LENGTH, end - start).header(header::ACCEPT_RANGES, "bytes");
        if status == StatusCode::PARTIAL_CONTENT {
            answer = answer.header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
        }
    }
    if part.is_some() {
        answer = answer.header(header::CONTENT_TYPE, media_type(name));
        for (field, value) in digest.into_iter().flat_map(|digest| digests(&request.headers, digest)) {
            answer = answer.header(field, value);
        }
    }
    (part.filter(|_| is_get), answer.body(Body::empty()).unwrap_or_default())
}

/// The fields that the client wants the digest in, as the engine writes them.
fn digests(headers: &HeaderMap, digest: &str) -> Vec<(&'static str, String)> {
    let lines = |key| headers.get_all(key).iter().filter_map(|value| value.to_str().ok());
    let repr = lines("want-repr-digest").any(wants_sha256).then(|| format!("sha-256=:{digest}:"));
    let older = lines("want-digest").any(wanted_sha256).then(|| format!("SHA-256={digest}"));
    let fields = [("repr-digest", repr), ("digest", older)];
    fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}

/// What RFC 9110 section 13 and 14 decide by, as the engine reads it. `is_dated`: what is about dates counts.
fn conditions(headers: &HeaderMap, is_dated: bool) -> Conditions<'_> {
    let text = |key: HeaderName| headers.get(key).and_then(|value| value.to_str().ok());
    let lines = |key: HeaderName| {
        // One that can't be read is there, and names no tag.
        let all = headers.get_all(key).iter().map(|value| value.to_str().unwrap_or_default());
        all.take(4).fold(Lines::default(), |lines, line| lines.and(line))
    };
    Conditions {
        range: text(header::RANGE),
        // Without a date, none is the same.
        if_range: text(header::IF_RANGE).map(|line| if is_dated { line } else { "" }),
        if_match: lines(header::IF_MATCH),
        if_none_match: lines(header::IF_NONE_MATCH),
        if_modified_since: text(header::IF_MODIFIED_SINCE).filter(|_| is_dated),
        if_unmodified_since: text(header::IF_UNMODIFIED_SINCE).filter(|_| is_dated),
    }
}

/// An answer without a file: the status, and why.
pub(super) fn plain(status: StatusCode, cause: &str) -> Response<Body> {
    let colon = if cause.is_empty() { "" } else { ": " };
    let text =
        format!("{} {}{colon}{cause}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain");
    answer.body(Body::from(text)).unwrap_or_default()
}

/// Clients that are sent something: so many in all, and so many of each address.
#[derive(Clone, Debug, Default)]
pub(super) struct Readers(Arc<Mutex<Taken>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    of: Readers,
    peer: IpAddr,
}

impl Readers {
    /// Unless it, or all together, are too many: see [`Taken::take`].
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Reader> {
        let peer = peer.to_canonical();
        let is_admitted = self.with(|taken| taken.take(peer, READERS_EACH, READERS));
        is_admitted.then(|| Reader { of: self.clone(), peer })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Taken) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.of.with(|taken| taken.give_back(self.peer));
    }
}

/// A body that is being sent.
pub(super) struct Sending {
    // In the order in which they go: what became of it is told before its end can be seen, and then there is room for another.
    told: Told,
    to: mpsc::Sender<io::Result<Bytes>>,
    _reader: Reader,
}

impl Sending {
    /// The part of a file that is this answer's body, and the answer with it.
    pub(super) fn new(
        reader: Reader,
        mut told: Told,
        answer: Response<Body>,
        part: (u64, u64),
    ) -> (Self, Response<Body>) {
        told.begins(&answer, Some(part));
        let (to, body) = mpsc::channel(2);
        (Self { told, to, _reader: reader }, answer.map(|_| Body::from_stream(ReceiverStream::new(body))))
    }

    /// Sends what comes next, and says how many bytes that were; `None`: there is nobody any more, or it was an error.
    pub(super) async fn put(&mut self, bytes: io::Result<Bytes>) -> Option<u64> {
        let count = bytes.as_ref().map(|bytes| bytes.len() as u64);
        let count = count.map_err(|error| self.told.failed(error)).ok();
        self.to.send(bytes).await.ok()?;
        self.told.sent(count?);
        count
    }

    /// Waits until nobody wants it any more.
    pub(super) async fn closed(&self) {
        self.to.closed().await;
    }

    /// That was all of it.
    pub(super) fn done(mut self) {
        self.told.is_done = true;
    }
}

/// Tells the observer of the answer when it is dropped.
pub(super) struct Told {
    observer: Observer,
    began: Instant,
    event: Option<super::Event>,
    is_done: bool,
}

impl Told {
    pub(super) fn new(observer: &Observer, request: &Parts) -> Self {
        let peer = request.extensions.get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| *peer);
        let path = request.uri.path().to_owned();
        let boot = request.uri.query().and_then(super::head::boot_in);
        let event = peer.map(|peer| super::Event {
            peer,
            path,
            boot,
            status: 0,
            bytes: 0,
            total: 0,
            duration: Duration::ZERO,
            range: None,
            pace: None,
            stage: Stage::Broken,
            cause: None,
        });
        Self { observer: observer.clone(), began: Instant::now(), event, is_done: false }
    }

    /// Whom it is for.
    pub(super) fn peer(&self) -> IpAddr {
        self.event.as_ref().map_or(Ipv4Addr::UNSPECIFIED.into(), |event| event.peer.ip())
    }

    fn begins(&mut self, answer: &Response<Body>, part: Option<(u64, u64)>) {
        let Some(event) = &mut self.event else { return };
        event.status = answer.status().as_u16();
        event.total = part.map_or(0, |(start, end)| end - start);
        event.range = part.filter(|_| event.status == 206);
    }

    /// Why there is no file, or not all of it.
    fn failed(&mut self, cause: &impl std::fmt::Display) {
        self.event.iter_mut().for_each(|event| event.cause = Some(cause.to_string()));
    }

    fn sent(&mut self, count: u64) {
        self.event.iter_mut().for_each(|event| event.bytes += count);
    }

    /// An answer without a file.
    pub(super) fn of(mut self, answer: Response<Body>) -> Response<Body> {
        self.begins(&answer, None);
        self.is_done = true;
        answer
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let Some(mut event) = self.event.take() else { return };
        event.duration = self.began.elapsed();
        if self.is_done {
            event.stage = Stage::Done;
            event.total = event.bytes;
        }
        (self.observer)(event);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
