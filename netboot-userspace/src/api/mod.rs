//! What is said over HTTP: boot scripts and the agent's protocol to machines ([`public`]), and everything else to
//! operators ([`routes`]), over the control socket ([`control`]), or by HTTPS with a token.
//!
//! **Invariant:** nothing that is asked without TLS and a token changes the inventory, and no secret is in a script but the one-time
//! token of the machine that asked. **Invariant:** no route of the API is without a role.

mod agent;
mod assets;
pub mod audit;
mod auth;
mod boot;
mod boots;
pub mod changes;
mod control;
mod error;
mod etag;
mod follow;
pub mod grants;
mod holds;
mod leases;
mod levels;
mod objects;
mod openapi;
mod paces;
pub mod pixiecore;
mod redacted;
mod refusals;
pub mod render;
mod request;
pub mod roles;
mod routes;
pub mod script;
mod serve;
#[cfg(test)]
mod tests;
pub mod tokens;
mod tries;
mod watch;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use audit::Audit;
use auth::Door;
pub use error::ApiError;
use grants::Grants;
use netboot_common::Mac;
use netboot_common::class::Class;
use paces::Paces;
use refusals::Refusals;
pub use serve::{ControlError, Ends, Local, Times, bind_control, serve_connection, serve_control};
use tokens::Tokens;
use tries::Tries;

use crate::inventory::Live;
use crate::inventory::elsewhere::Elsewhere;
use crate::inventory::events::Events;
use crate::inventory::machines::Machines;
use crate::inventory::revisions::{Fate, Kind, Name};
use crate::store::Store;

/// The layers below, as operators see them.
pub trait Site: Send + Sync {
    /// What they say of themselves, at each `netboot status`: modes, counters, listeners. A JSON object, whose keys stand beside
    /// the API's own.
    fn status(&self) -> serde_json::Value;

    /// Puts the configuration's files into force as they are now, whole or not at all. What has changed.
    ///
    /// # Errors
    /// What is wrong with them, a line per fault.
    fn reload(&self) -> Result<serde_json::Value, String>;

    /// What interfaces with `dhcp: observe` have seen: a list, an object for each machine.
    fn observed(&self) -> serde_json::Value;

    /// Ends the lease of this address: whoever has it is not told, and has to ask anew when it would renew it. False: there is none.
    ///
    /// # Errors
    /// It can't be ended here, or that can't be made durable.
    fn release(&self, address: IpAddr) -> Result<bool, String>;

    /// The folder that is served as `/assets/`.
    fn assets(&self) -> Option<PathBuf>;

    /// What answers for the cache of upstreams; `None`: there is none.
    fn cache(&self) -> Option<Router>;

    /// What a machine would get by DHCP, as a client of `class`, and why it got nothing lately.
    fn explain(&self, mac: Mac, class: Class) -> serde_json::Value;
}

/// What the handlers share.
pub struct ApiState {
    pub store: Arc<Store>,
    pub live: Arc<Live>,
    pub machines: Arc<Machines>,
    pub events: Arc<Events>,
    pub grants: Grants,
    pub tokens: Tokens,
    pub audit: Audit,
    pub site: Arc<dyn Site>,
    /// What an operator should know, as in a store that had to be begun anew.
    pub notices: Vec<String>,
    tries: Tries,
    paces: Paces,
    refusals: Refusals,
    wall: leases::Wall,
    followers: follow::Room,
    /// What answers for machines in place of the inventory, if anything does.
    pub pixiecore: OnceLock<Arc<pixiecore::Pixiecore>>,
    /// What is rendered from beside the inventory.
    pub(crate) rendering: render::InForce,
    started: Instant,
    ready: AtomicBool,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl ApiState {
    pub fn new(
        store: Arc<Store>,
        live: Arc<Live>,
        machines: Arc<Machines>,
        events: Arc<Events>,
        site: Arc<dyn Site>,
        notices: Vec<String>,
    ) -> Result<Self, crate::store::Error> {
        let (grants, tokens) = (Grants::open(store.clone())?, Tokens::open(store.clone())?);
        let revisions = live.revisions().clone();
        store.on_leases(move |addresses| {
            let changed =
                addresses.iter().map(|address| (Kind::Lease, Name::Address(*address), Fate::Changed));
            revisions.note_all(changed);
        });
        let (audit, tries, refusals) = (Audit::new(store.folder()), Tries::default(), Refusals::default());
        let paces = Paces::default();
        let (wall, followers) = Default::default();
        let (started, ready, pixiecore) = (Instant::now(), AtomicBool::new(false), OnceLock::new());
        let rendering = render::InForce::default();
        Ok(Self {
            store,
            live,
            machines,
            events,
            grants,
            tokens,
            audit,
            site,
            notices,
            tries,
            paces,
            refusals,
            wall,
            followers,
            pixiecore,
            rendering,
            started,
            ready,
        })
    }

    /// What is rendered from now on from beside the inventory. Of the same folder, what was read of it is still known.
    pub fn set_rendering(&self, mut rendering: render::Rendering) {
        let before = self.rendering.load().folder.clone();
        if let (Some(before), Some(folder)) = (before, &mut rendering.folder)
            && before.path() == folder.path()
        {
            *folder = before;
        }
        let elsewhere = rendering.folder.clone().map(|folder| folder as Arc<dyn Elsewhere>);
        self.rendering.store(Arc::new(rendering));
        self.refresh_folder();
        self.machines.set_elsewhere(elsewhere);
    }

    /// Has the data folder be known as it is now to those who decide what its machines boot: DHCP reads no files.
    pub fn refresh_folder(&self) {
        if let Some(folder) = &self.rendering.load().folder {
            // What is wrong with its files is warned of; of a folder that is gone, those who ask for what was in it are told.
            let _ = folder.refresh();
        }
    }

    /// Says that every listener is up: `/readyz` answers 200 from now on.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}

/// What machines may ask, and operators with a token. Needs `ConnectInfo<SocketAddr>` and [`Local`] on each request, as
/// [`serve_connection`] gives them.
pub fn public(state: Arc<ApiState>) -> Router {
    let machines = Router::new()
        .merge(render::routes())
        .route("/_/ipxe", get(pixiecore::ipxe))
        .route("/_/file", get(pixiecore::file))
        .route("/_/booting", get(pixiecore::booting))
        .route("/pixiecore/v1/boot/", get(pixiecore::offered))
        .route("/pixiecore/v1/boot/{mac}", get(pixiecore::offered))
        .route("/agent/v1/session", post(agent::session))
        .route("/agent/v1/instructions", get(agent::instructions))
        .route("/agent/v1/report", post(agent::report))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(from_fn_with_state(state.clone(), pixiecore::before))
        .layer(DefaultBodyLimit::max(64 << 10))
        .with_state(state.clone());
    machines.merge(routes::router(state, Door::Network))
}

/// What operators may ask and do. Needs `ConnectInfo<Peer>` on each request, as [`serve_control`] gives it.
pub fn control(state: Arc<ApiState>) -> Router {
    let unknown = || async { ApiError::not_found("no such path: see /api/v1/openapi.json") };
    routes::router(state, Door::Control).fallback(unknown)
}

async fn ready(State(state): State<Arc<ApiState>>) -> (StatusCode, &'static str) {
    if state.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

/// Runs what waits for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::internal(error.to_string()))
}
