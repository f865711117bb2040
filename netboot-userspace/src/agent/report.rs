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
/// Progress has the rate of so long, or up to twice that: one that counted an outage long ago would tell of no end.
const WINDOW: Duration = Duration::from_secs(5);

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
    /// Moments with their bytes, of which the first is the one that rates count from.
    marks: [(Duration, u64); 2],
}

impl Meter {
    pub fn new(now: Duration) -> Self {
        Self { started: now, told: now, bytes: 0, total: None, marks: [(now, 0); 2] }
    }

    /// So many bytes are done; true if it is time to say so.
    pub fn count(&mut self, now: Duration, bytes: u64, total: Option<u64>) -> bool {
        (self.bytes, self.total) = (bytes, total);
        let [_, last] = self.marks;
        if now.saturating_sub(last.0) >= WINDOW {
            self.marks = [last, (now, bytes)];
        }
        let due = now.saturating_sub(self.told) >= EVERY;
        if due {
            self.told = now;
        }
        due
    }

    /// The report of this moment: with the present rate while it goes on, with that of the whole step after.
    pub fn report(&self, now: Duration, step: Step, status: Status, message: &str) -> Report {
        let (since, before) = if status == Status::Progress { self.marks[0] } else { (self.started, 0) };
        let millis = now.saturating_sub(since).as_millis().max(1);
        let bytes_per_second = (u128::from(self.bytes.saturating_sub(before)) * 1000 / millis) as u64;
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
    use std::sync::atomic::{AtomicBool, Ordering};

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
    fn an_outage_is_forgotten_and_the_whole_step_is_not() {
        let mut meter = Meter::new(millis(0));
        let mib = |n: u64| n << 20;
        let mut tell = |second: u64, bytes: u64| {
            assert!(meter.count(millis(second * 1000), bytes, Some(mib(1000))));
            meter.report(millis(second * 1000), Step::Write, Status::Progress, "")
        };
        // 10 MiB/s, five minutes of nothing, and 20 MiB/s from then on.
        (1..=10).for_each(|second| drop(tell(second, mib(10 * second))));
        (311..=319).for_each(|second| drop(tell(second, mib(100 + 20 * (second - 310)))));
        let last = tell(320, mib(300));
        assert_eq!((last.bytes_per_second, last.eta_seconds), (mib(20), Some(35)));
        let done = meter.report(millis(320_000), Step::Write, Status::Done, "");
        assert_eq!(done.bytes_per_second, mib(300) / 320);
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
    fn a_report_that_a_server_can_not_read_is_left_out_unless_it_tells_of_the_end() {
        let mut refusals = 2;
        let server = Scripted::answering(move |request| {
            let unread = told(request).0 == Step::Plan || refusals > 0;
            refusals -= i32::from(told(request).0 == Step::Head && refusals > 0);
            testing::answer(if unread { 400 } else { 204 }, b"unknown field")
        });
        let mut reporter = reporter(&server);
        reporter.started(Step::Plan, "");
        reporter.done(Step::Head, "");
        assert!(reporter.flush(Duration::from_secs(20)));
        let steps: Vec<Step> = server.requests().iter().map(|request| told(request).0).collect();
        assert_eq!(steps, [Step::Plan, Step::Head, Step::Head, Step::Head]);
    }

    #[test]
    fn a_flush_gives_up_and_the_reports_are_still_owed() {
        let away = Arc::new(AtomicBool::new(true));
        let is_away = away.clone();
        let server = Scripted::answering(move |_| {
            testing::answer(if is_away.load(Ordering::Relaxed) { 503 } else { 204 }, b"")
        });
        let mut reporter = reporter(&server);
        reporter.failed(Step::Write, "no");
        let started = Instant::now();
        assert!(!reporter.flush(millis(500)));
        assert!(started.elapsed() < Duration::from_secs(10));
        away.store(false, Ordering::Relaxed);
        assert!(reporter.flush(Duration::from_secs(20)));
    }
}
