//! One machine as it was observed: what each observation makes of it. Pure: the time is an argument.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::image::protocol::{Report, Status, Step};

/// How far a machine has come. The order is that of a first installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Something of it was seen.
    #[default]
    Seen,
    /// It was answered by DHCP.
    Dhcp,
    /// It fetches a network boot program.
    Loader,
    /// It got its boot script.
    Script,
    /// It fetches its kernel or initrd.
    Kernel,
    /// Our agent runs.
    Agent,
    /// Our agent writes its disk.
    Installing,
    /// The disk is written and proven.
    Installed,
    /// It was told to start from its disk.
    Local,
    /// A step of the installation failed; the message says which and why.
    Failed,
}

impl State {
    /// As JSON spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Dhcp => "dhcp",
            Self::Loader => "loader",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Agent => "agent",
            Self::Installing => "installing",
            Self::Installed => "installed",
            Self::Local => "local",
            Self::Failed => "failed",
        }
    }
}

/// What was seen of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It was answered by DHCP. `class` is the client class by its name in the design (`bios`, `efi-x64`,
    /// `ipxe-bios`, `plain` …), `kind` the answer (`offer`, `ack` …).
    Dhcp { kind: String, class: String, ip: Option<Ipv4Addr> },
    /// It fetched a file by TFTP, or a network boot program by HTTP.
    Loader { file: String, bytes: u64 },
    /// It fetched the script of this profile, which `installs` or doesn't; `once`: because of `boot: once`.
    Script { profile: String, installs: bool, once: bool },
    /// It was told to start from its disk.
    Local,
    /// It fetched a file of its profile by HTTP.
    Kernel { file: String, bytes: u64 },
    /// Its agent reported.
    Agent(Report),
}

/// A machine, and how it stands. This is also its JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `52:54:00:12:34:56`
    pub mac: String,
    /// The host's, where it has one.
    pub name: Option<String>,
    pub state: State,
    /// The agent's step, or what was fetched last.
    pub step: String,
    /// Of the step, where it counts bytes.
    pub bytes: u64,
    pub total: Option<u64>,
    pub bytes_per_second: u64,
    pub eta_seconds: Option<u64>,
    /// One line for a person; in [`State::Failed`], the reason.
    pub message: String,
    pub address: Option<Ipv4Addr>,
    /// Its client class.
    pub class: String,
    /// What it boots, by its last script.
    pub profile: Option<String>,
    /// Unix time, seconds.
    pub first_seen: u64,
    pub last_seen: u64,
    /// Since when it has this `state`.
    pub since: u64,
    /// When its disk was last installed; `None`: never, or an operator asked for a new installation.
    pub installed: Option<u64>,
    /// The installation now running is that of `boot: once`.
    pub once_pending: bool,
    /// The host's `boot: once` was used up: by a script that doesn't install, or by an installation that succeeded.
    pub once_done: bool,
}

impl Machine {
    /// Takes in one observation. True if something changed that must survive a restart.
    pub fn observe(&mut self, seen: &Observation, now: u64) -> bool {
        self.last_seen = now;
        match seen {
            Observation::Dhcp { class, ip, .. } => {
                self.class.clone_from(class);
                self.address = ip.or(self.address);
                self.enter(after_dhcp(self.state, class), now)
            }
            Observation::Loader { file, bytes } => {
                self.fetched(file, *bytes);
                // A running agent fetches nothing by TFTP: that is somebody else behind its address.
                let runs = matches!(self.state, State::Agent | State::Installing);
                self.enter(if runs { self.state } else { State::Loader }, now)
            }
            Observation::Script { profile, installs, once } => {
                self.profile = Some(profile.clone());
                self.fetched("script", 0);
                let used = std::mem::replace(&mut self.once_done, *once && !installs);
                self.once_pending = *once && *installs;
                self.enter(State::Script, now) | (used != self.once_done) | self.once_pending
            }
            Observation::Local => {
                self.fetched("local", 0);
                self.enter(State::Local, now)
            }
            Observation::Kernel { file, bytes } => match self.state {
                State::Script | State::Kernel => {
                    self.fetched(file, *bytes);
                    self.enter(State::Kernel, now)
                }
                _ => false,
            },
            Observation::Agent(report) => self.report(report, now),
        }
    }

    fn report(&mut self, report: &Report, now: u64) -> bool {
        step_name(report.step).clone_into(&mut self.step);
        (self.bytes, self.total) = (report.bytes, report.total);
        (self.bytes_per_second, self.eta_seconds) = (report.bytes_per_second, report.eta_seconds);
        self.message.clone_from(&report.message);
        let next = after_report(self.state, report);
        if next == State::Installed && self.state != State::Installed {
            self.installed = Some(now);
            self.once_done |= std::mem::take(&mut self.once_pending);
        }
        self.enter(next, now)
    }

    fn fetched(&mut self, file: &str, bytes: u64) {
        file.clone_into(&mut self.step);
        (self.bytes, self.total, self.bytes_per_second, self.eta_seconds) = (bytes, None, 0, None);
    }

    fn enter(&mut self, next: State, now: u64) -> bool {
        if next == self.state {
            return false;
        }
        if self.state == State::Failed {
            self.message.clear();
        }
        let last = std::mem::replace(&mut self.state, next);
        self.since = now;
        let kept = |state| matches!(state, State::Installed | State::Local | State::Failed);
        kept(last) || kept(next)
    }
}

/// Firmware that asks begins a new boot. So does iPXE, unless we have just served it as the loader. What is no boot
/// client (an installed system, our agent) asks at any time, and says nothing about the boot.
fn after_dhcp(state: State, class: &str) -> State {
    let ipxe = class.starts_with("ipxe") || class.starts_with("netboot-ipxe");
    match state {
        State::Seen => State::Dhcp,
        _ if class == "plain" => state,
        State::Loader if ipxe => State::Loader,
        _ => State::Dhcp,
    }
}

/// The disk counts as installed when its first MiB is on it ([`Step::Head`] done), whatever becomes of the reboot.
fn after_report(state: State, report: &Report) -> State {
    match (report.step, report.status) {
        (Step::Head, Status::Done) | (Step::Reboot, Status::Started | Status::Progress | Status::Done) => {
            State::Installed
        }
        (Step::Reboot, Status::Failed) if state == State::Installed => State::Installed,
        (_, Status::Failed) => State::Failed,
        (Step::Start | Step::Plan, _) => State::Agent,
        (Step::Write | Step::Verify | Step::Head, _) => State::Installing,
    }
}

/// As JSON spells it.
pub const fn step_name(step: Step) -> &'static str {
    match step {
        Step::Start => "start",
        Step::Plan => "plan",
        Step::Write => "write",
        Step::Verify => "verify",
        Step::Head => "head",
        Step::Reboot => "reboot",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dhcp(class: &str) -> Observation {
        Observation::Dhcp { kind: "ack".into(), class: class.into(), ip: Some([10, 0, 0, 9].into()) }
    }

    fn loader() -> Observation {
        Observation::Loader { file: "undionly.kpxe".into(), bytes: 70_000 }
    }

    fn script() -> Observation {
        Observation::Script { profile: "install".into(), installs: true, once: false }
    }

    fn kernel() -> Observation {
        Observation::Kernel { file: "vmlinuz".into(), bytes: 1 }
    }

    fn agent(step: Step, status: Status) -> Observation {
        Observation::Agent(Report {
            step,
            status,
            bytes: 5,
            total: Some(10),
            bytes_per_second: 1,
            eta_seconds: Some(5),
            message: format!("{step:?}"),
        })
    }

    /// From, what is seen, to.
    #[test]
    fn every_observation_in_the_states_where_it_matters() {
        use State::*;
        let table = [
            (Seen, dhcp("plain"), Dhcp),
            (Seen, dhcp("bios"), Dhcp),
            (Dhcp, dhcp("bios"), Dhcp),
            (Dhcp, loader(), Loader),
            (Loader, dhcp("ipxe-bios"), Loader),
            (Loader, dhcp("bios"), Dhcp),
            (Script, dhcp("ipxe-efi-x64"), Dhcp),
            (Kernel, dhcp("plain"), Kernel),
            (Installing, dhcp("plain"), Installing),
            (Installing, loader(), Installing),
            (Installing, dhcp("efi-x64"), Dhcp),
            (Installed, dhcp("bios"), Dhcp),
            (Local, dhcp("plain"), Local),
            (Local, dhcp("bios"), Dhcp),
            (Dhcp, script(), Script),
            (Loader, script(), Script),
            (Dhcp, Observation::Local, Local),
            (Script, kernel(), Kernel),
            (Installing, kernel(), Installing),
            (Local, kernel(), Local),
            (Kernel, agent(Step::Start, Status::Started), Agent),
            (Agent, agent(Step::Plan, Status::Done), Agent),
            (Agent, agent(Step::Write, Status::Started), Installing),
            (Installing, agent(Step::Write, Status::Progress), Installing),
            (Installing, agent(Step::Verify, Status::Done), Installing),
            (Installing, agent(Step::Head, Status::Started), Installing),
            (Installing, agent(Step::Head, Status::Done), Installed),
            (Installing, agent(Step::Head, Status::Failed), Failed),
            (Installed, agent(Step::Reboot, Status::Started), Installed),
            (Installed, agent(Step::Reboot, Status::Failed), Installed),
            (Agent, agent(Step::Plan, Status::Failed), Failed),
            (Installing, agent(Step::Write, Status::Failed), Failed),
            (Failed, agent(Step::Plan, Status::Started), Agent),
            (Failed, dhcp("bios"), Dhcp),
        ];
        for (from, seen, to) in table {
            let mut machine = Machine { state: from, since: 1, ..Machine::default() };
            machine.observe(&seen, 7);
            assert_eq!(machine.state, to, "{from:?} + {seen:?}");
            assert_eq!(machine.since, if from == to { 1 } else { 7 }, "{from:?} + {seen:?}");
        }
    }

    #[test]
    fn what_must_survive_says_so() {
        let mut machine = Machine::default();
        assert!(!machine.observe(&dhcp("bios"), 1));
        assert!(!machine.observe(&agent(Step::Write, Status::Progress), 2));
        assert_eq!((machine.bytes, machine.total, machine.eta_seconds), (5, Some(10), Some(5)));
        assert!(machine.observe(&agent(Step::Head, Status::Done), 3));
        assert_eq!(machine.installed, Some(3));
        assert!(!machine.observe(&agent(Step::Reboot, Status::Started), 4));
        assert!(machine.observe(&dhcp("bios"), 5));
        assert!(machine.observe(&Observation::Local, 6));
        assert_eq!(machine.installed, Some(3));
    }

    #[test]
    fn once_is_used_up_by_a_success_only() {
        let once = |installs| Observation::Script { profile: "p".into(), installs, once: true };
        let mut machine = Machine::default();
        assert!(machine.observe(&once(true), 1));
        machine.observe(&agent(Step::Write, Status::Failed), 2);
        assert!(!machine.once_done);
        assert!(machine.observe(&agent(Step::Head, Status::Done), 3));
        assert!(machine.once_done && !machine.once_pending);
        assert!(machine.observe(&script(), 4));
        assert!(!machine.once_done);
        assert!(machine.observe(&once(false), 5));
        assert!(machine.once_done);
    }

    #[test]
    fn a_failure_keeps_its_reason_until_the_next_try() {
        let mut machine = Machine::default();
        assert!(machine.observe(&agent(Step::Write, Status::Failed), 1));
        assert_eq!((machine.message.as_str(), machine.step.as_str()), ("Write", "write"));
        machine.observe(&dhcp("bios"), 2);
        assert_eq!(machine.message, "");
    }
}
