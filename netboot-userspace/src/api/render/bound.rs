//! Who may have what is one machine's: it is bound to the address that the site gave that machine, not to what the query says.

use axum::http::StatusCode;
use netboot_common::Mac;

use super::super::{ApiError, ApiState, boot};
use crate::inventory::identity::Uuid;
use crate::inventory::observed::Shown;
use crate::render::asked::Asked;

/// A boot script has no secret: who asks for that of a machine with another address is refused all the same.
pub(super) fn script(state: &ApiState, mac: Option<Mac>, shown: Shown) -> Result<(), ApiError> {
    mac.map_or(Ok(()), |mac| boot::may_ask(state, mac, shown))
}

/// A configuration may have secrets. Whatever the query names the machine by, each machine that is meant by it must be the one
/// that asks; and an address that is one machine's own speaks for no other.
pub(super) fn secret(state: &ApiState, asked: &Asked, shown: Shown) -> Result<(), ApiError> {
    let named = named(state, asked);
    for mac in &named {
        boot::may_ask(state, *mac, shown)?;
    }
    let Some(peer) = shown.peer else { return Ok(()) };
    let own =
        state.machines.mac_at(peer).filter(|own| state.machines.owns(*own, Shown { uuid: None, ..shown }));
    let Some(own) = own else { return Ok(()) };
    let other = named.into_iter().find(|mac| !is_same(state, own, *mac));
    if let Some(other) = other {
        return Err(refused(
            state,
            other,
            format!("{peer} asked for what is {other}'s, and is the address of {own}"),
        ));
    }
    let uuid = asked.label("uuid").and_then(|uuid| uuid.parse::<Uuid>().ok());
    let known = state.machines.machine(own).and_then(|machine| machine.uuid);
    match (uuid, known) {
        (Some(uuid), Some(known)) if uuid != known => Err(refused(
            state,
            own,
            format!("{peer} asked for what is {uuid}'s, and is the address of {known}"),
        )),
        _ => Ok(()),
    }
}

/// The MACs that the query names, as far as the inventory knows whose names these are: its `mac`, and those of the hosts with its
/// `uuid` and its `hostname`.
fn named(state: &ApiState, asked: &Asked) -> Vec<Mac> {
    let snapshot = state.live.snapshot();
    let uuid = asked.label("uuid").and_then(|uuid| uuid.parse().ok());
    let by_uuid = uuid.and_then(|uuid| snapshot.host_by_uuid(uuid));
    let by_name = asked.label("hostname").and_then(|name| snapshot.host(name));
    // One of a host's speaks for all.
    let first = [by_uuid, by_name]
        .into_iter()
        .flatten()
        .filter_map(|host| state.machines.macs_of(host).into_iter().next());
    asked.mac().into_iter().chain(first).collect()
}

fn is_same(state: &ApiState, own: Mac, other: Mac) -> bool {
    let host = |mac| state.machines.host(mac, Shown::default()).map(|host| host.name.clone());
    own == other || host(own).is_some_and(|name| host(other) == Some(name))
}

fn refused(state: &ApiState, mac: Mac, text: String) -> ApiError {
    boot::note_refusal(state, mac, text.clone());
    ApiError::new(StatusCode::FORBIDDEN, text)
}
