//! What became of asking upstreams, in the log and as events.

use crate::http::upstream::{Event as Asked, Outcome};
use crate::inventory::events::{Event, Events, Lane};

/// Says it.
pub(super) fn tell(events: &Events, asked: &Asked) {
    let Asked { path, upstream, outcome, duration } = asked;
    let milliseconds = duration.as_millis() as u64;
    match outcome {
        Outcome::Fetched { .. } | Outcome::Unchanged => {
            tracing::info!(%path, %upstream, ?outcome, milliseconds, "upstream");
        }
        Outcome::Stale { .. } | Outcome::Failed { .. } => {
            tracing::warn!(%path, %upstream, ?outcome, milliseconds, "upstream");
        }
    }
    events.publish(told(asked, milliseconds));
}

fn told(asked: &Asked, milliseconds: u64) -> Event {
    let Asked { path, upstream, outcome, .. } = asked;
    let (word, text) = match outcome {
        Outcome::Fetched { bytes } => {
            ("fetched", format!("{path} from {upstream}: {bytes} bytes in {milliseconds} ms"))
        }
        Outcome::Unchanged => ("unchanged", format!("{path} from {upstream}: unchanged")),
        Outcome::Stale { cause } => ("stale", format!("{path}: the copy is served as it is: {cause}")),
        Outcome::Failed { cause, .. } => ("failed", format!("{path}: {cause}")),
    };
    let event = Event::new("upstream", Lane::Http, text)
        .field("file", path.as_str())
        .field("upstream", upstream.as_str())
        .field("outcome", word)
        .field("milliseconds", milliseconds);
    match outcome {
        Outcome::Fetched { bytes } => event.field("bytes", *bytes),
        Outcome::Unchanged => event,
        Outcome::Stale { cause } => event.field("cause", cause.as_str()),
        Outcome::Failed { status, cause } => event.field("cause", cause.as_str()).field("status", *status),
    }
}
