//! The boot scripts: who asks, what that machine boots, and the script that says so.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, header};
use netboot_common::Mac;

use super::grants::{Denied, Grants};
use super::render::Request;
use super::script::{self, Boot, Form, Platform};
use super::serve::Local;
use super::{ApiError, ApiState};
use crate::image::http::Url;
use crate::inventory::boots::{BootId, Taken};
use crate::inventory::events::{Event, Lane};
use crate::inventory::machines::{Asking, Decision, Obeyed, Who};
use crate::inventory::observed::{Observation, Shown};
use crate::inventory::{Bind, Boot as HostBoot};
use crate::sys::clock::now;

/// What the chain tells us. What we make no use of yet is accepted all the same.
#[derive(Debug)]
pub(super) struct Said {
    /// The machine that it names, if it names one; an error: what it names is no MAC.
    pub(super) mac: Result<Option<Mac>, String>,
    pub(super) uuid: String,
    pub(super) platform: String,
}

/// What a script is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The machine goes on with it: it is observed, and has a one-time token where it installs.
    Boot,
    /// Its signature is asked for: it must be the same that was given.
    Sign,
    /// An operator looks at it.
    Show,
}

/// What the machine boots, as the loader that asks takes it.
pub(super) fn render(
    state: &ApiState,
    request: &Request,
    form: Form,
    purpose: Purpose,
) -> Result<String, ApiError> {
    let said = &request.said;
    let server = request.server.as_ref().map_err(ApiError::clone)?;
    let mac = machine(state, request.peer, said)?;
    let shown = request.shown();
    may_ask(state, mac, shown)?;
    let platform = Platform::from_name(&said.platform);
    let observe = |seen: &Observation| match purpose {
        Purpose::Boot => state.machines.observe(Who::Mac(mac), Lane::Api, seen).map(|known| known.is_some()),
        Purpose::Sign | Purpose::Show => Ok(true),
    };
    let Obeyed { boot, decision, .. } = decide(state, mac, request, purpose);
    let (profile, host, group) = match decision {
        Decision::Profile { profile, host, group } => (profile, host, group),
        Decision::Local | Decision::Ignore => {
            observe(&Observation::Local { shown })?;
            return Ok(script::local(form, platform).to_owned());
        }
        Decision::Nothing(reason) => {
            if purpose == Purpose::Boot {
                state.events.publish(Event::new("refused", Lane::Api, reason.clone()).mac(mac).boot(boot));
            }
            return Err(ApiError::not_found(reason));
        }
    };
    let installs = profile.install.is_some();
    let is_bound = profile.bind == Bind::Token;
    let once = host.as_ref().is_some_and(|host| host.boot == HostBoot::Once);
    let is_known = observe(&Observation::Script { profile: profile.name.clone(), installs, once, shown })?;
    if !is_known && (installs || is_bound) {
        return Err(no_room(mac));
    }
    let token = |wanted: bool, issue: Issue| {
        wanted.then(|| token(state, mac, boot, request, purpose, issue)).transpose()
    };
    let (token, configure) = (token(installs, Grants::issue)?, token(is_bound, Grants::issue_configure)?);
    let (server, agent_server) = (server.name.as_str(), server.address.as_str());
    let (host, group) = (host.as_deref(), group.as_deref());
    let (token, configure) = (token.as_deref(), configure.as_deref());
    let boot = Boot { id: boot, mac, host, group, server, agent_server, token, configure, platform };
    script::profile(form, &profile, &boot).ok_or_else(|| {
        let text = format!("profile {} is a script of iPXE's, which no other loader runs", profile.name);
        ApiError::not_found(text)
    })
}

/// What a loader says of its machine holds from then on, and may begin a boot; a signature is asked for within one; what an operator
/// tries is remembered by nobody.
fn decide(state: &ApiState, mac: Mac, request: &Request, purpose: Purpose) -> Obeyed {
    let (shown, labels) = (request.shown(), request.labels());
    match purpose {
        Purpose::Boot => state.machines.obey(mac, shown, &labels, Asking::Loader),
        Purpose::Sign => state.machines.obey(mac, shown, &labels, Asking::Agent),
        Purpose::Show => {
            let Taken { decision, stopped, why, .. } = state.machines.would_as(mac, shown, &labels);
            Obeyed { boot: None, decision, stopped: stopped.then_some(why) }
        }
    }
}

/// A token, as `issue` makes them: the one-time token of an installation, or that by which what is booted asks for its configurations.
fn token(
    state: &ApiState,
    mac: Mac,
    boot: Option<BootId>,
    request: &Request,
    purpose: Purpose,
    issue: Issue,
) -> Result<String, ApiError> {
    match (purpose, request.peer) {
        (Purpose::Boot, Some(peer)) => Ok(issue(&state.grants, mac, peer, boot, now())?),
        (Purpose::Sign, _) => Err(ApiError::new(StatusCode::CONFLICT, SIGNED_TOKEN)),
        (Purpose::Boot, None) | (Purpose::Show, _) => Ok("TOKEN".to_owned()),
    }
}

type Issue = fn(&Grants, Mac, IpAddr, Option<BootId>, u64) -> Result<String, Denied>;

/// Each such script has a token of its own.
const SIGNED_TOKEN: &str = "the script of an installation, and of a profile with `bind: token`, has a token of its own, and no signature";

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
    note_refusal(state, mac, text.clone());
    Err(ApiError::new(StatusCode::FORBIDDEN, text))
}

/// The first MAC of the host with that UUID.
pub(super) fn by_uuid(state: &ApiState, said: &Said) -> Option<Mac> {
    let snapshot = state.live.snapshot();
    let host = snapshot.host_by_uuid(said.uuid.parse().ok()?)?;
    state.machines.macs_of(host).into_iter().next()
}

/// For those who follow events.
pub(super) fn note_refusal(state: &ApiState, mac: Mac, text: String) {
    state.events.publish(Event::new("refused", Lane::Api, text).mac(mac));
}

/// The machine by the MAC that it names, or as the host with its UUID, or by its address if it names none.
pub(super) fn machine(state: &ApiState, peer: Option<IpAddr>, said: &Said) -> Result<Mac, ApiError> {
    let mac = *said.mac.as_ref().map_err(ApiError::bad_request)?;
    if let Some(mac) = mac.or_else(|| by_uuid(state, said)) {
        return Ok(mac);
    }
    let Some(peer) = peer else { return Err(ApiError::bad_request("name a machine by its MAC")) };
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
    /// Nobody's: as operators are shown it.
    pub(super) fn unnamed() -> Self {
        Self { name: "http://SERVER".to_owned(), address: "http://SERVER".to_owned() }
    }

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
