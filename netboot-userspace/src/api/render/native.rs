//! What the inventory says of a machine: its profile's templates, filled in with the metadata of all levels.

use netboot_common::Mac;
use serde_json::{Map, Value};

use super::super::boot::{self, Purpose};
use super::super::{ApiError, ApiState};
use super::folder::Text;
use super::{Request, bound};
use crate::inventory::Bind;
use crate::inventory::configs::{Config, Kind};
use crate::inventory::machines::Placed;
use crate::render::config;
use crate::render::machine::Machine;
use crate::sys::clock::now;

/// The configuration of a kind that the machine's profile names, or holds.
pub(super) fn config(
    state: &ApiState,
    kind: Kind,
    request: &Request,
    purpose: Purpose,
) -> Result<Text, ApiError> {
    let (mac, placed) = placed(state, request, purpose)?;
    let Some(profile) = &placed.profile else {
        return Err(ApiError::not_found(format!("{mac} has no profile")));
    };
    let Some(template) = profile.configs.get(kind) else {
        return Err(ApiError::not_found(format!("profile {} has no configs.{}", profile.name, kind.name())));
    };
    let text = template.text(placed.inventory.templates()).map_err(ApiError::internal)?.to_owned();
    let (name, is_json) = match template {
        Config::File(name) => (name.clone(), kind == Kind::Ignition && config::is_ignition(name)),
        Config::Inline(_) => (format!("profile {}: configs.{}", profile.name, kind.name()), false),
    };
    let data = (!is_json).then(|| data(mac, &placed, request));
    Ok(Text { name, text, data })
}

/// What templates know of the machine.
pub(super) fn metadata(
    state: &ApiState,
    request: &Request,
    purpose: Purpose,
) -> Result<Map<String, Value>, ApiError> {
    let (mac, placed) = placed(state, request, purpose)?;
    Ok(data(mac, &placed, request))
}

/// The keys of its host as they are now, whatever its boot was decided by: one that is taken out lets nobody in any more.
pub(super) fn authorized_keys(state: &ApiState, request: &Request) -> Result<String, ApiError> {
    let mac = boot::machine(state, request.peer, &request.said)?;
    bound::secret(state, &request.asked, Some(mac), false, request.shown())?;
    let host = state.machines.host(mac, request.shown());
    let host =
        host.ok_or_else(|| ApiError::not_found(format!("{mac} is no host: nobody's keys are its own")))?;
    Ok(host.ssh_authorized_keys.iter().map(|key| format!("{key}\n")).collect())
}

/// As the machine's boot was decided; to an operator, as its next one would be.
fn placed(state: &ApiState, request: &Request, purpose: Purpose) -> Result<(Mac, Placed), ApiError> {
    let mac = boot::machine(state, request.peer, &request.said)?;
    let (machines, shown) = (&state.machines, request.shown());
    let in_force = machines.boot(mac);
    let configures = |token| state.grants.configures(token, mac, in_force, now());
    let has_token = request.asked.label("token").is_some_and(configures);
    bound::secret(state, &request.asked, Some(mac), has_token, shown)?;
    let placed = match purpose {
        Purpose::Boot | Purpose::Sign => machines.given(mac, shown, request.labels()),
        Purpose::Show => machines.would_be_given(mac, shown, request.labels()),
    };
    let placed = placed.map_err(ApiError::not_found)?;
    let is_bound = placed.profile.as_ref().is_some_and(|profile| profile.bind == Bind::Token);
    if is_bound && !has_token && purpose != Purpose::Show {
        let text = format!(
            "what {mac} is given is bound to a token, `${{token}}` of its boot's script, for an hour"
        );
        return Err(bound::refused(state, mac, text));
    }
    Ok((mac, placed))
}

fn data(mac: Mac, placed: &Placed, request: &Request) -> Map<String, Value> {
    let Placed { host, group, labels, .. } = placed;
    let machine = Machine { mac: Some(mac), host: host.as_deref(), group: group.as_deref(), labels };
    machine.data(placed.layered().metadata(), &request.asked)
}
