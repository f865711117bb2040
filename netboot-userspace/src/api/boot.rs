//! The boot scripts: who asks, what that machine boots, and the script that says so.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use netboot_common::Mac;

use super::script::{self, Boot, Platform};
use super::serve::Local;
use super::{ApiError, ApiState, blocking};
use crate::image::http::Url;
use crate::inventory::Boot as HostBoot;
use crate::inventory::events::{Event, Lane};
use crate::inventory::labels::Labels;
use crate::inventory::machines::{Asking, Decision, Who};
use crate::inventory::observed::{Observation, Shown};
use crate::sys::clock::now;

/// `/boot.ipxe`
pub(super) async fn chain() -> Response {
    text(script::CHAIN.to_owned())
}

/// What the chain tells us, in its order: of several values of one key the first counts.
type Fields = Vec<(String, String)>;

fn said<'a>(asking: &'a [(String, String)], key: &str) -> &'a str {
    asking.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str())
}

/// `/ipxe?mac=…`
pub(super) async fn ipxe(
    State(state): State<Arc<ApiState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(local): Extension<Local>,
    Query(asking): Query<Fields>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let server = Server::new(&headers, local)?;
    let peer = peer.ip().to_canonical();
    blocking(move || render(&state, peer, &asking, &server)).await?.map(text)
}

fn render(
    state: &ApiState,
    peer: IpAddr,
    asking: &[(String, String)],
    server: &Server,
) -> Result<String, ApiError> {
    let mac = machine(state, peer, said(asking, "mac"))?;
    // A machine without a UUID has an empty one.
    let shown = Shown { uuid: said(asking, "uuid").parse().ok(), peer: Some(peer) };
    may_ask(state, mac, shown)?;
    let platform = Platform::from_name(said(asking, "platform"));
    let labels = Labels::of_query(asking.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let obeyed = state.machines.obey(mac, shown, &labels, Asking::Loader);
    let boot = obeyed.boot;
    let (profile, host, group) = match obeyed.decision {
        Decision::Profile { profile, host, group } => (profile, host, group),
        Decision::Local | Decision::Ignore => {
            state.machines.observe(Who::Mac(mac), Lane::Api, &Observation::Local { shown })?;
            return Ok(script::local(platform).to_owned());
        }
        Decision::Nothing(reason) => {
            state.events.publish(Event::new("refused", Lane::Api, reason.clone()).mac(mac).boot(boot));
            return Err(ApiError::not_found(reason));
        }
    };
    let installs = profile.install.is_some();
    let token = if installs { Some(state.grants.issue(mac, peer, boot, now())?) } else { None };
    let once = host.as_ref().is_some_and(|host| host.boot == HostBoot::Once);
    let seen = Observation::Script { profile: profile.name.clone(), installs, once, shown };
    if state.machines.observe(Who::Mac(mac), Lane::Api, &seen)?.is_none() && installs {
        return Err(no_room(mac));
    }
    let (server, agent_server) = (server.name.as_str(), server.address.as_str());
    let (host, group, token) = (host.as_deref(), group.as_deref(), token.as_deref());
    let boot = Boot { id: boot, mac, host, group, server, agent_server, token, platform };
    Ok(script::profile(&profile, &boot))
}

/// What is not remembered of a machine would be done again.
pub(super) fn no_room(mac: Mac) -> ApiError {
    let text = format!(
        "{mac} is not a host, and there are too many such machines to remember one more: make it a host"
    );
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Whether the one who asks is the machine, as far as its addresses are known.
pub(super) fn may_ask(state: &ApiState, mac: Mac, shown: Shown) -> Result<(), ApiError> {
    let (Err(known), Some(peer)) = (state.machines.may_ask(mac, shown), shown.peer) else { return Ok(()) };
    let text = format!("{peer} asked for the script of {mac}, which has the address {known}");
    state.events.publish(Event::new("refused", Lane::Api, text.clone()).mac(mac));
    Err(ApiError::new(StatusCode::FORBIDDEN, text))
}

/// The machine by the MAC that it names, or by its address if it names none.
fn machine(state: &ApiState, peer: IpAddr, named: &str) -> Result<Mac, ApiError> {
    if !named.is_empty() {
        return named.parse().map_err(|error| ApiError::bad_request(format!("mac={named}: {error}")));
    }
    let snapshot = state.live.snapshot();
    let reserved = snapshot.host_at(peer).and_then(|host| host.macs.first().copied());
    let unknown = || {
        ApiError::bad_request(format!("no machine is known at {peer}: name it, /ipxe?mac=52-54-00-12-34-56"))
    };
    reserved.or_else(|| state.machines.mac_at(peer)).ok_or_else(unknown)
}

/// This server, as URLs begin that lead to it.
#[derive(Debug)]
pub(super) struct Server {
    /// As the client calls us: it has reached us by that name.
    pub(super) name: String,
    /// By an address, for our agent, which resolves no names and has no TLS.
    pub(super) address: String,
}

impl Server {
    pub(super) fn new(headers: &HeaderMap, local: Local) -> Result<Self, ApiError> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if host.is_empty() || !host.chars().all(plain) {
            return Err(ApiError::bad_request("the request needs a Host header that names this server"));
        }
        let Local { address, by_tls } = local;
        let name = format!("{}://{host}", if by_tls { "https" } else { "http" });
        let address = match name.parse::<Url>() {
            Ok(_) => name.clone(),
            Err(_) => format!("http://{}", SocketAddr::new(address.ip().to_canonical(), address.port())),
        };
        Ok(Self { name, address })
    }
}

fn text(body: String) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}
