//! Who may have what is one machine's: it is bound to the address that the site gave that machine, not to what the query says.

use axum::http::StatusCode;
use netboot_common::Mac;

use super::super::{ApiError, ApiState, boot};
use crate::inventory::Host;
use crate::inventory::labels::Labels;
use crate::inventory::observed::Shown;
use crate::render::asked::Asked;

/// What names one machine, and not several.
const NAMING: [&str; 4] = ["mac", "uuid", "serial", "hostname"];

/// A configuration may have secrets. Whatever the query names the machine by, each machine that is meant by it must be the one
/// that asks; and where we know whose its address is, or no other server gives addresses there, it may name itself by nothing but
/// what is known of it.
///
/// `mac`: the machine that is answered for, where that is told otherwise. `is_proven`: whoever asks has that machine's token: it is the
/// machine, whatever its address is, and no other.
pub(super) fn secret(
    state: &ApiState,
    asked: &Asked,
    mac: Option<Mac>,
    is_proven: bool,
    shown: Shown,
) -> Result<(), ApiError> {
    let Some(peer) = shown.peer else { return Ok(()) };
    // A UUID of the query is a name as others are.
    let shown = Shown { uuid: None, ..shown };
    let named: Vec<Mac> = mac.into_iter().chain(named(state, asked)).collect();
    if !is_proven {
        for mac in &named {
            boot::may_ask(state, *mac, shown)?;
        }
    }
    let own = if is_proven { mac } else { own(state, mac.or(asked.mac()), shown) };
    if own.is_none() && !state.machines.is_served(peer) {
        return Ok(());
    }
    let is_other = |mac: &&Mac| own.is_none_or(|own| !is_same(state, own, **mac));
    if let Some(other) = named.iter().find(is_other) {
        return Err(refused(
            state,
            *other,
            format!("{peer} asked for what is {other}'s, and {}", whose(own)),
        ));
    }
    let known = own.map(|own| state.machines.place(own, Shown::default(), Labels::default()).labels);
    let is_known = |key: &str, value: &str| {
        key == "mac"
            || known.as_ref().and_then(|known| known.get(key)).is_some_and(|known| match key {
                "uuid" => known.eq_ignore_ascii_case(value),
                _ => known == value,
            })
    };
    let names = NAMING.into_iter().flat_map(|key| asked.all(key).map(move |value| (key, value)));
    let strange = names.filter(|(_, value)| !value.is_empty()).find(|(key, value)| !is_known(key, value));
    strange.map_or(Ok(()), |(key, value)| {
        let text = format!("{peer} asked by {key}={value}, which is not known of it, and {}", whose(own));
        Err(match own {
            Some(own) => refused(state, own, text),
            None => ApiError::new(StatusCode::FORBIDDEN, text),
        })
    })
}

/// The machine that has the address by a reservation, or from us.
fn own(state: &ApiState, mac: Option<Mac>, shown: Shown) -> Option<Mac> {
    let snapshot = state.live.snapshot();
    let reserved = shown.peer.and_then(|peer| snapshot.host_at(peer)?.macs.first().copied());
    let given = shown.peer.and_then(|peer| state.machines.mac_at(peer));
    mac.into_iter().chain(reserved).chain(given).find(|mac| state.machines.owns(*mac, shown))
}

fn whose(own: Option<Mac>) -> String {
    own.map_or_else(
        || "is an address that no machine has from us".to_owned(),
        |own| format!("is the address of {own}"),
    )
}

/// The MACs that the query names, as far as the inventory knows whose names these are: each `mac` of it, and those of the hosts with
/// its `uuid`, its `serial` and its `hostname`.
fn named(state: &ApiState, asked: &Asked) -> Vec<Mac> {
    let snapshot = state.live.snapshot();
    let by_uuid = asked.all("uuid").filter_map(|uuid| snapshot.host_by_uuid(uuid.parse().ok()?));
    let by_name = asked.all("hostname").filter_map(|name| snapshot.host(name));
    let is_serial = |host: &Host, serial: &str| host.serial.as_deref() == Some(serial);
    let serials = asked.all("serial").filter(|serial| !serial.is_empty());
    let by_serial = serials.filter_map(|serial| snapshot.hosts().find(|host| is_serial(host, serial)));
    // One of a host's speaks for all.
    let first = by_uuid
        .chain(by_name)
        .chain(by_serial)
        .filter_map(|host| state.machines.macs_of(host).into_iter().next());
    asked.all("mac").filter_map(|mac| mac.parse().ok()).chain(first).collect()
}

fn is_same(state: &ApiState, own: Mac, other: Mac) -> bool {
    let host = |mac| state.machines.host(mac, Shown::default()).map(|host| host.name.clone());
    own == other || host(own).is_some_and(|name| host(other) == Some(name))
}

pub(super) fn refused(state: &ApiState, mac: Mac, text: String) -> ApiError {
    boot::note_refusal(state, mac, text.clone());
    ApiError::new(StatusCode::FORBIDDEN, text)
}
