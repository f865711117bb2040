//! What the followers of events are told of an observation.

use std::sync::Arc;

use netboot_common::Mac;

use crate::image::protocol::Status;
use crate::inventory::Host;
use crate::inventory::events::{Answer, Event, Events, Lane};
use crate::inventory::observed::{Machine, Observation, State};

/// An observation, and what it made of its machine.
pub(super) struct Told<'a> {
    pub(super) mac: Mac,
    pub(super) host: Option<Arc<Host>>,
    pub(super) lane: Lane,
    pub(super) seen: &'a Observation,
    pub(super) before: State,
    pub(super) machine: &'a Machine,
}

/// A machine that is told what to boot, and is given no address: the most frequent reason why nothing boots beside another server.
pub(super) fn asks_on(lane: Lane, machine: &Machine) -> Event {
    let text = "is told what to boot, and asks on: no other DHCP server seems to give it an address, and a proxy gives none";
    let event = Event::new("unleased", lane, text).name(machine.name.clone()).boot(machine.boot);
    Event { mac: Some(machine.mac.clone()), ..event }
}

/// Tells those who follow.
pub(super) fn tell(events: &Events, told: Told<'_>) {
    let Told { mac, host, lane, seen, before, machine } = told;
    let (state, changed, boot) = (machine.state, before != machine.state, machine.boot);
    let event = match seen {
        Observation::Dhcp { kind, class, ip, .. } => {
            let (kind, class, ip) = (*kind, *class, *ip);
            return events.publish_answer(Answer { mac, host, boot, lane, kind, class, ip, state, changed });
        }
        Observation::Loader { file, bytes } => Event::new("loader", lane, format!("{file}, {bytes} bytes"))
            .field("file", file.as_str())
            .field("bytes", *bytes),
        Observation::Script { profile, .. } => {
            Event::new("script", lane, format!("boots profile {profile}")).field("profile", profile.as_str())
        }
        Observation::Local { .. } => {
            Event::new("script", lane, "boots from its own disk").field("profile", "local")
        }
        Observation::Kernel { file, bytes, .. } => {
            Event::new("kernel", lane, format!("{file}, {bytes} bytes"))
                .field("file", file.as_str())
                .field("bytes", *bytes)
        }
        // Each access is told of already.
        Observation::Unserved { .. } => return,
        Observation::Agent(report) => {
            let status = match report.status {
                Status::Started => "started",
                Status::Progress => "progress",
                Status::Done => "done",
                Status::Failed => "failed",
            };
            let dash = if report.message.is_empty() { "" } else { ": " };
            Event::new("agent", lane, format!("{} {status}{dash}{}", machine.step, report.message))
                .field("step", machine.step.as_str())
                .field("status", status)
                .field("bytes", report.bytes)
                .field("total", report.total)
                .field("bytes_per_second", report.bytes_per_second)
                .field("eta_seconds", report.eta_seconds)
        }
    };
    let event = event.field("state", state.name()).field("changed", changed);
    events.publish(event.mac(mac).name(machine.name.clone()).boot(boot));
}
