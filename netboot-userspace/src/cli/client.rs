//! Talks to the daemon, over its control socket or by HTTPS: one HTTP/1.0 request per connection, so that an answer is what comes
//! until the end, also where it is a feed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::remote::{Remote, Secured};
use crate::api::changes::{Answer, Batch};
use crate::template::{is_unreserved, percent};

/// A daemon.
#[derive(Debug)]
pub(super) enum Client {
    /// Of this machine, by its control socket.
    Local(PathBuf),
    /// Of another one.
    Remote(Remote),
}

/// A connection to it.
#[derive(Debug)]
pub(super) enum Stream {
    Local(UnixStream),
    Remote(Box<Secured>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(stream) => stream.read(buffer),
            Self::Remote(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Local(stream) => stream.write(bytes),
            Self::Remote(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Local(stream) => stream.flush(),
            Self::Remote(stream) => stream.flush(),
        }
    }
}

impl Client {
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, None)
    }

    /// Sends a request; the answer's JSON, or `null` where it has none.
    pub(super) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut text = String::new();
        let body = body.map(Value::to_string);
        self.open(method, path, body)?.read_to_string(&mut text).context("reading the daemon's answer")?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).context("the daemon's answer is not JSON")
    }

    /// Asks for many changes at once. That they can't be made is an answer, too.
    pub(super) fn change(&self, batch: &Batch) -> anyhow::Result<Answer> {
        let (status, mut reader) =
            self.send("POST", "/api/v1/changes", Some(serde_json::to_string(batch)?))?;
        let mut text = String::new();
        reader.read_to_string(&mut text).context("reading the daemon's answer")?;
        match serde_json::from_str(&text) {
            Ok(answer) => Ok(answer),
            Err(_) if !(200..300).contains(&status) => bail!("{}", message(&text)),
            Err(error) => Err(error).context("the daemon's answer is not what was asked for"),
        }
    }

    /// Sends a request; the answer's body, as it comes.
    ///
    /// # Errors
    /// Nobody answers, or the answer is an error: then its text.
    pub(super) fn open(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<BufReader<Stream>> {
        let (status, mut reader) = self.send(method, path, body)?;
        if (200..300).contains(&status) {
            return Ok(reader);
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).context("reading the daemon's answer")?;
        bail!("{}", message(&text));
    }

    /// Sends a request; the answer's status, and its body as it comes.
    fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<(u16, BufReader<Stream>)> {
        let (mut stream, fields) = self.connect()?;
        let body = body.unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.0\r\n{fields}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let sent = stream.write_all(format!("{head}{body}").as_bytes()).and_then(|()| stream.flush());
        sent.with_context(|| format!("asking the daemon at {}", self.place()))?;
        let mut reader = BufReader::new(stream);
        let status = status(&mut reader)
            .with_context(|| format!("reading the answer of the daemon at {}", self.place()))?;
        Ok((status, reader))
    }

    /// A connection, and the fields that say who is asked and who asks.
    fn connect(&self) -> anyhow::Result<(Stream, String)> {
        match self {
            Self::Local(path) => {
                let stream = UnixStream::connect(path).map_err(|error| self.unreachable(&error))?;
                Ok((Stream::Local(stream), "Host: netboot\r\n".to_owned()))
            }
            Self::Remote(remote) => Ok((Stream::Remote(Box::new(remote.connect()?)), remote.fields())),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Remote(remote) => remote.url().to_owned(),
        }
    }

    fn unreachable(&self, error: &io::Error) -> anyhow::Error {
        let path = self.place();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
                "no netboot answers at {path} ({error}): start `netboot serve`, or name its socket with --control or \
                 NETBOOT_CONTROL"
            ),
            io::ErrorKind::PermissionDenied => {
                anyhow!(
                    "the control socket {path} is not for this user ({error}): use the user that runs the daemon"
                )
            }
            _ => anyhow!("the control socket {path}: {error}"),
        }
    }
}

/// What an answer that is an error says.
fn message(text: &str) -> String {
    let error: Option<Value> = serde_json::from_str(text).ok();
    error.as_ref().and_then(|error| error["error"].as_str()).unwrap_or(text).to_owned()
}

/// Reads an answer's head; its status.
fn status(reader: &mut impl BufRead) -> anyhow::Result<u16> {
    const LONGEST: u64 = 16 << 10;
    let mut head = Vec::new();
    let mut limited = reader.take(LONGEST);
    while !head.ends_with(b"\r\n\r\n") {
        if limited.read_until(b'\n', &mut head)? == 0 {
            bail!("it is cut short");
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(&head)?;
    response.code.context("it has no status")
}

/// One segment of a path, percent-encoded.
pub(super) fn segment(text: &str) -> String {
    percent(text, |byte| byte == b':' || is_unreserved(byte))
}
