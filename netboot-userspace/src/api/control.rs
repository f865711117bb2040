//! What operators may ask and do: `/api/v1/…`, JSON in and out.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use netboot_common::Mac;
use netboot_common::class::Class;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::audit::Said;
use super::auth::Caller;
use super::etag::{self, Conditions};
use super::follow::{ENDED, WhileValid};
use super::roles::Role;
use super::{ApiError, ApiState, blocking, boots, render};
use crate::inventory::entry::{HostEntry, HostPatch};
use crate::inventory::events::{Event, Lane};
use crate::inventory::live::{Change, OddObject, STORE};
use crate::inventory::machines::Decision;
use crate::inventory::observed::{Machine, Shown};
use crate::inventory::{Boot, Host, LeftOut, Snapshot};

pub(super) type Shared = State<Arc<ApiState>>;

/// Those in force, then those that are left out.
pub(super) async fn hosts(State(state): Shared) -> Result<Json<Vec<Value>>, ApiError> {
    blocking(move || {
        let snapshot = state.live.snapshot();
        let in_force = snapshot.hosts().map(|host| host_json(&state, host));
        let left_out = snapshot.all_left_out().map(|left_out| left_out_json(left_out));
        Json(in_force.chain(left_out).collect::<Vec<_>>())
    })
    .await
}

pub(super) async fn host(State(state): Shared, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    blocking(move || {
        let shown = shown(&state, &state.live.snapshot(), &name);
        shown.map(Json).ok_or_else(|| ApiError::not_found(format!("there is no host {name}")))
    })
    .await?
}

/// A host by its name, in force or left out.
fn shown(state: &ApiState, snapshot: &Snapshot, name: &str) -> Option<Value> {
    let left_out = || snapshot.left_out(name).map(|left_out| left_out_json(left_out));
    snapshot.host(name).map(|host| host_json(state, host)).or_else(left_out)
}

/// As the store has it, and why it is not in force.
fn left_out_json(left_out: &LeftOut) -> Value {
    let mut value = json!(left_out.entry);
    value["origin"] = json!(STORE);
    value["left_out"] = json!(left_out.why());
    value
}

/// The host's entry, where it comes from, and how its machine stands.
fn host_json(state: &ApiState, host: &Host) -> Value {
    let mut value = json!(HostEntry::from(host));
    value["origin"] = json!(host.origin);
    if let Some(machine) = seen_last(state, &state.machines.macs_of(host)) {
        value["state"] = json!(machine.state);
    }
    value
}

fn seen_last(state: &ApiState, macs: &[Mac]) -> Option<Machine> {
    let machines = macs.iter().filter_map(|mac| state.machines.machine(*mac));
    machines.max_by_key(|machine| machine.last_seen)
}

pub(super) async fn add_host(
    State(state): Shared,
    conditions: Conditions,
    body: Bytes,
) -> Result<impl IntoResponse + use<>, ApiError> {
    let entry: HostEntry = read(&body)?;
    let name = entry.name.clone();
    let made = change(state, conditions, name.clone(), "added", Change::Add(entry), true).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, path_of(&name))], made.answer))
}

/// What a GET of a host shows beside its entry: a client may send back what it was shown.
const SHOWN_ONLY: [&str; 3] = ["origin", "state", "left_out"];

/// Adds the host, or puts this in the place of the one there.
pub(super) async fn put_host(
    State(state): Shared,
    conditions: Conditions,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<impl IntoResponse + use<>, ApiError> {
    let entry: HostEntry = named(&body, &name, &SHOWN_ONLY)?;
    let made = change(state, conditions, name, "set", Change::Put(entry), true).await?;
    let status = if made.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, made.answer))
}

pub(super) async fn patch_host(
    State(state): Shared,
    Extension(caller): Extension<Caller>,
    conditions: Conditions,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<impl IntoResponse + use<>, ApiError> {
    let patch: HostPatch = read(&body)?;
    if !patch.is_of_boot() {
        caller.must_be(Role::Admin, "changing more of a host than boot and reinstall")?;
    }
    let (reinstall, boot) = (patch.reinstall, patch.boot);
    // Of a host from a file, too: nothing in the file changes.
    let only_reset = patch == HostPatch { reinstall: true, ..HostPatch::default() };
    let (said, mut answer) = if only_reset {
        let snapshot = state.live.snapshot();
        conditions.hold(|| shown(&state, &snapshot, &name))?;
        let shown = shown(&state, &snapshot, &name);
        let shown = shown.ok_or_else(|| ApiError::not_found(format!("there is no host {name}")))?;
        (Said(format!("host {name} will be installed again")), etag::representation(&path_of(&name), shown))
    } else {
        let patch = Change::Patch(name.clone(), patch);
        change(state.clone(), conditions, name.clone(), "set", patch, boot.is_some()).await?.answer
    };
    if reinstall {
        let after = |error: ApiError| if only_reset { error } else { error.after(said.0.as_str()) };
        let macs = macs(&state, &name).map_err(after)?;
        // Where more was asked for than that, it is no fault that there is no installation to forget.
        if only_reset || !macs.is_empty() {
            reset(state.clone(), macs, name.clone()).await.map_err(after)?;
        }
        if let Some(shown) = shown(&state, &state.live.snapshot(), &name) {
            answer = etag::representation(&path_of(&name), shown);
        }
    }
    Ok((said, answer))
}

pub(super) async fn delete_host(
    State(state): Shared,
    conditions: Conditions,
    Path(name): Path<String>,
) -> Result<(StatusCode, Said), ApiError> {
    let text = format!("host {name} removed");
    let shared = state.clone();
    let change = Change::Remove(name.clone());
    let made = blocking(move || {
        shared.live.apply_if(change, |old| conditions.hold(|| shown(&shared, old, &name))).map(|_| name)
    });
    let event = Event::new("host", Lane::Api, text.clone()).name(Some(made.await??));
    state.events.publish(event);
    Ok((StatusCode::NO_CONTENT, Said(text)))
}

fn path_of(name: &str) -> String {
    format!("/api/v1/hosts/{name}")
}

/// A change of one host that was made.
struct Made {
    answer: (Said, (HeaderMap, Json<Value>)),
    is_new: bool,
}

/// Makes the change, if the conditions hold; `rearm`: a `boot: once` that comes with it is meant anew.
async fn change(
    state: Arc<ApiState>,
    conditions: Conditions,
    name: String,
    verb: &'static str,
    change: Change,
    rearm: bool,
) -> Result<Made, ApiError> {
    blocking(move || {
        let (old, new) = state.live.apply_if(change, |old| conditions.hold(|| shown(&state, old, &name)))?;
        let host = new.host(&name).ok_or_else(|| ApiError::internal("the host is gone"))?;
        let macs = state.machines.macs_of(host);
        let rearmed = match host.boot {
            _ if !rearm => Ok(()),
            Boot::Once => state.machines.rearm_once(&macs),
            _ => state.machines.rearm(&macs),
        };
        let text = format!("host {name} {verb}");
        let mut event = Event::new("host", Lane::Api, text.clone()).name(Some(name.clone()));
        event.mac = host.macs.first().map(Mac::to_string);
        state.events.publish(event);
        rearmed.map_err(|error| ApiError::from(error).after(text.as_str()))?;
        let is_new = old.host(&name).is_none() && old.left_out(&name).is_none();
        let shown = etag::representation(&path_of(&name), host_json(&state, host));
        Ok(Made { answer: (Said(text), shown), is_new })
    })
    .await?
}

pub(super) async fn machines(State(state): Shared) -> Result<Json<Value>, ApiError> {
    blocking(move || Json(json!(state.machines.list()))).await
}

pub(super) async fn machine(State(state): Shared, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    blocking(move || {
        let shown = machine_json(&state, &macs(&state, &name)?);
        shown.map(Json).ok_or_else(|| ApiError::not_found(format!("{name} was not seen yet")))
    })
    .await?
}

/// The machine of these MACs that was seen last.
fn machine_json(state: &ApiState, macs: &[Mac]) -> Option<Value> {
    seen_last(state, macs).map(|machine| boots::of_machine(state, &machine))
}

pub(super) async fn reset_machine(
    State(state): Shared,
    conditions: Conditions,
    Path(name): Path<String>,
) -> Result<(StatusCode, Said), ApiError> {
    let macs = macs(&state, &name)?;
    conditions.hold(|| machine_json(&state, &macs))?;
    let text = format!("{name} will be installed again");
    reset(state, macs, name).await?;
    Ok((StatusCode::NO_CONTENT, Said(text)))
}

#[derive(Debug, Deserialize)]
pub(super) struct AsWhom {
    #[serde(default = "efi_x64")]
    class: String,
}

fn efi_x64() -> String {
    Class::EfiX64.name().to_owned()
}

/// What a machine would get, from which lane and by which file, and why it got nothing lately.
pub(super) async fn explain(
    State(state): Shared,
    Path(name): Path<String>,
    Query(AsWhom { class }): Query<AsWhom>,
) -> Result<Json<Value>, ApiError> {
    let class = Class::ALL.into_iter().find(|known| known.name() == class).ok_or_else(|| {
        let known = Class::ALL.map(Class::name).join(", ");
        ApiError::bad_request(format!("{class:?} is no class of clients: there are {known}"))
    })?;
    blocking(move || {
        let mac = port(&state, &name)?;
        let mut value = state.site.explain(mac, class);
        let taken = state.machines.would(mac, Shown::default());
        let host = state.machines.host(mac, Shown::default());
        value["mac"] = json!(mac.to_string());
        value["class"] = json!(class.name());
        value["host"] = host.as_ref().map_or(Value::Null, |host| host_json(&state, host));
        boots::explain(&state, (mac, class), &taken, host.as_deref(), &mut value);
        value["boots"] = json!(match taken.decision {
            Decision::Profile { profile, .. } => format!("profile {}", profile.name),
            Decision::Local => "its own disk".to_owned(),
            Decision::Ignore => "nothing: boot: ignore".to_owned(),
            Decision::Nothing(why) => format!("nothing: {why}"),
        });
        Ok(Json(value))
    })
    .await?
}

/// What a machine would get by the path `kind`, where it asks with these query parameters.
pub(super) async fn rendered(
    State(state): Shared,
    Path((name, kind)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    blocking(move || {
        let mac = port(&state, &name)?;
        render::show(&state, mac, &kind, &uri).map(|text| Json(json!({ "text": text })))
    })
    .await?
}

/// Of a host by its name, or of a machine by one of its MACs; none of a host without a MAC that was not seen yet.
pub(super) fn macs(state: &ApiState, name: &str) -> Result<Vec<Mac>, ApiError> {
    let snapshot = state.live.snapshot();
    if let Some(host) = snapshot.host(name) {
        return Ok(state.machines.macs_of(host));
    }
    if let Some(left_out) = snapshot.left_out(name) {
        return Err(ApiError::new(StatusCode::CONFLICT, left_out.notice()));
    }
    let mac: Mac =
        name.parse().map_err(|_| ApiError::not_found(format!("{name} is neither a host nor a MAC")))?;
    let host = state.machines.host(mac, Shown::default());
    Ok(host.map_or_else(|| vec![mac], |host| state.machines.macs_of(&host)))
}

/// The one of these that is asked for: the MAC itself where it is named, a host's first otherwise.
fn port(state: &ApiState, name: &str) -> Result<Mac, ApiError> {
    if state.live.snapshot().host(name).is_none()
        && let Ok(mac) = name.parse()
    {
        return Ok(mac);
    }
    let first = macs(state, name)?.into_iter().next();
    first.ok_or_else(|| ApiError::bad_request(format!("{name} has no MAC to ask for: name one")))
}

async fn reset(state: Arc<ApiState>, macs: Vec<Mac>, name: String) -> Result<(), ApiError> {
    if macs.is_empty() {
        let text = format!("no machine of {name} was seen yet: there is no installation to forget");
        return Err(ApiError::new(StatusCode::CONFLICT, text));
    }
    blocking(move || {
        state.machines.reset(&macs)?;
        let text = format!("{name} will be installed again");
        state.events.publish(Event::new("host", Lane::Api, text).name(Some(name)));
        Ok(())
    })
    .await?
}

/// Puts the configuration's files into force as they are now.
pub(super) async fn reload(State(state): Shared) -> Result<Json<Value>, ApiError> {
    let changed = blocking(move || state.site.reload()).await?;
    changed.map(Json).map_err(|fault| ApiError::new(StatusCode::CONFLICT, fault))
}

/// What `dhcp: observe` has seen, with the names that the inventory has for the machines.
pub(super) async fn observed(State(state): Shared) -> Json<Value> {
    let mut observed = state.site.observed();
    let snapshot = state.live.snapshot();
    for seen in observed.as_array_mut().into_iter().flatten() {
        let mac = seen["mac"].as_str().and_then(|mac| mac.parse().ok());
        let host = mac.and_then(|mac| snapshot.host_by_mac(mac));
        seen["name"] = host.map_or(Value::Null, |host| json!(host.name));
    }
    Json(observed)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    /// How many past events; without it, all that are kept.
    last: Option<usize>,
    /// Whether to go on with those to come.
    follow: bool,
}

/// What administrators do, and who was turned away.
const OF_ADMINS: [&str; 2] = ["audit", "refused"];

/// One JSON object per line.
pub(super) async fn events(
    State(state): Shared,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
) -> Result<Response, ApiError> {
    let role = caller.role;
    let is_told = move |event: &Event| role >= Role::Admin || !OF_ADMINS.contains(&event.kind.as_str());
    let (mut past, feed) = state.events.follow(usize::MAX);
    past.retain(|event| is_told(event));
    let skip = past.len().saturating_sub(which.last.unwrap_or(usize::MAX));
    let lines: String = past[skip..].iter().map(|event| line(event)).collect();
    let body = if which.follow {
        let coming = BroadcastStream::new(feed.others).merge(BroadcastStream::new(feed.files));
        let coming = coming.filter_map(move |event| match event {
            Ok(event) => is_told(&event).then(|| line(&event)),
            // The follower reads more slowly than events come.
            Err(lagged) => Some(line(&Event::new("lost", Lane::Api, lagged.to_string()))),
        });
        let last = line(&Event::new("cut", Lane::Api, ENDED));
        let all = tokio_stream::once(lines).chain(coming);
        Body::from_stream(WhileValid::new(state, caller, all, last)?)
    } else {
        Body::from(lines)
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn line(event: &Event) -> String {
    format!("{}\n", json!(event))
}

/// A reload keeps what it puts into force to itself until it is there: who asks meanwhile waits.
pub(super) async fn status(State(state): Shared) -> Result<Json<Value>, ApiError> {
    blocking(move || Json(status_of(&state))).await
}

fn status_of(state: &ApiState) -> Value {
    let mut value = match state.site.status() {
        Value::Object(below) => Value::Object(below),
        other => json!({ "layers": other }),
    };
    let snapshot = state.live.snapshot();
    let left_out = snapshot.all_left_out().map(|left_out| left_out.notice());
    let left_out = snapshot.odd_objects().map(OddObject::notice).chain(left_out);
    let notices = state.notices.iter().cloned().chain(state.store.notices());
    let notices: Vec<String> =
        notices.chain(left_out).chain(state.tokens.notices()).chain(state.audit.fault()).collect();
    value["version"] = json!(env!("CARGO_PKG_VERSION"));
    value["pid"] = json!(std::process::id());
    value["uptime_seconds"] = json!(state.started.elapsed().as_secs());
    value["ready"] = json!(state.ready.load(std::sync::atomic::Ordering::Acquire));
    value["hosts"] = json!(snapshot.hosts().len());
    value["profiles"] = json!(snapshot.profiles().count());
    value["groups"] = json!(snapshot.groups().iter().len());
    value["machines"] = json!(state.machines.states());
    value["observations_lost"] = json!(state.machines.lost());
    value["stopped"] = boots::stopped(state);
    value["installs_held"] = json!(state.machines.is_held());
    value["notices"] = json!(notices);
    value
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(not_read)
}

/// The object that is put under this name, which its body has, too, or none, without what a GET shows beside it.
pub(super) fn named<T: DeserializeOwned>(
    body: &[u8],
    name: &str,
    shown_only: &[&str],
) -> Result<T, ApiError> {
    let mut typed: Value = read(body)?;
    let Value::Object(keys) = &mut typed else {
        return Err(ApiError::bad_request("the request's JSON is no object"));
    };
    keys.retain(|key, _| !shown_only.contains(&key.as_str()));
    match keys.entry("name").or_insert_with(|| name.into()) {
        Value::String(own) if own == name => serde_json::from_value(typed).map_err(not_read),
        own => Err(ApiError::bad_request(format!("name: {own} in the body, {name} in the path"))),
    }
}

fn not_read(error: serde_json::Error) -> ApiError {
    ApiError::bad_request(format!("the request's JSON: {error}"))
}
