//! `netboot.yaml` and its drop-in folders: raw (as typed) -> checked (as meant).
//!
//! [`load`] reads `netboot.yaml` and, beside it, `hosts.d/*.yaml`, `profiles.d/*.yaml` and
//! `groups.d/*.yaml`, and answers with [`Checked`], whose values need no further look, or with [`Errors`]: everything that is wrong, at once, each with its
//! file, line and column, and what would be right.
//!
//! **Invariant:** nothing past this room asks whether a configured value makes sense.

mod assets;
mod breaker;
mod check;
mod check6;
mod entries;
mod errors;
mod files;
mod groups;
mod http;
mod livebootp;
mod matchbox;
mod net;
mod net6;
mod reader;
mod settings;
mod show;
mod subnets;
mod templates;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests6;
#[cfg(test)]
mod tests_groups;
mod tftp;
pub(crate) mod yaml;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use assets::{Cache, Deadlines, Origin, Upstream};
pub use entries::{Named, typed_profile as profile};
pub use errors::{Errors, Fault};
pub use http::{Http, Https, TLS_CERTIFICATE, TLS_FOLDER, TLS_KEY};
pub use livebootp::Livebootp;
pub use matchbox::Matchbox;
pub use net::{Subnet, duration};
pub use net6::{Dhcp6Mode, Subnet6, V6};
pub use show::show;
pub use tftp::{KernelFiles, Rule, Tftp, Upload};

use netboot_common::limit::{Budget, Limits};

use crate::inventory::boots::Breaker;
use crate::inventory::configs::Templates;
use crate::inventory::group::Group;
use crate::inventory::settings::Settings;
use crate::inventory::{Host, Profile};

/// Where the configuration is, unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/netboot/netboot.yaml";
/// Where the control socket is, unless told otherwise.
pub const DEFAULT_CONTROL: &str = "/run/netboot/control.sock";

/// The configuration, as meant. Every path is as the daemon will open it; every name refers to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What is served directly: at least one.
    pub interfaces: Vec<Interface>,
    /// Further subnets, reached through relays (`giaddr`).
    pub subnets: Vec<Subnet>,
    /// The same of IPv6 (a relay agent's link address).
    pub subnets6: Vec<Subnet6>,
    /// What machines without a host entry get.
    pub unknown: Unknown,
    /// The profile of unknown machines, and of hosts that name none.
    pub default_profile: Option<String>,
    pub http: Http,
    pub tftp: Tftp,
    /// What `/assets/` shows.
    pub assets: PathBuf,
    /// What `/assets/` shows beside it.
    pub cache: Cache,
    pub matchbox: Matchbox,
    /// `None`: there is no registry of LiveBOOTP.
    pub livebootp: Option<Livebootp>,
    /// The folder of iPXE's own binaries: `undionly.kpxe`, `ipxe.efi`, `snponly.efi`.
    pub ipxe: PathBuf,
    pub paths: Paths,
    /// RFC 2131 section 4.3.2: whether a request for an address that we know nothing about gets a NAK.
    pub authoritative: bool,
    /// Option 15, and the domain of `hostname` in scripts.
    pub domain: Option<String>,
    /// What every reply carries, unless a nearer level says otherwise.
    pub settings: Settings,
    pub limits: Limits,
    /// How long somebody may take to say that an address is his, before it is offered for the first time (ARP, RFC 2131 section
    /// 3.1); `None`: nobody is asked.
    pub probe: Option<Duration>,
    /// What stops boots that bear no fruit; `None`: nothing does.
    pub breaker: Option<Breaker>,
    /// The folder of the files that profiles' `configs` name.
    pub templates: PathBuf,
    /// What is in it.
    pub template_files: Templates,
    pub profiles: Vec<Profile>,
    pub groups: Vec<Group>,
    pub hosts: Vec<Host>,
}

/// One interface that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// The tags that its clients' frames carry, outer first: none, one or two, each 1 to 4094.
    pub vlan: Vec<u16>,
    pub dhcp: DhcpMode,
    pub xdp: XdpMode,
    pub option_82: Option82,
    /// Whether clients may choose another subnet than their own, by option 118 (RFC 3011).
    pub subnet_selection: bool,
    /// Those of the clients on it; the first has our address. At least one in [`DhcpMode::Server`].
    pub subnets: Vec<Subnet>,
    pub v6: V6,
}

/// What DHCP does on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DhcpMode {
    /// Addresses and boot files.
    Server,
    /// Boot files only, beside another DHCP server.
    #[default]
    Proxy,
    /// Answers nothing, and records what it would have answered.
    Observe,
    /// Nothing: TFTP and HTTP only.
    Off,
}

/// How the kernel's program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, else generic, else without.
    #[default]
    Auto,
    Native,
    Generic,
    Off,
}

/// What becomes of a message with option 82 that no relay agent sent on (RFC 3046 section 2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Option82 {
    /// It is dropped: a client may have made it up.
    #[default]
    Drop,
    /// It is answered: a switch on the way puts option 82 in, and takes out what clients send.
    Trust,
}

/// What machines without a host entry get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// An address of the pool and the default profile.
    #[default]
    Boot,
    /// No answer.
    Ignore,
}

/// What the daemon keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The store's folder.
    pub state: PathBuf,
    pub control: PathBuf,
    /// On a BPF file system.
    pub pins: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            state: "/var/lib/netboot".into(),
            control: DEFAULT_CONTROL.into(),
            pins: "/sys/fs/bpf/netboot".into(),
        }
    }
}

/// What settings are of: by index in the order of [`Checked::all_subnets`], of `profiles`, of `hosts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Site,
    /// The files of HTTPS, which are no settings.
    Https,
    Subnet(usize),
    Profile(usize),
    Group(usize),
    Host(usize),
}

impl Checked {
    /// What is wrong and has nothing refused, as only those have less by it that it is of.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.livebootp.iter().flat_map(|registry| &registry.faults)
    }
}

/// Reads and checks the configuration at `path` and the drop-in folders beside it.
///
/// # Errors
/// Everything that is wrong in any of the files.
pub fn load(path: &Path) -> Result<Checked, Errors> {
    load_with(path, |_| Vec::new())
}

/// The same, where rooms that we don't know have something to say of what is right for itself: `more`, asked last.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: &Path,
    more: impl FnOnce(&Checked) -> Vec<(Level, String)>,
) -> Result<Checked, Errors> {
    let mut errors = Errors::default();
    let checked = files::read(path, &mut errors).and_then(|raw| check::check(raw, &mut errors));
    let Some((checked, places)) = checked.filter(|_| errors.is_empty()) else { return Err(errors.sorted()) };
    for (level, message) in more(&checked) {
        places.fault(level, &mut errors, message);
    }
    if errors.is_empty() { Ok(checked) } else { Err(errors.sorted()) }
}

/// A client's budget: firmware asks some five times a boot, and a person may boot once more.
const CLIENT_BUDGET: Budget = Budget::new(10, 40);
/// A relay agent's budget: a hall of machines that is switched on at once.
const RELAY_BUDGET: Budget = Budget::new(20_000, 40_000);
/// Unless told otherwise.
pub const LIMITS: Limits = Limits { client: CLIENT_BUDGET, relay: RELAY_BUDGET };
/// On a local network a machine answers an ARP request within a few milliseconds.
const PROBE: Duration = Duration::from_millis(100);

/// The lease time of subnets that name none.
const DEFAULT_LEASE: Duration = Duration::from_secs(3600);

/// Every IPv4 address of this machine, at `port`.
const fn any(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}
