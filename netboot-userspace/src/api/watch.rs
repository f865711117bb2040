//! `GET /api/v1/watch`: what changes, as it changes, by server-sent events.
//!
//! First comes `revision`: a client that reads the lists then, and applies each `change` that follows, misses nothing. One that comes back
//! with `Last-Event-ID` goes on where it was, or is told of a `gap`: it reads the lists anew. So is one that reads more slowly than things
//! change: nothing is kept for it but what is on its way. With its token it is `cut` off.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;

use super::auth::Caller;
use super::control::Shared;
use super::follow::{ENDED, WhileValid};
use super::{ApiError, ApiState};
use crate::inventory::revisions::{Kind, Place, Revision};

/// Changes that are written together.
const BATCH: usize = 256;
/// How often a connection on which nothing happens is tried.
const ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// Of these alone: `host,machine`.
    kinds: String,
}

pub(super) async fn watch(
    State(state): Shared,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let kinds = kinds(&which.kinds)?;
    // With the one that its client reads: what waits for a client is so much, whatever happens meanwhile.
    let (sender, receiver) = mpsc::channel(1);
    let from = headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.parse().ok()));
    let (told, last) = (ReceiverStream::new(receiver), event("cut", None, ENDED));
    let told = WhileValid::new(state.clone(), caller, told, last)?;
    drop(tokio::spawn(Watcher { state, kinds, sender }.run(from)));
    let fields = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((fields, Body::from_stream(told)).into_response())
}

fn kinds(named: &str) -> Result<Vec<Kind>, ApiError> {
    if named.is_empty() {
        return Ok(Kind::ALL.to_vec());
    }
    let one = |name: &str| {
        let known = || Kind::ALL.map(Kind::name).join(", ");
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| ApiError::bad_request(format!("kinds: {name:?} is none: there are {}", known())))
    };
    named.split(',').map(one).collect()
}

/// Its client is gone.
struct Gone;

struct Watcher {
    state: Arc<ApiState>,
    kinds: Vec<Kind>,
    sender: Sender<String>,
}

impl Watcher {
    /// `from`: where the client was, if it said so and that can be read.
    async fn run(self, from: Option<Option<Place>>) {
        // It went away, or was told why this ends.
        let _ = self.follow(from).await;
    }

    async fn follow(&self, from: Option<Option<Place>>) -> Result<(), Gone> {
        let revisions = self.state.live.revisions();
        let mut told = revisions.subscribe();
        let mut place = self.begin(from).await?;
        let mut alive = tokio::time::interval(ALIVE);
        alive.reset();
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // It is marked as seen before it is read: what comes in between wakes us once more.
            told.borrow_and_update();
            match revisions.after(place, BATCH) {
                Ok((changes, next)) if next != place => {
                    place = next;
                    self.send(self.written(&changes, place)).await?;
                    continue;
                }
                Ok(_) => {}
                // It reads too slowly, or more has changed at once than is kept.
                Err(gap) => {
                    place = revisions.now();
                    self.send(event("gap", Some(place), &gap.to_string())).await?;
                    continue;
                }
            }
            tokio::select! {
                changed = told.changed() => changed.map_err(|_| Gone)?,
                () = self.sender.closed() => return Err(Gone),
                _ = alive.tick() => self.send(": alive\n\n".to_owned()).await?,
            }
        }
    }

    /// Where it begins.
    async fn begin(&self, from: Option<Option<Place>>) -> Result<Place, Gone> {
        let revisions = self.state.live.revisions();
        let now = revisions.now();
        let why = match from {
            None => {
                let data = json!({ "revision": now.number }).to_string();
                self.send(format!("id: {now}\nevent: revision\ndata: {data}\n\n")).await?;
                return Ok(now);
            }
            Some(Some(place)) => match revisions.after(place, 0) {
                Ok(_) => return Ok(place),
                Err(gap) => gap.to_string(),
            },
            Some(None) => "your Last-Event-ID is none of ours".to_owned(),
        };
        self.send(event("gap", Some(now), &why)).await?;
        Ok(now)
    }

    /// Those that are asked for; of the others, that the client has come so far.
    fn written(&self, changes: &[Revision], place: Place) -> String {
        let mut text = String::new();
        for Revision { number, kind, name, fate } in changes {
            if self.kinds.contains(kind) {
                let id = place.at(*number);
                let change =
                    json!({ "revision": number, "kind": kind, "name": name.to_string(), "what": fate });
                text.push_str(&format!("id: {id}\nevent: change\ndata: {change}\n\n"));
            }
        }
        if changes.last().is_some_and(|last| !self.kinds.contains(&last.kind)) {
            // An event without data is none, but its id counts.
            text.push_str(&format!("id: {place}\n\n"));
        }
        text
    }

    async fn send(&self, text: String) -> Result<(), Gone> {
        self.sender.send(text).await.map_err(|_| Gone)
    }
}

fn event(name: &str, at: Option<Place>, reason: &str) -> String {
    let id = at.map(|place| format!("id: {place}\n")).unwrap_or_default();
    let data = match at {
        Some(place) => json!({ "revision": place.number, "reason": reason }),
        None => json!({ "reason": reason }),
    };
    format!("{id}event: {name}\ndata: {data}\n\n")
}
