//! The rooms that know things, opened in their order: store, inventory, machines, API.

use std::sync::Arc;

use anyhow::Context;

use crate::api::{ApiState, StatusSource};
use crate::config::{Checked, Unknown};
use crate::inventory::events::Events;
use crate::inventory::machines::{Machines, Policy};
use crate::inventory::{Live, Snapshot};
use crate::store::Store;

/// Opens them all. What an operator should know of it is logged, and shown by `netboot status`.
pub(super) fn open(config: &Checked, status: Arc<dyn StatusSource>) -> anyhow::Result<Arc<ApiState>> {
    let store = Arc::new(Store::open(&config.paths.state)?);
    let lost = store.replaced().map(ToString::to_string);

    let configured = Snapshot::new(config.hosts.clone(), config.profiles.clone())
        .map_err(|conflicts| anyhow::anyhow!("{conflicts:?}"))
        .context("the configured hosts")?;
    let site = config.clone();
    let (live, left_out) = Live::open(store.clone(), configured, move |host| site.check_host(host))?;
    let is_lost = lost.is_some();
    let notices: Vec<String> = lost.into_iter().chain(left_out).collect();
    for notice in &notices {
        tracing::warn!("{notice}");
    }

    let (live, events) = (Arc::new(live), Arc::new(Events::default()));
    let policy = Policy {
        boot_unknown: config.unknown == Unknown::Boot,
        default_profile: config.default_profile.clone(),
        networks6: config.all_subnets6().map(|subnet| (subnet.network, subnet.prefix)).collect(),
    };
    let machines = Machines::open(store.clone(), events.clone(), live.clone(), policy)?;
    if is_lost {
        machines.hold()?;
    }
    Ok(Arc::new(ApiState::new(store, live, Arc::new(machines), events, status, notices)?))
}
