//! Reports on their way to the server, strictly in order.
//!
//! **Invariant:** a report leaves the queue when the server took it, or never will (401 and 403: the session is over; 400,
//! 413 and 422: it can't read it). What tells of the end is tried for ever. Only progress is left out, when something
//! newer follows it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::console::Console;
use super::server::Server;
use crate::image::protocol::{Report, Status, Step};

/// The wait after the first failure; it doubles with each further one, up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What the reporter says to the thread that delivers.
#[derive(Debug)]
pub(super) enum Message {
    Report(Report),
    /// Say so when the queue is empty, unless that is after this moment.
    Flush(Instant, Sender<()>),
}

/// Delivers until the reporter is gone.
pub(super) fn deliver(server: &Server, messages: &Receiver<Message>, console: &Console) {
    let mut backlog = Backlog::new();
    while backlog.listen(messages) {
        // One at a time: a flush is heard at most one call later.
        backlog.send_first(server, console);
        backlog.answer_flushes();
    }
}

/// What the server does not have yet.
#[derive(Debug)]
struct Backlog {
    owed: VecDeque<Report>,
    flushes: Vec<(Instant, Sender<()>)>,
    /// When to try (again), and how long to wait after the next failure.
    next: Instant,
    wait: Duration,
}

impl Backlog {
    fn new() -> Self {
        Self { owed: VecDeque::new(), flushes: Vec::new(), next: Instant::now(), wait: FIRST_WAIT }
    }

    /// Takes messages in until it is time to do something. False: the reporter is gone.
    fn listen(&mut self, messages: &Receiver<Message>) -> bool {
        let first = if self.owed.is_empty() {
            messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            let wake = self.flushes.iter().map(|(deadline, _)| *deadline).fold(self.next, Instant::min);
            messages.recv_timeout(wake.saturating_duration_since(Instant::now()))
        };
        match first {
            Ok(first) => std::iter::once(first).chain(messages.try_iter()).for_each(|m| self.take(m)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Report(report) => {
                self.owed.pop_back_if(|last| last.status == Status::Progress);
                self.owed.push_back(report);
            }
            Message::Flush(deadline, told) => {
                self.flushes.push((deadline, told));
                self.next = Instant::now();
            }
        }
    }

    fn send_first(&mut self, server: &Server, console: &Console) {
        let Some(report) = self.owed.front().filter(|_| Instant::now() >= self.next) else { return };
        match server.report(report) {
            Ok(()) => self.first_is_settled(),
            Err(error) if error.is_final() || (error.is_of_the_request() && !is_of_the_end(report)) => {
                console.say(&format!("report refused: {error}"));
                self.first_is_settled();
            }
            Err(error) => {
                if self.wait == FIRST_WAIT {
                    console.say(&format!("report not delivered: {error}"));
                }
                self.next = Instant::now() + self.wait;
                self.wait = (self.wait * 2).min(LONGEST_WAIT);
            }
        }
    }

    fn first_is_settled(&mut self) {
        self.owed.pop_front();
        self.wait = FIRST_WAIT;
    }

    /// Whoever waits learns that it is over: by a word, or, too late, by the channel's end.
    fn answer_flushes(&mut self) {
        if self.owed.is_empty() {
            for (_, told) in self.flushes.drain(..) {
                let _ = told.send(());
            }
        }
        let now = Instant::now();
        self.flushes.retain(|(deadline, _)| *deadline > now);
    }
}

/// An installation whose end the server doesn't know is begun again.
fn is_of_the_end(report: &Report) -> bool {
    report.step >= Step::Head && report.status == Status::Done
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report(step: Step, status: Status, bytes: u64) -> Message {
        let (total, bytes_per_second, eta_seconds, message) = (None, 0, None, String::new());
        Message::Report(Report { step, status, bytes, total, bytes_per_second, eta_seconds, message })
    }

    #[test]
    fn only_progress_that_is_out_of_date_is_left_out() {
        let mut backlog = Backlog::new();
        backlog.take(report(Step::Write, Status::Started, 0));
        backlog.take(report(Step::Write, Status::Progress, 1));
        backlog.take(report(Step::Write, Status::Progress, 2));
        backlog.take(report(Step::Write, Status::Done, 3));
        backlog.take(report(Step::Verify, Status::Started, 0));
        backlog.take(report(Step::Verify, Status::Progress, 4));
        let kept: Vec<_> = backlog.owed.iter().map(|r| (r.step, r.status, r.bytes)).collect();
        assert_eq!(
            kept,
            [
                (Step::Write, Status::Started, 0),
                (Step::Write, Status::Done, 3),
                (Step::Verify, Status::Started, 0),
                (Step::Verify, Status::Progress, 4),
            ]
        );
    }
}
