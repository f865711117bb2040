//! The boot records: `/api/v1/boots`, and what `machines`, `explain` and `status` say of them.

use axum::Json;
use axum::extract::{Path, Query, State};
use netboot_common::Mac;
use netboot_common::class::Class;
use serde::Deserialize;
use serde_json::{Value, json};

use super::control::{Shared, macs};
use super::levels::{self, Level};
use super::{ApiError, ApiState, blocking, script};
use crate::inventory::boots::{BootId, Breaker, Decided, Loop, Record, Taken};
use crate::inventory::labels::Heard;
use crate::inventory::layered::{Layered, Origin};
use crate::inventory::machines::Decision;
use crate::inventory::observed::Machine;
use crate::inventory::settings::Settings;
use crate::inventory::{Host, Profile};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    /// A host's name, or a MAC; without it, all.
    machine: Option<String>,
    /// The last so many.
    last: Option<usize>,
}

/// In the order in which they began.
pub(super) async fn list(
    State(state): Shared,
    Query(which): Query<Which>,
) -> Result<Json<Vec<Value>>, ApiError> {
    let most = which.last.unwrap_or(usize::MAX);
    let listed = blocking(move || {
        let Some(name) = which.machine else { return Ok(state.machines.last_boots(most)) };
        let mut records = state.machines.boots(&macs(&state, &name)?);
        Ok(records.split_off(records.len().saturating_sub(most)))
    });
    let records: Result<Vec<Record>, ApiError> = listed.await?;
    Ok(Json(records?.iter().map(shown).collect()))
}

pub(super) async fn show(State(state): Shared, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let id: BootId = id.parse().map_err(ApiError::bad_request)?;
    let record = blocking(move || state.machines.boot_of(id)).await?;
    record.map(|record| Json(shown(&record))).ok_or_else(|| {
        ApiError::not_found(format!("there is no boot {id}: of each machine the last ones are known"))
    })
}

fn shown(record: &Record) -> Value {
    let mut value = json!(record);
    value["outcome"] = json!(record.outcome());
    value
}

/// A machine, with the record of its boot in place of that one's id.
pub(super) fn of_machine(state: &ApiState, machine: &Machine) -> Value {
    let mut value = json!(machine);
    let record = machine.mac.parse().ok().and_then(|mac| current(state, mac));
    if let Some(record) = record {
        value["boot"] = record;
    }
    value
}

fn current(state: &ApiState, mac: Mac) -> Option<Value> {
    state.machines.boots(&[mac]).last().map(shown)
}

/// Machines that the breaker stops, for `status`.
pub(super) fn stopped(state: &ApiState) -> Value {
    let named = |machine: Machine| {
        let Machine { mac, name, stopped, fruitless, .. } = machine;
        json!({ "mac": mac, "name": name, "since": stopped, "fruitless": fruitless })
    };
    state.machines.stopped().into_iter().map(named).collect()
}

/// Puts into an explanation: what the machine's next boot would do, each value with what set it; the boot that is under way, the
/// breaker; and, of each interface, which level set which option.
pub(super) fn explain(
    state: &ApiState,
    (mac, class): (Mac, Class),
    taken: &Taken,
    host: Option<&Host>,
    value: &mut Value,
) {
    value["decision"] = explained(state, mac, taken, host);
    let near = near(state, (mac, class), host);
    for interface in value["interfaces"].as_array_mut().into_iter().flatten() {
        let outer = interface["levels"].take();
        let level = |level: &Value| {
            let name = level["level"].as_str().unwrap_or_default().to_owned();
            (name, level["settings"].clone())
        };
        let outer = outer.as_array().into_iter().flatten().map(level);
        interface["settings"] = levels::in_force(&outer.chain(near.iter().cloned()).collect::<Vec<_>>());
        if let Some(interface) = interface.as_object_mut() {
            interface.remove("levels");
        }
    }
}

/// The levels that a machine takes with it: of its profile, and of its host. As DHCP has it, which knows nothing of choices, and of a
/// machine's groups what its host's entry tells, or, without one, what a message of this class says.
fn near(state: &ApiState, (mac, class): (Mac, Class), host: Option<&Host>) -> Vec<Level> {
    let (snapshot, default) = (state.live.snapshot(), state.machines.default_profile());
    let (groups, default) = (snapshot.groups(), default.as_deref());
    let named = match host {
        Some(_) => groups.profile_of(host, default),
        None => groups.profile_of_stranger(Heard { class: Some(class), ..Heard::by_mac(mac) }, default),
    };
    let profile = named.and_then(|name| snapshot.profile(name).cloned());
    let typed = |settings: &Settings| {
        let mut typed = json!({});
        settings.show_in(&mut typed);
        typed
    };
    let profile = profile.map(|profile| (of_profile(&profile), typed(&profile.settings)));
    profile.into_iter().chain(host.map(|host| (of_host(host), typed(&host.settings)))).collect()
}

fn of_profile(profile: &Profile) -> String {
    format!("profile {} ({})", profile.name, profile.origin)
}

fn of_host(host: &Host) -> String {
    format!("host {} ({})", host.name, host.origin)
}

fn explained(state: &ApiState, mac: Mac, taken: &Taken, host: Option<&Host>) -> Value {
    let machine = state.machines.machine(mac);
    let (profile, layered) = match &taken.decision {
        Decision::Profile { profile, host, group } => {
            (Some(profile), Layered::of(group.as_deref(), Some(profile), host.as_deref()))
        }
        _ => (None, Layered::default()),
    };
    let part = |(value, origin): (&str, &Origin)| json!({ "value": value, "origin": origin.to_string() });
    let live = profile.and_then(|profile| {
        let words = script::live(profile, mac, host, "http://SERVER")?;
        Some(json!({ "value": words, "origin": of_profile(profile) }))
    });
    let decided = Decided::of(taken);
    json!({
        "decides": decided.to_string(),
        "kind": decided.kind,
        "why": decided.why,
        "boot": boot_action(host),
        "profile": profile.map(|profile| json!({ "name": profile.name, "origin": profile.origin })),
        "group": taken.known.group,
        "cmdline": live.into_iter().chain(layered.cmdline_parts().map(part)).collect::<Vec<_>>(),
        "metadata": layered.values(),
        "installed": machine.as_ref().and_then(|machine| machine.installed),
        "record": current(state, mac),
        "breaker": breaker(state, machine.as_ref()),
    })
}

/// `boot:` and who says so.
fn boot_action(host: Option<&Host>) -> Value {
    match host {
        Some(host) => json!({ "value": host.boot, "origin": of_host(host) }),
        None => json!({ "value": null, "origin": "unknown: of the site" }),
    }
}

fn breaker(state: &ApiState, machine: Option<&Machine>) -> Value {
    let breaker = state.machines.breaker().map_or_else(
        || json!("off"),
        |Breaker { boots, then, repeats }| {
            let repeats = repeats.map(|Loop { boots, within }| json!({ "boots": boots, "within": within }));
            json!({ "boots": boots, "then": then.name(), "loop": repeats })
        },
    );
    let (fruitless, stopped) = machine.map_or((0, None), |machine| (machine.fruitless, machine.stopped));
    json!({ "setting": breaker, "fruitless": fruitless, "stopped": stopped })
}
