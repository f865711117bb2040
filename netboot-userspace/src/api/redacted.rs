//! What may be secret in an answer is for administrators alone.
//!
//! What operators write for a machine's system has a password or a join token in it sooner or later. To everybody else an answer has the keys
//! of it, and leaves the values out, wherever in it they stand and whichever route gives it.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::{ApiError, blocking};

/// The keys of such values, also as the first part of one with dots (`metadata.password`).
const SECRET: [&str; 4] = ["metadata", "cmdline", "ipxe", "configs"];
/// What stands for a value.
const LEFT_OUT: &str = "…";

/// The answer without them. Its tag stays: it is of the whole, so that a change by one who may not see all of it can be bound to it.
pub(super) async fn redacted(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let shown = match to_bytes(body, usize::MAX).await {
        Ok(whole) => blocking(move || without(&whole)).await.and_then(|shown| shown),
        Err(error) => Err(ApiError::internal(error.to_string())),
    };
    match shown {
        Ok(shown) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(shown))
        }
        Err(error) => error.into_response(),
    }
}

fn without(whole: &Bytes) -> Result<Vec<u8>, ApiError> {
    if whole.is_empty() {
        return Ok(Vec::new());
    }
    let lost = |error: serde_json::Error| ApiError::internal(format!("the answer: {error}"));
    let mut value = serde_json::from_slice(whole).map_err(lost)?;
    redact(&mut value);
    serde_json::to_vec(&value).map_err(lost)
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match key.split('.').next() {
            Some(first) if SECRET.contains(&first) => leave_out(value),
            _ => redact(value),
        }),
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// What is empty is shown: it says that there is nothing.
fn leave_out(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(leave_out),
        Value::Array(items) => items.iter_mut().for_each(leave_out),
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        value => *value = LEFT_OUT.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secret_values_are_left_out_wherever_they_stand_and_their_keys_stay() {
        let mut value = json!([
            { "name": "a", "cmdline": "x", "metadata": { "b": { "c": [1, true, null, ""] } }, "ip": "10.0.0.1" },
            { "fields": { "metadata.b": { "old": null, "new": "x" }, "cmdlines": "y" } },
            { "ipxe": "#!ipxe", "configs": { "generic": "x" }, "cmdline": "" },
        ]);
        redact(&mut value);
        let want = json!([
            { "name": "a", "cmdline": "…", "metadata": { "b": { "c": ["…", "…", null, ""] } }, "ip": "10.0.0.1" },
            { "fields": { "metadata.b": { "old": null, "new": "…" }, "cmdlines": "y" } },
            { "ipxe": "…", "configs": { "generic": "…" }, "cmdline": "" },
        ]);
        assert_eq!(value, want);
    }
}
