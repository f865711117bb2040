//! The server, as the agent sees it: the calls of `image::protocol`.

use std::time::Duration;

use netboot_common::Mac;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::image::http::{HttpError, Patience, Request, Url};
use crate::image::protocol::{Hello, Instructions, Report, Session};

/// The most that one call takes, its deadlines added up.
pub const LONGEST_CALL: Duration = Duration::from_secs(45);
/// An answer is a few hundred bytes.
const ANSWER_MAX: usize = 256 * 1024;
/// Of a refusal's text, so much is shown.
const REASON_MAX: usize = 200;

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{url}: the server answers {status}{}{reason}", if reason.is_empty() { "" } else { ": " })]
    Refused { url: Url, status: u16, reason: String },
    #[error("{url}: {source}")]
    Json { url: Url, source: serde_json::Error },
}

impl ServerError {
    /// The server knows this session no longer, or never did: only a new boot brings a new token.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
    }

    /// What was sent won't do, and won't ever (an older server, a field that it doesn't know).
    pub fn is_of_the_request(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 413 | 422, .. })
    }

    /// The server is there, and what it says won't do: it may not know that.
    pub fn is_an_answer(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Json { .. })
    }
}

/// A server before and after the session is there.
#[derive(Clone, Debug)]
pub struct Server {
    base: Url,
    /// [`Session::token`]; empty before.
    bearer: String,
    patience: Patience,
}

impl Server {
    pub fn new(base: Url) -> Self {
        let patience = Patience { connect: Duration::from_secs(5), stall: Duration::from_secs(10) };
        Self { base, bearer: String::new(), patience }
    }

    /// Gives the one-time token away for a session. Its name; all further calls are the session's.
    ///
    /// # Errors
    /// [`ServerError`]; [`is_final`](ServerError::is_final): the token is no good.
    pub fn open_session(&mut self, token: &str, mac: Mac) -> Result<String, ServerError> {
        let hello = Hello { token: token.to_owned(), mac: mac.to_string() };
        let session: Session = self.call("POST", "/agent/v1/session", Some(&hello))?;
        self.bearer = session.token;
        Ok(session.name)
    }

    /// # Errors
    /// [`ServerError`].
    pub fn instructions(&self) -> Result<Instructions, ServerError> {
        self.call("GET", "/agent/v1/instructions", None::<&()>)
    }

    /// # Errors
    /// [`ServerError`].
    pub fn report(&self, report: &Report) -> Result<(), ServerError> {
        self.exchange("POST", "/agent/v1/report", Some(report)).map(drop)
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ServerError> {
        let answer = self.exchange(method, path, body)?;
        serde_json::from_slice(&answer)
            .map_err(|source| ServerError::Json { url: self.base.at(path), source })
    }

    fn exchange(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Vec<u8>, ServerError> {
        let url = self.base.at(path);
        let body = match body.map(serde_json::to_vec).transpose() {
            Ok(body) => body.unwrap_or_default(),
            Err(source) => return Err(ServerError::Json { url, source }),
        };
        let mut fields = vec![("Accept", "application/json".to_owned())];
        if !body.is_empty() {
            fields.push(("Content-Type", "application/json".to_owned()));
        }
        if !self.bearer.is_empty() {
            fields.push(("Authorization", format!("Bearer {}", self.bearer)));
        }
        let response = Request { method, url: &url, fields: &fields, body: &body }.send(self.patience)?;
        let status = response.status;
        let answer = response.body(ANSWER_MAX);
        if !(200..300).contains(&status) {
            let text = answer.unwrap_or_default();
            let reason =
                String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).take(REASON_MAX).collect();
            return Err(ServerError::Refused { url, status, reason });
        }
        Ok(answer?)
    }
}
