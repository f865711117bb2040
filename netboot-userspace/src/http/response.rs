//! Response heads, and which body goes with them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use crate::sys::open::{Identity, RegularFile};
use crate::sys::sendfile::FileBody;
use crate::uring::Socket;

use super::conditional::{Selection, Validators, select};
use super::date;
use super::machine::{Head, Method, Status};
use super::mounts::media_type;

/// Files up to this size are kept in memory.
const SMALL: u64 = 64 * 1024;
/// How much of them each worker keeps; when it is full, all of it is dropped.
const CACHE: u64 = 32 << 20;

/// Contents of small files, by what `fstat` said of them: a changed file is another key. Never a map of the file, which a
/// truncation would turn into SIGBUS.
#[derive(Debug, Default)]
pub(super) struct Cache {
    files: HashMap<Identity, Arc<[u8]>>,
    bytes: u64,
}

impl Cache {
    fn content(&mut self, file: &RegularFile) -> io::Result<Arc<[u8]>> {
        if let Some(bytes) = self.files.get(&file.identity) {
            return Ok(bytes.clone());
        }
        let bytes: Arc<[u8]> = file.read_whole()?.into();
        if file.identity.is_settled() {
            if self.bytes + file.identity.size > CACHE {
                self.files.clear();
                self.bytes = 0;
            }
            self.bytes += file.identity.size;
            self.files.insert(file.identity, bytes.clone());
        }
        Ok(bytes)
    }
}

/// A response that is about to be sent.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: Status,
    /// What follows the head by sendfile.
    pub(super) body: Option<FileBody>,
    /// Body bytes in all, wherever they come from.
    pub(super) length: u64,
    pub(super) range: Option<(u64, u64)>,
}

/// Writes the head of the response to a request for `file`, with its body when that is small.
pub(super) fn file(
    request: &Head<'_>,
    path: &str,
    file: RegularFile,
    stream: &Socket,
    cache: &mut Cache,
    now: i64,
    out: &mut Vec<u8>,
) -> io::Result<Response> {
    let size = file.identity.size;
    let validators = Validators::of(&file.identity);
    let get = request.method == Method::Get;
    let (status, start, end) = match select(&request.conditions, &validators, get) {
        Selection::Whole => (Status::Ok, 0, size),
        Selection::Part(start, end) => (Status::PartialContent, start, end),
        Selection::NotModified => (Status::NotModified, 0, 0),
        Selection::PreconditionFailed => return Ok(plain(Status::PreconditionFailed, request, now, out)),
        Selection::NotSatisfiable => {
            status_line(Status::RangeNotSatisfiable, now, out);
            let _ = write!(out, "Content-Range: bytes */{size}\r\nContent-Length: 0\r\n");
            finish(request.keep_alive, request.old, out);
            return Ok(empty(Status::RangeNotSatisfiable));
        }
    };
    // Read before the head is written: a file that changes right now must not get a head that isn't its own.
    let small = get && status != Status::NotModified && size <= SMALL;
    let content = small.then(|| cache.content(&file)).transpose()?;
    status_line(status, now, out);
    let modified = date::format(validators.modified);
    let _ = write!(out, "ETag: {}\r\nLast-Modified: {modified}\r\n", validators.etag);
    if status != Status::NotModified {
        let _ = write!(out, "Content-Type: {}\r\nContent-Length: {}\r\n", media_type(path), end - start);
        out.extend_from_slice(b"Accept-Ranges: bytes\r\n");
    }
    let range = (status == Status::PartialContent).then_some((start, end));
    if range.is_some() {
        let _ = write!(out, "Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
    }
    finish(request.keep_alive, request.old, out);
    let length = if get { end - start } else { 0 };
    let body = match content {
        Some(bytes) => {
            out.extend_from_slice(bytes.get(start as usize..end as usize).unwrap_or_default());
            None
        }
        None if length > 0 => Some(FileBody::new(file.file, stream.clone(), start, length, size)),
        None => None,
    };
    Ok(Response { status, body, length, range })
}

/// Writes a response without a file behind it, to a request that was understood.
pub(super) fn plain(status: Status, request: &Head<'_>, now: i64, out: &mut Vec<u8>) -> Response {
    status_line(status, now, out);
    if matches!(status, Status::MethodNotAllowed | Status::NotImplemented) {
        out.extend_from_slice(b"Allow: GET, HEAD\r\n");
    }
    // HEAD's Content-Length is GET's (RFC 9110 section 9.3.2).
    let body = format!("{} {}\n", status.code(), status.reason());
    let _ = write!(out, "Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
    finish(request.keep_alive && !request.body, request.old, out);
    if request.method != Method::Head {
        out.extend_from_slice(body.as_bytes());
    }
    empty(status)
}

/// Writes the answer to bytes that aren't a request; the connection ends with it.
pub(super) fn refusal(status: Status, now: i64, out: &mut Vec<u8>) -> Response {
    status_line(status, now, out);
    out.extend_from_slice(b"Content-Length: 0\r\n");
    finish(false, false, out);
    empty(status)
}

fn empty(status: Status) -> Response {
    Response { status, body: None, length: 0, range: None }
}

fn status_line(status: Status, now: i64, out: &mut Vec<u8>) {
    let (code, reason) = (status.code(), status.reason());
    let _ = write!(out, "HTTP/1.1 {code} {reason}\r\nDate: {}\r\n", date::format(now));
}

fn finish(keep_alive: bool, old: bool, out: &mut Vec<u8>) {
    match (keep_alive, old) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, false) => {}
    }
    out.extend_from_slice(b"\r\n");
}
