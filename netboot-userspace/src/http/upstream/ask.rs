//! One question to an upstream, redirects followed: until the head of an answer that is about the file.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use super::connect::{Link, Where, connect};
use super::failure::Failure;
use super::fetch::Wanted;
use super::flight::Phase;
use crate::config::{Origin, Upstream};
use crate::template::{is_unreserved, percent};

/// Files of one upstream at once: whoever asks for more names than that is told to come back.
const FLIGHTS: usize = 256;
/// How often an upstream may send us on.
const REDIRECTS: usize = 5;

/// An upstream, and whom it is believed.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) upstream: Upstream,
    pub(super) trust: Arc<ClientConfig>,
    /// Connections.
    pub(super) places: Semaphore,
    /// Of all sources, and of files.
    descriptors: Arc<Semaphore>,
    /// Files that are on their way, or wait for a connection.
    pub(super) flights: Arc<Semaphore>,
    /// Nobody answered there: copies are served as they are until then.
    silent: Mutex<Option<Instant>>,
}

impl Source {
    pub(super) fn new(upstream: Upstream, trust: Arc<ClientConfig>, descriptors: Arc<Semaphore>) -> Self {
        let (places, flights) = (Semaphore::new(upstream.connections), Arc::new(Semaphore::new(FLIGHTS)));
        Self { upstream, trust, places, descriptors, flights, silent: Mutex::default() }
    }

    fn leads(&self) -> Where {
        let Upstream { is_named, allow_private, .. } = self.upstream;
        if is_named { Where::Named } else { Where::Guarded { private: allow_private } }
    }

    /// Whether nobody answered there a moment ago.
    pub(super) fn is_silent(&self) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|until| Instant::now() < until)
    }

    /// Whether it answers now; if not, for how long it is taken not to.
    pub(super) fn note_silence(&self, time: Option<Duration>) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        *silent = time.map(|time| Instant::now() + time);
    }
}

/// What a kept copy can be compared with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    /// Where it came from: nobody else is told what it is known by there.
    pub(super) url: &'a str,
    pub(super) etag: Option<&'a str>,
    pub(super) last_modified: Option<&'a str>,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// The source it came from in the end.
    pub(super) at: usize,
    /// Whether it was asked only for what is not the copy.
    pub(super) is_conditional: bool,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    /// Where it came from.
    pub(super) url: String,
    /// Kept until the body is read.
    pub(super) link: Link,
    pub(super) place: Place<'a>,
}

/// A connection's place among those of its source, and of all.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _of_source: SemaphorePermit<'a>,
    _descriptor: SemaphorePermit<'a>,
}

/// What is asked, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) known: Known<'a>,
    /// Whether there is a copy: then it is for those who ask later, also when nobody waits any more.
    pub(super) is_update: bool,
    pub(super) wanted: Wanted<'a>,
}

/// Which source was asked last, if any was: what came of it is that one's doing.
#[derive(Debug, Default)]
pub(super) struct Asked(AtomicUsize);

impl Asked {
    fn note(&self, at: usize) {
        self.0.store(at + 1, Relaxed);
    }

    pub(super) fn last(&self) -> Option<usize> {
        self.0.load(Relaxed).checked_sub(1)
    }
}

/// Asks its upstream for a `target` (`/…`, escaped), and goes where it is sent, as far as that is another of these sources.
pub(super) async fn ask<'a>(
    sources: &'a [Source],
    target: String,
    question: Question<'_>,
) -> Result<Answer<'a>, Failure> {
    let Wanted { index, flight, asked, .. } = question.wanted;
    let (mut at, mut target) = (index, target);
    for hop in 0..=REDIRECTS {
        let Some(source) = sources.get(at) else { return Err(Failure::ours("no such upstream")) };
        let place = place(source, &target, hop > 0 || question.is_update, flight).await?;
        asked.note(at);
        let answer = once(source, at, &target, question, place).await?;
        if !is_redirect(answer.status) {
            return Ok(answer);
        }
        let location = answer.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location
            .ok_or_else(|| Failure::bad(format!("{}: sent on ({}) to nowhere", answer.url, answer.status)))?;
        (at, target) = onward(sources, at, &target, location).map_err(|cause| {
            // Neither what a query nor what a user's name may give away.
            let shown = location.split('?').next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
            let shown: String = shown.chars().take(200).collect();
            let text = format!("{}: sent on to {shown:?}, {cause}", answer.url);
            if cause == FOLDER { Failure::missing(text) } else { Failure::bad(text) }
        })?;
    }
    let Some(Source { upstream, .. }) = sources.get(at) else {
        return Err(Failure::ours("no such upstream"));
    };
    Err(Failure::bad(format!("{}{target}: sent on more than {REDIRECTS} times", upstream.origin)))
}

/// A connection that may be made. `is_wanted`: also by those who ask later.
async fn place<'a>(
    source: &'a Source,
    target: &str,
    is_wanted: bool,
    flight: &watch::Sender<Phase>,
) -> Result<Place<'a>, Failure> {
    if let (Ok(of_source), Ok(descriptor)) = (source.places.try_acquire(), source.descriptors.try_acquire()) {
        return Ok(Place { _of_source: of_source, _descriptor: descriptor });
    }
    let Upstream { origin, deadlines, connections, .. } = &source.upstream;
    let both = async {
        let (_of_source, _descriptor) = (source.places.acquire().await?, source.descriptors.acquire().await?);
        Ok::<_, AcquireError>(Place { _of_source, _descriptor })
    };
    let place = timeout(deadlines.read, both).await.ok().and_then(Result::ok).ok_or_else(|| {
        Failure::busy(format!("{origin}: {connections} connections are in use, or as many files as may be"))
    })?;
    if !is_wanted && flight.receiver_count() == 0 {
        return Err(Failure::busy(format!("{origin}{target}: nobody waits for it any more")));
    }
    Ok(place)
}

async fn once<'a>(
    source: &'a Source,
    at: usize,
    target: &str,
    Question { known, wanted: Wanted { via, .. }, .. }: Question<'_>,
    place: Place<'a>,
) -> Result<Answer<'a>, Failure> {
    let Upstream { origin, deadlines, .. } = &source.upstream;
    let url = format!("{origin}{target}");
    let is_conditional = known.url == url;
    let known = if is_conditional { known } else { Known::default() };
    let mut link = connect(origin, &source.trust, source.leads(), deadlines.connect).await?;
    let request =
        request(origin, target, known, via).map_err(|error| Failure::bad(format!("{url}: {error}")))?;
    let asked = timeout(deadlines.read, link.sender.send_request(request)).await;
    let answer = asked.map_err(|_| late(&url, deadlines.read))?;
    let answer = answer.map_err(|error| Failure::bad(format!("{url}: {}", causes(&error))))?;
    let (parts, body) = Response::into_parts(answer);
    Ok(Answer { at, is_conditional, status: parts.status, headers: parts.headers, body, url, link, place })
}

fn late(url: &str, within: Duration) -> Failure {
    Failure::late(format!("{url}: no answer within {} s", within.as_secs())).silent()
}

/// Nothing in it comes from our client.
fn request(
    origin: &Origin,
    target: &str,
    known: Known<'_>,
    via: &str,
) -> Result<Request<Body>, axum::http::Error> {
    let mut request = Request::get(target)
        .header(header::HOST, origin.authority())
        .header(header::USER_AGENT, concat!("netboot/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::VIA, via)
        .header(header::CONNECTION, "close");
    if let Some(etag) = known.etag {
        request = request.header(header::IF_NONE_MATCH, HeaderValue::try_from(etag)?);
    }
    if let Some(time) = known.last_modified {
        request = request.header(header::IF_MODIFIED_SINCE, HeaderValue::try_from(time)?);
    }
    request.body(Body::empty())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Such a name has no file.
const FOLDER: &str = "which is a folder";

/// Which source a redirect leads to, and its target there: one of their folders has it as it is written, without anything that climbs.
fn onward(
    sources: &[Source],
    from: usize,
    target: &str,
    location: &str,
) -> Result<(usize, String), &'static str> {
    let location = location.split('#').next().unwrap_or_default();
    let own = sources.get(from).map(|source| &source.upstream.origin).ok_or("from nowhere")?;
    let absolute = match location {
        _ if location.starts_with("//") => {
            format!("{}:{location}", if own.is_https { "https" } else { "http" })
        }
        _ if location.starts_with('/') => format!("{own}{location}"),
        _ if location.split('/').next().is_some_and(|scheme| scheme.ends_with(':')) => location.to_owned(),
        _ => {
            let folder = target.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{own}{folder}/{location}")
        }
    };
    let (origin, path) = Origin::split(&absolute).ok_or("which is no URL of http or https")?;
    if own.is_https && !origin.is_https {
        return Err("which is not secured");
    }
    if path.contains('?') {
        return Err("which has a query: those are not followed");
    }
    let path = if path.is_empty() { "/" } else { path };
    if climbs(path) {
        return Err("which has a part that may climb");
    }
    let has_it = |(at, source): &(usize, &Source)| {
        let Upstream { origin: its, path: folder, .. } = &source.upstream;
        (*its == origin && path.starts_with(folder.as_str())).then_some((*at == from, folder.len()))
    };
    let among = sources.iter().enumerate().filter(|source| has_it(source).is_some());
    let (at, _) = among.max_by_key(has_it).ok_or("where no upstream is configured")?;
    if path.ends_with('/') { Err(FOLDER) } else { Ok((at, path.to_owned())) }
}

/// Whether a path, as any server may read it, has parts that are not names.
fn climbs(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2e", ".");
    let is_dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
    path.contains(['\\', '\0'])
        || ["%2f", "%5c", "%00"].iter().any(|s| path.contains(s))
        || path.split('/').any(is_dots)
}

/// An error with what is behind it.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// A path below a source, escaped: each part as it is meant, and nothing that begins a query.
pub(super) fn target(folder: &str, name: &str) -> String {
    let is_plain = |byte| is_unreserved(byte) || b"/!$&'()*+,=:@".contains(&byte);
    folder.to_owned() + &percent(name, is_plain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::connect::trust;
    use super::*;

    fn source(url: &str) -> Source {
        let (origin, path) = Origin::split(url).unwrap();
        let upstream = super::super::tests::upstream("x/", origin, path);
        Source::new(upstream, trust(None).unwrap(), Arc::new(Semaphore::new(1)))
    }

    #[test]
    fn redirects_lead_to_configured_hosts_and_nowhere_else() {
        let sources =
            [source("https://a.example/x/"), source("https://b.example:8443/"), source("http://a.example/")];
        assert_eq!(onward(&sources, 0, "/x/y", "/x/y/").unwrap_err(), FOLDER);
        let go = |location| onward(&sources, 0, "/x/dir/file", location);
        for (location, want) in [
            ("https://b.example:8443/y", (1, "/y")),
            ("https://A.example/x/y#z", (0, "/x/y")),
            ("/x/y", (0, "/x/y")),
            ("//a.example/x/y", (0, "/x/y")),
            ("other", (0, "/x/dir/other")),
            ("/x/a://b", (0, "/x/a://b")),
            ("other/a://b", (0, "/x/dir/other/a://b")),
        ] {
            assert_eq!(go(location), Ok((want.0, want.1.to_owned())), "{location}");
        }
        for location in [
            "http://a.example/y",
            "https://b.example/y",
            "https://evil.example/y",
            "//evil.example/y",
            "https://a.example@evil.example/",
            "file:///etc/passwd",
            "/y?token=1",
            "https://a.example.evil.example/",
            // Of that host, but of no folder that is configured.
            "/y",
            "https://a.example",
            "https://a.example/x",
            "/x/../y",
            "../y",
            "/x/%2E%2e/y",
            "/x/..;a/y",
            "/x/%2fy",
            "/x/%5Cy",
            "/x/\\y",
            "https://a.example:+443/x/y",
        ] {
            assert!(go(location).is_err(), "{location}");
        }
    }

    #[test]
    fn a_target_has_no_query_whatever_the_name_is() {
        assert_eq!(target("/d/", "a b/c?d#e%2f.x;y"), "/d/a%20b/c%3Fd%23e%252f.x%3By");
        assert_eq!(target("/", "\u{e4}+~"), "/%C3%A4+~");
    }
}
