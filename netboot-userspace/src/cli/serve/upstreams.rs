//! What became of asking upstreams, in the log and as events. Anybody can ask for names that no upstream has: the log has a line for each
//! upstream and what is wrong with it, and then sums; the events have each.

use std::sync::Arc;
use std::time::Instant;

use super::repeats::{Line, Over, Repeats, Sum};
use crate::http::upstream::{Event as Asked, Outcome};
use crate::inventory::events::{Event, Events, Lane};

/// Who tells of it.
#[derive(Debug)]
pub(super) struct Upstreams {
    events: Arc<Events>,
    began: Instant,
    repeats: Repeats<Trouble>,
}

/// What is written once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Trouble {
    upstream: String,
    /// `None`: there was a copy.
    status: Option<u16>,
}

impl Upstreams {
    pub(super) fn new(events: Arc<Events>) -> Self {
        Self { events, began: Instant::now(), repeats: Repeats::default() }
    }

    /// Says it.
    pub(super) fn tell(&self, asked: &Asked) {
        let milliseconds = asked.duration.as_millis() as u64;
        self.log(asked, milliseconds);
        self.events.publish(told(asked, milliseconds));
    }

    fn log(&self, Asked { path, upstream, outcome, .. }: &Asked, milliseconds: u64) {
        let status = match outcome {
            Outcome::Fetched { bytes } => {
                return tracing::info!(%path, %upstream, bytes, milliseconds, "upstream: fetched");
            }
            Outcome::Unchanged | Outcome::Failed { status: 404, .. } => {
                return tracing::debug!(%path, %upstream, ?outcome, milliseconds, "upstream");
            }
            Outcome::Stale { .. } => None,
            Outcome::Failed { status, .. } => Some(*status),
        };
        match self.line(Trouble { upstream: upstream.clone(), status }, self.began.elapsed().as_secs()) {
            Some(Line::First) => tracing::warn!(%path, %upstream, ?outcome, milliseconds, "upstream"),
            Some(Line::Again(Sum { count, seconds })) => {
                tracing::warn!(%path, %upstream, ?outcome, count, seconds, "upstream, again, at last this one");
            }
            None => {}
        }
    }

    /// `now`: seconds of any clock that goes forward.
    fn line(&self, trouble: Trouble, now: u64) -> Option<Line> {
        let Over { sums, .. } = self.repeats.over(now);
        for (Trouble { upstream, status }, Sum { count, seconds }) in sums {
            tracing::info!(%upstream, status, count, seconds, "upstream, again");
        }
        self.repeats.note(trouble, now)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_upstream_is_a_line_and_then_a_sum_however_many_names_are_asked_for() {
        let upstreams = Upstreams::new(Arc::default());
        let trouble = |host: &str, status| Trouble { upstream: format!("http://{host}"), status };
        assert_eq!(upstreams.line(trouble("a", Some(502)), 0), Some(Line::First));
        for _ in 0..1000 {
            assert_eq!(upstreams.line(trouble("a", Some(502)), 1), None);
        }
        assert_eq!(upstreams.line(trouble("a", None), 1), Some(Line::First));
        assert_eq!(upstreams.line(trouble("b", Some(502)), 1), Some(Line::First));
        let sum = Some(Line::Again(Sum { count: 1001, seconds: 60 }));
        assert_eq!(upstreams.line(trouble("a", Some(502)), 60), sum);
    }
}
