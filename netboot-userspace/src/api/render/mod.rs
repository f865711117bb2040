//! What machines are given by name of what they are: scripts of three loaders, configurations, metadata, and signatures over each.
//!
//! Machines that are hosts of the inventory get what that says. All others get what the data folder of bootcfg or matchbox says, where
//! there is one; else what the site's default is. What is wrong is said, with its cause: 404 is for what is not there, 5xx for
//! what can't be used.

mod bound;
mod butane;
mod folder;
mod range;
mod sign;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use netboot_common::Mac;

pub use self::folder::Folder;
use self::folder::{Config, Fault};
use self::range::Part;
pub use self::sign::{Seal, Signer};
use super::boot::{self, Asking, Server};
use super::script::{self, Form, Platform};
use super::serve::Local;
use super::{ApiError, ApiState, blocking};
use crate::inventory::events::{Event, Lane};
use crate::inventory::machines::Who;
use crate::inventory::observed::{Observation, Shown};
use crate::render::asked::Asked;
use crate::render::{Boot, config, loaders, metadata};

/// What is rendered from beside the inventory. The operator may change it while the site serves.
#[derive(Debug, Default)]
pub struct Rendering {
    pub folder: Option<Arc<Folder>>,
    pub signer: Option<Signer>,
}

/// See [`Rendering`].
pub(crate) type InForce = ArcSwap<Rendering>;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `/boot.ipxe`: who are you?
    Chain,
    Script(Form),
    Config(Config),
    Metadata,
}

/// All paths, without the suffix of a signature.
const PATHS: [(&str, Kind); 9] = [
    ("/boot.ipxe", Kind::Chain),
    ("/boot.ipxe.0", Kind::Chain),
    ("/ipxe", Kind::Script(Form::Ipxe)),
    ("/grub", Kind::Script(Form::Grub)),
    ("/pxelinux", Kind::Script(Form::Pxelinux)),
    ("/cloud", Kind::Config(Config::Cloud)),
    ("/ignition", Kind::Config(Config::Ignition)),
    ("/generic", Kind::Config(Config::Generic)),
    ("/metadata", Kind::Metadata),
];

const SEALS: [(&str, Option<Seal>); 3] =
    [("", None), (".sig", Some(Seal::Binary)), (".asc", Some(Seal::Armoured))];

pub(super) fn routes() -> Router<Arc<ApiState>> {
    let all = PATHS.into_iter().flat_map(|path| SEALS.map(|seal| (path, seal)));
    all.fold(Router::new(), |router, ((path, kind), (suffix, seal))| {
        let handler = move |State(state): State<Arc<ApiState>>,
                            ConnectInfo(peer): ConnectInfo<SocketAddr>,
                            Extension(local): Extension<Local>,
                            uri: Uri,
                            headers: HeaderMap| async move {
            let request = Request::new(peer.ip().to_canonical(), local, &uri, &headers)?;
            let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned);
            let body = blocking(move || body(&state, kind, seal, &request)).await??;
            Ok::<_, ApiError>(answer(kind, seal, body, range.as_deref()))
        };
        router.route(&format!("{path}{suffix}"), get(handler))
    })
}

/// Who asks, and what for.
struct Request {
    peer: IpAddr,
    server: Result<Server, ApiError>,
    asked: Asked,
    asking: Asking,
}

impl Request {
    fn new(peer: IpAddr, local: Local, uri: &Uri, headers: &HeaderMap) -> Result<Self, ApiError> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(parameters) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
        let first = |name: &str| {
            parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let asking = Asking { mac: first("mac"), uuid: first("uuid"), platform: first("platform") };
        let (asked, dropped) = Asked::new(parameters, uri.query().unwrap_or_default());
        for dropped in dropped {
            tracing::warn!("{peer} asked for {}: {dropped}: left out", uri.path());
        }
        Ok(Self { peer, server: Server::new(headers, local), asked, asking })
    }

    fn shown(&self) -> Shown {
        Shown { uuid: self.asking.uuid.parse().ok(), peer: Some(self.peer) }
    }
}

/// The body, or the signature over it: rendered once, and always alike.
fn body(state: &ApiState, kind: Kind, seal: Option<Seal>, request: &Request) -> Result<Vec<u8>, ApiError> {
    let rendering = state.rendering.load();
    let Some(seal) = seal else {
        return said(state, request, rendered(state, &rendering, kind, request, true))
            .map(String::into_bytes);
    };
    let signer = rendering.signer.as_ref();
    let signer =
        signer.ok_or_else(|| ApiError::not_found("nothing is signed here: there is no matchbox.key_ring"))?;
    let body = said(state, request, rendered(state, &rendering, kind, request, false))?;
    signer.sign(body.as_bytes(), seal).map_err(ApiError::internal)
}

/// What was refused, to those who follow events.
fn said<T>(state: &ApiState, request: &Request, done: Result<T, ApiError>) -> Result<T, ApiError> {
    if let Err(error) = &done
        && error.status.is_server_error()
    {
        let mut event = Event::new("refused", Lane::Api, format!("{}: {}", request.peer, error.message));
        event.mac = request.asked.mac().as_ref().map(Mac::to_string);
        state.events.publish(event);
    }
    done
}

/// `boots`: the machine goes on with what it gets, which is observed, and has a one-time token where it installs.
fn rendered(
    state: &ApiState,
    rendering: &Rendering,
    kind: Kind,
    request: &Request,
    boots: bool,
) -> Result<String, ApiError> {
    let folder = rendering.folder.as_ref().filter(|_| !is_host(state, request));
    match (kind, folder) {
        (Kind::Chain, _) => Ok(script::CHAIN.to_owned()),
        (Kind::Script(form), None) => native(state, form, request, boots),
        (Kind::Script(form), Some(folder)) => match folder.boot(&request.asked) {
            Err(Fault::Missing(reason)) => match native(state, form, request, boots) {
                // What the folder lacks is nearer to what its operator did.
                Err(error) if error.status == StatusCode::NOT_FOUND => Err(Fault::Missing(reason).into()),
                other => other,
            },
            Err(broken) => Err(broken.into()),
            Ok((name, boot)) => {
                bound::script(state, request.asked.mac(), request.shown())?;
                observe(state, request, &name, boots)?;
                Ok(of_folder(form, &boot, request))
            }
        },
        (Kind::Config(kind), Some(folder)) => {
            bound::secret(state, &request.asked, request.shown())?;
            configured(folder, kind, &request.asked)
        }
        (Kind::Metadata, Some(folder)) => {
            bound::secret(state, &request.asked, request.shown())?;
            Ok(metadata::lines(&folder.metadata(&request.asked)?))
        }
        (Kind::Config(_) | Kind::Metadata, None) => {
            Err(ApiError::not_found("there is no data folder: see `matchbox` in netboot.yaml"))
        }
    }
}

/// Whether the inventory says what the machine gets.
fn is_host(state: &ApiState, request: &Request) -> bool {
    let mac = request.asked.mac().or_else(|| state.machines.mac_at(request.peer));
    mac.is_some_and(|mac| state.machines.host(mac, request.shown()).is_some())
}

fn native(state: &ApiState, form: Form, request: &Request, boots: bool) -> Result<String, ApiError> {
    let server = request.server.as_ref().map_err(ApiError::clone)?;
    boot::render(state, request.peer, &request.asking, server, form, boots)
}

fn of_folder(form: Form, boot: &Boot, request: &Request) -> String {
    match form {
        Form::Ipxe => {
            let is_efi = Platform::from_name(&request.asking.platform) == Platform::Efi;
            loaders::ipxe(boot, is_efi)
        }
        Form::Grub => loaders::grub(boot),
        Form::Pxelinux => loaders::pxelinux(boot),
    }
}

/// A machine that names its MAC is one that boots.
fn observe(state: &ApiState, request: &Request, profile: &str, boots: bool) -> Result<(), ApiError> {
    if let Some(mac) = request.asked.mac().filter(|_| boots) {
        let profile = profile.to_owned();
        let seen = Observation::Script { profile, installs: false, once: false, shown: request.shown() };
        state.machines.observe(Who::Mac(mac), Lane::Api, &seen)?;
    }
    Ok(())
}

fn configured(folder: &Folder, kind: Config, asked: &Asked) -> Result<String, ApiError> {
    let text = folder.config(asked, kind)?;
    let (name, is_template) = (text.name.clone(), text.data.is_some());
    let named = |what: String| ApiError::internal(format!("{name} {what}"));
    let text = text.rendered()?;
    match kind {
        Config::Generic => {}
        // The first epoch's is served as it is.
        Config::Cloud if !is_template => {}
        Config::Cloud => config::check_cloud(&text).map_err(named)?,
        Config::Ignition if is_template => return butane::ignition(&text).map_err(named),
        Config::Ignition => config::check_ignition(&text).map_err(named)?,
    }
    Ok(text)
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let status = match fault {
            Fault::Missing(_) => StatusCode::NOT_FOUND,
            Fault::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, fault.to_string())
    }
}

fn answer(kind: Kind, seal: Option<Seal>, body: Vec<u8>, range: Option<&str>) -> Response {
    let content_type = match (seal, kind) {
        (Some(_), _) => "application/pgp-signature",
        (None, Kind::Config(Config::Ignition)) => "application/json",
        (None, _) => "text/plain; charset=utf-8",
    };
    let length = body.len();
    let (status, body, content_range) = match range::part(range, length) {
        Part::Whole => (StatusCode::OK, body, None),
        Part::Some(part) => {
            let content_range = format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1));
            (StatusCode::PARTIAL_CONTENT, body.get(part).unwrap_or_default().to_vec(), Some(content_range))
        }
        Part::Beyond => (StatusCode::RANGE_NOT_SATISFIABLE, Vec::new(), Some(format!("bytes */{length}"))),
    };
    let mut response =
        (status, [(header::CONTENT_TYPE, content_type), (header::ACCEPT_RANGES, "bytes")], body)
            .into_response();
    let content_range = content_range.and_then(|range| HeaderValue::from_str(&range).ok());
    response.headers_mut().extend(content_range.map(|range| (header::CONTENT_RANGE, range)));
    response
}
