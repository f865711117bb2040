//! As much of an HTTP/1.1 client (RFC 9112) as an installation takes: GET and POST, one request per connection.
//!
//! Every read and write has a deadline. Addresses are literal: a static binary has no resolver, and the server that
//! hands out the URLs knows its own address.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// RFC 9112 section 3 asks for 8,000 bytes of request line at least; answers stay far below this.
const HEAD_MAX: usize = 16 * 1024;
/// Header fields of one answer.
const FIELDS_MAX: usize = 64;

/// `http://ADDRESS[:PORT]/path?query`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    address: SocketAddr,
    /// `/…`, never empty, without a fragment.
    path: String,
}

/// Why a text is no [`Url`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("{0}: only http:// is spoken here")]
    Scheme(String),
    #[error("{0}: the host must be an IP address (the agent has no resolver)")]
    Host(String),
    #[error("{0}: a URL has no spaces or control characters")]
    Character(String),
}

impl Url {
    /// The same server, another path (which begins with `/`).
    pub fn at(&self, path: &str) -> Self {
        Self { address: self.address, path: path.to_owned() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl std::str::FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(BadUrl::Character(text.escape_default().to_string()));
        }
        let rest = text.strip_prefix("http://").ok_or_else(|| BadUrl::Scheme(text.to_owned()))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let address = authority
            .parse::<SocketAddr>()
            .or_else(|_| authority.trim_matches(['[', ']']).parse().map(|ip| SocketAddr::new(ip, 80)))
            .map_err(|_| BadUrl::Host(text.to_owned()))?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { address, path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

/// What goes wrong between a request and its answer's end.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("connecting to {server}: {source}")]
    Connect { server: SocketAddr, source: io::Error },
    #[error("{server}: {source}")]
    Io { server: SocketAddr, source: io::Error },
    #[error("{server} closed the connection within the answer's header")]
    Cut { server: SocketAddr },
    #[error("{server} does not speak HTTP/1: {what}")]
    NotHttp { server: SocketAddr, what: String },
    #[error("{server} sends its body in chunks, without a Content-Length")]
    Chunked { server: SocketAddr },
    #[error("{server} answers with more than {limit} bytes")]
    TooLong { server: SocketAddr, limit: usize },
}

/// How long to wait for the other side.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub connect: Duration,
    /// For one read or write, not for the whole.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), stall: Duration::from_secs(30) }
    }
}

/// A request, before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'static str,
    pub url: &'a Url,
    /// Whole header fields: name and value.
    pub fields: &'a [(&'static str, String)],
    pub body: &'a [u8],
}

/// The status line and header of an answer, and the way to its body.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, values trimmed.
    fields: Vec<(String, String)>,
    /// What the body's length is declared to be.
    pub length: Option<u64>,
    server: SocketAddr,
    stream: TcpStream,
    /// Bytes of the body that came with the header.
    early: Vec<u8>,
    early_at: usize,
}

impl Request<'_> {
    /// Sends the request, and reads the answer's header.
    ///
    /// # Errors
    /// Any of [`HttpError`]; a status is none.
    pub fn send(&self, patience: Patience) -> Result<Response, HttpError> {
        let server = self.url.address;
        let io = |source| HttpError::Io { server, source };
        let mut stream = TcpStream::connect_timeout(&server, patience.connect)
            .map_err(|source| HttpError::Connect { server, source })?;
        stream.set_read_timeout(Some(patience.stall)).map_err(io)?;
        stream.set_write_timeout(Some(patience.stall)).map_err(io)?;
        stream.write_all(self.head().as_bytes()).map_err(io)?;
        stream.write_all(self.body).map_err(io)?;
        read_head(stream, server)
    }

    fn head(&self) -> String {
        let Url { address, path } = self.url;
        let mut head = format!("{} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n", self.method);
        head += concat!("User-Agent: netboot-agent/", env!("CARGO_PKG_VERSION"), "\r\n");
        for (name, value) in self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if self.method == "POST" || !self.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        head + "\r\n"
    }
}

impl Response {
    /// The first field of this name (in lower case).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`HttpError::TooLong`] beyond `limit` bytes; [`HttpError::Io`] if it ends early.
    pub fn body(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let server = self.server;
        if self.status == 204 {
            return Ok(Vec::new());
        }
        let wanted = self.length.unwrap_or(limit as u64 + 1);
        if self.length.is_some_and(|length| length > limit as u64) {
            return Err(HttpError::TooLong { server, limit });
        }
        let mut body = Vec::new();
        let got = Read::take(&mut self, wanted)
            .read_to_end(&mut body)
            .map_err(|source| HttpError::Io { server, source })?;
        match self.length {
            Some(length) if (got as u64) < length => {
                Err(HttpError::Io { server, source: io::ErrorKind::UnexpectedEof.into() })
            }
            None if got > limit => Err(HttpError::TooLong { server, limit }),
            _ => Ok(body),
        }
    }
}

/// The body's bytes until the connection ends: counting them against [`Response::length`] is the caller's part.
impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let early = &self.early[self.early_at..];
        if early.is_empty() {
            return self.stream.read(buffer).map_err(name_timeout);
        }
        let n = early.len().min(buffer.len());
        buffer[..n].copy_from_slice(&early[..n]);
        self.early_at += n;
        Ok(n)
    }
}

/// `SO_RCVTIMEO` reports "resource temporarily unavailable" (`socket(7)`), which tells a person nothing.
fn name_timeout(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "nothing came in time"),
        _ => error,
    }
}

fn read_head(mut stream: TcpStream, server: SocketAddr) -> Result<Response, HttpError> {
    let mut head = Vec::with_capacity(1024);
    let mut chunk = [0; 2048];
    loop {
        let n = stream.read(&mut chunk).map_err(|e| HttpError::Io { server, source: name_timeout(e) })?;
        if n == 0 {
            return Err(HttpError::Cut { server });
        }
        head.extend_from_slice(&chunk[..n]);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut fields);
        let state =
            parsed.parse(&head).map_err(|error| HttpError::NotHttp { server, what: error.to_string() })?;
        match state {
            httparse::Status::Complete(end) => {
                let (status, fields, length) = checked(&parsed, server)?;
                let early = head.split_off(end);
                return Ok(Response { status, fields, length, server, stream, early, early_at: 0 });
            }
            httparse::Status::Partial if head.len() > HEAD_MAX => {
                return Err(HttpError::NotHttp {
                    server,
                    what: format!("a header of over {HEAD_MAX} bytes"),
                });
            }
            httparse::Status::Partial => {}
        }
    }
}

type Head = (u16, Vec<(String, String)>, Option<u64>);

/// RFC 9112 section 6.3: how the body is framed, decided once.
fn checked(parsed: &httparse::Response<'_, '_>, server: SocketAddr) -> Result<Head, HttpError> {
    let status = parsed.code.unwrap_or_default();
    let fields: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|f| (f.name.to_ascii_lowercase(), String::from_utf8_lossy(f.value).trim().to_owned()))
        .collect();
    if fields.iter().any(|(name, _)| name == "transfer-encoding") {
        return Err(HttpError::Chunked { server });
    }
    let mut length = None;
    for (_, value) in fields.iter().filter(|(name, _)| name == "content-length") {
        let number = value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse::<u64>().ok()).flatten();
        match (number, length) {
            (Some(number), None) => length = Some(number),
            (Some(number), Some(first)) if number == first => {}
            _ => return Err(HttpError::NotHttp { server, what: format!("Content-Length: {value}") }),
        }
    }
    Ok((status, fields, length))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        for (text, url) in [
            ("http://10.0.0.1", "http://10.0.0.1:80/"),
            ("http://10.0.0.1:8080/a/b?c=d#e", "http://10.0.0.1:8080/a/b?c=d"),
            ("http://10.0.0.1?x", "http://10.0.0.1:80/?x"),
            ("http://[fd77::1]:81/x", "http://[fd77::1]:81/x"),
            ("http://[fd77::1]/x", "http://[fd77::1]:80/x"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn refuses_urls_by_their_fault() {
        for (text, fault) in [
            ("https://10.0.0.1/", "only http://"),
            ("/images/x", "only http://"),
            ("http://boot.example/x", "must be an IP address"),
            ("http://", "must be an IP address"),
            ("http://10.0.0.1/a\r\nX: y", "no spaces or control"),
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }
}
