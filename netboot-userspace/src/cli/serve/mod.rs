//! `netboot serve`: the site server. Here, and only here, the rooms meet.

pub(super) mod booting;
mod failed;
mod files;
mod http;
mod layers;
mod links;
mod loaders;
mod monitor;
mod names;
mod observer;
mod refused;
mod reload;
mod repeats;
mod transfers;
mod upstreams;
mod watch;

use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use anyhow::{Context, bail};
use netboot_common::tftp::maps::{TIDS, TIDS_FEW};
use tokio::signal::unix::{SignalKind, signal};

use self::booting::Booting;
use self::layers::{Kernels, Layers};
use self::links::Links;
use self::loaders::{Library, Loaders};
use self::monitor::Watched;
use self::names::Names;
use self::observer::Observer;
use self::reload::Reloader;
pub(super) use self::reload::Source;
use self::watch::Watch;
use super::config::{File, Loaded};
use super::{rendering, rooms};
use crate::api::{self, ApiState};
use crate::config::{self, Checked, Dhcp6Mode, Unknown};
use crate::dhcp::tables::{Numbering, Plan};
use crate::fastpath::files::Files;
use crate::fastpath::{self, Kernel, KernelTables};
use crate::http::tls::Identity;
use crate::inventory::events::Lane;
use crate::sys::descriptors::Budget;
use crate::sys::stoppable::Stoppable;
use crate::uring::workers::default_count;
use crate::{dhcp, dhcp6, tftp};

/// Serve a site, as its configuration says
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  netboot serve
  netboot serve --config ./lab/netboot.yaml --control ./lab/control.sock
  netboot config check --config ./lab/netboot.yaml      what is wrong with it, without serving

On SIGTERM and SIGINT the kernel's programs are taken off the interfaces, unless --stay: then known machines go on
booting, and the next `netboot serve` takes the programs over without a gap. After a crash they stay in any case.")]
pub(super) struct Args {
    #[command(flatten)]
    file: File,
    /// Leave the kernel's programs at work on shutdown
    #[arg(long)]
    stay: bool,
}

pub(super) fn main(args: Args, control: Option<PathBuf>) -> anyhow::Result<()> {
    let source = Source::new(args.file, control);
    let loaded = source.load()?;
    super::boot::clear_leftovers();
    run(loaded, Some(source), args.stay)
}

/// Serves until SIGINT or SIGTERM. `source`: where the configuration may be read again. `stay`: the kernel's programs outlive it.
pub(super) fn run(loaded: Loaded, source: Option<Source>, stay: bool) -> anyhow::Result<()> {
    start(loaded, source, None, "info", stay)
}

/// The same of a site without a configuration. `level`: of the log, unless NETBOOT_LOG says another.
pub(super) fn run_booting(config: Checked, booting: Booting, level: &str) -> anyhow::Result<()> {
    start(Loaded { config, identity: None }, None, Some(booting), level, false)
}

fn start(
    loaded: Loaded,
    source: Option<Source>,
    booting: Option<Booting>,
    level: &str,
    stay: bool,
) -> anyhow::Result<()> {
    let Loaded { config, identity } = loaded;
    let filter = tracing_subscriber::EnvFilter::try_from_env("NETBOOT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let budget = Budget::raise().context("raising the limit of open files (RLIMIT_NOFILE)")?;
    let links = links::resolve(&config)?;
    let layers = Arc::new(Layers::default());
    let state = rooms::open(&config, layers.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let loaders = loaders(&config);
    let site = Site { config, identity, budget, source, booting, links, loaders, layers, state };
    let served = runtime.block_on(site.serve(stay));
    // A file that is being kept may wait for its disk for a minute: it is swept at the next start.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// The operator's own loaders, then iPXE's. Many sites have none of their own.
fn loaders(config: &Checked) -> Vec<PathBuf> {
    let folders = [&config.tftp.root, &config.ipxe];
    let (there, missing): (Vec<&PathBuf>, _) = folders.into_iter().partition(|folder| folder.is_dir());
    for folder in missing {
        tracing::info!("{} is not a folder: nothing is served from there", folder.display());
    }
    there.into_iter().cloned().collect()
}

struct Site {
    config: Checked,
    identity: Option<Arc<Identity>>,
    budget: Budget,
    source: Option<Source>,
    booting: Option<Booting>,
    links: Links,
    /// The folders of network boot programs.
    loaders: Vec<PathBuf>,
    layers: Arc<Layers>,
    state: Arc<ApiState>,
}

impl Site {
    /// Upwards from what fails most often: sockets first, the kernel last, for from then on machines are answered.
    async fn serve(mut self, stay: bool) -> anyhow::Result<()> {
        // Before anything is attached: from here on every signal takes it off again.
        let stop = stop_signal()?;
        let control = api::bind_control(&self.config.paths.control)?;
        let (watch, observer) = Observer::start(self.state.machines.clone(), self.state.events.clone())?;
        let gate = booting::open(self.booting.take(), &self.config, &self.state, watch.clone())?;
        let mirror = self.mirror(watch.clone());
        let http = self.http(watch.clone(), mirror)?;
        let tftp = self.tftp(watch.clone())?;
        let mut kernel = self.kernel()?;
        let dhcp = Arc::new(self.dhcp(gate, kernel.as_mut(), watch.clone())?);
        let dhcp6 = self.dhcp6(watch.clone())?.map(Arc::new);
        dhcp.serve_known_elsewhere(self.state.machines.clone());
        dhcp6.iter().for_each(|dhcp6| dhcp6.serve_known_elsewhere(self.state.machines.clone()));
        self.follow_inventory(dhcp.clone(), dhcp6.clone());
        let reloader = self.reloader(dhcp.clone(), dhcp6.clone());
        let events = kernel.as_mut().map(Kernel::take_events).transpose()?;
        let files = kernel.as_mut().map(Kernel::take_files).transpose()?;
        let catalogue = files.as_ref().map(Files::catalogue).unwrap_or_default();
        let read = |ring| watch::read_kernel_events(ring, watch.clone(), dhcp.clone(), catalogue);
        let reader = events.map(read).transpose()?;
        let has_tftp = self.attach(kernel.as_mut());
        let loaders = match files {
            Some(files) if has_tftp => Some(self.loaders_in(files, &tftp, watch)?),
            files => {
                files.into_iter().for_each(Loaders::none);
                None
            }
        };
        let kernel = kernel.map(|kernel| Arc::new(Mutex::new(kernel)));
        let monitor = self.monitor(dhcp.clone(), dhcp6.clone(), kernel.clone(), reloader.clone())?;
        self.layers.set(http, tftp, dhcp, dhcp6);
        self.state.set_ready();
        self.announce();
        drop(tokio::spawn(remind(Arc::downgrade(&self.layers))));
        drop(tokio::spawn(rendering::follow(Arc::downgrade(&self.state))));
        let follower = reloader.and_then(follow_files);
        let router = api::control(self.state.clone());
        let stopped = api::serve_control(control, &self.config.paths.control, router, stop).await;
        // Before the programs go: it would put them back.
        monitor.stop();
        match kernel.and_then(Arc::into_inner).and_then(|kernel| kernel.into_inner().ok()) {
            Some(kernel) if !stay => kernel.detach_all(),
            _ => {}
        }
        if let Some(loaders) = loaders {
            loaders.stop();
        }
        if let Some(reader) = reader {
            reader.stop();
        }
        if let Some(follower) = follower {
            follower.stop();
        }
        self.layers.shutdown();
        observer.stop();
        Ok(stopped?)
    }

    fn tftp(&self, watch: Watch) -> anyhow::Result<tftp::Server> {
        let typed = &self.config.tftp;
        let mut config = tftp::Config::new(typed.listen);
        config.roots = self.loaders.clone();
        config.files = files();
        config.sources = tftp::Served::These(sources(&self.config, &self.links));
        // A file that a client writes is open for it alone; one that clients read, for all of them.
        let free = self.budget.files / 2;
        config.ports = match &typed.ports {
            _ if typed.one_port => tftp::Ports::Listen,
            Some(range) => tftp::Ports::Range(range.clone()),
            None => tftp::Ports::Any(free.min(PORTS.max(PORTS_EACH * default_count())) as u16),
        };
        (config.open_files, config.uploads_at_once) = (free / 2, free / 2);
        config.limits = limits(typed);
        config.transfers_per_client = typed.transfers_per_client.into();
        config.uploads = typed.upload.as_ref().map(|upload| tftp::Uploads {
            folder: upload.folder.clone(),
            most: upload.most,
            keep_free: upload.keep_free,
            files_per_client: upload.files_per_client,
        });
        config.site = Some(Arc::new(Names::new(
            typed.map.clone(),
            self.state.machines.clone(),
            self.state.live.clone(),
        )));
        Ok(tftp::Server::start(config, Arc::new(move |event| watch.tftp(Lane::Tftp, event)))?)
    }

    /// What TFTP serves, in so far as the kernel can.
    fn loaders_in(&self, maps: Files, server: &tftp::Server, watch: Watch) -> anyhow::Result<Loaders> {
        let library = Library::new(&self.loaders, files(), &self.config.tftp);
        let (listen, sources) = (server.local_addr(), server.sources());
        // Out of what is left for the kernel's maps and the like.
        let tids = if self.budget.limit >= MANY_DESCRIPTORS { TIDS } else { TIDS_FEW };
        let limits = limits(&self.config.tftp);
        let loaders = Loaders::start(maps, (listen, tids), limits, library, sources, watch)?;
        self.layers.set_in_kernel(loaders.placed());
        Ok(loaders)
    }

    /// The kernel's lanes; `None`, with the reason said, where they can't be had: userspace serves alone then. Programs of an
    /// earlier run must go first, for they would go on answering from tables that nobody changes any more.
    fn kernel(&self) -> anyhow::Result<Option<Kernel>> {
        let pins = &self.config.paths.pins;
        let error = match Kernel::load(pins) {
            Ok(mut kernel) => {
                kernel.follow_log();
                return Ok(Some(kernel));
            }
            Err(error @ fastpath::Error::Taken { .. }) => return Err(error.into()),
            Err(error) => format!("{:#}", anyhow::Error::from(error)),
        };
        if let Err(left) = fastpath::take_off(pins) {
            bail!(
                "no lane in the kernel ({error}), and programs of an earlier run can't be taken off: remove {}",
                left.join(", ")
            );
        }
        tracing::warn!("no lane in the kernel, userspace answers alone: {error}");
        self.layers.set_kernel(Kernels::Without(error));
        Ok(None)
    }

    fn dhcp(
        &self,
        gate: Option<Arc<dyn dhcp::Gate>>,
        kernel: Option<&mut Kernel>,
        watch: Watch,
    ) -> anyhow::Result<dhcp::Server> {
        let tables = kernel.map(Kernel::take_tables).transpose()?;
        // Machines are answered from an adopted kernel's tables while they are exchanged.
        let adopted = tables.as_ref().map(KernelTables::numbers_in_use).unwrap_or_default();
        let plan = Plan::new(&self.config, &self.links.v4, Numbering::beside(adopted))?;
        let (snapshot, store) = (self.state.live.snapshot(), self.state.store.clone());
        let observer = Arc::new(move |event| watch.dhcp(&event));
        let policy = policy(&self.config);
        Ok(dhcp::Server::start(gate, plan, policy, &snapshot, store, tables, observer)?)
    }

    /// `None` where no interface has it.
    fn dhcp6(&self, watch: Watch) -> anyhow::Result<Option<dhcp6::Server>> {
        let Some(first) = self.links.v6.first() else { return Ok(None) };
        let store = self.state.store.clone();
        let plan =
            dhcp6::tables::Plan::new(&self.config, &self.links.v6, dhcp6::server_id(&store, first.mac)?);
        let serve_unknown = serves_unknown(&self.config);
        let observer = Arc::new(move |event| watch.dhcp6(&event));
        let snapshot = self.state.live.snapshot();
        Ok(Some(dhcp6::Server::start(plan, serve_unknown, &snapshot, store, observer)?))
    }

    /// Every change of the inventory is in all lanes' tables before its caller hears of it.
    fn follow_inventory(&self, dhcp: Arc<dhcp::Server>, dhcp6: Option<Arc<dhcp6::Server>>) {
        let lanes = (dhcp.clone(), dhcp6.clone());
        self.state.live.on_regroup(move |snapshot| {
            lanes.1.iter().for_each(|dhcp6| dhcp6.regroup(snapshot));
            told(lanes.0.regroup(snapshot))
        });
        self.state.live.on_change(move |changed| {
            if let Some(dhcp6) = &dhcp6 {
                dhcp6.apply(changed);
            }
            told(dhcp.apply(changed))
        });
    }

    /// `None`: there are no files.
    fn reloader(&self, dhcp: Arc<dhcp::Server>, dhcp6: Option<Arc<dhcp6::Server>>) -> Option<Arc<Reloader>> {
        let (config, links) = (self.config.clone(), self.links.clone());
        let layers = Arc::downgrade(&self.layers);
        let reloader =
            Reloader::new(self.source.clone()?, config, links, layers, self.state.clone(), dhcp, dhcp6);
        let reloader = Arc::new(reloader);
        self.layers.set_reloader(reloader.clone());
        Some(reloader)
    }

    fn monitor(
        &self,
        dhcp: Arc<dhcp::Server>,
        dhcp6: Option<Arc<dhcp6::Server>>,
        kernel: Option<Arc<Mutex<Kernel>>>,
        reloader: Option<Arc<Reloader>>,
    ) -> anyhow::Result<Stoppable> {
        let (wishes, layers) = (links::wishes(&self.config), self.layers.clone());
        let watched = Watched { dhcp, dhcp6, kernel, wishes, layers, reloader };
        watched.start().context("watching the interfaces")
    }

    /// Whether TFTP's program is attached anywhere.
    fn attach(&self, kernel: Option<&mut Kernel>) -> bool {
        let Some(kernel) = kernel else { return false };
        let mut attachments = Vec::new();
        let wishes = links::wishes(&self.config);
        for (interface, wish) in &wishes {
            match kernel.attach(interface, *wish) {
                Ok(attachment) => {
                    let fastpath::Attachment { xdp, tcx, tftp, .. } = &attachment;
                    tracing::info!("{interface}: XDP {xdp}, tc {tcx}, TFTP {tftp}");
                    attachments.push(attachment);
                }
                Err(error) => tracing::warn!("{interface}: no program attached: {error}"),
            }
        }
        kernel.keep_only(&wishes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
        let has_tftp = attachments.iter().any(|attachment| attachment.tftp.mode != fastpath::Mode::Off);
        let counters = kernel.take_counters().and_then(|counters| Ok((counters, kernel.file_counters()?)));
        match counters {
            Ok((counters, tftp)) => {
                let (attachments, tftp) = (Mutex::new(attachments), Box::new(tftp));
                self.layers.set_kernel(Kernels::With { attachments, counters, tftp })
            }
            Err(error) => tracing::warn!("no counters: {error}"),
        }
        has_tftp
    }

    fn announce(&self) {
        let config = &self.config;
        let Budget { limit, connections, bodies, files } = self.budget;
        tracing::info!(
            "up to {limit} open files: for {connections} HTTP connections and {bodies} files that they are sent, and {files} for ports and files of TFTP"
        );
        tracing::info!("HTTP on {}, {}", config.http.listen, self.layers.http_engine());
        self.layers.announce_https();
        self.layers
            .https_engine()
            .iter()
            .for_each(|engine| tracing::info!("HTTPS is enciphered by {engine}"));
        tracing::info!("TFTP on {}, {}", config.tftp.listen, self.layers.tftp_engine());
        let mut links6 = self.links.v6.iter();
        for (interface, link) in config.interfaces.iter().zip(&self.links.v4) {
            let vlan: Vec<String> = interface.vlan.iter().map(|vid| format!(" VLAN {vid}")).collect();
            let (mode, vlan) = (interface.dhcp.name(), vlan.concat());
            tracing::info!("DHCP {mode} on {}{vlan} as {}", link.name, link.address);
            if interface.v6.mode != Dhcp6Mode::Off
                && let Some(link) = links6.next()
            {
                tracing::info!("DHCPv6 {} on {} as {}", interface.v6.mode.name(), link.name, link.address);
            }
        }
        tracing::info!("control socket {}", config.paths.control.display());
    }
}

/// The most ports that TFTP's transfers have, where none are named.
const PORTS: usize = 128;
/// Above it, so many for each core: a worker that has two uses them in turn, which is easily guessed.
const PORTS_EACH: usize = 4;

/// With so many descriptors a quarter leaves enough beside [`TIDS`].
const MANY_DESCRIPTORS: u64 = 4096;

/// What one transfer may do, on every lane.
fn limits(tftp: &config::Tftp) -> tftp::Limits {
    let (block_size, window_size, after_wrap) = (tftp.blksize, tftp.windowsize, tftp.rollover);
    tftp::Limits { block_size, window_size, after_wrap, ..tftp::Limits::default() }
}

/// Files of TFTP that are in no folder.
fn files() -> Vec<(String, Arc<[u8]>)> {
    vec![("autoexec.ipxe".to_owned(), Arc::from([]))]
}

/// Reloads when a file changes, and on SIGHUP, for as long as this process runs.
fn follow_files(reloader: Arc<Reloader>) -> Option<Stoppable> {
    let reload = reloader.clone();
    match signal(SignalKind::hangup()) {
        Ok(mut hang_up) => drop(tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                let reload = reload.clone();
                // Its outcome is in the log.
                let _ = tokio::task::spawn_blocking(move || reload.reload()).await;
            }
        })),
        Err(error) => tracing::warn!("SIGHUP reloads nothing: {error}"),
    }
    let path = reloader.source.path().to_owned();
    let named = reloader.clone();
    let follower = files::follow(&path, move || named.named(), move || drop(reloader.reload()));
    follower
        .inspect_err(|error| {
            tracing::warn!(
                "{}: changes are not followed, tell them (netboot config reload): {error}",
                path.display()
            );
        })
        .ok()
}

/// Tells each day of a certificate that is near its end, or beyond.
async fn remind(layers: Weak<Layers>) {
    loop {
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        let Some(layers) = layers.upgrade() else { return };
        layers.warn_https();
    }
}

/// The networks whose clients TFTP answers.
fn sources(config: &Checked, links: &Links) -> Vec<(IpAddr, u8)> {
    let own = links.v4.iter().map(|link| (link.address.into(), link.prefix));
    let own = own.chain(config.all_subnets().map(|subnet| (subnet.network.into(), subnet.prefix)));
    let own6 = config.all_subnets6().map(|subnet| (subnet.network.into(), subnet.prefix));
    own.chain(own6).collect()
}

/// What whoever made the change hears, if DHCP's lanes could not follow.
fn told(result: Result<(), dhcp::Error>) -> Result<(), String> {
    result.map_err(|error| {
        let error =
            format!("stored, but the kernel's tables do not have it yet: {:#}", anyhow::Error::from(error));
        tracing::error!("{error}");
        error
    })
}

fn policy(config: &Checked) -> dhcp::Policy {
    dhcp::Policy {
        serve_unknown: serves_unknown(config),
        authoritative: config.authoritative,
        limits: config.limits,
    }
}

fn serves_unknown(config: &Checked) -> bool {
    config.unknown == Unknown::Boot
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// Set once, read often.
type Later<T> = OnceLock<T>;
