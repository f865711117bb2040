//! What the site knows: hosts and profiles, as an immutable [`Snapshot`] that every service reads.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use netboot_common::Mac;
use serde::{Deserialize, Serialize};

use crate::image::protocol::{Disk, OnFailure};

/// A machine that the operator named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    /// At least one.
    pub macs: Vec<Mac>,
    /// Its reservation; `None`: a dynamic address.
    pub ip: Option<Ipv4Addr>,
    /// `None`: the site's default profile.
    pub profile: Option<String>,
    /// What the operator asks for.
    pub boot: Boot,
    /// Appended to the profile's kernel command line.
    pub cmdline: String,
    pub labels: BTreeMap<String, String>,
    /// `file:line` for hosts read from a file, `store` for hosts set by CLI or API.
    pub origin: String,
}

/// What a host's next boot does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// What its profile says (an installation that succeeded is not repeated).
    #[default]
    Profile,
    /// From its own disk.
    Local,
    /// What its profile says, once, even when it is installed already.
    Once,
    /// Gets an address, and no boot file.
    Ignore,
}

/// What a machine boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    pub boot: ProfileBoot,
    /// What the agent does, if the kernel booted is our agent's.
    pub install: Option<Install>,
    pub origin: String,
}

/// The first thing that a profile boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileBoot {
    /// A kernel: paths under the assets folder, or URLs.
    Linux { kernel: String, initrd: Vec<String>, cmdline: String },
    /// A whole iPXE script.
    Ipxe(String),
    /// The machine's own disk.
    Local,
}

/// The `install` section of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// A path under the assets folder, or a URL.
    pub image: String,
    /// 64 lower-case hex digits.
    pub sha256: String,
    pub size: Option<u64>,
    pub disk: Disk,
    pub on_failure: OnFailure,
}

/// The inventory at one moment. Immutable; a change makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    hosts: BTreeMap<String, Arc<Host>>,
    by_mac: HashMap<Mac, Arc<Host>>,
    by_ip: HashMap<Ipv4Addr, Arc<Host>>,
    profiles: BTreeMap<String, Arc<Profile>>,
}

/// Why a set of hosts and profiles is no inventory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("{second}: host {name} is there already, from {first}")]
    Name { name: String, first: String, second: String },
    #[error("{origin}: host {second} has the MAC {mac} of host {first}")]
    Mac { mac: Mac, first: String, second: String, origin: String },
    #[error("{origin}: host {second} has the address {ip} of host {first}")]
    Ip { ip: Ipv4Addr, first: String, second: String, origin: String },
    #[error("{origin}: host {host} names the profile {profile}, which does not exist (there are: {known})")]
    Profile { host: String, profile: String, known: String, origin: String },
}

impl Snapshot {
    /// All conflicts at once, or the inventory.
    pub fn new(hosts: Vec<Host>, profiles: Vec<Profile>) -> Result<Self, Vec<Conflict>> {
        let mut snapshot = Self::default();
        let mut conflicts = Vec::new();
        for profile in profiles {
            snapshot.profiles.insert(profile.name.clone(), Arc::new(profile));
        }
        for host in hosts {
            snapshot.insert(Arc::new(host), &mut conflicts);
        }
        if conflicts.is_empty() { Ok(snapshot) } else { Err(conflicts) }
    }

    fn insert(&mut self, host: Arc<Host>, conflicts: &mut Vec<Conflict>) {
        let (second, origin) = (host.name.clone(), host.origin.clone());
        if let Some(first) = self.hosts.insert(host.name.clone(), host.clone()) {
            let first = first.origin.clone();
            conflicts.push(Conflict::Name { name: second.clone(), first, second: origin.clone() });
        }
        for &mac in &host.macs {
            if let Some(first) = self.by_mac.insert(mac, host.clone()) {
                let (first, second, origin) = (first.name.clone(), second.clone(), origin.clone());
                conflicts.push(Conflict::Mac { mac, first, second, origin });
            }
        }
        if let Some(ip) = host.ip
            && let Some(first) = self.by_ip.insert(ip, host.clone())
        {
            let (first, second, origin) = (first.name.clone(), second.clone(), origin.clone());
            conflicts.push(Conflict::Ip { ip, first, second, origin });
        }
        if let Some(profile) = &host.profile
            && !self.profiles.contains_key(profile)
        {
            let known = self.profiles.keys().cloned().collect::<Vec<_>>().join(", ");
            conflicts.push(Conflict::Profile { host: second, profile: profile.clone(), known, origin });
        }
    }

    /// By name, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.values()
    }

    pub fn profiles(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.profiles.values()
    }

    pub fn host(&self, name: &str) -> Option<&Arc<Host>> {
        self.hosts.get(name)
    }

    pub fn host_by_mac(&self, mac: Mac) -> Option<&Arc<Host>> {
        self.by_mac.get(&mac)
    }

    pub fn host_by_ip(&self, ip: Ipv4Addr) -> Option<&Arc<Host>> {
        self.by_ip.get(&ip)
    }

    pub fn profile(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.get(name)
    }
}
