//! What the installation says: a line on the console, a [`Report`] to the server.
//!
//! **Invariant:** telling never holds the work up. Reports leave by a thread of their own; while the server is slow,
//! progress that is out of date is left out. Only [`Reporter::flush`] waits, and not for ever.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::console::Console;
use super::hardware::Bytes;
use super::server::Server;
use crate::image::protocol::{Report, Status, Step};

/// Progress is told once in this time.
const EVERY: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(1);

/// A step's name, as the protocol writes it.
pub fn name(step: Step) -> &'static str {
    match step {
        Step::Start => "start",
        Step::Plan => "plan",
        Step::Write => "write",
        Step::Verify => "verify",
        Step::Head => "head",
        Step::Reboot => "reboot",
    }
}

/// Counts one step's bytes. Pure: time is an argument.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    started: Duration,
    /// When progress was told last.
    told: Duration,
    bytes: u64,
    total: Option<u64>,
}

impl Meter {
    pub fn new(now: Duration) -> Self {
        Self { started: now, told: now, bytes: 0, total: None }
    }

    /// So many bytes are done; true if it is time to say so.
    pub fn count(&mut self, now: Duration, bytes: u64, total: Option<u64>) -> bool {
        (self.bytes, self.total) = (bytes, total);
        let due = now.saturating_sub(self.told) >= EVERY;
        if due {
            self.told = now;
        }
        due
    }

    /// The report of this moment.
    pub fn report(&self, now: Duration, step: Step, status: Status, message: &str) -> Report {
        let millis = now.saturating_sub(self.started).as_millis().max(1) as u64;
        let bytes_per_second = (u128::from(self.bytes) * 1000 / u128::from(millis)) as u64;
        let left = self.total.map(|total| total.saturating_sub(self.bytes));
        let eta_seconds = left.filter(|_| bytes_per_second > 0).map(|left| left.div_ceil(bytes_per_second));
        let message = message.to_owned();
        Report { step, status, bytes: self.bytes, total: self.total, bytes_per_second, eta_seconds, message }
    }
}

/// `write 45 % 210 MiB/s eta 3 s`
pub fn line(report: &Report) -> String {
    let mut words = vec![name(report.step).to_owned()];
    match report.status {
        Status::Started | Status::Progress => {}
        Status::Done => words.push("done".to_owned()),
        Status::Failed => words.push("failed".to_owned()),
    }
    if report.bytes > 0 {
        words.push(match (report.status, report.total) {
            (Status::Progress, Some(total)) if total > 0 => {
                format!("{} %", u128::from(report.bytes) * 100 / u128::from(total))
            }
            _ => Bytes(report.bytes).to_string(),
        });
        words.push(format!("{}/s", Bytes(report.bytes_per_second)));
    }
    if let Some(eta) = report.eta_seconds.filter(|_| report.status == Status::Progress) {
        words.push(format!("eta {eta} s"));
    }
    let mut line = words.join(" ");
    if !report.message.is_empty() {
        line += &format!(": {}", report.message);
    }
    line
}

/// Tells console and server.
#[derive(Debug)]
pub struct Reporter {
    console: Arc<Console>,
    /// `None`: run by hand, nobody else to tell.
    queue: Option<Sender<Message>>,
    origin: Instant,
    meter: Meter,
}

enum Message {
    Report(Report),
    /// Until this moment, everything before must be delivered; then say so.
    Flush(Instant, Sender<()>),
}

impl Reporter {
    pub fn new(console: Arc<Console>, server: Option<Server>) -> Self {
        let queue = server.map(|server| {
            let (queue, messages) = channel();
            let console = console.clone();
            std::thread::spawn(move || deliver(&server, &messages, &console));
            queue
        });
        Self { console, queue, origin: Instant::now(), meter: Meter::new(Duration::ZERO) }
    }

    pub fn started(&mut self, step: Step, message: &str) {
        self.meter = Meter::new(self.origin.elapsed());
        self.tell(step, Status::Started, message);
    }

    pub fn progress(&mut self, step: Step, bytes: u64, total: Option<u64>) {
        if self.meter.count(self.origin.elapsed(), bytes, total) {
            self.tell(step, Status::Progress, "");
        }
    }

    pub fn done(&mut self, step: Step, message: &str) {
        self.tell(step, Status::Done, message);
    }

    pub fn failed(&mut self, step: Step, reason: &str) {
        self.tell(step, Status::Failed, reason);
    }

    /// For the console alone.
    pub fn note(&self, line: &str) {
        self.console.say(line);
    }

    /// Waits until the server has the last report, for at most `patience`. False: it may not have it.
    pub fn flush(&self, patience: Duration) -> bool {
        let Some(queue) = &self.queue else { return true };
        let (told, flushed) = channel();
        let sent = queue.send(Message::Flush(Instant::now() + patience, told)).is_ok();
        // The last attempt may begin just before the deadline, and has its own.
        sent && flushed.recv_timeout(patience + Duration::from_secs(15)).is_ok()
    }

    fn tell(&self, step: Step, status: Status, message: &str) {
        let report = self.meter.report(self.origin.elapsed(), step, status, message);
        self.console.say(&line(&report));
        if let Some(queue) = &self.queue {
            let _ = queue.send(Message::Report(report));
        }
    }
}

/// Delivers until the reporter is gone.
fn deliver(server: &Server, messages: &Receiver<Message>, console: &Console) {
    // The newest report that was not taken: what a flush tries again.
    let mut owed: Option<Report> = None;
    while let Ok(first) = messages.recv() {
        let batch: Vec<Message> = std::iter::once(first).chain(messages.try_iter()).collect();
        for (i, message) in batch.iter().enumerate() {
            let newer_follows = matches!(batch.get(i + 1), Some(Message::Report(_)));
            match message {
                Message::Report(report) if report.status == Status::Progress && newer_follows => {}
                Message::Report(report) => {
                    let failed = server.report(report).err();
                    if let Some(error) = failed.as_ref().filter(|_| owed.is_none()) {
                        console.say(&format!("report not delivered: {error}"));
                    }
                    owed = failed.map(|_| report.clone());
                }
                Message::Flush(deadline, told) => {
                    if owed.as_ref().is_none_or(|report| insist(server, report, *deadline)) {
                        owed = None;
                        let _ = told.send(());
                    }
                }
            }
        }
    }
}

/// Repeats a report until the server takes it; false if it did not by then, or never will.
fn insist(server: &Server, report: &Report, deadline: Instant) -> bool {
    while Instant::now() < deadline {
        match server.report(report) {
            Ok(()) => return true,
            Err(error) if error.is_final() => return false,
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::image::testing::{self, Server as Scripted};

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_meter_tells_once_a_second_with_rate_and_time_left() {
        let mut meter = Meter::new(millis(500));
        assert!(!meter.count(millis(1400), 10 << 20, Some(40 << 20)));
        assert!(meter.count(millis(1500), 10 << 20, Some(40 << 20)));
        assert!(!meter.count(millis(2400), 15 << 20, Some(40 << 20)));
        let report = meter.report(millis(2500), Step::Write, Status::Progress, "");
        assert_eq!((report.bytes, report.total), (15 << 20, Some(40 << 20)));
        assert_eq!((report.bytes_per_second, report.eta_seconds), ((15 << 20) / 2, Some(4)));
        assert_eq!(line(&report), "write 37 % 7 MiB/s eta 4 s");
    }

    #[test]
    fn lines_read_well_without_a_total_or_bytes() {
        let mut meter = Meter::new(millis(0));
        assert_eq!(line(&meter.report(millis(0), Step::Plan, Status::Started, "")), "plan");
        assert_eq!(
            line(&meter.report(millis(0), Step::Plan, Status::Done, "/dev/vda")),
            "plan done: /dev/vda"
        );
        assert_eq!(
            line(&meter.report(millis(0), Step::Plan, Status::Failed, "no disk")),
            "plan failed: no disk"
        );
        meter.count(millis(1000), 3 << 20, None);
        assert_eq!(
            line(&meter.report(millis(1000), Step::Write, Status::Progress, "")),
            "write 3 MiB 3 MiB/s"
        );
        assert_eq!(
            line(&meter.report(millis(1000), Step::Verify, Status::Done, "")),
            "verify done 3 MiB 3 MiB/s"
        );
    }

    #[test]
    fn a_flush_repeats_the_last_report_until_the_server_takes_it() {
        let server = Scripted::script(vec![
            testing::answer(503, b""),
            testing::answer(503, b""),
            testing::answer(204, b""),
        ]);
        let mut reporter = Reporter::new(Arc::new(Console::stderr()), Some(Server::new(server.url("/"))));
        reporter.done(Step::Reboot, "");
        assert!(reporter.flush(Duration::from_secs(20)));
        assert_eq!(server.requests().len(), 3);
    }

    #[test]
    fn a_flush_gives_up_and_says_so() {
        let server = Scripted::script(vec![testing::answer(503, b""), testing::answer(503, b"")]);
        let mut reporter = Reporter::new(Arc::new(Console::stderr()), Some(Server::new(server.url("/"))));
        reporter.failed(Step::Write, "no");
        let started = Instant::now();
        let queue = reporter.queue.clone().unwrap();
        let (told, flushed) = channel();
        queue.send(Message::Flush(Instant::now(), told)).unwrap();
        assert!(flushed.recv().is_err());
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
