//! The rooms that know things, opened in their order: store, inventory, machines, API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Context;

use super::rendering;
use crate::api::{ApiState, Site};
use crate::config::{Checked, DhcpMode, Unknown};
use crate::dhcp::fit::Fit;
use crate::inventory::events::Events;
use crate::inventory::machines::{Machines, Policy};
use crate::inventory::{Host, Live, Snapshot};
use crate::store::Store;

/// What the site asks of a host set by CLI or API: addresses that can be given, and replies that hold all that is set.
pub(super) fn rule(config: &Checked) -> impl Fn(&Host) -> Result<(), String> + Send + Sync + use<> {
    let (config, fit) = (Checked { hosts: Vec::new(), ..config.clone() }, Fit::new(config));
    move |host| {
        config.check_host(host)?;
        fit.check(host)
    }
}

/// Opens them all. What an operator should know of it is logged, and shown by `netboot status`.
pub(super) fn open(config: &Checked, site: Arc<dyn Site>) -> anyhow::Result<Arc<ApiState>> {
    let store = Arc::new(Store::open(&config.paths.state)?);
    let lost = store.replaced().map(ToString::to_string);

    let (live, left_out) = Live::open(store.clone(), snapshot(config)?, rule(config))?;
    let is_lost = lost.is_some();
    for notice in lost.iter().chain(&left_out) {
        tracing::warn!("{notice}");
    }

    let (live, events) = (Arc::new(live), Arc::new(Events::default()));
    let machines = Machines::open(store.clone(), events.clone(), live.clone(), policy(config))?;
    if is_lost {
        machines.hold()?;
    }
    let state = ApiState::new(store, live, Arc::new(machines), events, site, lost.into_iter().collect())?;
    state.set_rendering(rendering::open(config)?);
    Ok(Arc::new(state))
}

/// The configured hosts, profiles and groups.
pub(super) fn snapshot(config: &Checked) -> anyhow::Result<Snapshot> {
    let groups = config.groups.iter().cloned().map(Arc::new);
    let configured = Snapshot::new(config.hosts.clone(), config.profiles.clone())
        .and_then(|snapshot| snapshot.with_groups(groups))
        .map_err(|conflicts| anyhow::anyhow!("{conflicts:?}"))
        .context("the configured hosts, profiles and groups")?;
    Ok(configured.with_named(config.named()))
}

/// What machines boot that nobody said more about.
pub(super) fn policy(config: &Checked) -> Policy {
    Policy {
        boot_unknown: config.unknown == Unknown::Boot,
        default_profile: config.default_profile.clone(),
        networks6: config.all_subnets6().map(|subnet| (subnet.network, subnet.prefix)).collect(),
        breaker: config.breaker,
        served: served(config),
    }
}

/// The networks in which nobody but us gives addresses: all, where no interface leaves that to others.
fn served(config: &Checked) -> Vec<(IpAddr, u8)> {
    let mut others = config.interfaces.iter().filter(|interface| interface.dhcp != DhcpMode::Server);
    if others.next().is_none() {
        return vec![(Ipv4Addr::UNSPECIFIED.into(), 0), (Ipv6Addr::UNSPECIFIED.into(), 0)];
    }
    let ours = config.interfaces.iter().filter(|interface| interface.dhcp == DhcpMode::Server);
    ours.flat_map(|interface| &interface.subnets)
        .map(|subnet| (subnet.network.into(), subnet.prefix))
        .collect()
}
