//! Profiles and groups, as operators see and set them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::control::{Shared, read};
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
    let snapshot = state.live.snapshot();
    let found = snapshot.profile(&name).map(|profile| profile_json(profile));
    one(found, &snapshot, Kind::Profile, &name)
}

pub(super) async fn group(State(state): Shared, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let snapshot = state.live.snapshot();
    let found = snapshot.groups().get(&name).map(|group| group_json(group));
    one(found, &snapshot, Kind::Group, &name)
}

/// Adds the profile, or puts this in the place of the one there.
pub(super) async fn put_profile(
    State(state): Shared,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let typed = named(&body, &name)?;
    blocking(move || {
        let profile = state.live.put_profile(&typed)?;
        announce(&state, Kind::Profile, &name, "set");
        Ok(Json(profile_json(&profile)))
    })
    .await?
}

/// Adds the group, or puts this in the place of the one there.
pub(super) async fn put_group(
    State(state): Shared,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let mut typed = named(&body, &name)?;
    // What a GET shows beside it.
    typed.as_object_mut().map(|keys| keys.remove("origin"));
    let entry: GroupEntry = read(typed.to_string().as_bytes())?;
    blocking(move || {
        let group = state.live.put_group(&entry)?;
        announce(&state, Kind::Group, &name, "set");
        Ok(Json(group_json(&group)))
    })
    .await?
}

pub(super) async fn delete_profile(
    State(state): Shared,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    blocking(move || {
        state.live.remove_profile(&name)?;
        announce(&state, Kind::Profile, &name, "removed");
        Ok(StatusCode::NO_CONTENT)
    })
    .await?
}

pub(super) async fn delete_group(
    State(state): Shared,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    blocking(move || {
        state.live.remove_group(&name)?;
        announce(&state, Kind::Group, &name, "removed");
        Ok(StatusCode::NO_CONTENT)
    })
    .await?
}

/// The body's object, which has the name of the path, or none.
fn named(body: &[u8], name: &str) -> Result<Value, ApiError> {
    let mut typed: Value = read(body)?;
    let Value::Object(keys) = &mut typed else {
        return Err(ApiError::bad_request("the request's JSON is no object"));
    };
    match keys.entry("name").or_insert_with(|| name.into()) {
        Value::String(own) if own == name => Ok(typed),
        own => Err(ApiError::bad_request(format!("name: {own} in the body, {name} in the path"))),
    }
}

fn announce(state: &ApiState, kind: Kind, name: &str, verb: &str) {
    let kind = kind.name();
    let event = Event::new(kind, Lane::Api, format!("{kind} {name} {verb}"));
    state.events.publish(event.name(Some(name.to_owned())));
}

fn odd(snapshot: &Snapshot, kind: Kind) -> impl Iterator<Item = Value> {
    snapshot.odd_objects().filter(move |odd| odd.kind == kind).map(odd_json)
}

fn odd_json(odd: &OddObject) -> Value {
    json!({ "name": odd.name, "origin": STORE, "left_out": odd.why })
}

fn one(found: Option<Value>, snapshot: &Snapshot, kind: Kind, name: &str) -> Result<Json<Value>, ApiError> {
    let odd = || snapshot.odd_objects().find(|odd| odd.kind == kind && odd.name == name).map(odd_json);
    let missing = || ApiError::not_found(format!("there is no {} {name}", kind.name()));
    found.or_else(odd).map(Json).ok_or_else(missing)
}
