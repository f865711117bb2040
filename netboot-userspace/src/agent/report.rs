//! What the installation says: a line on the console, a [`Report`] to the server.
//!
//! **Invariant:** telling never holds the work up. Reports leave by a thread of their own (`delivery`), which keeps
//! them while the server is away. Only [`Reporter::flush`] waits, and not for ever.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use super::console::Console;
use super::delivery::{Message, deliver};
use super::hardware::Bytes;
use super::server::{LONGEST_CALL, Server};
use crate::image::protocol::{Report, Status, Step};

/// Progress is told once in this time.
const EVERY: Duration = Duration::from_secs(1);

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

    /// Waits until the server has every report, or refused it for good; for at most `patience`. False: some are
    /// still owed, and go on being tried.
    pub fn flush(&self, patience: Duration) -> bool {
        let Some(queue) = &self.queue else { return true };
        let (told, flushed) = channel();
        let sent = queue.send(Message::Flush(Instant::now() + patience, told)).is_ok();
        // One call may be under way when the flush is heard, and another begin just before its deadline.
        sent && flushed.recv_timeout(patience + 2 * LONGEST_CALL).is_ok()
    }

    fn tell(&self, step: Step, status: Status, message: &str) {
        let report = self.meter.report(self.origin.elapsed(), step, status, message);
        self.console.say(&line(&report));
        if let Some(queue) = &self.queue {
            let _ = queue.send(Message::Report(report));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::image::testing::{self, Server as Scripted};
    use std::sync::Mutex;

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

    fn reporter(server: &Scripted) -> Reporter {
        Reporter::new(Arc::new(Console::stderr()), Some(Server::new(server.url("/"))))
    }

    fn told(request: &str) -> (Step, Status) {
        let report: Report = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        (report.step, report.status)
    }

    #[test]
    fn reports_that_were_refused_for_now_arrive_in_order() {
        let mut refusals = 2;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let record = taken.clone();
        let server = Scripted::answering(move |request| {
            let report = told(request);
            let refused = report.0 >= Step::Head && refusals > 0;
            if refused {
                refusals -= 1;
                return testing::answer(503, b"");
            }
            record.lock().unwrap().push(report);
            testing::answer(204, b"")
        });
        let mut reporter = reporter(&server);
        reporter.done(Step::Verify, "");
        reporter.done(Step::Head, "");
        reporter.started(Step::Reboot, "");
        reporter.done(Step::Reboot, "");
        assert!(reporter.flush(Duration::from_secs(20)));
        let arrived = [
            (Step::Verify, Status::Done),
            (Step::Head, Status::Done),
            (Step::Reboot, Status::Started),
            (Step::Reboot, Status::Done),
        ];
        assert_eq!(*taken.lock().unwrap(), arrived);
    }

    #[test]
    fn what_a_server_refuses_for_good_does_not_stand_in_the_way() {
        let server = Scripted::script(vec![testing::answer(403, b"no"), testing::answer(204, b"")]);
        let mut reporter = reporter(&server);
        reporter.done(Step::Head, "");
        reporter.done(Step::Reboot, "");
        assert!(reporter.flush(Duration::from_secs(20)));
        assert_eq!(server.requests().len(), 2);
    }

    #[test]
    fn a_flush_gives_up_and_the_reports_are_still_owed() {
        let mut away = true;
        let server = Scripted::answering(move |_| {
            testing::answer(if std::mem::take(&mut away) { 503 } else { 204 }, b"")
        });
        let mut reporter = reporter(&server);
        reporter.failed(Step::Write, "no");
        let started = Instant::now();
        assert!(!reporter.flush(millis(500)));
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(reporter.flush(Duration::from_secs(20)));
    }
}
