//! What operators may ask and do: `/api/v1/…`, JSON in and out.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use netboot_common::Mac;
use netboot_common::class::Class;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::{ApiError, ApiState, blocking, boots, changes, objects, render};
use crate::inventory::entry::{HostEntry, HostPatch};
use crate::inventory::events::{Event, Lane};
use crate::inventory::live::{Change, OddObject, STORE};
use crate::inventory::machines::Decision;
use crate::inventory::observed::{Machine, Shown};
use crate::inventory::{Boot, Host, LeftOut};
use crate::store::Clock;
use crate::sys::clock::now;

pub(super) type Shared = State<Arc<ApiState>>;

pub(super) fn router(state: Arc<ApiState>) -> Router {
    Router::new()
        .route("/api/v1/hosts", get(hosts).post(add_host))
        .route("/api/v1/hosts/{name}", get(host).put(put_host).patch(patch_host).delete(delete_host))
        .route("/api/v1/changes", post(changes::make).layer(DefaultBodyLimit::max(changes::LARGEST)))
        .route("/api/v1/profiles", get(objects::profiles))
        .route(
            "/api/v1/profiles/{name}",
            get(objects::profile).put(objects::put_profile).delete(objects::delete_profile),
        )
        .route("/api/v1/groups", get(objects::groups))
        .route(
            "/api/v1/groups/{name}",
            get(objects::group).put(objects::put_group).delete(objects::delete_group),
        )
        .route("/api/v1/machines", get(machines))
        .route("/api/v1/machines/{name}", get(machine).delete(reset_machine))
        .route("/api/v1/explain/{name}", get(explain))
        .route("/api/v1/render/{name}/{kind}", get(rendered))
        .merge(boots::routes())
        .route("/api/v1/holds/installs", delete(allow_installs))
        .route("/api/v1/leases", get(leases))
        .route("/api/v1/events", get(events))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/observed", get(observed))
        .route("/api/v1/status", get(status))
        .fallback(|| async { ApiError::not_found("no such path: see /api/v1/status") })
        .with_state(state)
}

/// Those in force, then those that are left out.
async fn hosts(State(state): Shared) -> Json<Vec<Value>> {
    let snapshot = state.live.snapshot();
    let in_force = snapshot.hosts().map(|host| host_json(&state, host));
    Json(in_force.chain(snapshot.all_left_out().map(|left_out| left_out_json(left_out))).collect())
}

async fn host(State(state): Shared, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let snapshot = state.live.snapshot();
    match (snapshot.host(&name), snapshot.left_out(&name)) {
        (Some(host), _) => Ok(Json(host_json(&state, host))),
        (None, Some(left_out)) => Ok(Json(left_out_json(left_out))),
        (None, None) => Err(ApiError::not_found(format!("there is no host {name}"))),
    }
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

async fn add_host(State(state): Shared, body: Bytes) -> Result<(StatusCode, Json<Value>), ApiError> {
    let entry: HostEntry = read(&body)?;
    let name = entry.name.clone();
    change(state, name, "added", Change::Add(entry), true).await.map(|json| (StatusCode::CREATED, json))
}

/// Adds the host, or puts this in the place of the one there.
async fn put_host(
    State(state): Shared,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let mut entry: HostEntry = read(&body)?;
    if entry.name.is_empty() {
        entry.name.clone_from(&name);
    }
    if entry.name != name {
        return Err(ApiError::bad_request(format!("name: {} in the body, {name} in the path", entry.name)));
    }
    change(state, name, "set", Change::Put(entry), true).await
}

async fn patch_host(
    State(state): Shared,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let patch: HostPatch = read(&body)?;
    let (reinstall, boot) = (patch.reinstall, patch.boot);
    // Of a host from a file, too: nothing in the file changes.
    let only_reset = patch == HostPatch { reinstall: true, ..HostPatch::default() };
    let answer = if only_reset {
        host(State(state.clone()), Path(name.clone())).await?
    } else {
        let patch = Change::Patch(name.clone(), patch);
        change(state.clone(), name.clone(), "set", patch, boot.is_some()).await?
    };
    if reinstall {
        let macs = macs(&state, &name)?;
        reset(state, macs, name).await?;
    }
    Ok(answer)
}

async fn delete_host(State(state): Shared, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let text = format!("host {name} removed");
    let shared = state.clone();
    let change = Change::Remove(name.clone());
    blocking(move || shared.live.apply(change)).await??;
    state.events.publish(Event::new("host", Lane::Api, text).name(Some(name)));
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the change; `rearm`: a `boot: once` that comes with it is meant anew.
async fn change(
    state: Arc<ApiState>,
    name: String,
    verb: &'static str,
    change: Change,
    rearm: bool,
) -> Result<Json<Value>, ApiError> {
    blocking(move || {
        let (_, new) = state.live.apply(change)?;
        let host = new.host(&name).ok_or_else(|| ApiError::internal("the host is gone"))?;
        let macs = state.machines.macs_of(host);
        match host.boot {
            _ if !rearm => {}
            Boot::Once => state.machines.rearm_once(&macs)?,
            _ => state.machines.rearm(&macs)?,
        }
        let mut event = Event::new("host", Lane::Api, format!("host {name} {verb}")).name(Some(name.clone()));
        event.mac = host.macs.first().map(Mac::to_string);
        state.events.publish(event);
        Ok(Json(host_json(&state, host)))
    })
    .await?
}

async fn machines(State(state): Shared) -> Json<Value> {
    Json(json!(state.machines.list()))
}

async fn machine(State(state): Shared, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let machine = seen_last(&state, &macs(&state, &name)?)
        .ok_or_else(|| ApiError::not_found(format!("{name} was not seen yet")))?;
    Ok(Json(boots::of_machine(&state, &machine)))
}

async fn reset_machine(State(state): Shared, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let macs = macs(&state, &name)?;
    reset(state, macs, name.clone()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the hold on installations that a lost store began.
async fn allow_installs(State(state): Shared) -> Result<StatusCode, ApiError> {
    blocking(move || {
        state.machines.release()?;
        state.events.publish(Event::new("host", Lane::Api, "machines are installed again by themselves"));
        Ok(StatusCode::NO_CONTENT)
    })
    .await?
}

#[derive(Debug, Deserialize)]
struct AsWhom {
    #[serde(default = "efi_x64")]
    class: String,
}

fn efi_x64() -> String {
    Class::EfiX64.name().to_owned()
}

/// What a machine would get, from which lane and by which file, and why it got nothing lately.
async fn explain(
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
        let host = state.machines.host(mac, Shown::default());
        value["mac"] = json!(mac.to_string());
        value["class"] = json!(class.name());
        value["host"] = host.map_or(Value::Null, |host| host_json(&state, &host));
        boots::explain(&state, mac, &mut value);
        value["boots"] = json!(match state.machines.decide(mac, Shown::default()) {
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
async fn rendered(
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
async fn reload(State(state): Shared) -> Result<Json<Value>, ApiError> {
    let changed = blocking(move || state.site.reload()).await?;
    changed.map(Json).map_err(|fault| ApiError::new(StatusCode::CONFLICT, fault))
}

/// What `dhcp: observe` has seen, with the names that the inventory has for the machines.
async fn observed(State(state): Shared) -> Json<Value> {
    let mut observed = state.site.observed();
    let snapshot = state.live.snapshot();
    for seen in observed.as_array_mut().into_iter().flatten() {
        let mac = seen["mac"].as_str().and_then(|mac| mac.parse().ok());
        let host = mac.and_then(|mac| snapshot.host_by_mac(mac));
        seen["name"] = host.map_or(Value::Null, |host| json!(host.name));
    }
    Json(observed)
}

/// Those of IPv4, then those of IPv6.
async fn leases(State(state): Shared) -> Result<Json<Vec<Value>>, ApiError> {
    let (shared, clock) = (state.clone(), state.store.clock());
    let leases = blocking(move || shared.store.leases()).await??;
    let leases6 = blocking(move || state.store.leases6()).await??;
    let all = leases.iter().map(|lease| completed(json!(lease), &lease.client, lease.expires, clock));
    let all6 = leases6.iter().map(|lease| completed(json!(lease), &lease.client, lease.expires, clock));
    Ok(Json(all.chain(all6).collect()))
}

/// `expires`: by the clock of leases; people are told by theirs.
fn completed(mut lease: Value, client: &[u8], expires: u64, clock: Clock) -> Value {
    let client: String = client.iter().map(|byte| format!("{byte:02x}")).collect();
    lease["client"] = json!(client);
    lease["seconds_left"] = json!(expires.saturating_sub(clock.now()));
    lease["expires"] = json!((expires + now()).saturating_sub(clock.now()));
    lease
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Which {
    /// How many past events; without it, all that are kept.
    last: Option<usize>,
    /// Whether to go on with those to come.
    follow: bool,
}

/// One JSON object per line.
async fn events(State(state): Shared, Query(which): Query<Which>) -> Response {
    let (past, feed) = state.events.follow(which.last.unwrap_or(usize::MAX));
    let mut lines = String::new();
    for event in past {
        lines.push_str(&line(&event));
    }
    let body = if which.follow {
        let coming = BroadcastStream::new(feed.others).merge(BroadcastStream::new(feed.files));
        let coming = coming.map(|event| match event {
            Ok(event) => line(&event),
            // The follower reads more slowly than events come.
            Err(lagged) => line(&Event::new("lost", Lane::Api, lagged.to_string())),
        });
        Body::from_stream(tokio_stream::once(lines).chain(coming).map(Ok::<_, Infallible>))
    } else {
        Body::from(lines)
    };
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn line(event: &Event) -> String {
    format!("{}\n", json!(event))
}

async fn status(State(state): Shared) -> Json<Value> {
    let mut value = match state.site.status() {
        Value::Object(below) => Value::Object(below),
        other => json!({ "layers": other }),
    };
    let snapshot = state.live.snapshot();
    let left_out = snapshot.all_left_out().map(|left_out| left_out.notice());
    let left_out = snapshot.odd_objects().map(OddObject::notice).chain(left_out);
    let notices = state.notices.iter().cloned().chain(state.store.notices());
    let notices: Vec<String> = notices.chain(left_out).collect();
    value["version"] = json!(env!("CARGO_PKG_VERSION"));
    value["pid"] = json!(std::process::id());
    value["uptime_seconds"] = json!(state.started.elapsed().as_secs());
    value["ready"] = json!(state.ready.load(std::sync::atomic::Ordering::Acquire));
    value["hosts"] = json!(snapshot.hosts().len());
    value["profiles"] = json!(snapshot.profiles().count());
    value["groups"] = json!(snapshot.groups().iter().len());
    value["machines"] = json!(state.machines.states());
    value["observations_lost"] = json!(state.machines.lost());
    value["stopped"] = boots::stopped(&state);
    value["installs_held"] = json!(state.machines.is_held());
    value["notices"] = json!(notices);
    Json(value)
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the request's JSON: {error}")))
}
