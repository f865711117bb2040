//! Asks the server what to do, and does it, until the machine is to reboot.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::cmdline::Cmdline;
use super::console::Console;
use super::hardware;
use super::hardware::{DiskFound, Nic, disks};
use super::net::{self, NetError, Network};
use super::plan::{self, PlanError};
use super::report::{Reporter, name};
use super::server::{Server, ServerError};
use super::settle::Settling;
use crate::image::device::Disk;
use crate::image::digest::Digest;
use crate::image::fetch::Policy;
use crate::image::http::Url;
use crate::image::install::{Event, Expected, Failure, Source, install};
use crate::image::protocol::{self, Install, Instructions, OnFailure, Step};
use crate::image::write::WriteError;

const SYS: &str = "/sys";
const LEASE_PATIENCE: Duration = Duration::from_secs(60);
const DISKS: Timing = Timing {
    appear: Duration::from_secs(10),
    settle: Duration::from_secs(3),
    step: Duration::from_millis(200),
};
/// For the report of a failure, before what follows it.
const LAST_REPORT: Duration = Duration::from_secs(60);
/// Between a failure that only a new boot can mend and that boot: time to read the console, and to spare the server.
const BEFORE_REBOOT: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two lines of a machine that waits for its server.
const WAITING_LINE: Duration = Duration::from_secs(60);

/// How to wait for disks.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// They may show up so long after they are first asked for.
    appear: Duration,
    /// Without a change for so long, the list is whole: for `disk: only`.
    settle: Duration,
    /// From one look to the next.
    step: Duration,
}

/// A step that failed, and why.
#[derive(Debug)]
pub struct Failed {
    pub step: Step,
    pub reason: String,
}

impl Failed {
    fn at(step: Step, reason: impl ToString) -> Self {
        Self { step, reason: reason.to_string() }
    }
}

/// The line that ends a failed attempt; tests and people look for it.
pub fn failure_line(failed: &Failed) -> String {
    format!("NETBOOT-AGENT: failed: {}: {}", name(failed.step), failed.reason.replace('\n', " "))
}

/// The line that ends a successful installation.
pub const SUCCESS_LINE: &str = "NETBOOT-AGENT: installed";

/// Returns when the machine is to reboot; everything that had to be said is said. `session` gets the server as soon as
/// it can be told something.
pub fn run(cmdline: &Cmdline, console: &Arc<Console>, session: &OnceLock<Server>) {
    // Counts from here on, while the network comes up: a settled list costs an installation no time.
    let mut settling = Settling::new(Instant::now(), &disks(Path::new(SYS)));
    let note = |line: &str| console.say(line);
    // Found anew each time: an interface that went away may come back, by another name.
    let (nic, network) = patiently(console, || {
        let nic = net::find(cmdline.mac)?;
        note(&format!("network: {} ({})", nic.name, nic.mac));
        let network = Network::configure(&nic, LEASE_PATIENCE, note)?;
        Ok::<_, NetError>((nic, network))
    });
    if let Some(lease) = network.lease() {
        note(&format!("network: {} from {}", lease.address, lease.server));
    }
    let notes = console.clone();
    network.keep(move |line| notes.say(line));
    match open_session(cmdline, &nic, console) {
        Ok(server) => obey(session.get_or_init(|| server), console, &mut settling),
        Err(error) => {
            console.raw(&failure_line(&Failed::at(Step::Start, error)));
            std::thread::sleep(BEFORE_REBOOT);
        }
    }
}

/// Again and again, with growing waits, saying each failure.
fn patiently<T>(console: &Console, attempt: impl Fn() -> Result<T, NetError>) -> T {
    let mut wait = FIRST_WAIT;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => console.raw(&failure_line(&Failed::at(Step::Start, error))),
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// A server that is away comes back; one that refuses the token will go on doing so.
fn open_session(cmdline: &Cmdline, nic: &Nic, console: &Console) -> Result<Server, ServerError> {
    let mut server = Server::new(cmdline.server.clone());
    let mut wait = FIRST_WAIT;
    loop {
        match server.open_session(&cmdline.token, nic.mac) {
            Ok(name) => {
                console.say(&format!("this is {name}, at {}", cmdline.server));
                return Ok(server);
            }
            Err(error) if error.is_final() => return Err(error),
            Err(error) => console.say(&error.to_string()),
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn obey(server: &Server, console: &Arc<Console>, settling: &mut Settling) {
    let mut reporter = Reporter::new(console.clone(), Some(server.clone()));
    reporter.started(Step::Start, "");
    reporter.done(Step::Start, "");
    let mut wait = FIRST_WAIT;
    // What the server was told last of its own answers.
    let mut told = String::new();
    loop {
        let instructions = match server.instructions() {
            Ok(instructions) => instructions,
            Err(error) => {
                console.raw(&failure_line(&Failed::at(Step::Plan, &error)));
                if error.is_final() {
                    return std::thread::sleep(BEFORE_REBOOT);
                }
                let text = error.to_string();
                if error.is_an_answer() && text != told {
                    reporter.failed(Step::Plan, &text);
                    told = text;
                }
                std::thread::sleep(wait);
                wait = (wait * 2).min(LONGEST_WAIT);
                continue;
            }
        };
        wait = FIRST_WAIT;
        match instructions {
            Instructions::Wait { seconds } => {
                console.say(&format!("nothing to do, asking again in {seconds} s"));
                std::thread::sleep(Duration::from_secs(seconds.max(1)));
            }
            Instructions::Reboot => {
                // A report of this step would stand for an installation.
                reporter.note("rebooting, as told");
                return;
            }
            Instructions::Install(install) => {
                if let After::Reboot = carry_out(&install, &mut reporter, console, settling) {
                    return;
                }
            }
        }
    }
}

enum After {
    AskAgain,
    Reboot,
}

fn carry_out(
    install: &Install,
    reporter: &mut Reporter,
    console: &Console,
    settling: &mut Settling,
) -> After {
    match attempt(install, reporter, settling) {
        Ok(()) => {
            // Once more: it is what keeps the server from installing again, and does no harm twice.
            reporter.done(Step::Head, "");
            reporter.started(Step::Reboot, "");
            reporter.done(Step::Reboot, "");
            until_recorded(reporter, WAITING_LINE);
            console.raw(SUCCESS_LINE);
            After::Reboot
        }
        Err(failed) => {
            reporter.failed(failed.step, &failed.reason);
            reporter.flush(LAST_REPORT);
            console.raw(&failure_line(&failed));
            match install.on_failure {
                OnFailure::Reboot => After::Reboot,
                OnFailure::Retry { retry_seconds } => {
                    std::thread::sleep(Duration::from_secs(retry_seconds.max(1)));
                    After::AskAgain
                }
            }
        }
    }
}

/// Without a deadline: rebooting before the server knows would install, and erase, the machine again.
fn until_recorded(reporter: &Reporter, line_every: Duration) {
    while !reporter.flush(line_every) {
        reporter.note("installed; waiting for the server to record it");
    }
}

/// One installation: plan, then the image path.
fn attempt(wanted: &Install, reporter: &mut Reporter, settling: &mut Settling) -> Result<(), Failed> {
    reporter.started(Step::Plan, "");
    let (expected, url) = checked(wanted)?;
    let look = || disks(Path::new(SYS));
    let (disk, settled) = find_disk(wanted, settling, DISKS, look).map_err(|e| Failed::at(Step::Plan, e))?;
    let settled = settled.as_secs();
    reporter.done(Step::Plan, &format!("{disk}; the same disks for {settled} s"));
    reporter.note(&format!("fetching {url}"));
    let fetched = Source::http(&url, Policy::default()).map_err(|e| Failed::at(Step::Write, e))?;
    let open = || {
        still_chosen(wanted, &disk, &look())?;
        Disk::open(Path::new(&disk.path()))
    };
    let summary = install(fetched, expected, open, &mut |event| tell(reporter, event))
        .map_err(|failure: Failure| Failed::at(failure.step, &failure))?;
    let zeroed = hardware::Bytes(summary.zeroed);
    reporter.note(&format!(
        "{} image, {} bytes, {zeroed} of them zeroed, connection resumed {} times",
        summary.format, summary.size, summary.resumed
    ));
    Ok(())
}

/// What was typed becomes what is meant.
///
/// # Errors
/// At [`Step::Plan`]: a digest or a URL that is none.
pub fn checked(wanted: &Install) -> Result<(Expected, Url), Failed> {
    let sha256: Digest = wanted.sha256.parse().map_err(|e| Failed::at(Step::Plan, e))?;
    let url = wanted.image.parse().map_err(|e| Failed::at(Step::Plan, e))?;
    Ok((Expected { sha256, size: wanted.size }, url))
}

/// The disk, and how long the list of disks has been the same.
fn find_disk(
    wanted: &Install,
    settling: &mut Settling,
    timing: Timing,
    look: impl Fn() -> Vec<DiskFound>,
) -> Result<(DiskFound, Duration), PlanError> {
    let deadline = Instant::now() + timing.appear;
    loop {
        let (found, now) = (look(), Instant::now());
        let settled = settling.look(now, &found);
        let chosen = plan::choose(&wanted.disk, &found, wanted.size);
        match chosen {
            Err(error) if error.may_pass() && now < deadline => {}
            Ok(_) if wanted.disk == protocol::Disk::Only && settled < timing.settle => {
                // What showed up last has its time to settle.
                if now >= deadline + timing.settle {
                    return Err(PlanError::Unsettled(found.iter().map(ToString::to_string).collect()));
                }
            }
            result => return result.cloned().map(|disk| (disk, settled)),
        }
        std::thread::sleep(timing.step);
    }
}

/// The last look before a disk is opened: what was chosen a download's start ago must still be what is meant.
fn still_chosen(wanted: &Install, chosen: &DiskFound, found: &[DiskFound]) -> Result<(), WriteError> {
    let why = match plan::choose(&wanted.disk, found, wanted.size) {
        Ok(disk) if (&disk.name, disk.size, &disk.serial) == (&chosen.name, chosen.size, &chosen.serial) => {
            return Ok(());
        }
        Ok(other) => format!("now it is {other}"),
        Err(error) => error.to_string(),
    };
    Err(WriteError::NoLongerChosen { disk: chosen.to_string(), why })
}

/// An event of the image path, as reports.
pub fn tell(reporter: &mut Reporter, event: Event<'_>) {
    match event {
        Event::Started(step) => reporter.started(step, ""),
        Event::Bytes(step, done, total) => reporter.progress(step, done, total),
        Event::Done(step) => reporter.done(step, ""),
        Event::Note(line) => reporter.note(line),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
