//! `netboot serve`: the site server. Here, and only here, the rooms meet.

mod layers;
mod links;
mod observer;
mod watch;

use std::io::IsTerminal as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use self::layers::{Kernels, Layers};
use self::observer::Observer;
use self::watch::Watch;
use super::config::File;
use super::rooms;
use crate::api::{self, ApiState};
use crate::config::{Checked, Dhcp6Mode, Unknown};
use crate::dhcp::tables::{Link, Plan};
use crate::fastpath::Kernel;
use crate::{dhcp, dhcp6, http, tftp};

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
    let mut config = args.file.load()?;
    if let Some(control) = control {
        config.paths.control = control;
    }
    run(config, args.stay)
}

/// Serves until SIGINT or SIGTERM. `stay`: the kernel's programs outlive it.
pub fn run(config: Checked, stay: bool) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("NETBOOT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let (links, links6) = links::resolve(&config)?;
    let layers = Arc::new(Layers::default());
    let state = rooms::open(&config, layers.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let site = Site { config, links, links6, layers, state };
    runtime.block_on(site.serve(stay))
}

struct Site {
    config: Checked,
    links: Vec<Link>,
    /// Of the interfaces with DHCPv6.
    links6: Vec<dhcp6::tables::Link>,
    layers: Arc<Layers>,
    state: Arc<ApiState>,
}

impl Site {
    /// Upwards from what fails most often: sockets first, the kernel last, for from then on machines are answered.
    async fn serve(self, stay: bool) -> anyhow::Result<()> {
        // Before anything is attached: from here on every signal takes it off again.
        let stop = stop_signal()?;
        let control = api::bind_control(&self.config.paths.control)?;
        let (watch, observer) = Observer::start(self.state.machines.clone())?;
        let http = self.http(watch.clone())?;
        let tftp = self.tftp(&watch)?;
        let mut kernel = self.kernel();
        let dhcp = Arc::new(self.dhcp(kernel.as_mut(), watch.clone())?);
        let dhcp6 = self.dhcp6(watch.clone())?.map(Arc::new);
        self.follow_inventory(dhcp.clone(), dhcp6.clone());
        let events = kernel.as_mut().map(Kernel::take_events).transpose()?;
        let reader = events.map(|ring| watch::read_kernel_events(ring, watch, dhcp.clone())).transpose()?;
        self.attach(kernel.as_mut());
        self.layers.set(http, tftp, dhcp, dhcp6);
        self.state.set_ready();
        self.announce();
        let router = api::control(self.state.clone());
        let stopped = api::serve_control(control, &self.config.paths.control, router, stop).await;
        match kernel {
            Some(kernel) if !stay => kernel.detach_all(),
            _ => {}
        }
        if let Some(reader) = reader {
            reader.stop();
        }
        self.layers.shutdown();
        observer.stop();
        Ok(stopped?)
    }

    fn http(&self, watch: Watch) -> anyhow::Result<http::Server> {
        let mut config = http::Config::new(self.config.http.listen);
        config.workers = self.config.http.workers.unwrap_or(0);
        let folder =
            |prefix: &str, roots: Vec<PathBuf>| http::Mount::Folder { prefix: prefix.to_owned(), roots };
        let assets = self.config.assets.clone();
        config.mounts = vec![
            folder("/assets/", vec![assets.clone()]),
            folder("/images/", vec![assets]),
            folder("/loaders/", self.loaders()),
        ];
        let router = api::public(self.state.clone());
        let runtime = Handle::current();
        let hand_over = move |connection: http::HandOver| {
            let router = router.clone();
            runtime.spawn(async move {
                let http::HandOver { stream, read, peer, place: _place } = connection;
                let served = match tokio::net::TcpStream::from_std(stream) {
                    Ok(stream) => api::serve_connection(stream, read, router).await,
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = served {
                    tracing::debug!("{peer}: {error}");
                }
            });
        };
        Ok(http::Server::start(config, Arc::new(hand_over), Arc::new(move |event| watch.http(&event)))?)
    }

    /// The configured address, and each that DHCPv6 names in its URLs: a transfer leaves from the address that was asked.
    fn tftp(&self, watch: &Watch) -> anyhow::Result<Vec<tftp::Server>> {
        let listen = self.config.tftp.listen;
        let named = self.links6.iter().map(|link| SocketAddr::from((link.address, listen.port())));
        let more = named.filter(|_| listen.is_ipv4());
        let own = self.links.iter().map(|link| (link.address.into(), link.prefix));
        let own = own.chain(self.config.all_subnets().map(|subnet| (subnet.network.into(), subnet.prefix)));
        let own6 = self.config.all_subnets6().map(|subnet| (subnet.network.into(), subnet.prefix));
        let (sources, roots): (Vec<(IpAddr, u8)>, _) = (own.chain(own6).collect(), self.loaders());
        let start = |listen| {
            let mut config = tftp::Config::new(listen);
            config.roots = roots.clone();
            config.files = vec![("autoexec.ipxe".to_owned(), Arc::from([]))];
            config.sources = sources.clone();
            let watch = watch.clone();
            Ok(tftp::Server::start(config, Arc::new(move |event| watch.tftp(&event)))?)
        };
        std::iter::once(listen).chain(more).map(start).collect()
    }

    /// The operator's own loaders, then iPXE's.
    fn loaders(&self) -> Vec<PathBuf> {
        let folders = [&self.config.tftp.root, &self.config.ipxe];
        let (there, missing): (Vec<&PathBuf>, _) = folders.into_iter().partition(|folder| folder.is_dir());
        for folder in missing {
            tracing::warn!("{} is not a folder: nothing is served from there", folder.display());
        }
        there.into_iter().cloned().collect()
    }

    /// The kernel's lanes; `None`, with the reason said, where they can't be had: userspace serves alone then.
    fn kernel(&self) -> Option<Kernel> {
        match Kernel::load(&self.config.paths.pins) {
            Ok(mut kernel) => {
                kernel.follow_log();
                Some(kernel)
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!("no lane in the kernel, userspace answers alone: {error}");
                self.layers.set_kernel(Kernels::Without(error));
                None
            }
        }
    }

    fn dhcp(&self, kernel: Option<&mut Kernel>, watch: Watch) -> anyhow::Result<dhcp::Server> {
        let plan = Plan::new(&self.config, &self.links, None)?;
        let tables = kernel.map(Kernel::take_tables).transpose()?;
        let policy = dhcp::Policy {
            serve_unknown: self.config.unknown == Unknown::Boot,
            authoritative: self.config.authoritative,
            limits: self.config.limits,
        };
        let (snapshot, store) = (self.state.live.snapshot(), self.state.store.clone());
        let observer = Arc::new(move |event| watch.dhcp(&event));
        Ok(dhcp::Server::start(plan, policy, &snapshot, store, tables, observer)?)
    }

    /// `None` where no interface has it.
    fn dhcp6(&self, watch: Watch) -> anyhow::Result<Option<dhcp6::Server>> {
        let Some(first) = self.links6.first() else { return Ok(None) };
        let store = self.state.store.clone();
        let plan = dhcp6::tables::Plan::new(&self.config, &self.links6, dhcp6::server_id(&store, first.mac)?);
        let serve_unknown = self.config.unknown == Unknown::Boot;
        let observer = Arc::new(move |event| watch.dhcp6(&event));
        let snapshot = self.state.live.snapshot();
        Ok(Some(dhcp6::Server::start(plan, serve_unknown, &snapshot, store, observer)?))
    }

    /// Every change of the inventory is in all lanes' tables before its caller hears of it.
    fn follow_inventory(&self, dhcp: Arc<dhcp::Server>, dhcp6: Option<Arc<dhcp6::Server>>) {
        let live = Arc::downgrade(&self.state.live);
        self.state.live.on_change(move |changed| {
            if let (Some(dhcp6), Some(live)) = (&dhcp6, live.upgrade()) {
                dhcp6.apply(&live.snapshot());
            }
            dhcp.apply(changed).map_err(|error| {
                let error = format!(
                    "stored, but the kernel's tables do not have it: {:#}",
                    anyhow::Error::from(error)
                );
                tracing::error!("{error}");
                error
            })
        });
    }

    fn attach(&self, kernel: Option<&mut Kernel>) {
        let Some(kernel) = kernel else { return };
        let mut attachments = Vec::new();
        for (interface, wish) in links::wishes(&self.config) {
            match kernel.attach(&interface, wish) {
                Ok(attachment) => {
                    tracing::info!("{interface}: XDP {}, tc {}", attachment.xdp, attachment.tcx);
                    attachments.push(attachment);
                }
                Err(error) => tracing::warn!("{interface}: no program attached: {error}"),
            }
        }
        match kernel.take_counters() {
            Ok(counters) => self.layers.set_kernel(Kernels::With { attachments, counters }),
            Err(error) => tracing::warn!("no counters: {error}"),
        }
    }

    fn announce(&self) {
        let config = &self.config;
        tracing::info!("HTTP on {}, {}", config.http.listen, self.layers.http_engine());
        tracing::info!("TFTP on {}", self.layers.tftp());
        let mut links6 = self.links6.iter();
        for (interface, link) in config.interfaces.iter().zip(&self.links) {
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

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// Set once, read often.
type Later<T> = OnceLock<T>;
