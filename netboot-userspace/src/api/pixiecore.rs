//! Pixiecore's routes. `/_/…`: the boot of machines for which something else than the inventory answers, [`Pixiecore`]. And
//! `/pixiecore/v1/boot/<mac>`: what we would have a machine boot, for a Pixiecore that asks us.

mod caller;
mod offered;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use netboot_common::Mac;
use serde::Deserialize;

pub use caller::{Ask, Caller, Refusal};
pub(super) use offered::offered;

use super::boot::{Server, may_ask};
use super::serve::Local;
use super::{ApiError, ApiState, blocking};
use crate::inventory::events::{Event, Lane};
use crate::inventory::machines::Who;
use crate::inventory::observed::{Observation, Shown};
use crate::pixiecore::cmdline::Part;
use crate::pixiecore::seal::{NONCE, Sealer};
use crate::pixiecore::{Boot, Cpu, Linux, Place, script};
use crate::sys::clock::now;

/// Who says what machines boot.
#[derive(Debug)]
pub enum Booter {
    /// The same for all of them.
    Same(Arc<Boot>),
    /// An API, asked for each.
    Asked(Arc<Caller>),
}

/// An answer that is on its way.
pub type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Who has the files of boots.
pub trait Files: Send + Sync {
    /// Whether the operator gave a file of this name.
    fn has(&self, name: &str) -> bool;

    /// Answers a GET or HEAD for a file.
    fn answer(&self, place: Place, request: Parts) -> Answering;
}

/// What answers for machines in place of the inventory.
pub struct Pixiecore {
    pub booter: Booter,
    pub files: Arc<dyn Files>,
    pub sealer: Sealer,
    /// How long a file's name is good.
    pub lifetime: Duration,
    /// Whether the MAC that a machine asked with is put behind its command line.
    pub bootif: bool,
}

impl fmt::Debug for Pixiecore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pixiecore").field("booter", &self.booter).finish_non_exhaustive()
    }
}

impl Pixiecore {
    /// What `mac` boots, as its script asks.
    async fn boot(&self, mac: Mac, cpu: Option<Cpu>) -> Result<Arc<Boot>, ApiError> {
        match &self.booter {
            Booter::Same(boot) => Ok(boot.clone()),
            Booter::Asked(caller) => caller.of_script(mac, cpu).await.map_err(|refusal| {
                let status = match refusal {
                    Refusal::No(_) => StatusCode::NOT_FOUND,
                    Refusal::Failed(_) => StatusCode::BAD_GATEWAY,
                    Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
                };
                ApiError::new(status, format!("{mac}: {refusal}"))
            }),
        }
    }

    /// The script of a boot.
    ///
    /// # Errors
    /// There are no random numbers.
    fn script(&self, boot: &Boot, mac: Mac, server: &str) -> Result<String, ApiError> {
        let linux = match boot {
            Boot::Script(script) => return Ok(script.clone()),
            Boot::Linux(linux) if self.bootif => &with_bootif(linux, mac),
            Boot::Linux(linux) => linux,
        };
        let mut failed = None;
        let script = script::script(linux, mac, server, |place| {
            self.name(place).unwrap_or_else(|error| {
                failed = Some(error);
                String::new()
            })
        });
        failed.map_or(Ok(script), Err)
    }

    /// The file's name in a URL.
    fn name(&self, place: &Place) -> Result<String, ApiError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)
            .map_err(|error| ApiError::internal(format!("no random numbers: {error}")))?;
        Ok(self.sealer.seal(place, now().saturating_add(self.lifetime.as_secs()), nonce))
    }

    fn place(&self, name: &str) -> Result<Place, ApiError> {
        if self.files.has(name) {
            return Ok(Place::Named(name.to_owned()));
        }
        self.sealer
            .open(name, now())
            .map_err(|denied| ApiError::new(StatusCode::FORBIDDEN, denied.to_string()))
    }
}

/// Machines with several interfaces know by it which one they have booted from, unless they are told already.
fn with_bootif(linux: &Linux, mac: Mac) -> Linux {
    let mut linux = linux.clone();
    let is_there = |part: &Part| matches!(part, Part::Text(text) if text.contains("BOOTIF="));
    if !linux.cmdline.iter().any(is_there) {
        let space = if linux.cmdline.is_empty() { "" } else { " " };
        linux.cmdline.push(Part::Text(format!("{space}BOOTIF=01-{}", mac.hyphenated())));
    }
    linux
}

/// The query of `/_/…`: everything is text, so that what is wrong is said of the right word.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asking {
    mac: String,
    uuid: String,
    arch: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Asking {
    fn mac(&self) -> Result<Mac, ApiError> {
        match self.mac.as_str() {
            "" => Err(ApiError::bad_request("mac is missing: /_/ipxe?mac=52:54:00:12:34:56&arch=1")),
            text => text.parse().map_err(|error| ApiError::bad_request(format!("mac={text}: {error}"))),
        }
    }

    fn cpu(&self) -> Result<Cpu, ApiError> {
        match self.arch.as_str() {
            "" => Err(ApiError::bad_request(
                "arch is missing: 0 (32-bit x86, BIOS), 1 (64-bit), or iPXE's name for it",
            )),
            text => Cpu::from_text(text).ok_or_else(|| {
                ApiError::bad_request(format!("arch={text} is not known: 0, 1, i386, x86_64, arm32 or arm64"))
            }),
        }
    }
}

/// `/_/ipxe?mac=…&arch=…`
pub(super) async fn ipxe(
    State(state): State<Arc<ApiState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(local): Extension<Local>,
    Query(asking): Query<Asking>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (mac, cpu) = (asking.mac()?, asking.cpu()?);
    let server = Server::new(&headers, local)?;
    let shown = Shown { uuid: None, peer: Some(peer.ip().to_canonical()) };
    let pixiecore = of(&state)?;
    script_of(&pixiecore, state, mac, Some(cpu), shown, &server).await
}

/// `/ipxe`, where our own chain leads: the same script, unless the inventory says what machines boot.
pub(super) async fn before(
    State(state): State<Arc<ApiState>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(pixiecore) = state.pixiecore.get().cloned().filter(|_| request.uri().path() == "/ipxe") else {
        return Ok(next.run(request).await);
    };
    let Ok(Query(asking)) = Query::<Asking>::try_from_uri(request.uri()) else {
        return Err(ApiError::bad_request("the query is not well formed"));
    };
    let extensions = request.extensions();
    let (Some(ConnectInfo(peer)), Some(local)) =
        (extensions.get::<ConnectInfo<SocketAddr>>(), extensions.get::<Local>())
    else {
        return Err(ApiError::internal("a request without its connection's ends"));
    };
    let server = Server::new(request.headers(), *local)?;
    let shown = Shown { uuid: asking.uuid.parse().ok(), peer: Some(peer.ip().to_canonical()) };
    script_of(&pixiecore, state, asking.mac()?, Cpu::from_text(&asking.arch), shown, &server).await
}

/// The script of a machine that asks for it.
async fn script_of(
    pixiecore: &Pixiecore,
    state: Arc<ApiState>,
    mac: Mac,
    cpu: Option<Cpu>,
    shown: Shown,
    server: &Server,
) -> Result<Response, ApiError> {
    let known = state.clone();
    blocking(move || may_ask(&known, mac, shown)).await??;
    let boot = pixiecore.boot(mac, cpu).await?;
    let script = pixiecore.script(&boot, mac, &server.name)?;
    blocking(move || {
        let profile = state.pixiecore.get().map_or("boot", |pixiecore| pixiecore.booter.name()).to_owned();
        let seen = Observation::Script { profile, installs: false, once: false, shown };
        state.machines.observe(Who::Mac(mac), Lane::Api, &seen)?;
        Ok::<(), ApiError>(())
    })
    .await??;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], script).into_response())
}

impl Booter {
    /// In the place of a profile's name.
    const fn name(&self) -> &'static str {
        match self {
            Self::Same(_) => "boot",
            Self::Asked(_) => "api",
        }
    }
}

/// `/_/file?name=…`
pub(super) async fn file(
    State(state): State<Arc<ApiState>>,
    Query(asking): Query<Asking>,
    request: Request,
) -> Result<Response, ApiError> {
    let pixiecore = of(&state)?;
    if asking.name.is_empty() {
        return Err(ApiError::bad_request("name is missing: it is in the script that names this file"));
    }
    let place = pixiecore.place(&asking.name)?;
    let (request, _) = request.into_parts();
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|ConnectInfo(peer)| peer.ip().to_canonical());
    let shown = Shown { uuid: None, peer };
    if request.method == axum::http::Method::GET
        && let Ok(mac) = asking.mac()
    {
        // As our scripts name them: whoever asks may write anything.
        let kind = ["kernel", "initrd"].into_iter().find(|kind| *kind == asking.kind);
        let kind = kind.unwrap_or("file").to_owned();
        let seen = Observation::Kernel { file: kind, bytes: 0 };
        let observe = move || match state.machines.may_ask(mac, shown) {
            Ok(()) => state.machines.observe(Who::Mac(mac), Lane::Http, &seen).map(drop),
            Err(_) => Ok(()),
        };
        // Whatever becomes of that: it gets its file.
        drop(blocking(observe).await);
    }
    Ok(pixiecore.files.answer(place, request).await)
}

/// `/_/booting?mac=…`: whatever is asked, it can't stop a boot.
pub(super) async fn booting(State(state): State<Arc<ApiState>>, Query(asking): Query<Asking>) -> Response {
    if let Ok(mac) = asking.mac() {
        state.events.publish(Event::new("booting", Lane::Api, format!("{mac} starts its kernel")).mac(mac));
    }
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain")], "# Booting").into_response()
}

fn of(state: &ApiState) -> Result<Arc<Pixiecore>, ApiError> {
    let none = || {
        ApiError::not_found(
            "this server boots by its inventory: /boot.ipxe (netboot boot and netboot api serve /_/)",
        )
    };
    state.pixiecore.get().cloned().ok_or_else(none)
}
