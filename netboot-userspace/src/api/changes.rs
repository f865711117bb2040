//! Many changes at once: `POST /api/v1/changes`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use netboot_common::Mac;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::audit::Said;
use super::auth::Caller;
use super::control::{Shared, read};
use super::roles::Role;
use super::{ApiError, ApiState, blocking};
use crate::inventory::Boot;
use crate::inventory::change::NotTaken;
use crate::inventory::diff::{HostDiff, What};
use crate::inventory::events::{Event, Lane};
use crate::inventory::hostlist;
use crate::inventory::live::{Change, Changed, Done, Failed};

/// The most that one batch may weigh: a million hosts, with room.
pub(super) const LARGEST: usize = 1 << 30;

/// Changes in one batch by HTTPS. A small one takes some hundred times of our memory what it weighs.
const MOST: usize = 100_000;
/// The same, of one who is no administrator.
const MOST_OF_OTHERS: usize = 10_000;

/// Changes to be made as one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Each host once.
    pub changes: Vec<Change>,
    /// Only say what they would do.
    #[serde(default)]
    pub dry_run: bool,
    /// Make those that can be made, and leave out the others. Without it, one that can't be made stops all of them.
    #[serde(default)]
    pub fitting: bool,
}

/// What became of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// In one line, where nothing was made because something could not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it is in force now.
    pub made: bool,
    /// The hosts of the changes that were made, or would have been.
    pub hosts: Vec<HostDiff>,
    pub refused: Vec<Refusal>,
}

/// A change that can't be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Its place in the batch, from 0.
    pub index: usize,
    pub name: String,
    pub reasons: Vec<String>,
}

impl From<&NotTaken> for Refusal {
    fn from(not_taken: &NotTaken) -> Self {
        let NotTaken { index, name, why } = not_taken;
        Self { index: *index, name: name.clone(), reasons: why.faults() }
    }
}

/// A batch, of which nothing takes memory.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    changes: Vec<IgnoredAny>,
}

/// Before they are read.
fn not_too_many(caller: &Caller, body: &[u8]) -> Result<(), ApiError> {
    let most = match (caller.token, caller.role) {
        (None, _) => return Ok(()),
        (Some(_), Role::Admin) => MOST,
        (Some(_), Role::View | Role::Boot) => MOST_OF_OTHERS,
    };
    let Counted { changes } = read(body)?;
    if changes.len() <= most {
        return Ok(());
    }
    let (count, role) = (changes.len(), caller.role);
    let text = format!("changes: {count} in one batch: by HTTPS it takes {most} of one with the role {role}");
    Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text))
}

/// Makes the changes, or says why not: then with the status 409.
pub(super) async fn make(
    State(state): Shared,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<(StatusCode, Said, Json<Answer>), ApiError> {
    let answer = blocking(move || {
        not_too_many(&caller, &body)?;
        let batch: Batch = read(&body)?;
        drop(body);
        let of_boot = |change: &Change| matches!(change, Change::Patch(_, patch) if patch.is_of_boot());
        if !batch.changes.iter().all(of_boot) {
            caller.must_be(Role::Admin, "changing more of hosts than boot and reinstall")?;
        }
        carry_out(&state, &batch)
    });
    let answer = answer.await??;
    let status = if answer.error.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    Ok((status, Said(said(&answer)), Json(answer)))
}

/// What a batch has done, in one line; nothing, if it has done nothing.
fn said(answer: &Answer) -> String {
    if !answer.made {
        return String::new();
    }
    let names =
        |what| answer.hosts.iter().filter(move |host| host.what == what).map(|host| host.name.as_str());
    let kinds = [(What::Added, "added"), (What::Changed, "set"), (What::Removed, "removed")];
    let some = kinds.into_iter().filter(|(what, _)| names(*what).next().is_some());
    let some = some.map(|(what, verb)| format!("hosts {} {verb}", hostlist::fold_to(names(what), 200)));
    some.collect::<Vec<_>>().join(", ")
}

fn carry_out(state: &ApiState, batch: &Batch) -> Result<Answer, ApiError> {
    let Batch { changes, dry_run, fitting } = batch;
    let (done, made) = if *dry_run {
        (state.live.dry_run(changes), false)
    } else if *fitting {
        (state.live.apply_fitting(changes)?, true)
    } else {
        match state.live.apply_all(changes) {
            Ok(changed) => (Done { changed, not_taken: Vec::new() }, true),
            Err(Failed::Refused(not_taken)) => (Done { changed: Vec::new(), not_taken }, false),
            Err(Failed::NotMade(error)) => return Err(error.into()),
        }
    };
    let error = (!made && !dry_run).then(|| {
        let count = done.not_taken.len();
        format!("nothing was changed: {count} of {} changes can't be made", changes.len())
    });
    let hosts = done.changed.iter().map(|(_, changed)| changed.into()).collect();
    let answer = Answer { error, made, hosts, refused: done.not_taken.iter().map(Refusal::from).collect() };
    if made {
        announce(state, &done.changed);
        follow_up(state, changes, &done.changed).map_err(|error| error.after(said(&answer)))?;
    }
    Ok(answer)
}

/// What the machines are to forget.
fn follow_up(state: &ApiState, changes: &[Change], made: &[(usize, Changed)]) -> Result<(), ApiError> {
    let macs_where = |wanted: fn(&Change, &Changed) -> bool| -> Vec<Mac> {
        let wanted = made.iter().filter(|(index, changed)| wanted(&changes[*index], changed));
        wanted
            .filter_map(|(_, changed)| changed.new.as_ref())
            .flat_map(|host| state.machines.macs_of(host))
            .collect()
    };
    let once = macs_where(meant_anew);
    if !once.is_empty() {
        state.machines.rearm_once(&once)?;
    }
    let meant = macs_where(|change, _| match change {
        Change::Patch(_, patch) => patch.boot.is_some(),
        Change::Add(_) | Change::Put(_) => true,
        Change::Merge(..) | Change::Remove(_) => false,
    });
    if !meant.is_empty() {
        state.machines.rearm(&meant)?;
    }
    let again = macs_where(|change, _| matches!(change, Change::Patch(_, patch) if patch.reinstall));
    if !again.is_empty() {
        state.machines.reset(&again)?;
    }
    Ok(())
}

/// Whether a `boot: once` counts anew: it does where it was asked for, but not in a file that said so before.
fn meant_anew(change: &Change, changed: &Changed) -> bool {
    let once = |host: &Arc<crate::inventory::Host>| host.boot == Boot::Once;
    let asked = match change {
        Change::Patch(_, patch) => patch.boot.is_some(),
        Change::Add(_) | Change::Put(_) => true,
        Change::Merge(..) | Change::Remove(_) => !changed.old.as_ref().is_some_and(once),
    };
    asked && changed.new.as_ref().is_some_and(once)
}

/// One event for each kind of change, however many hosts it befell.
fn announce(state: &ApiState, made: &[(usize, Changed)]) {
    for (what, verb) in [(What::Added, "added"), (What::Changed, "set"), (What::Removed, "removed")] {
        let of_kind = made.iter().map(|(_, changed)| changed).filter(|changed| What::of(changed) == what);
        let names: Vec<&str> = of_kind.map(Changed::name).collect();
        if names.is_empty() {
            continue;
        }
        let (one, hosts) = (names.len() == 1, if names.len() == 1 { "host" } else { "hosts" });
        let text = format!("{hosts} {} {verb}", hostlist::fold_to(names.iter().copied(), 200));
        let event = Event::new("host", Lane::Api, text).name(one.then(|| names[0].to_owned()));
        state.events.publish(event.field("count", names.len()));
    }
}
