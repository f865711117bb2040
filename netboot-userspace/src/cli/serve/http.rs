//! HTTP: the engine with what answers beside it, and the cache of upstreams.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use tokio::runtime::Handle;

use super::Site;
use super::upstreams::Upstreams;
use super::watch::Watch;
use crate::cli::https;
use crate::http::upstream::{MOUNTS, Mirror};
use crate::{api, http};

impl Site {
    /// `None`: no upstream is configured.
    pub(super) fn mirror(&self, watch: Watch) -> Option<Arc<Mirror>> {
        let cache = &self.config.cache;
        if cache.upstreams.is_empty() {
            return None;
        }
        let folder = self.config.paths.state.join("cache");
        let upstreams = Upstreams::new(self.state.events.clone());
        let observer = Arc::new(move |event| upstreams.tell(&event));
        let accesses = Arc::new(move |event| watch.http(event));
        let descriptors = self.budget.bodies / 2;
        let opened =
            Mirror::open(cache.clone(), None, &folder, &self.config.assets, descriptors, observer, accesses);
        // Everything else is served without it.
        let opened =
            opened.inspect_err(|error| tracing::error!("{error}")).map_err(|error| error.to_string());
        self.layers.set_mirror(opened.clone());
        opened.ok()
    }

    pub(super) fn http(&self, watch: Watch, mirror: Option<Arc<Mirror>>) -> anyhow::Result<http::Server> {
        let mut config = http::Config::new(self.config.http.listen);
        config.workers = self.config.http.workers.unwrap_or(0);
        let connections = config.limits.total.min(self.budget.connections);
        (config.tls, config.limits.total) = https::listener(&self.config, self.identity.clone(), connections);
        // The other half is the cache's.
        let bodies = if mirror.is_some() { self.budget.bodies.div_ceil(2) } else { self.budget.bodies };
        config.limits.open_files = config.limits.open_files.min(bodies);
        config.pace = self.config.http.pace;
        let folder = |prefix: &str, roots: Vec<PathBuf>, index: bool| http::Mount::Folder {
            prefix: prefix.to_owned(),
            roots,
            index,
        };
        let (assets, index) = (self.config.assets.clone(), self.config.http.index);
        self.layers.set_assets(assets.clone());
        let images = self.config.livebootp.iter().map(|registry| registry.images.clone());
        let mirrored = mirror.iter().map(|mirror| mirror.files().to_owned());
        let assets: Vec<PathBuf> = [assets].into_iter().chain(images).chain(mirrored).collect();
        config.mounts = MOUNTS.map(|prefix| folder(prefix, assets.clone(), index)).to_vec();
        config.mounts.push(folder("/loaders/", self.loaders.clone(), false));
        let router = http::Folders::open(&config.mounts)?.before(api::public(self.state.clone()));
        let router = mirror.iter().fold(router, |router, mirror| mirror.before(router));
        config.mirror = mirror;
        let (runtime, plain) = (Handle::current(), self.config.http.listen);
        let times = api::Times::lingering(config.limits.patience.linger);
        let hand_over = move |connection: http::HandOver| {
            let router = router.clone();
            runtime.spawn(async move {
                let peer = connection.peer;
                if let Err(error) = answered(connection, plain, times, router).await {
                    tracing::debug!("{peer}: {error}");
                }
            });
        };
        Ok(http::Server::start(config, Arc::new(hand_over), Arc::new(move |event| watch.http(event)))?)
    }
}

/// Answers a request that was handed over; the connection goes back for the next one, where it can. Plain HTTP is on `plain`.
async fn answered(
    connection: http::HandOver,
    plain: SocketAddr,
    times: api::Times,
    router: Router,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let http::HandOver { stream, read, request, peer, tls, way_back } = connection;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let behind_tls = |reached: SocketAddr| {
        let local = api::Local { address: https::plain(plain, reached), by_tls: true };
        Ok(api::Ends { peer, local })
    };
    let ends = tls.map_or_else(|| api::Ends::of(&stream), behind_tls)?;
    let served = api::serve_connection(stream, ends, read, request.whole(), times, router).await?;
    if let Some((stream, read)) = served {
        way_back.give_back(stream.into_std()?, read);
    }
    Ok(())
}
