//! What is said over HTTP: boot scripts and the agent's protocol to machines ([`public`]), and everything else to
//! operators, over the control socket only ([`control`]).
//!
//! **Invariant:** nothing on the network side changes the inventory, and no secret is in a script but the one-time token
//! of the machine that asked.

mod agent;
mod boot;
mod boots;
pub mod changes;
mod control;
mod error;
pub mod grants;
mod levels;
mod objects;
pub mod render;
mod request;
pub mod script;
mod serve;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};

pub use error::ApiError;
use grants::Grants;
use netboot_common::Mac;
use netboot_common::class::Class;
pub use serve::{ControlError, Ends, Local, Times, bind_control, serve_connection, serve_control};

use crate::inventory::Live;
use crate::inventory::events::Events;
use crate::inventory::machines::Machines;
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
    pub site: Arc<dyn Site>,
    /// What an operator should know, as in a store that had to be begun anew.
    pub notices: Vec<String>,
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
        let grants = Grants::open(store.clone())?;
        let (started, ready) = (Instant::now(), AtomicBool::new(false));
        let rendering = render::InForce::default();
        Ok(Self { store, live, machines, events, grants, site, notices, rendering, started, ready })
    }

    /// What is rendered from now on from beside the inventory. Of the same folder, what was read of it is still known.
    pub fn set_rendering(&self, mut rendering: render::Rendering) {
        let before = self.rendering.load().folder.clone();
        if let (Some(before), Some(folder)) = (before, &mut rendering.folder)
            && before.path() == folder.path()
        {
            *folder = before;
        }
        self.rendering.store(Arc::new(rendering));
    }

    /// Says that every listener is up: `/readyz` answers 200 from now on.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}

/// What machines may ask. Needs `ConnectInfo<SocketAddr>` on each request, as [`serve_connection`] gives it.
pub fn public(state: Arc<ApiState>) -> Router {
    Router::new()
        .merge(render::routes())
        .route("/agent/v1/session", post(agent::session))
        .route("/agent/v1/instructions", get(agent::instructions))
        .route("/agent/v1/report", post(agent::report))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(DefaultBodyLimit::max(64 << 10))
        .with_state(state)
}

/// What operators may ask and do.
pub fn control(state: Arc<ApiState>) -> Router {
    control::router(state)
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
