//! One machine as it was observed: what each observation makes of it. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netboot_common::Mac;
use serde::{Deserialize, Serialize};

use super::boots::{BootId, Fruit};
use super::identity::Uuid;
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

/// What a machine that asks for its script shows of itself, beside its MAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub uuid: Option<Uuid>,
    /// The address that it asks from.
    pub peer: Option<IpAddr>,
}

/// Which host a machine's DHCP messages name, by more than its MAC: by a client identifier, a UUID, a relay agent's circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Those of DHCPv4; `None`: no host.
    V4(Option<String>),
    /// Those of DHCPv6.
    V6(Option<String>),
    /// The lanes in the kernel look at MACs alone.
    Unasked,
}

/// What was seen of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It was answered by DHCP. `class` is the client class by its name in the design (`bios`, `efi-x64`,
    /// `ipxe-bios`, `plain` …), `kind` the answer (`offer`, `ack` …).
    Dhcp { kind: &'static str, class: &'static str, ip: Option<IpAddr>, named: Named },
    /// It fetched a file by TFTP, or a network boot program by HTTP.
    Loader { file: String, bytes: u64 },
    /// It fetched the script of this profile, which `installs` or doesn't; `once`: because of `boot: once`.
    Script { profile: String, installs: bool, once: bool, shown: Shown },
    /// It was told to start from its disk.
    Local { shown: Shown },
    /// It fetched a file of its profile by HTTP.
    Kernel { file: String, bytes: u64 },
    /// It asked for a file by HTTP that it did not get whole: it was refused, or broke off, or it wanted a part.
    Unserved { file: String, status: u16 },
    /// Its agent reported.
    Agent(Report),
}

/// A machine, and how it stands. This is also its JSON, of which an older version may have written less.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    pub address6: Option<Ipv6Addr>,
    /// Where it last asked for its script from; in proxy mode, the only address that is known of it.
    pub asked_from: Option<IpAddr>,
    /// As it told when it asked for its script, where that can tell machines apart.
    pub uuid: Option<Uuid>,
    /// The host that DHCP knew it as, by what its MAC does not say.
    pub known_as: Option<String>,
    /// The same of DHCPv6.
    pub known_as6: Option<String>,
    /// What it said of itself when it last asked for its script: groups select by it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub said: BTreeMap<String, String>,
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
    /// Whether that profile installs.
    pub installs: bool,
    /// When a script was answered for `boot: once`.
    pub once_pending: Option<u64>,
    /// The boot that it was answered in, and that has it, and no other.
    pub once_boot: Option<BootId>,
    /// The host's `boot: once` was used up: by a kernel that doesn't install, or by an installation that succeeded.
    pub once_done: bool,
    /// An operator asked for an installation, also where none is to be made by itself ([`super::machines::Machines::hold`]).
    pub wanted: bool,
    /// The boot that is under way, or was its last.
    pub boot: Option<BootId>,
    /// How many boots in a row bore no fruit ([`Fruit`]).
    pub fruitless: u32,
    /// How many boots in a row began soon after the one before them; a start of the server counts anew.
    #[serde(skip)]
    pub quick: u32,
    /// Since when the breaker stops its boots; an operator starts them again.
    pub stopped: Option<u64>,
}

/// After so many seconds one boot of a machine that the breaker stops for want of fruit is tried again.
const TRIAL: u64 = 3600;

/// What became of a machine's installations: a part of [`Machine`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    installed: Option<u64>,
    once_pending: Option<u64>,
    once_done: bool,
    wanted: bool,
    stopped: Option<u64>,
}

/// What must become of a machine's record after an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Nothing that matters after a restart.
    No,
    /// Good to have after a restart.
    Later,
    /// What is decided next hangs on it: on the disk before anybody is answered.
    Now,
}

impl Machine {
    /// One that is seen for the first time.
    pub fn new(mac: Mac, now: u64) -> Self {
        Self { mac: mac.to_string(), first_seen: now, since: now, ..Self::default() }
    }

    /// Whether something is written in this record that must not be forgotten. That it is stopped may be: whoever invents machines
    /// can invent fruitless boots of theirs.
    pub fn is_marked(&self) -> bool {
        Marked { stopped: None, ..self.marked() } != Marked::default()
    }

    /// A boot bore `fruit`, or none.
    pub fn count(&mut self, fruit: Fruit) -> Keep {
        let before = (self.stopped, self.fruitless);
        match fruit {
            Fruit::Some => (self.fruitless, self.stopped) = (0, None),
            Fruit::None => self.fruitless = self.fruitless.saturating_add(1),
            Fruit::Unknown => {}
        }
        match (self.stopped, self.fruitless) {
            after if after == before => Keep::No,
            (stopped, _) if stopped != before.0 => Keep::Now,
            _ => Keep::Later,
        }
    }

    /// The breaker counts anew.
    pub fn rearm(&mut self) {
        (self.fruitless, self.quick, self.stopped) = (0, 0, None);
    }

    /// Whether one boot of a machine that is stopped may be tried again.
    pub fn may_try(&self, now: u64) -> bool {
        self.stopped.is_some_and(|since| now.saturating_sub(since) >= TRIAL)
    }

    /// A boot begins; the one before it, of a profile, began at `before`. `within`: so many seconds are soon.
    pub fn follow(&mut self, before: Option<u64>, within: u64, now: u64) {
        let is_soon = before.is_some_and(|before| now.saturating_sub(before) < within);
        self.quick = if is_soon { self.quick.saturating_add(1) } else { 0 };
    }

    /// Whether `boot: once` is used up for `boot`, or for the next one. The boot that got the script has it, however often that asks
    /// again; a kernel that is not ours to serve is not seen being fetched. An installation is used up by its success only.
    pub fn once_is_used(&self, boot: Option<BootId>) -> bool {
        let is_anothers = self.once_pending.is_some() && !self.installs && self.once_boot != boot;
        self.once_done || is_anothers
    }

    /// What it was last given, by DHCP of both families.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.map(IpAddr::V4).into_iter().chain(self.address6.map(IpAddr::V6))
    }

    /// Takes in one observation.
    pub fn observe(&mut self, seen: &Observation, now: u64) -> Keep {
        let (state, decisive, known_as) =
            (self.state, self.decisive(), self.names().map(str::to_owned).collect::<Vec<_>>());
        self.take_in(seen, now);
        match self.state {
            _ if self.decisive() != decisive => Keep::Now,
            _ if !self.names().eq(known_as) => Keep::Later,
            next if next != state && (next == State::Failed || state == State::Failed) => Keep::Later,
            _ => Keep::No,
        }
    }

    /// What is decided by. The UUID belongs to it once this machine's other ports must not be installed again.
    fn decisive(&self) -> (Marked, Option<Uuid>) {
        (self.marked(), self.uuid.filter(|_| self.installs || self.installed.is_some()))
    }

    /// What is written in this record that an operator may undo.
    pub fn marked(&self) -> Marked {
        let Self { installed, once_pending, once_done, wanted, stopped, .. } = *self;
        Marked { installed, once_pending, once_done, wanted, stopped }
    }

    /// Puts back what [`Machine::marked`] said.
    pub fn mark(&mut self, marked: Marked) {
        let Marked { installed, once_pending, once_done, wanted, stopped } = marked;
        (self.installed, self.once_pending, self.once_done) = (installed, once_pending, once_done);
        (self.wanted, self.stopped) = (wanted, stopped);
    }

    /// The hosts that DHCP knew it as.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known_as.iter().chain(&self.known_as6).map(String::as_str)
    }

    fn take_in(&mut self, seen: &Observation, now: u64) {
        self.last_seen = now;
        match seen {
            Observation::Dhcp { class, ip, named, .. } => {
                self.class.replace_range(.., class);
                match named {
                    Named::V4(name) => rename(&mut self.known_as, name.as_ref(), class),
                    Named::V6(name) => rename(&mut self.known_as6, name.as_ref(), class),
                    Named::Unasked => {}
                }
                match ip {
                    Some(IpAddr::V4(ip)) => self.address = Some(*ip),
                    Some(IpAddr::V6(ip)) => self.address6 = Some(*ip),
                    None => {}
                }
                self.enter(after_dhcp(self.state, class), now);
            }
            Observation::Loader { file, bytes } => {
                // What runs by now fetches no loader before its next DHCP: that is somebody else behind its address.
                if !matches!(self.state, State::Agent | State::Installing | State::Installed | State::Local) {
                    self.fetched(file, *bytes);
                    self.enter(State::Loader, now);
                }
            }
            Observation::Script { profile, installs, once, shown } => {
                self.asked(*shown);
                self.profile = Some(profile.clone());
                self.installs = *installs;
                self.fetched("script", 0);
                // Used up by what follows the script: a machine that lost the answer asks again, and gets it again.
                self.once_pending = once.then(|| self.once_pending.unwrap_or(now));
                self.once_boot = self.boot.filter(|_| *once);
                self.once_done = false;
                self.enter(State::Script, now);
            }
            Observation::Local { shown } => {
                self.asked(*shown);
                self.fetched("local", 0);
                self.enter(State::Local, now);
            }
            Observation::Kernel { file, bytes } => {
                if matches!(self.state, State::Script | State::Kernel) {
                    self.fetched(file, *bytes);
                    self.once_done |= !self.installs && self.once_pending.take().is_some();
                    self.enter(State::Kernel, now);
                }
            }
            Observation::Unserved { .. } => {}
            Observation::Agent(report) => self.report(report, now),
        }
    }

    fn asked(&mut self, shown: Shown) {
        self.asked_from = shown.peer.or(self.asked_from);
        self.uuid = shown.uuid.filter(|uuid| uuid.is_unique()).or(self.uuid);
    }

    fn report(&mut self, report: &Report, now: u64) {
        step_name(report.step).clone_into(&mut self.step);
        (self.bytes, self.total) = (report.bytes, report.total);
        (self.bytes_per_second, self.eta_seconds) = (report.bytes_per_second, report.eta_seconds);
        self.message.clone_from(&report.message);
        let next = after_report(self.state, report);
        if next == State::Installed && self.state != State::Installed {
            (self.installed, self.wanted) = (Some(now), false);
            self.once_done |= self.once_pending.take().is_some();
        }
        self.enter(next, now);
    }

    fn fetched(&mut self, file: &str, bytes: u64) {
        file.clone_into(&mut self.step);
        (self.bytes, self.total, self.bytes_per_second, self.eta_seconds) = (bytes, None, 0, None);
    }

    fn enter(&mut self, next: State, now: u64) {
        if next == self.state {
            return;
        }
        if self.state == State::Failed {
            self.message.clear();
        }
        self.state = next;
        self.since = now;
    }
}

/// A machine's messages may name its host at one stage of a boot only, for firmware, iPXE and systems have client identifiers of their
/// own: what was known is forgotten when firmware begins anew.
fn rename(known_as: &mut Option<String>, name: Option<&String>, class: &str) {
    let is_firmware = class != "plain" && !is_ipxe(class);
    if name.is_some() || is_firmware {
        *known_as = name.cloned();
    }
}

fn is_ipxe(class: &str) -> bool {
    class.starts_with("ipxe") || class.starts_with("netboot-ipxe")
}

/// Firmware that asks begins a new boot. So does iPXE, unless we have just served it as the loader. What is no boot
/// client (an installed system, our agent) asks at any time, and says nothing about the boot.
fn after_dhcp(state: State, class: &str) -> State {
    match state {
        State::Seen => State::Dhcp,
        _ if class == "plain" => state,
        State::Loader if is_ipxe(class) => State::Loader,
        _ => State::Dhcp,
    }
}

/// The disk counts as installed when its first MiB is on it ([`Step::Head`] done), whatever becomes of the reboot. A reboot
/// alone says so only of a machine that was writing: that one report may have been lost.
fn after_report(state: State, report: &Report) -> State {
    match (report.step, report.status) {
        (Step::Head, Status::Done) => State::Installed,
        (Step::Reboot, _) if state == State::Installed => State::Installed,
        (Step::Reboot, Status::Started | Status::Progress | Status::Done) if state == State::Installing => {
            State::Installed
        }
        (Step::Reboot, Status::Started | Status::Progress | Status::Done) => state,
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
mod tests;
