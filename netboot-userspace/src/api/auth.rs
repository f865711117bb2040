//! Who asks, and whether they may: before anything of the request is looked at but its head.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use serde_json::json;
use tokio::net::UnixListener;

use super::audit::{Record, Said};
use super::paces;
use super::redacted::redacted;
use super::request::Working;
use super::roles::Role;
use super::routes::Route;
use super::serve::Local;
use super::tokens::Presented;
use super::{ApiError, ApiState, blocking};
use crate::inventory::events::{Event, Lane};
use crate::sys::clock;

/// Characters of a path that are recorded.
const LONGEST: usize = 160;

/// The way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The control socket: no token, its peer is known by the system.
    Control,
    /// HTTPS, with a token. Plain HTTP leads nowhere: whoever is on the way could read the token.
    Network,
}

/// Who is at the other end of the control socket, as the system says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    uid: Option<u32>,
}

impl Peer {
    /// This process itself.
    #[cfg(test)]
    pub(super) fn own() -> Self {
        Self::of(rustix::process::geteuid().as_raw())
    }

    #[cfg(test)]
    pub(super) fn of(uid: u32) -> Self {
        Self { uid: Some(uid) }
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// `token NAME`, `uid NUMBER`
    pub(super) who: String,
    pub(super) role: Role,
    address: Option<IpAddr>,
    pub(super) token: Option<Presented>,
}

impl Caller {
    /// Refuses what needs a role that this one does not have.
    pub(super) fn must_be(&self, role: Role, what: &str) -> Result<(), ApiError> {
        if self.role >= role {
            return Ok(());
        }
        let text = format!("{what} needs the role {role}: {} has the role {}", self.who, self.role);
        Err(ApiError::new(StatusCode::FORBIDDEN, text))
    }

    /// Whether it still is one: a token may be removed, or expire, while its holder takes its time.
    fn is_valid(&self, state: &ApiState) -> bool {
        self.token.is_none_or(|token| state.tokens.is_valid(token, clock::now()))
    }

    /// Resolves when it is one no longer.
    pub(super) async fn ended(&self, state: &ApiState) {
        match self.token {
            Some(token) => state.tokens.ended(token).await,
            None => std::future::pending().await,
        }
    }
}

/// Puts a [`Caller`] to the request, or turns it away.
pub(super) async fn authenticate(
    State((state, door)): State<(Arc<ApiState>, Door)>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match door {
        Door::Control => by_peer(request.extensions()),
        Door::Network => by_token(&state, request.extensions(), request.headers()),
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    }
}

/// Why nobody is let in.
#[derive(Debug)]
enum Refused {
    Plain,
    NoToken,
    BadToken,
    Barred {
        seconds: u64,
    },
    /// Too many changes by one token.
    Fast,
    Stranger,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let error = |status, message: &str| (status, Json(json!({ "error": message })));
        let challenge = |value| [(header::WWW_AUTHENTICATE, HeaderValue::from_static(value))];
        match self {
            Self::Plain => {
                let message = "the API is not for plain HTTP: use https:// with a token (`netboot token add`), or the control socket";
                error(StatusCode::FORBIDDEN, message).into_response()
            }
            Self::NoToken => {
                let message =
                    "the request needs `Authorization: Bearer <token>`: `netboot token add` makes one";
                let challenge = challenge("Bearer realm=\"netboot\"");
                (challenge, error(StatusCode::UNAUTHORIZED, message)).into_response()
            }
            Self::BadToken => {
                let message = "the token is not one of ours, or it has expired";
                let challenge = challenge("Bearer realm=\"netboot\", error=\"invalid_token\"");
                (challenge, error(StatusCode::UNAUTHORIZED, message)).into_response()
            }
            Self::Barred { seconds } => {
                let message = "too many tokens that are none came from this address: wait";
                let wait = [(header::RETRY_AFTER, HeaderValue::from(seconds))];
                (wait, error(StatusCode::TOO_MANY_REQUESTS, message)).into_response()
            }
            Self::Fast => {
                let message =
                    "too many changes by this token: wait, or make them as one (POST /api/v1/changes)";
                let wait = [(header::RETRY_AFTER, HeaderValue::from(paces::WAIT))];
                (wait, error(StatusCode::TOO_MANY_REQUESTS, message)).into_response()
            }
            Self::Stranger => {
                let message = "the control socket is for the user that runs the daemon, and for root";
                error(StatusCode::FORBIDDEN, message).into_response()
            }
        }
    }
}

/// The socket's mode lets nobody else in; should somebody open it wider, the system still says who it is.
fn by_peer(extensions: &Extensions) -> Result<Caller, Refused> {
    let peer = extensions.get::<ConnectInfo<Peer>>().and_then(|ConnectInfo(peer)| peer.uid);
    let own = rustix::process::geteuid().as_raw();
    let uid = peer.filter(|uid| *uid == 0 || *uid == own).ok_or(Refused::Stranger)?;
    Ok(Caller { who: format!("uid {uid}"), role: Role::Admin, address: None, token: None })
}

fn by_token(state: &ApiState, extensions: &Extensions, headers: &HeaderMap) -> Result<Caller, Refused> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>().ok_or(Refused::Plain)?;
    let by_tls = extensions.get::<Local>().is_some_and(|local| local.by_tls);
    let (peer, secret) = (peer.ip().to_canonical(), bearer(headers));
    let holder = secret.and_then(|secret| state.tokens.holder(secret, clock::now()));
    if !by_tls {
        if let Some((token, _)) = holder {
            let text = format!(
                "token {} came by plain HTTP from {peer}: remove it, it is no secret any more",
                token.name
            );
            let _ = tried(state, peer, |_| text);
        }
        return Err(Refused::Plain);
    }
    secret.ok_or(Refused::NoToken)?;
    let Some((token, presented)) = holder else {
        let tried = tried(state, peer, |left| {
            format!("{peer} tried a token that is none, or has expired; {left} more tries")
        });
        return Err(tried.err().unwrap_or(Refused::BadToken));
    };
    let who = format!("token {}", token.name);
    Ok(Caller { who, role: token.role, address: Some(peer), token: Some(presented) })
}

/// Tells of it, as long as this address has tries left. A right token is never one: nobody can lock out who has one.
fn tried(state: &ApiState, peer: IpAddr, text: impl FnOnce(u64) -> String) -> Result<(), Refused> {
    let now = state.started.elapsed().as_secs();
    if let Some(seconds) = state.tries.barred(peer, now) {
        return Err(Refused::Barred { seconds });
    }
    let text = text(state.tries.failed(peer, now));
    state.events.publish(Event::new("refused", Lane::Api, text).field("address", peer.to_string()));
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Lets the caller do what its role is for, and shows it no more. A change that was begun ends, and is in the audit, though its client goes away.
pub(super) async fn guard(
    State((state, route, door)): State<(Arc<ApiState>, &'static Route, Door)>,
    mut request: Request,
    next: Next,
) -> Response {
    let (method, path) = (route.verb.name(), cut(request.uri().path()));
    // Without one, nobody has asked who it is.
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return StatusCode::FORBIDDEN.into_response();
    };
    if let Err(error) = caller.must_be(route.role, &format!("{method} {path}")) {
        if let Some(untold) = state.refusals.one_more(&caller.who, state.started.elapsed().as_secs()) {
            let text = format!("{}{}", error.message, more(untold));
            state.events.publish(Event::new("refused", Lane::Api, text));
        }
        return error.into_response();
    }
    let is_whole = caller.role >= Role::Admin || route.is_of_no_site;
    if route.verb.is_safe() {
        let response = next.run(request).await;
        return if is_whole { response } else { redacted(response).await };
    }
    let now = u64::try_from(state.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    if caller.token.is_some() && !state.paces.admit(&caller.who, now) {
        return Refused::Fast.into_response();
    }
    DefaultBodyLimit::max(route.largest(door, caller.role)).apply(&mut request);
    let request = match whole(request).await {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    // The body may have taken its time, and the token may have ended in it.
    if !caller.is_valid(&state) {
        return Refused::BadToken.into_response();
    }
    let _working = Working::on(request.extensions());
    let change = tokio::spawn(async move {
        let response = next.run(request).await;
        if let Some(recorded) = record(&state, &caller, method, path, &response) {
            let append = move || {
                state.audit.append(&recorded);
                state.events.publish(event(&recorded));
            };
            // It was made, whatever becomes of its record.
            let _ = blocking(append).await;
        }
        if is_whole { response } else { redacted(response).await }
    });
    change.await.unwrap_or_else(|error| ApiError::internal(error.to_string()).into_response())
}

/// The request, when all of its body is there.
async fn whole(request: Request) -> Result<Request, ApiError> {
    let (parts, body) = request.into_parts();
    let read = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await;
    let body = read.map_err(|refused| ApiError::new(refused.status(), refused.body_text()))?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// What is recorded of it; `None`: it came to nothing, as have so many before.
fn record(
    state: &ApiState,
    caller: &Caller,
    method: &str,
    path: String,
    response: &Response,
) -> Option<Record> {
    let (made, what) = match response.extensions().get::<Said>() {
        Some(Said(what)) => (!what.is_empty(), what.clone()),
        // Of a change that says nothing of itself.
        None => (response.status().is_success(), String::new()),
    };
    let untold = match made {
        true => 0,
        false => state.refusals.one_more(&caller.who, state.started.elapsed().as_secs())?,
    };
    Some(Record {
        time: clock::now_millis(),
        who: caller.who.clone(),
        role: Some(caller.role),
        address: caller.address.map(|address| address.to_string()),
        method: method.to_owned(),
        path,
        status: response.status().as_u16(),
        made,
        what,
        untold,
    })
}

fn more(untold: u64) -> String {
    if untold == 0 { String::new() } else { format!(" ({untold} more came to nothing before)") }
}

/// A path as it is recorded: what it names may be as long as a head.
fn cut(path: &str) -> String {
    match path.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &path[..at]),
        None => path.to_owned(),
    }
}

fn event(record: &Record) -> Event {
    let Record { who, method, path, status, made, what, untold, .. } = record;
    let what = if what.is_empty() { String::new() } else { format!(": {what}") };
    let event =
        Event::new("audit", Lane::Api, format!("{who}: {method} {path}, {status}{what}{}", more(*untold)));
    event.field("who", who.as_str()).field("status", *status).field("made", *made)
}
