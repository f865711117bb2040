//! What machines are given by name of what they are: scripts of three loaders, configurations, metadata, and signatures over each.
//!
//! Machines that are hosts of the inventory get what that says. All others get what the data folder of bootcfg or matchbox says, where
//! there is one; else what the site's default is. What is wrong is said, with its cause: 404 is for what is not there, 5xx for
//! what can't be used.

mod bound;
mod butane;
mod folder;
mod native;
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
use self::folder::{Fault, Now, Text};
use self::range::Part;
pub use self::sign::{Seal, Signer, Unfit};
use super::boot::{self, Purpose, Said, Server};
use super::script::{self, Form, Platform};
use super::serve::Local;
use super::{ApiError, ApiState, blocking};
use crate::inventory::configs::Kind as Config;
use crate::inventory::events::{Event, Lane};
use crate::inventory::labels::Labels;
use crate::inventory::machines::Placed;
use crate::inventory::observed::Shown;
use crate::inventory::{Profile, ProfileBoot};
use crate::render::asked::Asked;
use crate::render::{config, metadata};

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
    /// Who may log in.
    AuthorizedKeys,
}

/// All paths, without the suffix of a signature.
const PATHS: [(&str, Kind); 10] = [
    ("/boot.ipxe", Kind::Chain),
    ("/boot.ipxe.0", Kind::Chain),
    ("/ipxe", Kind::Script(Form::Ipxe)),
    ("/grub", Kind::Script(Form::Grub)),
    ("/pxelinux", Kind::Script(Form::Pxelinux)),
    ("/cloud", Kind::Config(Config::Cloud)),
    ("/ignition", Kind::Config(Config::Ignition)),
    ("/generic", Kind::Config(Config::Generic)),
    ("/metadata", Kind::Metadata),
    ("/authorized_keys", Kind::AuthorizedKeys),
];

const SEALS: [(&str, Option<Seal>); 3] =
    [("", None), (".sig", Some(Seal::Binary)), (".asc", Some(Seal::Armoured))];

pub(super) fn routes() -> Router<Arc<ApiState>> {
    let all = PATHS.into_iter().flat_map(|path| SEALS.map(|seal| (path, seal)));
    let router = Router::new().route("/", get(root));
    all.fold(router, |router, ((path, kind), (suffix, seal))| {
        let handler = move |State(state): State<Arc<ApiState>>,
                            ConnectInfo(peer): ConnectInfo<SocketAddr>,
                            Extension(local): Extension<Local>,
                            uri: Uri,
                            headers: HeaderMap| async move {
            let request = Request::new(peer.ip().to_canonical(), local, &uri, &headers)?;
            let range = range::field(&headers).map(str::to_owned);
            let body = blocking(move || body(&state, kind, seal, &request)).await??;
            Ok::<_, ApiError>(answer(kind, seal, body, range.as_deref()))
        };
        router.route(&format!("{path}{suffix}"), get(handler))
    })
}

/// What asks whether matchbox is there gets its name, where we are in its place (BC-26).
async fn root(State(state): State<Arc<ApiState>>) -> Result<&'static str, ApiError> {
    let is_in_its_place = state.rendering.load().folder.is_some();
    let none = || ApiError::not_found("there is nothing here: machines begin at /boot.ipxe");
    is_in_its_place.then_some("matchbox\n").ok_or_else(none)
}

/// Who asks, and what for.
pub(super) struct Request {
    /// `None`: an operator, over the control socket.
    pub(super) peer: Option<IpAddr>,
    pub(super) server: Result<Server, ApiError>,
    pub(super) said: Said,
    asked: Asked,
}

impl Request {
    fn new(peer: IpAddr, local: Local, uri: &Uri, headers: &HeaderMap) -> Result<Self, ApiError> {
        let (parameters, raw_query) = query(uri)?;
        let (request, dropped) = Self::of(Some(peer), Server::new(headers, local), parameters, raw_query);
        for dropped in dropped {
            tracing::warn!("{peer} asked for {}: {dropped}: left out", uri.path());
        }
        Ok(request)
    }

    fn of(
        peer: Option<IpAddr>,
        server: Result<Server, ApiError>,
        parameters: Parameters,
        raw_query: &str,
    ) -> (Self, Vec<String>) {
        let has_one = |(key, value): &(String, String)| key.eq_ignore_ascii_case("mac") && !value.is_empty();
        let names_one = parameters.iter().any(has_one);
        let (asked, dropped) = Asked::new(parameters, raw_query);
        let mac = match (asked.mac(), dropped.first()) {
            (None, Some(fault)) if names_one => Err(fault.clone()),
            (mac, _) => Ok(mac),
        };
        let first = |name: &str| asked.label(name).unwrap_or_default().to_owned();
        let said = Said { mac, uuid: first("uuid"), platform: first("platform") };
        (Self { peer, server, said, asked }, dropped)
    }

    /// What the machine says of itself.
    pub(super) fn labels(&self) -> Labels {
        self.asked.to_labels()
    }

    /// A machine without a UUID has an empty one.
    pub(super) fn shown(&self) -> Shown {
        Shown { uuid: self.said.uuid.parse().ok(), peer: self.peer }
    }
}

/// Decoded, in their order.
type Parameters = Vec<(String, String)>;

/// The parameters of a query, and as they came.
fn query(uri: &Uri) -> Result<(Parameters, &str), ApiError> {
    let query = Query::<Parameters>::try_from_uri(uri);
    let Query(parameters) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok((parameters, uri.query().unwrap_or_default()))
}

/// What a machine would get, for its operator to see: `kind` is one of [`PATHS`], without its `/`.
pub(super) fn show(state: &ApiState, mac: Mac, kind: &str, uri: &Uri) -> Result<String, ApiError> {
    let known = PATHS.into_iter().find(|(path, _)| path.strip_prefix('/') == Some(kind));
    let (_, kind) = known.ok_or_else(|| {
        let known = PATHS.map(|(path, _)| path.trim_start_matches('/')).join(", ");
        ApiError::bad_request(format!("{kind:?} is nothing that is rendered: there are {known}"))
    })?;
    let (mut parameters, raw_query) = query(uri)?;
    parameters.insert(0, ("mac".to_owned(), mac.to_string()));
    let raw_query = format!("mac={mac}&{raw_query}");
    let (request, _) = Request::of(None, Ok(Server::unnamed()), parameters, raw_query.trim_end_matches('&'));
    rendered(state, &state.rendering.load(), kind, &request, Purpose::Show)
}

/// The body, or the signature over it: rendered once, and always alike.
fn body(state: &ApiState, kind: Kind, seal: Option<Seal>, request: &Request) -> Result<Vec<u8>, ApiError> {
    let rendering = state.rendering.load();
    let Some(seal) = seal else {
        return said(state, request, rendered(state, &rendering, kind, request, Purpose::Boot))
            .map(String::into_bytes);
    };
    let signer = rendering.signer.as_ref();
    let signer =
        signer.ok_or_else(|| ApiError::not_found("nothing is signed here: there is no matchbox.key_ring"))?;
    let body = said(state, request, rendered(state, &rendering, kind, request, Purpose::Sign))?;
    signer.sign(body.as_bytes(), seal).map_err(ApiError::internal)
}

/// What was refused, to those who follow events.
fn said<T>(state: &ApiState, request: &Request, done: Result<T, ApiError>) -> Result<T, ApiError> {
    if let Err(error) = &done
        && error.status.is_server_error()
    {
        let peer = request.peer.map_or_else(String::new, |peer| format!("{peer}: "));
        let mut event = Event::new("refused", Lane::Api, format!("{peer}{}", error.message));
        event.mac = request.asked.mac().as_ref().map(Mac::to_string);
        state.events.publish(event);
    }
    done
}

fn rendered(
    state: &ApiState,
    rendering: &Rendering,
    kind: Kind,
    request: &Request,
    purpose: Purpose,
) -> Result<String, ApiError> {
    // Data folders have neither: nobody looks who asks.
    let folder = rendering.folder.as_deref().filter(|_| !matches!(kind, Kind::Chain | Kind::AuthorizedKeys));
    let folder = folder.map(|folder| (folder, Whom::of(state, request)));
    let folder = folder.filter(|(_, whom)| !whom.is_own(state, kind));
    match (kind, folder) {
        (Kind::Chain, _) => Ok(script::CHAIN.to_owned()),
        (Kind::Script(form), None) => boot::render(state, request, form, purpose),
        (Kind::Script(form), Some((folder, whom))) => {
            let script = folder.now(whom.labels()).and_then(|now| now.boots(&whom.asked));
            let own = || only_told(state, request, || boot::render(state, request, form, purpose));
            or_inventory(script, own, |profile| of_folder(state, form, &profile, request, purpose))
        }
        (Kind::Config(kind), None) => finished(kind, native::config(state, kind, request, purpose)?, purpose),
        (Kind::AuthorizedKeys, _) => native::authorized_keys(state, request),
        (Kind::Metadata, None) => Ok(metadata::lines(&native::metadata(state, request, purpose)?)),
        (Kind::Config(kind), Some((folder, whom))) => {
            let found = folder.now(whom.labels()).and_then(|now| now.knowing(&request.asked));
            let own = || only_told(state, request, || native::config(state, kind, request, purpose));
            let text = |now: Now<'_>| {
                bound::secret(state, &request.asked, None, false, request.shown())?;
                Ok(now.config(&request.asked, kind)?)
            };
            finished(kind, or_inventory(found, own, text)?, purpose)
        }
        (Kind::Metadata, Some((folder, whom))) => {
            let found = folder.now(whom.labels()).and_then(|now| now.knowing(&request.asked));
            let own = || only_told(state, request, || native::metadata(state, request, purpose));
            let data = |now: Now<'_>| {
                bound::secret(state, &request.asked, None, false, request.shown())?;
                Ok(now.metadata(&request.asked)?)
            };
            Ok(metadata::lines(&or_inventory(found, own, data)?))
        }
    }
}

/// What the folder has, as `shown`; what it lacks, the inventory may have for all machines. If that lacks it, too, what the folder
/// lacks is nearer to what its operator did.
fn or_inventory<F, T>(
    found: Result<F, Fault>,
    inventory: impl FnOnce() -> Result<T, ApiError>,
    shown: impl FnOnce(F) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let is_none = |error: &ApiError| matches!(error.status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST);
    match found {
        Err(Fault::Missing(reason)) => match inventory() {
            Err(error) if is_none(&error) => Err(Fault::Missing(reason).into()),
            other => other,
        },
        Err(broken) => Err(broken.into()),
        Ok(found) => shown(found),
    }
}

/// Which machine asks, as far as that is told, and what is known of it.
struct Whom {
    mac: Option<Mac>,
    /// What it says of itself.
    asked: Labels,
    placed: Option<Placed>,
}

impl Whom {
    fn of(state: &ApiState, request: &Request) -> Self {
        let (mac, asked) = (told(state, request), request.labels());
        let placed = mac.map(|mac| state.machines.place(mac, request.shown(), asked.clone()));
        Self { mac, asked, placed }
    }

    /// Whether the inventory says what the machine gets: it is a host, or in a group that selects it. What is chosen from a menu is one
    /// of its profiles, which then has the configurations, too.
    fn is_own(&self, state: &ApiState, kind: Kind) -> bool {
        let is_chosen =
            || !matches!(kind, Kind::Script(_)) && self.mac.is_some_and(|mac| state.machines.is_chosen(mac));
        self.placed.as_ref().is_some_and(is_placed) || is_chosen()
    }

    /// What may lead to its files: what it says now, and what else is known of it.
    fn labels(&self) -> impl Iterator<Item = &Labels> {
        [&self.asked].into_iter().chain(self.placed.as_ref().map(|placed| &placed.labels))
    }
}

fn is_placed(placed: &Placed) -> bool {
    placed.host.is_some() || placed.group.as_ref().is_some_and(|group| !group.selector.is_empty())
}

/// Has the data folder be known as it is now to those who decide for this machine. What it lacks for it.
pub(super) fn refresh(state: &ApiState, mac: Mac) -> Result<Option<String>, ApiError> {
    let rendering = state.rendering.load();
    let placed = state.machines.place(mac, Shown::default(), Labels::default());
    let Some(folder) = rendering.folder.as_ref().filter(|_| !is_placed(&placed)) else { return Ok(None) };
    let (asked, _) = Asked::new(vec![("mac".to_owned(), mac.to_string())], "");
    let labels = asked.to_labels();
    match folder.now([&labels, &placed.labels]).and_then(|now| now.boots(&labels)) {
        Ok(_) => Ok(None),
        Err(Fault::Missing(what)) => Ok(Some(what)),
        Err(broken) => Err(broken.into()),
    }
}

/// What the folder boots a machine that says so: by its decision, which is in its record; of one that is not told there is none.
fn of_folder(
    state: &ApiState,
    form: Form,
    profile: &Profile,
    request: &Request,
    purpose: Purpose,
) -> Result<String, ApiError> {
    match &profile.boot {
        ProfileBoot::Given(given) if told(state, request).is_none() => {
            Ok(script::given(form, given, Platform::from_name(&request.said.platform)))
        }
        _ => boot::render(state, request, form, purpose),
    }
}

/// Which machine asks: by its MAC, as the host with its UUID, or by an address that it has of us. That somebody asked from there before in a machine's name
/// tells nothing of who names none: the data folder's programs go by the query alone.
fn told(state: &ApiState, request: &Request) -> Option<Mac> {
    let at = || {
        let peer = request.peer?;
        let reserved = state.live.snapshot().host_at(peer).and_then(|host| host.macs.first().copied());
        let has_it = |mac: &Mac| {
            state
                .machines
                .machine(*mac)
                .is_some_and(|machine| machine.addresses().any(|address| address == peer))
        };
        reserved.or_else(|| state.machines.mac_at(peer).filter(has_it))
    };
    request.asked.mac().or_else(|| boot::by_uuid(state, &request.said)).or_else(at)
}

/// What is for a machine is for one that is [`told`].
fn only_told<T>(
    state: &ApiState,
    request: &Request,
    answer: impl FnOnce() -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    told(state, request).ok_or_else(|| ApiError::bad_request("the query names no machine"))?;
    answer()
}

/// As the machine gets it, and can make use of it.
fn finished(kind: Config, text: Text, purpose: Purpose) -> Result<String, ApiError> {
    let (name, is_template) = (text.name.clone(), text.data.is_some());
    let named = |what: String| ApiError::internal(format!("{name} {what}"));
    let text = text.rendered()?;
    match kind {
        Config::Generic => {}
        // The first epoch's is served as it is.
        Config::Cloud if !is_template => {}
        Config::Cloud => config::check_cloud(&text).map_err(named)?,
        Config::Ignition if is_template && !text.trim_start().starts_with('{') => {
            return butane::ignition(&text, purpose == Purpose::Show).map_err(|fault| match fault {
                butane::Fault::Busy => {
                    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("{name} {fault}"))
                }
                butane::Fault::Wrong(what) => named(what),
            });
        }
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
