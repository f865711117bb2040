//! What came of TFTP's requests, in the log: a line for each client and what was wrong, and then sums. Anybody on the wire can ask for what
//! is not there, as often as it likes and in the name of others; the events have each request.

use std::net::IpAddr;

use super::repeats::{Line, Over, Repeats, Sum};
use super::transfers::described;
use crate::inventory::events::Lane;
use crate::tftp::{Event, Outcome};

/// What the log has not said so far.
#[derive(Debug, Default)]
pub(super) struct Failed(Repeats<Failure>);

/// What is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Failure {
    client: IpAddr,
    outcome: &'static str,
    /// Of one that was refused. Those of failures are as many as there are blocks.
    reason: Option<&'static str>,
}

impl Failed {
    /// One more. `now`: seconds of any clock that goes forward.
    pub(super) fn note(&self, lane: Lane, event: &Event, now: u64) {
        let Event { client, file, direction, outcome, .. } = event;
        if event.is_harmless() {
            return tracing::debug!(%client, file, ?direction, ?outcome, ?lane, "TFTP");
        }
        match self.line(event, now) {
            Some(Line::First) => tracing::warn!(%client, file, ?direction, ?outcome, ?lane, "TFTP"),
            Some(Line::Again(Sum { count, seconds })) => {
                tracing::warn!(%client, file, ?outcome, ?lane, count, seconds, "TFTP, again, at last this one");
            }
            None => {}
        }
    }

    pub(super) fn say_what_is_over(&self, now: u64) {
        let Over { sums, others } = self.0.over(now);
        for (Failure { client, outcome, reason }, Sum { count, seconds }) in sums {
            tracing::info!(%client, outcome, reason, count, seconds, "TFTP, again");
        }
        if others > 0 {
            tracing::info!(count = others, "TFTP: without success, of more clients than are told apart");
        }
    }

    fn line(&self, event: &Event, now: u64) -> Option<Line> {
        let client = event.client.ip().to_canonical();
        let (outcome, _) = described(&event.outcome);
        let reason = match event.outcome {
            Outcome::Refused(reason) => Some(reason),
            _ => None,
        };
        self.0.note(Failure { client, outcome, reason }, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tftp::Direction;

    fn event(client: [u8; 4], file: &str, outcome: Outcome) -> Event {
        let (direction, duration) = (Direction::Read, Duration::ZERO);
        let (client, file) = ((client, 2000).into(), file.to_owned());
        Event { client, file, size: 0, bytes: 0, resent: 0, duration, direction, outcome }
    }

    #[test]
    fn a_flood_of_requests_for_what_is_not_there_is_a_line_for_each_client_and_then_a_sum() {
        let failed = Failed::default();
        let (one, first) = ([10, 0, 0, 9], Some(Line::First));
        assert_eq!(failed.line(&event(one, "a", Outcome::NotFound), 0), first);
        for n in 0..100_000 {
            assert_eq!(failed.line(&event(one, &n.to_string(), Outcome::NotFound), 1), None);
        }
        let refused = || event(one, "..", Outcome::Refused("access violation"));
        assert_eq!((failed.line(&refused(), 2), failed.line(&refused(), 2)), (first, None));
        let fell_silent = |n: u32| event(one, "a", Outcome::Failed(format!("silent after block {n}")));
        assert_eq!((failed.line(&fell_silent(1), 2), failed.line(&fell_silent(2), 2)), (first, None));
        assert_eq!(failed.line(&event([10, 0, 0, 8], "a", Outcome::NotFound), 2), first, "another client");
        let sum = Some(Line::Again(Sum { count: 100_001, seconds: 60 }));
        assert_eq!(failed.line(&event(one, "a", Outcome::NotFound), 60), sum);
    }

    #[test]
    fn what_is_harmless_is_no_line() {
        let failed = Failed::default();
        failed.note(Lane::Tftp, &event([10, 0, 0, 9], "pxelinux.cfg/default", Outcome::NotFound), 0);
        assert!(failed.0.over(u64::MAX).sums.is_empty());
        assert_eq!(failed.line(&event([10, 0, 0, 9], "a", Outcome::NotFound), 0), Some(Line::First));
    }
}
