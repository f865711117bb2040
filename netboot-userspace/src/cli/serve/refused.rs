//! What HTTP refused, and what broke off, in the log: a line for each client and status, and then sums. A client that asks for what is
//! not there, again and again, is one line; the events have each of its requests.

use std::net::IpAddr;

use super::repeats::{Line, Over, Repeats, Sum};
use crate::http::{Event, Stage};

/// What the log has not said so far.
#[derive(Debug, Default)]
pub(super) struct Refused(Repeats<Answer>);

/// What is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Answer {
    client: IpAddr,
    status: u16,
    is_broken: bool,
}

impl Refused {
    /// One more. `now`: seconds of any clock that goes forward.
    pub(super) fn note(&self, event: &Event, now: u64) {
        let Event { peer, path, status, bytes, stage, cause, .. } = event;
        match self.line(event, now) {
            Some(Line::First) => tracing::warn!(%peer, path, status, bytes, ?stage, cause, "HTTP"),
            Some(Line::Again(Sum { count, seconds })) => {
                tracing::warn!(%peer, path, status, ?stage, cause, count, seconds, "HTTP, again, at last this one");
            }
            None => {}
        }
    }

    pub(super) fn say_what_is_over(&self, now: u64) {
        let Over { sums, others } = self.0.over(now);
        for (Answer { client, status, is_broken }, Sum { count, seconds }) in sums {
            tracing::info!(%client, status, is_broken, count, seconds, "HTTP, again");
        }
        if others > 0 {
            tracing::info!(count = others, "HTTP: refused, of more clients than are told apart");
        }
    }

    fn line(&self, event: &Event, now: u64) -> Option<Line> {
        let (client, is_broken) = (event.peer.ip().to_canonical(), event.stage == Stage::Broken);
        self.0.note(Answer { client, status: event.status, is_broken }, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(client: &str, status: u16, path: &str) -> Event {
        Event {
            peer: (client.parse().unwrap_or(IpAddr::from([0; 4])), 1024).into(),
            path: path.to_owned(),
            boot: None,
            status,
            bytes: 0,
            total: 0,
            duration: Duration::ZERO,
            range: None,
            pace: None,
            stage: Stage::Done,
            cause: None,
        }
    }

    #[test]
    fn a_flood_of_bad_requests_is_a_line_for_each_client_and_status_and_then_a_sum() {
        let refused = Refused::default();
        let first = Some(Line::First);
        assert_eq!(refused.line(&event("10.0.0.9", 404, "/assets/a"), 0), first);
        for n in 0..100_000 {
            assert_eq!(refused.line(&event("10.0.0.9", 404, &format!("/assets/{n}")), 1), None);
        }
        assert_eq!(refused.line(&event("10.0.0.9", 400, ""), 2), first);
        assert_eq!(refused.line(&event("10.0.0.8", 404, "/assets/a"), 2), first);
        let mapped = event("::ffff:10.0.0.9", 404, "/assets/a");
        assert_eq!(refused.line(&mapped, 2), None, "the same client");
        let broken = Event { stage: Stage::Broken, ..event("10.0.0.9", 404, "/assets/a") };
        assert_eq!(refused.line(&broken, 2), first);
        let sum = Some(Line::Again(Sum { count: 100_002, seconds: 60 }));
        assert_eq!(refused.line(&event("10.0.0.9", 404, "/assets/a"), 60), sum);
    }
}
