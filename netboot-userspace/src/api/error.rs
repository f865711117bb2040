//! What a handler answers when it can't do what was asked: `{"error": "…"}`, one line per fault.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::audit::Said;
use super::grants::Denied;
use crate::inventory::live::{NotMade, Refused};
use crate::store;

/// A status, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// Of what is there instead, where a condition did not hold.
    pub etag: Option<HeaderValue>,
    /// What was changed before it failed.
    pub(super) said: Option<Said>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), etag: None, said: None }
    }

    /// Why something failed that comes after a change: that one was made, and is recorded as `said`.
    pub(super) fn after(self, said: impl Into<String>) -> Self {
        Self { said: Some(Said(said.into())), ..self }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let etag = self.etag.map(|etag| [(header::ETAG, etag)]);
        (self.status, etag, self.said, Json(json!({ "error": self.message }))).into_response()
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        Self::new(of_store(&error), error.to_string())
    }
}

impl From<NotMade> for ApiError {
    fn from(error: NotMade) -> Self {
        let is_stored = matches!(error, NotMade::NotInForce(_));
        let answer = Self::new(of_not_made(&error), error.to_string());
        if is_stored { answer.after("stored, and not in force everywhere") } else { answer }
    }
}

/// A full disk is for the operator to empty: 507 says that the same will do then.
fn of_store(error: &store::Error) -> StatusCode {
    if error.is_full() { StatusCode::INSUFFICIENT_STORAGE } else { StatusCode::INTERNAL_SERVER_ERROR }
}

fn of_not_made(error: &NotMade) -> StatusCode {
    match error {
        NotMade::Store(error) => of_store(error),
        NotMade::NotInForce(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let status = match &refused {
            Refused::Invalid(_) => StatusCode::BAD_REQUEST,
            Refused::Unknown(_) | Refused::Missing { .. } => StatusCode::NOT_FOUND,
            Refused::Conflict(_) | Refused::File { .. } | Refused::Filed { .. } => StatusCode::CONFLICT,
            Refused::InUse { .. } | Refused::Misfit(_) | Refused::Twice => StatusCode::CONFLICT,
            Refused::NotMade(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        match refused {
            Refused::NotMade(error) => error.into(),
            refused => Self::new(status, refused.to_string()),
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let status = match &denied {
            Denied::Unknown | Denied::Used | Denied::OtherMac | Denied::OtherAddress => StatusCode::FORBIDDEN,
            Denied::NoSession => StatusCode::UNAUTHORIZED,
            Denied::Store(error) => of_store(error),
            Denied::Random(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, denied.to_string())
    }
}
