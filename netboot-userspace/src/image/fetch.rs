//! [`Fetch`]: one resource, from its first byte to its last, over as many connections as that takes.
//!
//! **Invariant:** the bytes that it yields are those of one version of the resource: a connection after the first
//! asks for the rest of the version that the first one named (`If-Range`, RFC 9110 section 13.1.5), and an answer
//! that is not exactly that rest ends the fetch. It never yields fewer bytes than the server declared.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::http::{HttpError, Patience, Request, Response, Url};

/// How much trouble to bear.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub patience: Patience,
    /// Failures in a row, without a byte between them, before giving up.
    pub tries: u32,
    /// The wait after the first failure; it doubles with each further one, up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

impl Default for Policy {
    /// Bears a network that is away for five minutes.
    fn default() -> Self {
        Self {
            patience: Patience::default(),
            tries: 24,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(20),
        }
    }
}

impl Policy {
    /// The wait after the `failures`th failure in a row (counted from 1).
    fn wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.backoff.saturating_mul(1 << doublings).min(self.backoff_max)
    }
}

/// Why a resource can't be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{url}: the server answers {status}{}", meaning(*.status))]
    Status { url: Url, status: u16 },
    #[error("{url}: the server redirects to {to}; give that address instead")]
    Redirect { url: Url, to: String },
    #[error("{url}: the server declares no Content-Length")]
    NoLength { url: Url },
    #[error("{url}: it changed while it was fetched (at byte {at}: {what})")]
    Changed { url: Url, at: u64, what: String },
    #[error("{url}: got {got} of {want} bytes, then {tries} failures in a row: {source}")]
    Broken { url: Url, got: u64, want: u64, tries: u32, source: Box<HttpError> },
    #[error("{url}: no answer in {tries} tries: {source}")]
    Unreachable { url: Url, tries: u32, source: Box<HttpError> },
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => " (not allowed)",
        404 | 410 => " (no such file)",
        500..=599 => " (the server failed)",
        _ => "",
    }
}

/// A resource under way.
#[derive(Debug)]
pub struct Fetch {
    url: Url,
    policy: Policy,
    /// A strong `ETag`, else `Last-Modified`.
    validator: Option<String>,
    length: u64,
    at: u64,
    response: Option<Response>,
    /// Failures since the last byte.
    failures: u32,
    resumed: u32,
    cancelled: Arc<AtomicBool>,
}

/// What one attempt brought.
enum Attempt {
    Answer(Response),
    Passing(HttpError),
}

impl Fetch {
    /// Asks for the resource and checks the answer's header.
    ///
    /// # Errors
    /// Final answers (4xx, redirects) at once; others after `policy.tries` of them.
    pub fn open(url: &Url, policy: Policy) -> Result<Self, FetchError> {
        let mut fetch = Self {
            url: url.clone(),
            policy,
            validator: None,
            length: 0,
            at: 0,
            response: None,
            failures: 0,
            resumed: 0,
            cancelled: Arc::default(),
        };
        let response = loop {
            match fetch.attempt(&[])? {
                Attempt::Answer(response) => break response,
                Attempt::Passing(error) => fetch.failed(error)?,
            }
        };
        if response.status != 200 {
            return Err(FetchError::Status { url: url.clone(), status: response.status });
        }
        fetch.length = response.length.ok_or_else(|| FetchError::NoLength { url: url.clone() })?;
        fetch.validator = response
            .field("etag")
            .filter(|etag| !etag.starts_with("W/"))
            .or_else(|| response.field("last-modified"))
            .map(str::to_owned);
        fetch.response = Some(response);
        Ok(fetch)
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Connections after the first one.
    pub fn resumed(&self) -> u32 {
        self.resumed
    }

    /// Set it from another thread, and the next failure is the last: nobody wants the bytes any more.
    pub fn cancel(&self) -> Arc<AtomicBool> {
        self.cancelled.clone()
    }

    /// Fills a part of `buffer`, at least a byte; 0: the resource is complete.
    ///
    /// # Errors
    /// When the policy's tries are used up, or the server has another version now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        loop {
            let left = self.length - self.at;
            let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if room == 0 {
                return Ok(0);
            }
            let Some(response) = &mut self.response else {
                self.resume()?;
                continue;
            };
            let error = match response.read(&mut buffer[..room]) {
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(n) => {
                    self.at += n as u64;
                    self.failures = 0;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.response = None;
            self.failed(HttpError::Io { server: self.url.address(), source: error })?;
        }
    }

    fn resume(&mut self) -> Result<(), FetchError> {
        let mut fields = vec![("Range", format!("bytes={}-", self.at))];
        fields.extend(self.validator.iter().map(|validator| ("If-Range", validator.clone())));
        match self.attempt(&fields)? {
            Attempt::Passing(error) => self.failed(error),
            Attempt::Answer(response) => {
                self.is_the_rest(&response)?;
                self.resumed += 1;
                self.response = Some(response);
                Ok(())
            }
        }
    }

    /// Never splices: only a 206 for exactly the bytes that are missing, of a resource as long as the first, will do.
    fn is_the_rest(&self, response: &Response) -> Result<(), FetchError> {
        let range = response.field("content-range").unwrap_or("absent");
        let wanted = format!("bytes {}-{}/{}", self.at, self.length - 1, self.length);
        let what = match response.status {
            206 if range == wanted => return Ok(()),
            206 => format!("Content-Range is {range}, not {wanted}"),
            // From the first byte, the whole is the rest.
            200 if self.at == 0 && response.length == Some(self.length) => return Ok(()),
            200 => "the server sends the whole again: another version, or it knows no ranges".to_owned(),
            status => format!("the server answers {status}"),
        };
        Err(FetchError::Changed { url: self.url.clone(), at: self.at, what })
    }

    fn attempt(&self, fields: &[(&'static str, String)]) -> Result<Attempt, FetchError> {
        let request = Request { method: "GET", url: &self.url, fields, body: &[] };
        let response = match request.send(self.policy.patience) {
            Ok(response) => response,
            Err(error @ (HttpError::NotHttp { .. } | HttpError::Chunked { .. })) => {
                return Err(self.gave_up(1, error));
            }
            Err(error) => return Ok(Attempt::Passing(error)),
        };
        match response.status {
            status @ (408 | 429 | 500 | 502..=504) => Ok(Attempt::Passing(HttpError::Io {
                server: self.url.address(),
                source: io::Error::other(format!("the server answers {status}")),
            })),
            300..=399 => {
                let to = response.field("location").unwrap_or("nowhere").to_owned();
                Err(FetchError::Redirect { url: self.url.clone(), to })
            }
            status @ (400..=415 | 417..=599) => Err(FetchError::Status { url: self.url.clone(), status }),
            _ => Ok(Attempt::Answer(response)),
        }
    }

    /// Waits, or gives up.
    fn failed(&mut self, error: HttpError) -> Result<(), FetchError> {
        self.failures += 1;
        if self.failures >= self.policy.tries || self.cancelled.load(Ordering::Relaxed) {
            return Err(self.gave_up(self.failures, error));
        }
        std::thread::sleep(self.policy.wait(self.failures));
        Ok(())
    }

    fn gave_up(&self, tries: u32, source: HttpError) -> FetchError {
        let (url, source) = (self.url.clone(), Box::new(source));
        if self.length == 0 {
            return FetchError::Unreachable { url, tries, source };
        }
        FetchError::Broken { url, got: self.at, want: self.length, tries, source }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::image::testing::{Server, Step, answer};
    use std::time::Instant;

    fn policy() -> Policy {
        Policy {
            patience: Patience { connect: Duration::from_secs(2), stall: Duration::from_millis(150) },
            tries: 3,
            backoff: Duration::from_millis(1),
            backoff_max: Duration::from_millis(4),
        }
    }

    fn fetch(url: &Url) -> Result<(Vec<u8>, u32), FetchError> {
        let mut fetch = Fetch::open(url, policy())?;
        let mut all = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            let n = fetch.read(&mut buffer)?;
            if n == 0 {
                return Ok((all, fetch.resumed()));
            }
            all.extend_from_slice(&buffer[..n]);
        }
    }

    fn content() -> Vec<u8> {
        (0..10_000u32).map(|i| (i % 251) as u8).collect()
    }

    fn first(bytes: &[u8], total: usize, then: Step) -> Vec<Step> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\nETag: \"v1\"\r\n\r\n");
        vec![Step::Send([head.as_bytes(), bytes].concat()), then]
    }

    fn rest(bytes: &[u8], from: usize) -> Vec<Step> {
        let (last, total) = (bytes.len() - 1, bytes.len());
        let head =
            format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{total}\r\n\r\n");
        vec![Step::Send([head.as_bytes(), &bytes[from..]].concat())]
    }

    #[test]
    fn a_body_cut_reset_or_stalled_in_the_middle_is_resumed_by_range() {
        let all = content();
        for trouble in [Step::Close, Step::Reset, Step::Stall(Duration::from_millis(250))] {
            let server =
                Server::script(vec![first(&all[..4_000], all.len(), trouble.clone()), rest(&all, 4_000)]);
            let (got, resumed) = fetch(&server.url("/image")).unwrap_or_else(|e| panic!("{trouble:?}: {e}"));
            assert!(got == all && resumed == 1, "{trouble:?}: {} bytes, {resumed} resumed", got.len());
            let requests = server.requests();
            assert!(requests[1].contains("Range: bytes=4000-\r\n"), "{}", requests[1]);
            assert!(requests[1].contains("If-Range: \"v1\"\r\n"), "{}", requests[1]);
        }
    }

    #[test]
    fn another_version_is_never_spliced() {
        let all = content();
        let start = || first(&all[..4_000], all.len(), Step::Close);
        let shifted = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9999/10000\r\n\r\n";
        let grown = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 4000-10000/10001\r\n\r\n";
        for second in [
            answer(200, &all),
            vec![Step::Send(shifted.into())],
            vec![Step::Send(grown.into())],
            answer(416, b""),
        ] {
            let server = Server::script(vec![start(), second]);
            let error = fetch(&server.url("/image")).unwrap_err();
            assert!(matches!(error, FetchError::Changed { at: 4_000, .. }), "{error}");
        }
    }

    #[test]
    fn final_answers_fail_at_once_and_say_why() {
        let redirect =
            b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.9/x\r\nContent-Length: 0\r\n\r\n".to_vec();
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec();
        for (script, says) in [
            (answer(404, b"gone"), "answers 404 (no such file)"),
            (vec![Step::Send(redirect)], "redirects to http://10.0.0.9/x"),
            (vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\nabc".to_vec())], "no Content-Length"),
            (vec![Step::Send(chunked)], "in chunks"),
            (
                vec![Step::Send(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n".to_vec(),
                )],
                "Content-Length: 4",
            ),
            (vec![Step::Send(b"SSH-2.0-x\r\n\r\n".to_vec())], "does not speak HTTP/1"),
        ] {
            let server = Server::script(vec![script]);
            let error = fetch(&server.url("/image")).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert_eq!(server.requests().len(), 1);
        }
    }

    #[test]
    fn passing_faults_are_retried_and_counted() {
        let all = content();
        let server = Server::script(vec![answer(503, b""), vec![Step::Close], answer(200, &all)]);
        assert!(fetch(&server.url("/image")).unwrap().0 == all);
        let server = Server::script(vec![answer(503, b""), answer(503, b""), answer(503, b"")]);
        let error = fetch(&server.url("/image")).unwrap_err();
        assert!(matches!(error, FetchError::Unreachable { tries: 3, .. }), "{error}");
    }

    /// Where each try is refused at once, its waits are all the time that there is.
    #[test]
    fn a_network_may_be_away_for_five_minutes() {
        let policy = Policy::default();
        let waits: Duration = (1..policy.tries).map(|failures| policy.wait(failures)).sum();
        assert!(waits >= Duration::from_secs(300), "{waits:?}");
    }

    #[test]
    fn a_server_that_always_cuts_short_ends_with_the_counts() {
        let all = content();
        let cut = || vec![Step::Close];
        let server = Server::script(vec![first(&all[..500], all.len(), Step::Close), cut(), cut(), cut()]);
        let started = Instant::now();
        let error = fetch(&server.url("/image")).unwrap_err();
        assert!(matches!(error, FetchError::Broken { got: 500, want: 10_000, tries: 3, .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_cancelled_fetch_stops_at_its_next_failure() {
        let all = content();
        let server = Server::script(vec![first(&all[..500], all.len(), Step::Close), rest(&all, 500)]);
        let mut fetch = Fetch::open(&server.url("/image"), policy()).unwrap();
        fetch.cancel().store(true, Ordering::Relaxed);
        let mut buffer = [0; 500];
        let mut got = 0;
        let error = loop {
            match fetch.read(&mut buffer) {
                Ok(n) => got += n,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, FetchError::Broken { tries: 1, .. }) && got == 500, "{error}");
    }

    #[test]
    fn bytes_beyond_the_declared_length_are_not_taken() {
        let all = content();
        let server = Server::script(vec![first(&all, 100, Step::Close)]);
        assert!(fetch(&server.url("/image")).unwrap().0 == all[..100]);
    }
}
