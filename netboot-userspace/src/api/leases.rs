//! The addresses that were given.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::audit::Said;
use super::control::Shared;
use super::etag::Conditions;
use super::{ApiError, ApiState, blocking};
use crate::inventory::events::{Event, Lane};
use crate::sys::clock::now;

/// Those of IPv4, then those of IPv6.
pub(super) async fn list(State(state): Shared) -> Result<Json<Vec<Value>>, ApiError> {
    blocking(move || all(&state).map(Json)).await?
}

pub(super) async fn show(State(state): Shared, Path(address): Path<String>) -> Result<Json<Value>, ApiError> {
    blocking(move || one(&state, read(&address)?).map(Json)).await?
}

/// Ends it.
pub(super) async fn release(
    State(state): Shared,
    conditions: Conditions,
    Path(address): Path<String>,
) -> Result<(StatusCode, Said), ApiError> {
    blocking(move || {
        let address = read(&address)?;
        let lease = one(&state, address)?;
        conditions.hold(|| Some(lease.clone()))?;
        let conflict = |text: String| ApiError::new(StatusCode::CONFLICT, text);
        if !state.site.release(address).map_err(conflict)? {
            let text = format!("{address} is leased to nobody now: there is nothing to end");
            return Err(conflict(text));
        }
        let text = format!("the lease of {address} was ended");
        let mut event = Event::new("lease", Lane::Api, text.clone());
        event.mac = lease["mac"].as_str().map(str::to_owned);
        state.events.publish(event);
        Ok((StatusCode::NO_CONTENT, Said(text)))
    })
    .await?
}

fn read(address: &str) -> Result<IpAddr, ApiError> {
    address.parse().map_err(|_| ApiError::bad_request(format!("{address:?} is not an address")))
}

fn one(state: &ApiState, address: IpAddr) -> Result<Value, ApiError> {
    let name = json!(address);
    let lease = all(state)?.into_iter().find(|lease| lease["ip"] == name);
    lease.ok_or_else(|| ApiError::not_found(format!("{address} was never leased")))
}

fn all(state: &ApiState) -> Result<Vec<Value>, ApiError> {
    let (store, ahead) = (&state.store, state.wall.ahead_of(state.store.clock().now()));
    let mut all: Vec<Value> = Vec::new();
    all.extend(store.leases()?.iter().map(|lease| shown(json!(lease), &lease.client, lease.expires, ahead)));
    all.extend(store.leases6()?.iter().map(|lease| shown(json!(lease), &lease.client, lease.expires, ahead)));
    Ok(all)
}

/// `expires`: by the clock of leases; people are told by theirs, which is so much ahead.
fn shown(mut lease: Value, client: &[u8], expires: u64, ahead: i64) -> Value {
    let client: String = client.iter().map(|byte| format!("{byte:02x}")).collect();
    lease["client"] = json!(client);
    lease["expires"] = json!(expires.saturating_add_signed(ahead));
    lease
}

/// By how much the wall's clock is ahead of that of leases, seconds. Both count whole seconds, and begin them at different moments: what
/// the difference of two readings is, it was or will be one more. It stays as it is until it is further off, so that a lease of which
/// nothing has changed is shown as before.
#[derive(Debug)]
pub(super) struct Wall(AtomicI64);

impl Default for Wall {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }
}

impl Wall {
    fn ahead_of(&self, leases: u64) -> i64 {
        self.ahead(now(), leases)
    }

    fn ahead(&self, wall: u64, leases: u64) -> i64 {
        let (fresh, kept) =
            (wall.cast_signed().saturating_sub_unsigned(leases), self.0.load(Ordering::Relaxed));
        if fresh.abs_diff(kept) <= 1 {
            return kept;
        }
        self.0.store(fresh, Ordering::Relaxed);
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clocks_that_tick_at_different_moments_are_so_much_apart_until_one_is_set() {
        let wall = Wall::default();
        let ahead = |now: u64, leases: u64| wall.ahead(now, leases);
        assert_eq!([ahead(1000, 10), ahead(1001, 10), ahead(1001, 11), ahead(1001, 12)], [990; 4]);
        assert_eq!([ahead(5000, 11), ahead(5001, 11), ahead(100, 11), ahead(5, 11)], [4989, 4989, 89, -6]);
    }
}
