//! A body that comes in: how fast, how much, and onto the disk.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use hyper::body::{Body as _, Incoming};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout_at;

use super::ask::causes;
use super::failure::Failure;
use super::shelf::{Held, Partial, Shelf};
use crate::config::Deadlines;
use crate::image::digest::Digest;

/// Room is made by steps of this size.
const AHEAD: u64 = 4 << 20;

/// A body, as far as it was written.
#[derive(Debug)]
pub(super) struct Written {
    partial: Partial,
    hasher: Sha256,
    pub(super) bytes: u64,
    most: u64,
    url: String,
}

impl Written {
    /// Nothing yet of at most so many bytes; `url`: of whose.
    pub(super) fn begin(shelf: &Arc<Shelf>, most: u64, url: String) -> Result<Self, Failure> {
        let partial = shelf.begin()?;
        Ok(Self { partial, hasher: Sha256::new(), bytes: 0, most, url })
    }

    /// What is written, and what comes.
    pub(super) fn file(&self) -> Arc<Held> {
        self.partial.held.clone()
    }

    /// All of it is here: its SHA-256 in hex, and what may be kept.
    pub(super) fn finish(self) -> (String, Partial) {
        (Digest(self.hasher.finalize().into()).to_string(), self.partial)
    }

    /// Whether so many bytes, all of it, are no more than may be, and can have room.
    pub(super) fn expect(&self, bytes: u64) -> Result<(), Failure> {
        self.is_allowed(bytes)?;
        if self.partial.is_possible(bytes) { Ok(()) } else { Err(self.full()) }
    }

    fn is_allowed(&self, bytes: u64) -> Result<(), Failure> {
        let url = &self.url;
        if bytes > self.most {
            return Err(Failure::wrong(format!(
                "{url}: has more than {} bytes, the most that is taken",
                self.most
            )));
        }
        Ok(())
    }

    fn full(&self) -> Failure {
        Failure::full(format!("{}: the cache has no room for it (assets: cache, keep_free)", self.url))
    }

    pub(super) async fn take(mut self, bytes: Bytes) -> Result<Self, Failure> {
        blocking(move || {
            let end = self.bytes + bytes.len() as u64;
            self.is_allowed(end)?;
            if !self.partial.reserve(end, AHEAD) {
                return Err(self.full());
            }
            self.partial.write(&bytes, self.bytes).map_err(disk)?;
            self.hasher.update(&bytes);
            self.bytes += bytes.len() as u64;
            Ok(self)
        })
        .await
    }
}

/// How fast a body has to come.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    deadlines: &'a Deadlines,
    until: tokio::time::Instant,
    /// Bytes since the last look.
    came: u64,
}

impl<'a> Pace<'a> {
    pub(super) fn new(deadlines: &'a Deadlines) -> Self {
        Self { deadlines, until: tokio::time::Instant::now() + deadlines.read, came: 0 }
    }

    /// The next bytes of it.
    pub(super) async fn next(&mut self, body: &mut Incoming, url: &str) -> Result<Option<Bytes>, Failure> {
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
                (self.until, self.came) = (tokio::time::Instant::now() + *read, 0);
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
pub(super) fn length(
    headers: &HeaderMap,
    is_checked: bool,
    may_end_openly: bool,
) -> Result<Option<u64>, String> {
    // Where their digest is known, the bytes are as they have to be, whatever they are said to be: servers call `.gz` files encoded.
    let is_coded =
        |encoding: &&HeaderValue| !is_checked && !encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if let Some(encoding) = headers.get_all(header::CONTENT_ENCODING).iter().find(is_coded) {
        return Err(format!("encoded as {}, which was not asked for", brief(encoding)));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        // Of any other, the end of the connection may be the end of it, or its bytes are others (RFC 9112 section 6.3).
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => return Ok(None),
        (Some(coding), _) => {
            return Err(format!("its Transfer-Encoding is {}, and not chunked", brief(coding)));
        }
    }
    match headers.get(header::CONTENT_LENGTH).map(|value| value.to_str().map(str::parse)) {
        Some(Ok(Ok(length))) => Ok(Some(length)),
        Some(_) => Err("its Content-Length is no number".to_owned()),
        None if may_end_openly => Ok(None),
        None => Err("it does not say where it ends, and no digest of it is known".to_owned()),
    }
}

fn brief(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().take(40).collect()
}

/// What waits for the disk, where it holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::ours(error.to_string()))?
}

pub(super) fn disk(error: io::Error) -> Failure {
    Failure::io("the cache of upstreams", &error)
}
