//! Profiles and groups, as operators see and set them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::audit::Said;
use super::control::{Shared, named};
use super::etag::{self, Conditions};
use super::{ApiError, ApiState, blocking};
use crate::inventory::Snapshot;
use crate::inventory::entry::profile_json;
use crate::inventory::events::{Event, Lane};
use crate::inventory::group::{GroupEntry, group_json};
use crate::inventory::live::{Kind, OddObject, STORE};

/// Those in force, then those that are left out.
pub(super) async fn profiles(State(state): Shared) -> Json<Vec<Value>> {
    let snapshot = state.live.snapshot();
    let in_force = snapshot.profiles().map(|profile| profile_json(profile));
    Json(in_force.chain(odd(&snapshot, Kind::Profile)).collect())
}

/// The same, in the order in which they are tried.
pub(super) async fn groups(State(state): Shared) -> Json<Vec<Value>> {
    let snapshot = state.live.snapshot();
    let in_force = snapshot.groups().iter().map(|group| group_json(group));
    Json(in_force.chain(odd(&snapshot, Kind::Group)).collect())
}

pub(super) async fn profile(State(state): Shared, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    one(&state, Kind::Profile, &name)
}

pub(super) async fn group(State(state): Shared, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    one(&state, Kind::Group, &name)
}

/// Adds the profile, or puts this in the place of the one there.
pub(super) async fn put_profile(
    State(state): Shared,
    conditions: Conditions,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<impl IntoResponse + use<>, ApiError> {
    let typed: Value = named(&body, &name, &[])?;
    blocking(move || {
        let mut is_new = false;
        let profile = state.live.put_profile_if(&typed, |old| {
            is_new = shown(old, Kind::Profile, &name).is_none();
            conditions.hold(|| shown(old, Kind::Profile, &name))
        })?;
        Ok(made(&state, Kind::Profile, &name, is_new, profile_json(&profile)))
    })
    .await?
}

/// Adds the group, or puts this in the place of the one there.
pub(super) async fn put_group(
    State(state): Shared,
    conditions: Conditions,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<impl IntoResponse + use<>, ApiError> {
    let entry: GroupEntry = named(&body, &name, &["origin"])?;
    blocking(move || {
        let mut is_new = false;
        let group = state.live.put_group_if(&entry, |old| {
            is_new = shown(old, Kind::Group, &name).is_none();
            conditions.hold(|| shown(old, Kind::Group, &name))
        })?;
        Ok(made(&state, Kind::Group, &name, is_new, group_json(&group)))
    })
    .await?
}

pub(super) async fn delete_profile(
    State(state): Shared,
    conditions: Conditions,
    Path(name): Path<String>,
) -> Result<(StatusCode, Said), ApiError> {
    blocking(move || {
        state.live.remove_profile_if(&name, |old| conditions.hold(|| shown(old, Kind::Profile, &name)))?;
        Ok((StatusCode::NO_CONTENT, announce(&state, Kind::Profile, &name, "removed")))
    })
    .await?
}

pub(super) async fn delete_group(
    State(state): Shared,
    conditions: Conditions,
    Path(name): Path<String>,
) -> Result<(StatusCode, Said), ApiError> {
    blocking(move || {
        state.live.remove_group_if(&name, |old| conditions.hold(|| shown(old, Kind::Group, &name)))?;
        Ok((StatusCode::NO_CONTENT, announce(&state, Kind::Group, &name, "removed")))
    })
    .await?
}

/// What a change answers: what is there now.
fn made(
    state: &ApiState,
    kind: Kind,
    name: &str,
    is_new: bool,
    value: Value,
) -> (StatusCode, Said, (HeaderMap, Json<Value>)) {
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let shown = etag::representation(&format!("/api/v1/{}s/{name}", kind.name()), value);
    (status, announce(state, kind, name, "set"), shown)
}

/// Tells who follows, and the audit.
fn announce(state: &ApiState, kind: Kind, name: &str, verb: &str) -> Said {
    let text = format!("{} {name} {verb}", kind.name());
    let event = Event::new(kind.name(), Lane::Api, text.clone());
    state.events.publish(event.name(Some(name.to_owned())));
    Said(text)
}

fn odd(snapshot: &Snapshot, kind: Kind) -> impl Iterator<Item = Value> {
    snapshot.odd_objects().filter(move |odd| odd.kind == kind).map(odd_json)
}

fn odd_json(odd: &OddObject) -> Value {
    json!({ "name": odd.name, "origin": STORE, "left_out": odd.why })
}

/// In force or left out.
fn shown(snapshot: &Snapshot, kind: Kind, name: &str) -> Option<Value> {
    let found = match kind {
        Kind::Profile => snapshot.profile(name).map(|profile| profile_json(profile)),
        Kind::Group => snapshot.groups().get(name).map(|group| group_json(group)),
    };
    let odd = || snapshot.odd_objects().find(|odd| odd.kind == kind && odd.name == name).map(odd_json);
    found.or_else(odd)
}

fn one(state: &ApiState, kind: Kind, name: &str) -> Result<Json<Value>, ApiError> {
    let missing = || ApiError::not_found(format!("there is no {} {name}", kind.name()));
    shown(&state.live.snapshot(), kind, name).map(Json).ok_or_else(missing)
}
