//! Files of other servers, by the pull-through cache: fetched once for all machines, with a length, by ranges.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::super::upstreams::Upstreams;
use crate::config::{Cache, Deadlines, Origin, Upstream};
use crate::http;
use crate::http::upstream::{Mirror, Trust};
use crate::inventory::events::Events;
use crate::pixiecore::script::escaped;

/// Servers that files are fetched from, at most.
const SERVERS: usize = 32;
/// Bytes of copies, of each server; and what the disk keeps free for others.
const SIZE: u64 = 20 << 30;
const KEEP_FREE: u64 = 1 << 30;
/// Files and connections of one server, at once.
const DESCRIPTORS: usize = 256;
/// So long a copy counts as what its server has.
const CHECK_AFTER: Duration = Duration::from_secs(60);
/// Below where assets are, for the cache.
const PREFIX: &str = "remote/";

type Accesses = Arc<dyn Fn(http::Event) + Send + Sync>;

/// The copies of all servers, a cache for each.
pub(super) struct Remote {
    folder: PathBuf,
    /// Those that the operator has named: they may be anywhere.
    hosts: Vec<Origin>,
    /// Whom the system trusts, where that is known already.
    trust: Option<Trust>,
    told: Arc<Upstreams>,
    accesses: Accesses,
    open: Mutex<HashMap<Origin, Router>>,
}

impl Remote {
    pub(super) fn new(
        folder: PathBuf,
        hosts: Vec<Origin>,
        trust: Option<Trust>,
        events: Arc<Events>,
        accesses: Accesses,
    ) -> Self {
        let told = Arc::new(Upstreams::new(events));
        Self { folder, hosts, trust, told, accesses, open: Mutex::default() }
    }

    /// Answers with the file at `url`.
    pub(super) async fn answer(&self, url: &str, mut request: Parts) -> Response {
        let Some((origin, rest)) = Origin::split(url) else { return none("it is no URL of http or https") };
        let name = rest.split('#').next().unwrap_or_default().trim_start_matches('/');
        // As it stands, with its query: the cache reads it as it is meant here, and asks for it as it is written.
        let path: Vec<String> = name.split('/').map(escaped).collect();
        let Ok(uri) = format!("/assets/{PREFIX}{}", path.join("/")).parse::<Uri>() else {
            return none("its URL is too long");
        };
        request.uri = uri;
        let router = match self.router(&origin) {
            Ok(router) => router,
            Err(cause) => {
                tracing::error!("{url}: {cause}");
                return (StatusCode::SERVICE_UNAVAILABLE, format!("503 Service Unavailable: {cause}\n"))
                    .into_response();
            }
        };
        let answered = TowerToHyperService::new(router).call(Request::from_parts(request, Body::empty()));
        answered.await.unwrap_or_else(|never| match never {})
    }

    fn router(&self, origin: &Origin) -> Result<Router, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(router) = open.get(origin) {
            return Ok(router.clone());
        }
        if open.len() >= SERVERS {
            return Err(format!("files of {SERVERS} servers are kept already: no more"));
        }
        let cache = Cache { size: SIZE, keep_free: KEEP_FREE, upstreams: vec![self.upstream(origin)] };
        // Of servers that differ, no two names are one.
        let folder = self.folder.join(escaped(&origin.to_string()));
        let upstreams = self.told.clone();
        let told = Arc::new(move |event| upstreams.tell(&event));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (trust, accesses) = (self.trust.clone(), self.accesses.clone());
        let mirror = Mirror::open(cache, trust, &folder, &folder.join("none"), DESCRIPTORS, told, accesses);
        let mirror = mirror.map_err(|error| error.to_string())?;
        let router = mirror.before(Router::new().fallback(|| async { none("no file can have this URL") }));
        open.insert(origin.clone(), router.clone());
        Ok(router)
    }

    fn upstream(&self, origin: &Origin) -> Upstream {
        let seconds = Duration::from_secs;
        Upstream {
            prefix: PREFIX.to_owned(),
            origin: origin.clone(),
            path: "/".to_owned(),
            by_url: true,
            ca: None,
            allow_private: false,
            is_named: self.hosts.contains(origin),
            digests: BTreeMap::new(),
            digest_files: Vec::new(),
            digest_required: false,
            check_after: CHECK_AFTER,
            most: SIZE / 2,
            connections: 8,
            deadlines: Deadlines {
                connect: seconds(10),
                read: seconds(30),
                total: seconds(4 * 3600),
                least: 1 << 10,
            },
        }
    }
}

/// There is none, and why.
pub(super) fn none(cause: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("404 Not Found: {cause}\n")).into_response()
}
