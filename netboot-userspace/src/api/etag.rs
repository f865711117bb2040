//! Changes of what somebody else may change at the same time (RFC 9110 sections 8.8.3 and 13).
//!
//! The tag of a representation is the SHA-256 of exactly the bytes that are sent: it is a strong one. `If-Match` is compared while nobody else
//! can change the inventory, so that between the comparison and the change there is no room for another one.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::ApiError;
use crate::image::digest::Digest;

/// Larger ones, lists of many thousands, have no tag: nobody keeps them to compare.
const LARGEST: u64 = 4 << 20;

/// The tag of these bytes.
fn of(bytes: &[u8]) -> HeaderValue {
    let digest = Digest(Sha256::digest(bytes).into()).to_string();
    // Half of it is enough to tell any two apart, and hex digits are always a header's value.
    HeaderValue::from_str(&format!("\"{}\"", &digest[..32])).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The tag of what is sent as this JSON.
pub(super) fn of_json(value: &impl Serialize) -> Option<HeaderValue> {
    serde_json::to_vec(value).ok().map(|bytes| of(&bytes))
}

/// An answer to a change: what is there now, as a GET of `path` shows it.
pub(super) fn representation(path: &str, value: Value) -> (HeaderMap, Json<Value>) {
    let mut headers = HeaderMap::new();
    headers.extend(of_json(&value).map(|tag| (header::ETAG, tag)));
    headers.extend(HeaderValue::from_str(path).ok().map(|path| (header::CONTENT_LOCATION, path)));
    (headers, Json(value))
}

/// Gives every answer that is JSON its tag, and answers 304 to who has it already. Innermost: it sees the body also of a HEAD.
pub(super) async fn tag(request: Request, next: Next) -> Response {
    let known = Tags::read(request.headers(), &header::IF_NONE_MATCH);
    let response = next.run(request).await;
    let size = response.body().size_hint().exact().filter(|size| *size <= LARGEST);
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if response.status() != StatusCode::OK || !is_json || size.is_none() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, LARGEST as usize).await else {
        return ApiError::internal("the answer is lost").into_response();
    };
    let tag = of(&bytes);
    let is_known = known.is_some_and(|known| known.weakly_has(Some(&tag)));
    parts.headers.insert(header::ETAG, tag);
    // What is shown of a site is nobody's to keep, but the client's to compare.
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// What a field names: any representation, or these.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    Any,
    Of(Vec<Bytes>),
}

impl Tags {
    /// `None`: there is no such field. What is no tag matches none.
    fn read(headers: &HeaderMap, field: &HeaderName) -> Option<Self> {
        let values = headers.get_all(field);
        values.iter().next()?;
        let members = values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let members: Vec<Bytes> = members.map(|tag| Bytes::copy_from_slice(tag.trim_ascii())).collect();
        Some(if members.iter().any(|tag| &tag[..] == b"*") { Self::Any } else { Self::Of(members) })
    }

    /// RFC 9110 section 8.8.3.2: a weak tag is like none.
    fn strongly_has(&self, current: Option<&HeaderValue>) -> bool {
        self.has(current, |tag| tag)
    }

    fn weakly_has(&self, current: Option<&HeaderValue>) -> bool {
        self.has(current, |tag| tag.strip_prefix(b"W/").unwrap_or(tag))
    }

    fn has(&self, current: Option<&HeaderValue>, opaque: impl Fn(&[u8]) -> &[u8]) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Of(tags), Some(current)) => tags.iter().any(|tag| opaque(tag) == current.as_bytes()),
        }
    }
}

/// What a change is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let read = |field| Tags::read(&parts.headers, &field);
        Ok(Self { if_match: read(header::IF_MATCH), if_none_match: read(header::IF_NONE_MATCH) })
    }
}

impl Conditions {
    /// Whether they hold of what a GET shows now, which is asked for only where there are any.
    ///
    /// # Errors
    /// 412, with its tag.
    pub(super) fn hold(&self, shown: impl FnOnce() -> Option<Value>) -> Result<(), ApiError> {
        if *self == Self::default() {
            return Ok(());
        }
        self.hold_of(shown().as_ref().and_then(of_json))
    }

    fn hold_of(&self, current: Option<HeaderValue>) -> Result<(), ApiError> {
        let message = match (&self.if_match, &self.if_none_match) {
            (Some(wanted), _) if !wanted.strongly_has(current.as_ref()) => match current {
                Some(_) => "it was changed since it was read (If-Match): read it again",
                None => "it is not there any more (If-Match)",
            },
            (_, Some(unwanted)) if unwanted.weakly_has(current.as_ref()) => {
                "it is there already (If-None-Match)"
            }
            _ => return Ok(()),
        };
        let error = ApiError::new(StatusCode::PRECONDITION_FAILED, message);
        Err(ApiError { etag: current, ..error })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn conditions(field: HeaderName, value: &'static str) -> Conditions {
        let headers = HeaderMap::from_iter([(field, HeaderValue::from_static(value))]);
        let read = |field| Tags::read(&headers, &field);
        Conditions { if_match: read(header::IF_MATCH), if_none_match: read(header::IF_NONE_MATCH) }
    }

    /// RFC 9110 sections 13.1.1 and 13.1.2.
    #[test]
    fn conditions_hold_as_rfc_9110_has_it() {
        let (is, other) = (Some(HeaderValue::from_static("\"a\"")), Some(HeaderValue::from_static("\"b\"")));
        let cases = [
            (header::IF_MATCH, "\"a\"", &is, true),
            (header::IF_MATCH, "\"x\", \"a\"", &is, true),
            (header::IF_MATCH, "\"a\"", &other, false),
            (header::IF_MATCH, "\"a\"", &None, false),
            (header::IF_MATCH, "*", &other, true),
            (header::IF_MATCH, "*", &None, false),
            (header::IF_MATCH, "W/\"a\"", &is, false),
            (header::IF_MATCH, "a", &is, false),
            (header::IF_NONE_MATCH, "*", &None, true),
            (header::IF_NONE_MATCH, "*", &is, false),
            (header::IF_NONE_MATCH, "\"a\"", &is, false),
            (header::IF_NONE_MATCH, "W/\"a\"", &is, false),
            (header::IF_NONE_MATCH, "\"a\"", &other, true),
        ];
        for (field, value, current, holds) in cases {
            let held = conditions(field.clone(), value).hold_of(current.clone());
            assert_eq!(held.is_ok(), holds, "{field}: {value} of {current:?}");
            if let Err(error) = held {
                assert_eq!((error.status.as_u16(), error.etag), (412, current.clone()));
            }
        }
        let none = Conditions::default();
        assert!(none.hold(|| panic!("nobody asks what is there")).is_ok() && none.hold_of(None).is_ok());
    }
}
