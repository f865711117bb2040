//! What keeps machines from booting or installing, and ends when an operator says so.

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::audit::Said;
use super::control::{Shared, macs};
use super::{ApiError, blocking};
use crate::inventory::events::{Event, Lane};

/// Has the breaker stop a machine no more. That it is installed stays known.
pub(super) async fn start(
    State(state): Shared,
    Path(name): Path<String>,
) -> Result<(StatusCode, Said), ApiError> {
    blocking(move || {
        let macs = macs(&state, &name)?;
        state.machines.rearm(&macs)?;
        let text = format!("{name} boots again");
        state.events.publish(Event::new("breaker", Lane::Api, text.clone()).name(Some(name)));
        Ok((StatusCode::NO_CONTENT, Said(text)))
    })
    .await?
}

/// The same of all.
pub(super) async fn start_all(State(state): Shared) -> Result<(StatusCode, Said), ApiError> {
    blocking(move || {
        let count = state.machines.rearm_all()?;
        let text = format!("machines that were stopped boot again: {count}");
        state.events.publish(Event::new("breaker", Lane::Api, text.clone()));
        Ok((StatusCode::NO_CONTENT, Said(text)))
    })
    .await?
}

/// Ends the hold on installations that a lost store began.
pub(super) async fn allow_installs(State(state): Shared) -> Result<(StatusCode, Said), ApiError> {
    blocking(move || {
        let text = "machines are installed again by themselves";
        state.machines.release()?;
        state.events.publish(Event::new("host", Lane::Api, text));
        Ok((StatusCode::NO_CONTENT, Said(text.to_owned())))
    })
    .await?
}
