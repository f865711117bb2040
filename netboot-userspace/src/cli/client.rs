//! Talks to the daemon over its control socket: one HTTP/1.0 request per connection, so that an answer is what comes
//! until the end, also where it is a feed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::api::changes::{Answer, Batch};

#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
}

impl Client {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

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
    ) -> anyhow::Result<BufReader<UnixStream>> {
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
    ) -> anyhow::Result<(u16, BufReader<UnixStream>)> {
        let mut stream = UnixStream::connect(&self.path).map_err(|error| self.unreachable(&error))?;
        let body = body.unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: netboot\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .with_context(|| format!("asking the daemon at {}", self.path.display()))?;
        let mut reader = BufReader::new(stream);
        let status = status(&mut reader)
            .with_context(|| format!("reading the answer of the daemon at {}", self.path.display()))?;
        Ok((status, reader))
    }

    fn unreachable(&self, error: &io::Error) -> anyhow::Error {
        let path = self.path.display();
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
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
