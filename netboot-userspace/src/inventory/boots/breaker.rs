//! Boots that bear no fruit, and the breaker that stops them.

use super::{Kind, Record};
use crate::inventory::observed::State;

/// What a boot has borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fruit {
    /// It reached a kernel, our agent, an installed disk, or its own disk.
    Some,
    /// It fetched its loader or its script, and nothing that should follow.
    None,
    /// Nothing can be said: what follows would not be seen, or nothing was decided that could bear any.
    Unknown,
}

impl Fruit {
    /// Of a boot, as far as it came.
    ///
    /// A boot is fruitless only where we would have seen its fruit: it was to boot a profile, and of that profile it fetched the
    /// script, but not the kernel that is ours to serve; or it fetched its loader, and nothing else. Who fetched further files by TFTP
    /// has a configuration of its own (PXELINUX, GRUB), and what that boots nobody tells us.
    pub(super) fn of(record: &Record) -> Self {
        let is_to_boot = matches!(record.decision.kind, Kind::Profile | Kind::Install);
        match record.state {
            _ if record.decision.stopped => Self::Unknown,
            State::Kernel
            | State::Agent
            | State::Installing
            | State::Installed
            | State::Local
            | State::Failed => Self::Some,
            _ if !is_to_boot => Self::Unknown,
            State::Script if !record.shows_kernel => Self::Some,
            _ if record.uncertain => Self::Unknown,
            State::Script => Self::None,
            State::Loader if has_one_file(record) => Self::None,
            State::Seen | State::Dhcp | State::Loader => Self::Unknown,
        }
    }
}

fn has_one_file(record: &Record) -> bool {
    let mut files = record.steps.iter().filter(|step| step.what == "loader").map(|step| &step.text);
    let first = files.next();
    first.is_some() && files.all(|file| Some(file) == first)
}

/// When it stops machines, and what those do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Which boot in a row is stopped, where those before it were fruitless: at least 2.
    pub boots: u32,
    pub then: Instead,
    /// `None`: boots that bear fruit may follow one another as they like.
    pub repeats: Option<Loop>,
}

/// Boots that follow one another too soon, whatever they bear: an installer of which nobody reports that it has installed installs at each
/// of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Which boot in a row is stopped, where each began so soon after the one before: at least 2.
    pub boots: u32,
    /// Seconds.
    pub within: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { boots: 3, then: Instead::Local, repeats: None }
    }
}

/// What a machine does that is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instead {
    /// It starts from its own disk.
    #[default]
    Local,
    /// It gets no script.
    Nothing,
}

impl Instead {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Nothing => "nothing",
        }
    }
}

impl Breaker {
    /// Whether the boot that begins is stopped, after so many fruitless ones in a row.
    pub fn stops(self, fruitless: u32) -> bool {
        fruitless.saturating_add(1) >= self.boots
    }

    /// The same, after so many that followed one another too soon.
    pub fn stops_loop(self, quick: u32) -> bool {
        self.repeats.is_some_and(|repeats| quick.saturating_add(1) >= repeats.boots)
    }

    /// Why a machine is stopped with so many boots in a row without fruit.
    pub fn why(self, fruitless: u32) -> String {
        match self.repeats.filter(|_| !self.stops(fruitless)) {
            Some(Loop { boots, within }) => {
                format!("{boots} boots in a row began within {within} s of the one before")
            }
            None => format!("{fruitless} boots in a row bore no fruit"),
        }
    }
}
