//! The agent's protocol, as `image/protocol.rs` has it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json};
use netboot_common::Mac;

use super::control::read;
use super::serve::Local;
use super::{ApiError, ApiState, blocking, boot, script};
use crate::image::protocol::{Hello, Install, Instructions, Report, Session};
use crate::inventory::events::{Event, Lane};
use crate::inventory::labels::Labels;
use crate::inventory::machines::{Asking, Decision, Who};
use crate::inventory::observed::{Observation, Shown};
use crate::sys::clock::now;

/// Seconds after which an agent without a task asks again.
const WAIT: u64 = 30;

/// `POST /agent/v1/session`: the one-time token for a session.
pub(super) async fn session(
    State(state): State<Arc<ApiState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Json<Session>, ApiError> {
    let hello: Hello = read(&body)?;
    let peer = peer.ip().to_canonical();
    blocking(move || open(&state, peer, &hello)).await?.map(Json)
}

fn open(state: &ApiState, peer: IpAddr, hello: &Hello) -> Result<Session, ApiError> {
    let mac: Mac =
        hello.mac.parse().map_err(|error| ApiError::bad_request(format!("mac {}: {error}", hello.mac)))?;
    let shown = Shown { uuid: None, peer: Some(peer) };
    let leased = state.machines.owns(mac, shown).then_some(peer);
    let traded = state.grants.redeem(&hello.token, mac, peer, leased, now()).inspect_err(|denied| {
        let text = format!("agent at {peer}: {denied}");
        let boot = state.machines.boot(mac);
        state.events.publish(Event::new("refused", Lane::Agent, text).mac(mac).boot(boot));
    })?;
    let host = state.machines.host(mac, shown);
    let name = host.map_or_else(|| mac.to_string(), |host| host.name.clone());
    Ok(Session { token: traded.session, name, boot: traded.boot.map(|boot| boot.to_string()) })
}

/// `GET /agent/v1/instructions`
pub(super) async fn instructions(
    State(state): State<Arc<ApiState>>,
    Extension(local): Extension<Local>,
    headers: HeaderMap,
) -> Result<Json<Instructions>, ApiError> {
    let server = boot::Server::new(&headers, local)?;
    blocking(move || {
        let mac = bearer(&state, &headers)?;
        Ok(Json(instructions_of(&state, mac, &server.address)))
    })
    .await?
}

fn instructions_of(state: &ApiState, mac: Mac, server: &str) -> Instructions {
    match state.machines.obey(mac, Shown::default(), &Labels::default(), Asking::Agent).decision {
        Decision::Local => Instructions::Reboot,
        Decision::Ignore | Decision::Nothing(_) => Instructions::Wait { seconds: WAIT },
        Decision::Profile { profile, .. } => match &profile.install {
            None => Instructions::Wait { seconds: WAIT },
            Some(install) => Instructions::Install(Install {
                image: script::url(&install.image, server),
                sha256: install.sha256.clone(),
                size: install.size,
                disk: install.disk.clone(),
                on_failure: install.on_failure.clone(),
            }),
        },
    }
}

/// `POST /agent/v1/report`: when this is answered, what must survive does.
pub(super) async fn report(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    blocking(move || {
        let mac = bearer(&state, &headers)?;
        let mut report: Report = read(&body)?;
        report.message = one_line(&report.message);
        let machine = state.machines.observe(Who::Mac(mac), Lane::Agent, &Observation::Agent(report))?;
        machine.map(|_| StatusCode::NO_CONTENT).ok_or_else(|| boot::no_room(mac))
    })
    .await?
}

/// What goes into records and onto terminals: one line of plain text.
fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).take(MOST).collect::<String>().trim().to_owned()
}

/// The machine whose session this is.
fn bearer(state: &ApiState, headers: &HeaderMap) -> Result<Mac, ApiError> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        let message = "the request needs `Authorization: Bearer <session token>`";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, message));
    }
    Ok(state.grants.session(token.trim(), now())?)
}
