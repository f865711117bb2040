//! What operators may ask and do about the cache: `/api/v1/assets`, JSON in and out.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Mirror;
use super::failure::Failure;
use super::flight;
use super::shelf::Entry;
use crate::sys::clock::now;

pub(super) fn router(mirror: Arc<Mirror>) -> Router {
    Router::new()
        .route("/api/v1/assets", get(list))
        .route("/api/v1/assets/prefetch", post(prefetch))
        .route("/api/v1/assets/purge", post(purge))
        .with_state(mirror)
}

/// One path, or all of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Below `/assets/`; to purge, also a folder's.
    path: Option<String>,
    #[serde(default)]
    all: bool,
}

/// What is kept, then what is on its way.
async fn list(State(mirror): State<Arc<Mirror>>) -> Json<Vec<Value>> {
    mirror.is_ready().await;
    let mut all: Vec<Value> = mirror.shelf.all().iter().map(|entry| entry_json(&mirror, entry)).collect();
    let flights = mirror.flights();
    let arriving = flights.iter().map(|(path, flight)| match &*flight.borrow() {
        flight::Phase::Arriving(arriving) => {
            json!({ "path": path, "state": "arriving", "size": arriving.total, "there": arriving.there })
        }
        _ => json!({ "path": path, "state": "asking" }),
    });
    all.extend(arriving.collect::<Vec<_>>());
    Json(all)
}

fn entry_json(mirror: &Mirror, entry: &Entry) -> Value {
    let state = if mirror.is_old(&entry.note.path, entry) { "stale" } else { "fresh" };
    let mut value = json!(entry.note);
    value["checked"] = json!(entry.checked());
    value["age"] = json!(now().saturating_sub(entry.checked()));
    value["state"] = json!(state);
    value
}

async fn prefetch(State(mirror): State<Arc<Mirror>>, Json(which): Json<Which>) -> Response {
    let Some(path) = which.path.as_deref().map(below) else {
        return refuse(StatusCode::BAD_REQUEST, "`path` is missing");
    };
    if mirror.name(&format!("/assets/{path}")).is_none() {
        return refuse(
            StatusCode::BAD_REQUEST,
            &format!("{path}: no upstream has this prefix (assets: upstreams)"),
        );
    }
    mirror.is_ready().await;
    match mirror.asked(path).await {
        Ok(entry) => Json(entry_json(&mirror, &entry)).into_response(),
        Err(failure) => of_failure(&failure),
    }
}

/// What is on its way will be there all the same.
async fn purge(State(mirror): State<Arc<Mirror>>, Json(which): Json<Which>) -> Response {
    mirror.is_ready().await;
    let kept = mirror.shelf.all();
    let paths = kept.iter().map(|entry| entry.note.path.clone());
    let paths: Vec<String> = match (which.path.as_deref().map(below), which.all) {
        (Some(path), false) if mirror.flights().contains_key(path) => {
            return refuse(StatusCode::CONFLICT, "it is on its way: take it away when it is there");
        }
        (Some(path), false) => paths.filter(|kept| is_in(kept, path.trim_end_matches('/'))).collect(),
        (None, true) => paths.collect(),
        _ => return refuse(StatusCode::BAD_REQUEST, "it takes either `path` or `all`"),
    };
    let (shelf, is_all) = (mirror.shelf.clone(), which.all);
    let purged = tokio::task::spawn_blocking(move || {
        paths
            .iter()
            .try_fold(0, |count, path| shelf.remove(path).map(|was_there| count + usize::from(was_there)))
    });
    match purged.await.map_err(std::io::Error::other).flatten() {
        Ok(0) if !is_all => refuse(StatusCode::NOT_FOUND, "it is not in the cache"),
        Ok(purged) => Json(json!({ "purged": purged, "arriving": mirror.flights().len() })).into_response(),
        Err(error) => of_failure(&Failure::io("the cache of upstreams", &error)),
    }
}

/// Whether this path is the other, or below it.
fn is_in(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// As it is called below the folder.
fn below(path: &str) -> &str {
    path.strip_prefix("/assets/").unwrap_or(path)
}

fn of_failure(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
    refuse(status, &failure.to_string())
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
