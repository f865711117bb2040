//! Response heads, written into a buffer. Pure.

use std::io::Write;
use std::ops::Range;

use super::conditional::{Selection, select};
use super::head::{Body, Head, Method, Status, Wants};
use super::machine::{Date, Entity};

/// A response whose head was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) status: Status,
    /// Which bytes of the file follow the head.
    pub(super) file: Option<Range<u64>>,
    /// Body bytes in all, wherever they come from.
    pub(super) length: u64,
    /// First byte and the one after the last, of a 206.
    pub(super) part: Option<(u64, u64)>,
}

/// What is written before and behind every head's own fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// `None` while the clock is unknown (RFC 9110 section 6.6.1).
    pub(super) date: Option<Date<'a>>,
    pub(super) keep_alive: bool,
    pub(super) old: bool,
}

impl Frame<'_> {
    fn begin(&self, status: Status, out: &mut Vec<u8>) {
        let _ = write!(out, "HTTP/1.1 {} ", status.code());
        put(out, &[status.reason(), "\r\n"]);
        if let Some(Date { text, .. }) = self.date {
            put(out, &["Date: ", text, "\r\n"]);
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match (self.keep_alive, self.old) {
            (false, _) => b"Connection: close\r\n\r\n",
            (true, true) => b"Connection: keep-alive\r\n\r\n",
            (true, false) => b"\r\n",
        });
    }
}

/// To a request for a file.
pub(super) fn file(request: &Head<'_>, entity: &impl Entity, frame: Frame<'_>, out: &mut Vec<u8>) -> Written {
    let validators = entity.validators();
    let (size, get) = (validators.size, request.method == Method::Get);
    let now = frame.date.map(|date| date.seconds);
    let (status, start, end) = match select(&request.conditions, validators, now, get) {
        Selection::Whole => (Status::Ok, 0, size),
        Selection::Part(start, end) => (Status::PartialContent, start, end),
        Selection::NotModified => (Status::NotModified, 0, 0),
        Selection::PreconditionFailed => {
            return plain(Status::PreconditionFailed, request.method, frame, out);
        }
        Selection::NotSatisfiable => {
            frame.begin(Status::RangeNotSatisfiable, out);
            let _ = write!(out, "Content-Range: bytes */{size}\r\nContent-Length: 0\r\n");
            frame.end(out);
            return Written { status: Status::RangeNotSatisfiable, file: None, length: 0, part: None };
        }
    };
    frame.begin(status, out);
    put(out, &["ETag: ", &validators.etag, "\r\n"]);
    if validators.is_dated(now) {
        put(out, &["Last-Modified: ", &validators.date, "\r\n"]);
    }
    if status != Status::NotModified {
        put(out, &["Content-Type: ", entity.media_type()]);
        let _ = write!(out, "\r\nContent-Length: {}", end - start);
        put(out, &["\r\nAccept-Ranges: bytes\r\n"]);
        // Of the whole file, also where a part of it follows.
        if let Some(digest) = entity.digest() {
            self::digest(digest, request.wants_digest, out);
        }
    }
    let part = (status == Status::PartialContent).then_some((start, end));
    if part.is_some() {
        let _ = write!(out, "Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
    }
    frame.end(out);
    let length = if get { end - start } else { 0 };
    Written { status, file: (length > 0).then_some(start..end), length, part }
}

/// What needs no formatting, which costs a small answer more than finding its file does.
fn put(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

/// As a byte sequence of RFC 8941 section 3.3.5 in a dictionary, and as RFC 3230 section 4.3.2 has it.
fn digest(digest: &str, wants: Wants, out: &mut Vec<u8>) {
    if wants.repr_digest {
        let _ = write!(out, "Repr-Digest: sha-256=:{digest}:\r\n");
    }
    if wants.digest {
        let _ = write!(out, "Digest: SHA-256={digest}\r\n");
    }
}

/// Without a file behind it.
pub(super) fn plain(status: Status, method: Method, frame: Frame<'_>, out: &mut Vec<u8>) -> Written {
    frame.begin(status, out);
    out.extend_from_slice(match status {
        Status::MethodNotAllowed | Status::NotImplemented => b"Allow: GET, HEAD\r\n",
        // What is missing may be there at any time (RFC 9110 section 10.2.3).
        Status::Unavailable => b"Retry-After: 1\r\n",
        _ => b"",
    });
    let body = format!("{} {}\n", status.code(), status.reason());
    let _ = write!(out, "Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
    frame.end(out);
    // HEAD's Content-Length is GET's, without the body (section 9.3.2).
    let body = if method == Method::Head { "" } else { &body };
    out.extend_from_slice(body.as_bytes());
    Written { status, file: None, length: body.len() as u64, part: None }
}

/// To bytes that aren't a request; nobody knows what its sender would take for a body.
pub(super) fn refusal(status: Status, frame: Frame<'_>, out: &mut Vec<u8>) -> Written {
    frame.begin(status, out);
    out.extend_from_slice(b"Content-Length: 0\r\n");
    frame.end(out);
    Written { status, file: None, length: 0, part: None }
}

/// Whether the connection can go on after an answer to this request: where a body follows that nobody reads, the next request
/// can't be told from it.
pub(super) fn goes_on(request: &Head<'_>) -> bool {
    request.keep_alive && request.body == Body::None
}
