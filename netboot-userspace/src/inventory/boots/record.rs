//! One boot: its decision, and the steps that were seen of it.

use std::fmt;
use std::str::FromStr;

use netboot_common::Mac;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::breaker::Fruit;
use super::{Basis, Taken};
use crate::inventory::machines::Decision;
use crate::inventory::observed::{Observation, State, step_name};
use crate::inventory::{Profile, ProfileBoot};

/// Steps that a record keeps; of more, the last one takes the place of the one before.
const STEPS: usize = 32;
/// So many DISCOVERs in a row that a proxy answered, and nothing between them: firmware sends four before it gives up.
const ASKS_ON: u64 = 3;
/// Bytes of a step's text that are kept: clients name files as they like.
const TEXT: usize = 200;

/// A boot's name: when it began, and a number. In text 16 hex digits, whose order is that of the boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(u64);

impl BootId {
    /// `now`: Unix time, seconds, which has 32 bits until 2106.
    pub(super) fn new(now: u64, number: u32) -> Self {
        Self(now << 32 | u64::from(number))
    }

    /// The least one behind it.
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<u64> for BootId {
    /// As its 16 digits have it.
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for BootId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let read = is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        read.map(Self).ok_or_else(|| format!("{text:?} is no boot: it takes the 16 hex digits of its id"))
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a boot is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Boots a profile that installs nothing.
    Profile,
    /// Boots a profile that installs.
    Install,
    /// Starts from its own disk.
    Local,
    /// Gets an address, and no boot file.
    Ignore,
    /// Gets nothing.
    #[default]
    Nothing,
}

/// A decision, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub kind: Kind,
    /// Of [`Kind::Profile`] and [`Kind::Install`].
    pub profile: Option<String>,
    /// What decided so, and where that was said.
    pub why: String,
    /// Whether the breaker took it.
    #[serde(default)]
    pub stopped: bool,
}

impl Decided {
    pub fn of(taken: &Taken) -> Self {
        let (kind, profile) = match &taken.decision {
            Decision::Profile { profile, .. } if profile.install.is_some() => (Kind::Install, Some(profile)),
            Decision::Profile { profile, .. } => (Kind::Profile, Some(profile)),
            Decision::Local => (Kind::Local, None),
            Decision::Ignore => (Kind::Ignore, None),
            Decision::Nothing(_) => (Kind::Nothing, None),
        };
        let profile = profile.map(|profile| profile.name.clone());
        Self { kind, profile, why: taken.why.clone(), stopped: taken.stopped }
    }
}

impl fmt::Display for Decided {
    /// `install debian`, `local`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = self.profile.as_deref().unwrap_or_default();
        match self.kind {
            Kind::Profile => write!(f, "profile {profile}"),
            Kind::Install => write!(f, "install {profile}"),
            Kind::Local => f.write_str("local"),
            Kind::Ignore => f.write_str("ignore"),
            Kind::Nothing => f.write_str("nothing"),
        }
    }
}

/// What became of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It goes on, as far as is known.
    UnderWay,
    /// Its disk is installed.
    Installed,
    /// Its installation failed.
    Failed,
    /// It started from its disk.
    Local,
    /// It booted what was decided, as far as can be seen.
    Booted,
    /// It fetched its loader or its script, and nothing came of it.
    Fruitless,
    /// It ended before anything could be said.
    Unknown,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unix time, seconds: when it was seen last.
    pub time: u64,
    /// `dhcp`, `loader`, `script`, `kernel`, `unserved`, `agent`, `local`, `decided`
    pub what: String,
    pub text: String,
    /// How often it was seen.
    pub count: u64,
}

/// A boot. This is also its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: BootId,
    pub mac: String,
    /// The host's, where it has one.
    pub name: Option<String>,
    /// Unix time, seconds.
    pub began: u64,
    pub last_seen: u64,
    /// When the next one began; `None`: it is in force.
    pub ended: Option<u64>,
    /// When its decision was taken.
    pub decided: u64,
    pub decision: Decided,
    /// How far it came.
    pub state: State,
    pub steps: Vec<Step>,
    /// Whether we would see what follows the script: a kernel that is ours to serve.
    pub shows_kernel: bool,
    /// Whether fruit of it may have been hidden from us: it asked for a file that we did not send it whole, or its script went to an
    /// address that is not known to be the machine's.
    #[serde(default)]
    pub uncertain: bool,
}

impl Record {
    pub(super) fn new(id: BootId, mac: Mac, taken: &Taken, now: u64) -> Self {
        let (mac, state, steps) = (mac.to_string(), State::Seen, Vec::new());
        let Basis { host, .. } = &taken.known;
        Self {
            id,
            mac,
            name: host.clone(),
            began: now,
            last_seen: now,
            ended: None,
            decided: now,
            decision: Decided::of(taken),
            state,
            steps,
            shows_kernel: shows_kernel(&taken.decision),
            uncertain: false,
        }
    }

    /// Takes another decision. That it is another one is a step.
    pub(super) fn decide(&mut self, taken: &Taken, now: u64) {
        let decided = Decided::of(taken);
        if decided != self.decision {
            self.push("decided", format!("{decided} instead of {}: {}", self.decision, decided.why), now);
        }
        (self.decision, self.decided, self.shows_kernel) = (decided, now, shows_kernel(&taken.decision));
    }

    /// Takes in what was seen; `state` is its machine's by now.
    pub(super) fn note(&mut self, seen: &Observation, state: State, now: u64) {
        // What runs by now may ask for its address.
        if !matches!(seen, Observation::Dhcp { class: "plain", .. }) {
            self.last_seen = now;
        }
        match seen {
            Observation::Dhcp { class: "plain", .. } => {}
            Observation::Dhcp { kind, class, ip, .. } => {
                let ip = ip.map(|ip| format!(" {ip}")).unwrap_or_default();
                self.push("dhcp", format!("{kind}{ip} to {class}"), now);
                self.advance(State::Dhcp);
            }
            Observation::Loader { file, bytes } => {
                self.push("loader", format!("{file}, {bytes} bytes"), now);
                self.advance(State::Loader);
            }
            Observation::Script { profile, .. } => {
                self.push("script", format!("profile {profile}"), now);
                self.state = State::Script;
            }
            Observation::Local { .. } => {
                self.push("local", "its own disk".to_owned(), now);
                self.state = State::Local;
            }
            Observation::Kernel { file, bytes } => {
                self.push("kernel", format!("{file}, {bytes} bytes"), now);
                self.advance(State::Kernel);
            }
            Observation::Unserved { file, status } => {
                self.push("unserved", format!("{file}: {status}"), now);
                self.uncertain = true;
            }
            Observation::Agent(report) => {
                let dash = if report.message.is_empty() { "" } else { ": " };
                self.push("agent", format!("{}{dash}{}", step_name(report.step), report.message), now);
                self.state = state;
            }
        }
    }

    /// What was seen of it says that it came at least so far.
    fn advance(&mut self, state: State) {
        self.state = self.state.max(state);
    }

    fn push(&mut self, what: &str, mut text: String, now: u64) {
        text.truncate(text.floor_char_boundary(TEXT));
        let last = self.steps.last_mut().filter(|last| last.what == what && last.text == text);
        if let Some(last) = last {
            (last.time, last.count) = (now, last.count + 1);
            return;
        }
        self.steps.truncate(STEPS - 1);
        self.steps.push(Step { time: now, what: what.to_owned(), text, count: 1 });
    }

    /// Whether with `seen` it has asked so often in a row, and been told each time what to boot, that no other DHCP server seems to give
    /// it an address. True once in a row.
    pub fn asks_on(&self, seen: &Observation) -> bool {
        let is_told =
            matches!(seen, Observation::Dhcp { kind: "proxy_offer", class, .. } if *class != "plain");
        is_told && self.steps.last().is_some_and(|last| last.what == "dhcp" && last.count == ASKS_ON)
    }

    /// What it has borne so far.
    pub fn fruit(&self) -> Fruit {
        Fruit::of(self)
    }

    pub fn outcome(&self) -> Outcome {
        match (self.state, self.fruit()) {
            (State::Installed, _) => Outcome::Installed,
            (State::Failed, _) => Outcome::Failed,
            (State::Local, _) => Outcome::Local,
            _ if self.ended.is_none() => Outcome::UnderWay,
            (_, Fruit::Some) => Outcome::Booted,
            (_, Fruit::None) => Outcome::Fruitless,
            (_, Fruit::Unknown) => Outcome::Unknown,
        }
    }

    /// Whether the store is to remember it from now on: an installation, or what is booted once only.
    pub fn must_survive(&self, seen: &Observation) -> bool {
        match seen {
            Observation::Script { installs, once, .. } => *installs || *once,
            Observation::Agent(_) => matches!(self.state, State::Installed | State::Failed),
            _ => false,
        }
    }
}

fn shows_kernel(decision: &Decision) -> bool {
    matches!(decision, Decision::Profile { profile, .. } if is_kernel_ours(profile))
}

/// Whether its kernel is below our assets.
fn is_kernel_ours(profile: &Profile) -> bool {
    match &profile.boot {
        ProfileBoot::Linux { kernel: file, .. } | ProfileBoot::Efi { binary: file, .. } => {
            !file.contains("://")
        }
        ProfileBoot::Given(boot) => !boot.kernel.contains("://"),
        ProfileBoot::Ipxe(_) | ProfileBoot::Broken(_) | ProfileBoot::Local => false,
    }
}
