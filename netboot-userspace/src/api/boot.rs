//! The boot scripts: who asks, what that machine boots, and the script that says so.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use netboot_common::Mac;
use serde::Deserialize;

use super::script::{self, Boot, Platform};
use super::{ApiError, ApiState, blocking, now};
use crate::inventory::Boot as HostBoot;
use crate::inventory::events::{Event, Lane};
use crate::inventory::machines::{Decision, Who};
use crate::inventory::observed::Observation;

/// `/boot.ipxe`
pub(super) async fn chain() -> Response {
    text(script::CHAIN.to_owned())
}

/// What the chain tells us. What we make no use of yet is accepted all the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asking {
    mac: String,
    platform: String,
}

/// `/ipxe?mac=…`
pub(super) async fn ipxe(
    State(state): State<Arc<ApiState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(asking): Query<Asking>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let server = server(&headers)?;
    let peer = peer.ip().to_canonical();
    blocking(move || render(&state, peer, &asking, &server)).await?.map(text)
}

fn render(state: &ApiState, peer: IpAddr, asking: &Asking, server: &str) -> Result<String, ApiError> {
    let mac = machine(state, peer, &asking.mac)?;
    may_speak_for(state, peer, mac)?;
    let platform = Platform::from_name(&asking.platform);
    let (profile, host) = match state.machines.decide(mac) {
        Decision::Profile { profile, host } => (profile, host),
        Decision::Local | Decision::Ignore => {
            state.machines.observe(Who::Mac(mac), Lane::Api, &Observation::Local)?;
            return Ok(script::local(platform).to_owned());
        }
        Decision::Nothing(reason) => {
            state.events.publish(Event::new("refused", Lane::Api, reason.clone()).mac(mac));
            return Err(ApiError::not_found(reason));
        }
    };
    let installs = profile.install.is_some();
    let token = if installs { Some(state.grants.issue(mac, peer, now())?) } else { None };
    let once = host.as_ref().is_some_and(|host| host.boot == HostBoot::Once);
    let seen = Observation::Script { profile: profile.name.clone(), installs, once };
    state.machines.observe(Who::Mac(mac), Lane::Api, &seen)?;
    let boot = Boot { mac, host: host.as_deref(), server, token: token.as_deref(), platform };
    Ok(script::profile(&profile, &boot))
}

/// Whether `peer` is the machine, as far as its address is known: its reservation, and what it was last given. In proxy mode
/// another server gave it its address, and any is as good.
fn may_speak_for(state: &ApiState, peer: IpAddr, mac: Mac) -> Result<(), ApiError> {
    let Some(known) = addresses(state, mac).next() else { return Ok(()) };
    if is_own(state, peer, mac) {
        return Ok(());
    }
    let text = format!("{peer} asked for the script of {mac}, which has the address {known}");
    state.events.publish(Event::new("refused", Lane::Api, text.clone()).mac(mac));
    Err(ApiError::new(StatusCode::FORBIDDEN, text))
}

/// Whether the machine is known to have this address: reserved, given last, or, of IPv6, made of its MAC (router advertisements
/// let each machine make itself one).
pub(super) fn is_own(state: &ApiState, peer: IpAddr, mac: Mac) -> bool {
    let is_made = matches!(peer, IpAddr::V6(peer) if peer.octets().ends_with(&mac.interface_id()));
    is_made || addresses(state, mac).any(|address| address == peer)
}

fn addresses(state: &ApiState, mac: Mac) -> impl Iterator<Item = IpAddr> {
    let host = state.live.snapshot().host_by_mac(mac).cloned();
    let v4 = host.as_ref().and_then(|host| host.ip).map(IpAddr::V4);
    let v6 = host.as_ref().and_then(|host| host.ip6).map(IpAddr::V6);
    let given: Vec<IpAddr> =
        state.machines.machine(mac).iter().flat_map(|machine| machine.addresses()).collect();
    v4.into_iter().chain(v6).chain(given)
}

/// The machine by the MAC that it names, or by its address if it names none.
fn machine(state: &ApiState, peer: IpAddr, named: &str) -> Result<Mac, ApiError> {
    if !named.is_empty() {
        return named.parse().map_err(|error| ApiError::bad_request(format!("mac={named}: {error}")));
    }
    let snapshot = state.live.snapshot();
    let host = match peer {
        IpAddr::V4(peer) => snapshot.host_by_ip(peer),
        IpAddr::V6(peer) => snapshot.host_by_ip6(peer),
    };
    let reserved = host.and_then(|host| host.macs.first().copied());
    let unknown = || {
        ApiError::bad_request(format!("no machine is known at {peer}: name it, /ipxe?mac=52-54-00-12-34-56"))
    };
    reserved.or_else(|| state.machines.mac_at(peer)).ok_or_else(unknown)
}

/// `http://` and what the client calls us: it has reached us by that name.
pub(super) fn server(headers: &HeaderMap) -> Result<String, ApiError> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(ApiError::bad_request("the request needs a Host header that names this server"));
    }
    Ok(format!("http://{host}"))
}

fn text(body: String) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}
