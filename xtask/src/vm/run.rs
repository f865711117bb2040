//! Plays a scenario: does its steps, waits for its states, judges, and says what it saw when something is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::Parts;
use super::client::{self, Client, Machine, Server};
use super::guest::{self, Guest, Who};
use super::lab::Lab;
use super::process::Process;
use super::scenario::{Command, Dhcp, EventPattern, FAILED, ImageVariant, STATES, Scenario, Step};
use super::site::{self, MAC, Site};
use crate::interrupt;

/// Between two looks at the server and the console.
const PAUSE: Duration = Duration::from_millis(250);
/// A server that does not answer after this long will not.
const SERVER_START: Duration = Duration::from_secs(20);
/// The part of the disk that the agent writes last.
const HEAD: usize = 1 << 20;
/// Of each log, when a scenario fails.
const LAST_LINES: usize = 30;

/// Someone who watches.
pub(crate) trait Watch {
    /// A step begins.
    fn step(&mut self, _elapsed: Duration, _step: &str) {}
    /// The server told of it.
    fn event(&mut self, _event: &Value) {}
    /// The server's record changed.
    fn machine(&mut self, _machine: &Machine) {}
    /// The machine printed it on its serial console.
    fn console(&mut self, _line: &str) {}
}

/// How a scenario ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) took: Duration,
    /// The reason, with the last lines of each log.
    pub(crate) failure: Option<String>,
    /// The lab's folder, where it was kept.
    pub(crate) kept: Option<PathBuf>,
}

/// Plays it in a lab of its own, which is kept after a failure, or when `keep` says so.
pub(crate) fn play(scenario: &Scenario, parts: &Parts, keep: bool, watch: &mut dyn Watch) -> Outcome {
    let begin = Instant::now();
    let mut kept = None;
    let played = Lab::new(scenario).and_then(|mut lab| {
        let played = play_in(&lab, scenario, parts, watch);
        if keep || played.is_err() && interrupt::check().is_ok() {
            kept = Some(lab.keep()?);
        }
        played
    });
    Outcome { took: begin.elapsed(), failure: played.err().map(|error| format!("{error:#}")), kept }
}

fn play_in(lab: &Lab, scenario: &Scenario, parts: &Parts, watch: &mut dyn Watch) -> Result<()> {
    let mut run = Run::new(lab, scenario, parts, watch)?;
    let done = run.start_site().and_then(|()| run.steps());
    // Who stops it knows why it ended.
    interrupt::check()?;
    done.map_err(|error| anyhow!("{error:#}\n{}", run.evidence()))
}

struct Run<'a> {
    lab: &'a Lab,
    scenario: &'a Scenario,
    parts: &'a Parts,
    watch: &'a mut dyn Watch,
    site: Site,
    client: Client,
    server: Option<Server>,
    /// The machine that is dealt with.
    guest: Guest,
    /// The other one.
    beside: Option<Guest>,
    begin: Instant,
    /// The furthest of [`STATES`] that the server has shown since the machine was turned on.
    furthest: Option<usize>,
    machine: Option<Machine>,
    events_seen: usize,
    _neighbours: Vec<Process>,
}

impl<'a> Run<'a> {
    /// The site and its neighbours; server and machine are off.
    fn new(lab: &'a Lab, scenario: &'a Scenario, parts: &'a Parts, watch: &'a mut dyn Watch) -> Result<Self> {
        let site = site::write(lab, scenario, parts)?;
        let client = Client::new(&parts.binaries.netboot, &site);
        let mut neighbours = vec![site::advertise(lab, scenario)?];
        if scenario.dhcp != Dhcp::Server {
            neighbours.push(site::foreign_dhcp(lab)?);
        }
        if scenario.command == Command::Api {
            neighbours.push(site::api(lab)?);
        }
        let guest = |who| Guest::new(who, scenario, lab, &parts.image.raw);
        Ok(Self {
            lab,
            scenario,
            parts,
            watch,
            site,
            client,
            server: None,
            guest: guest(Who::Node)?,
            beside: scenario.has_stranger().then(|| guest(Who::Stranger)).transpose()?,
            begin: Instant::now(),
            furthest: None,
            machine: None,
            events_seen: 0,
            _neighbours: neighbours,
        })
    }

    /// The server runs, and knows the machine.
    fn start_site(&mut self) -> Result<()> {
        self.start_server()?;
        match &self.site.host {
            None => Ok(()),
            Some(words) => {
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                self.client.run(&words).map(drop)
            }
        }
    }

    fn steps(&mut self) -> Result<()> {
        for step in &self.scenario.steps {
            let name = describe(step);
            self.watch.step(self.begin.elapsed(), &name);
            self.step(step).with_context(|| format!("step \"{name}\""))?;
        }
        self.look()
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::PowerOn => {
                if self.guest.who() == Who::Node {
                    self.furthest = None;
                }
                self.guest.power_on()
            }
            Step::PowerOff => {
                self.guest.power_off();
                Ok(())
            }
            Step::AwaitPowerOff => self.await_power_off(),
            Step::AwaitState(state) => self.await_state(state),
            Step::AwaitConsole(text) => self.until(|run| Ok(run.guest.console().contains(text.as_str()))),
            Step::AwaitEvent(pattern) => {
                self.until(|run| Ok(client::events(run.lab).iter().any(|event| matches(event, pattern))))
            }
            Step::Stranger(step) => {
                self.turn_to_other()?;
                let done = self.step(step);
                self.turn_to_other()?;
                done
            }
            Step::KillServer => {
                self.server = None;
                Ok(())
            }
            Step::StartServer => self.start_server(),
            Step::MendProfile => {
                site::write_profile(self.lab, ImageVariant::Good, self.parts)?;
                self.until(|run| Ok(run.machine.as_ref().is_none_or(|machine| machine.state != FAILED)))
            }
            Step::Wait { seconds } => interrupt::nap(Duration::from_secs(*seconds)),
            judgement => self.judge(judgement),
        }
    }

    fn judge(&mut self, judgement: &Step) -> Result<()> {
        match judgement {
            Step::DiskEqualsImage => {
                match guest::first_difference(&self.guest.disk(), &self.parts.image.raw)? {
                    None => Ok(()),
                    Some(at) => bail!("the disk differs from the image at byte {at}"),
                }
            }
            Step::DiskNotBootable if guest::is_blank(&self.guest.disk(), HEAD)? => Ok(()),
            Step::DiskNotBootable => bail!("the first MiB of the disk is written"),
            Step::ConsoleLacks(text) if self.guest.console().contains(text.as_str()) => {
                bail!("{text:?} is on the console")
            }
            Step::ConsoleLacks(_) => Ok(()),
            Step::EventsLack(pattern) => {
                self.look()?;
                match client::events(self.lab).iter().find(|event| matches(event, pattern)) {
                    None => Ok(()),
                    Some(event) => bail!("there was {event}"),
                }
            }
            Step::Counted(name) => client::counted(&self.client.status()?, name).map(drop),
            Step::MessageHas(text) => self.message_has(text),
            Step::AnsweredByKernel(kinds) => {
                let status = self.client.status()?;
                kinds.iter().try_for_each(|kind| client::answered_by_kernel(&status, kind).map(drop))
            }
            Step::XdpMode(want) => {
                let mode = client::xdp_mode(&self.client.status()?, self.lab.interface())?;
                if mode != *want {
                    bail!("XDP runs in mode {mode}");
                }
                Ok(())
            }
            done => bail!("{} is nothing to judge", describe(done)),
        }
    }

    fn turn_to_other(&mut self) -> Result<()> {
        let other = self.beside.as_mut().context("there is one machine alone")?;
        std::mem::swap(&mut self.guest, other);
        Ok(())
    }

    fn message_has(&mut self, text: &str) -> Result<()> {
        self.look()?;
        let message = self.machine.as_ref().and_then(|machine| machine.message.clone()).unwrap_or_default();
        if !message.to_lowercase().contains(&text.to_lowercase()) {
            bail!("the machine's message is {message:?}");
        }
        Ok(())
    }

    fn await_state(&mut self, state: &str) -> Result<()> {
        let want = STATES.iter().position(|name| *name == state);
        self.until(|run| {
            let now = run.machine.as_ref().map_or("", |machine| machine.state.as_str());
            match want {
                None => Ok(now == state),
                Some(_) if now == FAILED => {
                    let message = run.machine.as_ref().and_then(|machine| machine.message.as_deref());
                    bail!("the installation failed: {}", message.unwrap_or("no reason given"))
                }
                Some(want) => Ok(run.furthest.is_some_and(|furthest| furthest >= want)),
            }
        })
    }

    fn await_power_off(&mut self) -> Result<()> {
        loop {
            match self.guest.ended()? {
                Some(status) if status.success() => break,
                Some(status) => bail!("QEMU ended with {status}"),
                None => self.pause()?,
            }
        }
        self.guest.power_off();
        self.look()
    }

    /// Looks until `done` says so; fails with the scenario's deadline, with QEMU, or with the server.
    fn until(&mut self, done: impl Fn(&mut Self) -> Result<bool>) -> Result<()> {
        loop {
            self.look()?;
            if done(self)? {
                return Ok(());
            }
            if let Some(status) = self.guest.ended()? {
                // What it said last may be what we wait for.
                self.look()?;
                return if done(self)? { Ok(()) } else { Err(anyhow!("the machine is off ({status})")) };
            }
            self.pause()?;
        }
    }

    fn pause(&mut self) -> Result<()> {
        let deadline = Duration::from_secs(self.scenario.deadline_seconds);
        if self.begin.elapsed() > deadline {
            bail!("not within the scenario's {} seconds", deadline.as_secs());
        }
        if let Some(server) = &mut self.server {
            server.must_run()?;
        }
        interrupt::nap(PAUSE)
    }

    fn start_server(&mut self) -> Result<()> {
        let mut server = Server::start(self.lab, &self.site, &self.parts.binaries.netboot)?;
        let begin = Instant::now();
        while !self.client.is_ready() {
            server.must_run()?;
            if begin.elapsed() > SERVER_START {
                bail!("netboot serve does not answer on its control socket");
            }
            interrupt::nap(PAUSE)?;
        }
        server.follow_events(self.lab, &self.client)?;
        self.server = Some(server);
        Ok(())
    }

    /// Takes in what has happened, and tells who watches.
    fn look(&mut self) -> Result<()> {
        let events = client::events(self.lab);
        events.iter().skip(self.events_seen).for_each(|event| self.watch.event(event));
        self.events_seen = events.len();
        self.guest.new_lines().iter().for_each(|line| self.watch.console(line));
        if self.server.is_some() {
            self.look_at_machine()?;
        }
        Ok(())
    }

    fn look_at_machine(&mut self) -> Result<()> {
        let machine = self.client.machine(MAC)?;
        if machine == self.machine {
            return Ok(());
        }
        if let Some(machine) = &machine {
            let place = STATES.iter().position(|name| *name == machine.state);
            // A record from before this power-on counts only once it changes.
            if self.guest.is_on() {
                self.furthest = self.furthest.max(place);
            }
            self.watch.machine(machine);
        }
        self.machine = machine;
        Ok(())
    }

    /// The last lines of each log, and the server's record.
    fn evidence(&self) -> String {
        let mut text = String::new();
        if let Some(machine) = &self.machine {
            text.push_str(&format!("  machine: {machine:?}\n"));
        }
        if let Ok(status) = self.client.status() {
            text.push_str(&format!("  counters: {}\n", status["counters"]));
        }
        let mut logs = ["server.log", "events.log", "qemu.log", "foreign-dhcp.log", "api.log"]
            .map(|name| self.lab.folder.join(name))
            .to_vec();
        logs.extend(self.beside.iter().chain([&self.guest]).map(Guest::console_log));
        for log in logs {
            text.push_str(&last_lines(&log));
        }
        text
    }
}

fn last_lines(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(printable).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return String::new();
    }
    let last = lines.iter().skip(lines.len().saturating_sub(LAST_LINES));
    let body: String = last.map(|line| format!("    {line}\n")).collect();
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    format!("  {name}, last lines:\n{body}")
}

/// Without the firmware's cursor movements and colours, which would repaint the reader's terminal.
pub(crate) fn printable(line: &str) -> String {
    let mut out = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            // CSI: up to its final letter.
            if characters.next() == Some('[') {
                characters.by_ref().find(|c| ('@'..='~').contains(c));
            }
        } else if !character.is_control() {
            out.push(character);
        }
    }
    out.trim_end().to_owned()
}

fn matches(event: &Value, pattern: &EventPattern) -> bool {
    let lane = pattern.lane.as_ref().is_none_or(|lane| event["lane"] == lane.as_str());
    let text = event["text"].as_str().unwrap_or_default().starts_with(&pattern.text);
    let mac = pattern.mac.as_ref().is_none_or(|mac| event["mac"] == mac.as_str());
    event["kind"] == pattern.kind.as_str() && text && lane && mac
}

/// The step as its file has it.
fn describe(step: &Step) -> String {
    match step {
        Step::PowerOn => "power-on".into(),
        Step::PowerOff => "power-off".into(),
        Step::AwaitPowerOff => "await-power-off".into(),
        Step::AwaitState(state) => format!("await-state: {state}"),
        Step::AwaitConsole(text) => format!("await-console: {text}"),
        Step::AwaitEvent(pattern) => format!("await-event: {}", described(pattern)),
        Step::EventsLack(pattern) => format!("events-lack: {}", described(pattern)),
        Step::Counted(name) => format!("counted: {name}"),
        Step::Stranger(step) => format!("stranger: {}", describe(step)),
        Step::KillServer => "kill-server".into(),
        Step::StartServer => "start-server".into(),
        Step::MendProfile => "mend-profile".into(),
        Step::Wait { seconds } => format!("wait: {seconds} s"),
        Step::DiskEqualsImage => "disk-equals-image".into(),
        Step::DiskNotBootable => "disk-not-bootable".into(),
        Step::ConsoleLacks(text) => format!("console-lacks: {text}"),
        Step::MessageHas(text) => format!("message-has: {text}"),
        Step::AnsweredByKernel(kinds) => format!("answered-by-kernel: {}", kinds.join(", ")),
        Step::XdpMode(mode) => format!("xdp-mode: {mode}"),
    }
}

fn described(EventPattern { kind, text, lane, mac }: &EventPattern) -> String {
    let text = if text.is_empty() { String::new() } else { format!(" {text}") };
    let of = |word: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(" {word} {value}")).unwrap_or_default()
    };
    format!("{kind}{text}{}{}", of("from", lane), of("of", mac))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_matches_by_what_is_given() {
        let event = json!({ "kind": "dhcp", "text": "offer 10.0.0.1 to bios", "lane": "tcx", "mac": "a" });
        let pattern = |text: &str, lane: Option<&str>| EventPattern {
            kind: "dhcp".into(),
            text: text.into(),
            lane: lane.map(Into::into),
            mac: None,
        };
        let of = |mac: &str| EventPattern { mac: Some(mac.into()), ..pattern("offer", None) };
        assert!(matches(&event, &of("a")));
        assert!(!matches(&event, &of("b")));
        assert!(matches(&event, &pattern("", None)));
        assert!(matches(&event, &pattern("offer", Some("tcx"))));
        assert!(!matches(&event, &pattern("offer", Some("xdp"))));
        assert!(!matches(&event, &pattern("ack", None)));
    }

    #[test]
    fn the_last_lines_of_each_log_are_shown_and_no_more() {
        let folder = std::env::temp_dir().join(format!("nbt-last-lines-{}", std::process::id()));
        let log: String = (1..=LAST_LINES + 5).map(|line| format!("line {line}\x1b[2J\r\n\n")).collect();
        fs::write(&folder, log).unwrap_or_else(|error| panic!("{error}"));
        let shown = last_lines(&folder);
        _ = fs::remove_file(&folder);
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines[0].ends_with(", last lines:"), "{shown}");
        assert_eq!((lines[1], lines.len()), ("    line 6", LAST_LINES + 1), "{shown}");
        assert_eq!(lines[LAST_LINES], format!("    line {}", LAST_LINES + 5));
        assert_eq!(last_lines(Path::new("/nonexistent/log")), "");
    }

    #[test]
    fn firmware_does_not_repaint_our_terminal() {
        assert_eq!(printable("\x1b[2J\x1b[01;01HBdsDxe: \x1b[0mloading\r"), "BdsDxe: loading");
    }
}
