//! What the followers of events are told of an observation.

use crate::image::protocol::Status;
use crate::inventory::events::{Event, Lane};
use crate::inventory::observed::{Machine, Observation, State};

/// What is told of an observation.
pub(super) fn event(seen: &Observation, lane: Lane, before: State, machine: &Machine) -> Event {
    let event = match seen {
        Observation::Dhcp { kind, class, ip, .. } => {
            let text = match ip {
                Some(ip) => format!("{kind} {ip} to {class}"),
                None => format!("{kind} to {class}"),
            };
            Event::new("dhcp", lane, text).field("kind", kind.as_str()).field("class", class.as_str())
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
    event.field("state", machine.state.name()).field("changed", before != machine.state)
}
