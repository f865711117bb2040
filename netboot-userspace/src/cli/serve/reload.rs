//! The configuration's files, put into force while machines boot: whole, or not at all.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::super::config::{File, Loaded, Wrong};
use super::super::{rendering, rooms};
use super::files::Named;
use super::layers::Layers;
use super::{Links, links};
use crate::api::ApiState;
use crate::config::{Checked, Dhcp6Mode, DhcpMode, Interface, XdpMode};
use crate::dhcp::tables::Link;
use crate::http::tls::Identity;
use crate::inventory::live::{NotMade, Reconfigured};
use crate::sys::clock;
use crate::{dhcp, dhcp6};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Source {
    file: File,
    /// In place of the one that the file names.
    control: Option<PathBuf>,
}

impl Source {
    pub(in crate::cli) fn new(file: File, control: Option<PathBuf>) -> Self {
        Self { file, control }
    }

    pub(in crate::cli) fn load(&self) -> anyhow::Result<Loaded> {
        let mut loaded = self.file.load()?;
        if let Some(control) = &self.control {
            loaded.config.paths.control.clone_from(control);
        }
        Ok(loaded)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }
}

/// What is in force, and the way to change it.
pub(super) struct Reloader {
    pub(super) source: Source,
    pub(super) state: Arc<ApiState>,
    pub(super) dhcp: Arc<dhcp::Server>,
    pub(super) dhcp6: Option<Arc<dhcp6::Server>>,
    layers: Weak<Layers>,
    in_force: Mutex<InForce>,
}

struct InForce {
    config: Checked,
    links: Links,
    /// Unix time, seconds.
    since: u64,
    /// Why the files are not in force as they are now.
    refused: Option<String>,
    /// What those looked for beside them: it may be mended there.
    looked_for: Vec<PathBuf>,
}

impl Reloader {
    pub(super) fn new(
        source: Source,
        config: Checked,
        links: Links,
        layers: Weak<Layers>,
        state: Arc<ApiState>,
        dhcp: Arc<dhcp::Server>,
        dhcp6: Option<Arc<dhcp6::Server>>,
    ) -> Self {
        warn_of(&config);
        let in_force =
            Mutex::new(InForce { config, links, since: clock::now(), refused: None, looked_for: Vec::new() });
        Self { source, state, dhcp, dhcp6, layers, in_force }
    }

    /// Reads the files, and puts them into force. Says so in the log, either way.
    ///
    /// # Errors
    /// What is wrong with them: what was in force stays.
    pub(super) fn reload(&self) -> anyhow::Result<Reconfigured> {
        let mut in_force = self.in_force();
        let path = self.source.path().display();
        let outcome = self.exchange(&mut in_force);
        match &outcome {
            Ok(changed) if *changed == Reconfigured::default() => tracing::info!("{path} is in force"),
            Ok(Reconfigured { hosts, profiles, groups, left_out }) => {
                tracing::info!(?hosts, ?profiles, ?groups, "{path} is in force");
                left_out.iter().for_each(|notice| tracing::warn!("{notice}"));
            }
            Err(error) => tracing::error!("{path} is not in force, what was before stays: {error:#}"),
        }
        in_force.refused = outcome.as_ref().err().map(|error| format!("{error:#}"));
        let wrong = outcome.as_ref().err().and_then(|error| error.downcast_ref::<Wrong>());
        in_force.looked_for = wrong.map(|Wrong(errors)| errors.looked_for().to_vec()).unwrap_or_default();
        outcome
    }

    fn exchange(&self, in_force: &mut InForce) -> anyhow::Result<Reconfigured> {
        let Loaded { config, identity } = self.source.load()?;
        let links = links::resolve(&config)?;
        let rendering = rendering::open(&config)?;
        // What did not reach every lane is told again, though nothing differs.
        if config == in_force.config && links == in_force.links && self.dhcp.behind().is_none() {
            self.show(identity);
            self.state.set_rendering(rendering);
            return Ok(Reconfigured::default());
        }
        let fixed = needs_restart(in_force, &config, &links);
        if !fixed.is_empty() {
            let fixed = fixed.join(", ");
            bail!(
                "can't be changed while it serves: {fixed}; restart it (netboot serve --stay leaves the kernel's programs at work meanwhile)"
            );
        }
        let prepared = self.dhcp.prepare(&config, &links.v4, super::policy(&config))?;
        let dhcp6 = match &self.dhcp6 {
            Some(server) => Some((server, server.plan(&config, &links.v6))),
            None => None,
        };
        let configured = rooms::snapshot(&config)?;
        let changed = self.state.live.reconfigure(configured, rooms::rule(&config), |snapshot| {
            self.state.machines.set_policy(rooms::policy(&config));
            if let Some((server, plan)) = dhcp6 {
                server.switch(plan, super::serves_unknown(&config), snapshot);
            }
            self.dhcp.switch(prepared, snapshot).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
        });
        if let Err(NotMade::Store(error)) = changed {
            return Err(error).context("the store's hosts can't be read");
        }
        if let Some(layers) = self.layers.upgrade() {
            layers.serve_tftp_to(super::sources(&config, &links));
        }
        self.show(identity);
        self.state.set_rendering(rendering);
        if config.faults().ne(in_force.config.faults()) {
            warn_of(&config);
        }
        // It is: the lane in userspace has it also where the kernel's could not follow.
        (in_force.config, in_force.links, in_force.since) = (config, links, clock::now());
        changed.context("in force, but not in every lane")
    }

    /// The files of a certificate change while the configuration stays as it is.
    fn show(&self, identity: Option<Arc<Identity>>) {
        if let (Some(layers), Some(identity)) = (self.layers.upgrade(), identity) {
            layers.show(identity);
        }
    }

    /// An interface that was made anew is served as what it is now. Not while a reload puts what it was into force.
    ///
    /// # Errors
    /// As [`dhcp::Server::relink`].
    pub(super) fn relink(&self, new: &Link) -> Result<(), dhcp::Error> {
        let mut in_force = self.in_force();
        self.dhcp.relink(new)?;
        for link in in_force.links.v4.iter_mut().filter(|link| link.name == new.name) {
            (link.index, link.mac) = (new.index, new.mac);
        }
        Ok(())
    }

    /// The same of DHCPv6.
    ///
    /// # Errors
    /// As [`dhcp6::Server::relink`].
    pub(super) fn relink6(&self, new: &dhcp6::tables::Link) -> Result<(), dhcp6::Error> {
        let mut in_force = self.in_force();
        if let Some(dhcp6) = &self.dhcp6 {
            dhcp6.relink(new)?;
        }
        let mut links = in_force.links.v6.iter_mut();
        if let Some(link) = links.find(|link| link.name == new.name) {
            link.clone_from(new);
        }
        Ok(())
    }

    /// What is beside the configuration or anywhere else: files of HTTPS, and files and folders of LiveBOOTP's registry. Those of the
    /// configuration in force, and those that a refused one would have.
    pub(super) fn named(&self) -> Named {
        let in_force = self.in_force();
        let https = in_force.config.http.https.iter().flat_map(|https| [&https.certificate, &https.key]);
        let registry = in_force.config.livebootp.as_ref();
        let files = https.chain(registry.iter().flat_map(|registry| &registry.files));
        let files = files.chain(&in_force.looked_for).cloned().collect();
        Named { files, folders: registry.map(|registry| registry.folders.clone()).unwrap_or_default() }
    }

    /// For `netboot status`.
    pub(super) fn status(&self) -> Value {
        let InForce { config, since, refused, .. } = &*self.in_force();
        let faults: Vec<String> = config.faults().map(ToString::to_string).collect();
        json!({ "path": self.source.path(), "since": since, "refused": refused, "faults": faults })
    }

    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is in force, and is not as it should be.
fn warn_of(config: &Checked) {
    config.faults().for_each(|fault| tracing::warn!("{fault}"));
}

/// What differs and is fixed when the servers start: sockets, folders, and where programs are attached.
fn needs_restart(old: &InForce, config: &Checked, links: &Links) -> Vec<&'static str> {
    let before = &old.config;
    let shapes = |config: &Checked| config.interfaces.iter().map(Shape::of).collect::<Vec<_>>();
    // Those that somebody serves: what becomes of the others is nobody's concern.
    let indexes = |config: &Checked, links: &Links| {
        let v4 = config.interfaces.iter().zip(&links.v4);
        let v4 = v4.filter(|(interface, _)| interface.dhcp != DhcpMode::Off).map(|(_, link)| link.index);
        v4.chain(links.v6.iter().map(|link| link.index)).collect::<Vec<_>>()
    };
    let images = |config: &Checked| {
        config.livebootp.as_ref().map(|registry| (registry.images.clone(), registry.images_at))
    };
    let addresses6 = |links: &Links| links.v6.iter().map(|link| link.address).collect::<Vec<_>>();
    let fixed = [
        ("interfaces (name, vlan, dhcp, xdp)", shapes(before) != shapes(config)),
        ("an interface that was made anew", indexes(before, &old.links) != indexes(config, links)),
        ("an interface's IPv6 address", addresses6(&old.links) != addresses6(links)),
        ("http", before.http.fixed() != config.http.fixed()),
        ("tftp", before.tftp != config.tftp),
        ("assets", (&before.assets, &before.cache) != (&config.assets, &config.cache)),
        ("livebootp.images", images(before) != images(config)),
        ("ipxe", before.ipxe != config.ipxe),
        ("paths", before.paths != config.paths),
        ("probe", before.probe != config.probe),
    ];
    fixed.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
}

/// What of an interface its sockets and programs depend on.
#[derive(PartialEq, Eq)]
struct Shape {
    name: String,
    vlan: Vec<u16>,
    xdp: XdpMode,
    dhcp: DhcpMode,
    has_v6: bool,
}

impl Shape {
    fn of(interface: &Interface) -> Self {
        Self {
            name: interface.name.clone(),
            vlan: interface.vlan.clone(),
            xdp: interface.xdp,
            dhcp: interface.dhcp,
            has_v6: interface.v6.mode != Dhcp6Mode::Off,
        }
    }
}
