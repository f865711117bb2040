//! What the site knows: hosts and profiles, as an immutable [`Snapshot`] that every service reads.

pub mod boots;
pub mod change;
pub mod configs;
pub mod diff;
pub mod elsewhere;
pub mod entry;
pub mod events;
pub mod export;
pub mod group;
pub mod hostlist;
pub mod identity;
pub mod import;
pub mod keys;
pub mod labels;
pub mod layered;
mod left_out;
pub mod live;
pub mod machines;
pub mod menu;
pub mod observed;
pub mod options;
pub mod revisions;
pub mod settings;
pub mod trial;
pub mod typed;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use imbl::{HashMap, OrdMap};
use netboot_common::Mac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use configs::{Configs, Templates};
use group::{Group, Groups};
use identity::{Duid, Identifier, Uuid};
pub use left_out::LeftOut;
pub use live::Live;
use live::{Kind, OddObject};
use settings::Settings;

use crate::config::Named;
use crate::image::protocol::{Disk, OnFailure};

/// A machine that the operator named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    /// With the other identities at least one.
    pub macs: Vec<Mac>,
    /// Option 61.
    pub client_id: Option<Identifier>,
    /// Option 97.
    pub uuid: Option<Uuid>,
    /// The circuit that its relay agent names (option 82, sub-option 1): whatever is plugged in there is this host.
    pub circuit: Option<Identifier>,
    /// Of DHCPv6.
    pub duid: Option<Duid>,
    /// The chassis's, as its firmware tells it: a label to select by.
    pub serial: Option<String>,
    /// Its reservation; `None`: a dynamic address.
    pub ip: Option<Ipv4Addr>,
    /// The same of DHCPv6.
    pub ip6: Option<Ipv6Addr>,
    /// `None`: the site's default profile.
    pub profile: Option<String>,
    /// What the operator asks for.
    pub boot: Boot,
    /// Appended to the profile's kernel command line.
    pub cmdline: String,
    pub labels: BTreeMap<String, String>,
    /// What templates are filled in with.
    pub metadata: Map<String, Value>,
    /// Who may log in: public keys, a line each.
    pub ssh_authorized_keys: Vec<String>,
    pub settings: Settings,
    /// `file:line` for hosts read from a file, `store` for hosts set by CLI or API.
    pub origin: String,
}

impl Host {
    /// Whether it is known by anything that only its DHCP messages may say.
    pub fn is_named_by_dhcp(&self) -> bool {
        self.client_id.is_some() || self.uuid.is_some() || self.circuit.is_some() || self.duid.is_some()
    }
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    pub boot: ProfileBoot,
    /// The root file system that the kernel's initrd fetches, a live system: a path under the assets folder.
    pub live: Option<String>,
    /// What the agent does, if the kernel booted is our agent's.
    pub install: Option<Install>,
    pub configs: Configs,
    pub bind: Bind,
    /// What templates are filled in with.
    pub metadata: Map<String, Value>,
    pub settings: Settings,
    pub origin: String,
}

/// What the configurations of a profile's machines are bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bind {
    /// The address of the machine's reservation or lease.
    #[default]
    Address,
    /// A token, which the boot's script has, and which ends.
    Token,
}

impl Profile {
    /// Its kernel's arguments.
    pub fn cmdline(&self) -> &str {
        match &self.boot {
            ProfileBoot::Linux { cmdline, .. } | ProfileBoot::Efi { cmdline, .. } => cmdline,
            ProfileBoot::Ipxe(_) | ProfileBoot::Given(_) | ProfileBoot::Broken(_) | ProfileBoot::Local => "",
        }
    }
}

/// The first thing that a profile boots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProfileBoot {
    /// A kernel: paths under the assets folder, or URLs.
    Linux { kernel: String, initrd: Vec<String>, cmdline: String },
    /// A whole iPXE script.
    Ipxe(String),
    /// An EFI binary, or a unified kernel image: a path under the assets folder, or a URL; and its arguments.
    Efi { binary: String, cmdline: String },
    /// What another program's folder says, to the letter: nothing is added to it.
    Given(crate::render::Boot),
    /// Nothing, as long as its files are not as they must be: what is wrong with them.
    Broken(String),
    /// The machine's own disk.
    #[default]
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
///
/// Its maps are persistent: a copy shares all that it does not change, so that a change costs the same among ten hosts and
/// among a million.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    hosts: OrdMap<String, Arc<Host>>,
    by_mac: HashMap<Mac, Arc<Host>>,
    by_ip: HashMap<Ipv4Addr, Arc<Host>>,
    by_ip6: HashMap<Ipv6Addr, Arc<Host>>,
    by_client_id: HashMap<Identifier, Arc<Host>>,
    by_uuid: HashMap<Uuid, Arc<Host>>,
    by_circuit: HashMap<Identifier, Arc<Host>>,
    by_duid: HashMap<Duid, Arc<Host>>,
    profiles: OrdMap<String, Arc<Profile>>,
    groups: Arc<Groups>,
    /// What profiles may name.
    named: Arc<Named>,
    /// Profiles and groups of the store that are not in force.
    odd: OrdMap<(Kind, String), Arc<OddObject>>,
    /// By name; one may be a configured host's, too.
    left_out: OrdMap<String, Arc<LeftOut>>,
}

/// Why a set of hosts and profiles is no inventory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {fault}")]
pub struct Conflict {
    /// Where the host comes from that does not fit.
    pub origin: String,
    pub fault: Fault,
}

/// What speaks against a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("host {name} is there already, from {first}")]
    Name { name: String, first: String },
    #[error("host {second} has the MAC {mac} of host {first}")]
    Mac { mac: Mac, first: String, second: String },
    #[error("host {second} has the address {ip} of host {first}")]
    Ip { ip: IpAddr, first: String, second: String },
    #[error("host {second} has the {what} {value} of host {first}")]
    Identity { what: &'static str, value: String, first: String, second: String },
    #[error("host {host} names the profile {profile}, which does not exist (there are: {known})")]
    Profile { host: String, profile: String, known: String },
    #[error("group {name} is there already, from {first}")]
    Group { name: String, first: String },
    #[error("group {second} has no selectors, nor has group {first}: of those there is one")]
    Default { first: String, second: String },
    #[error("group {group} names the profile {profile}, which does not exist (there are: {known})")]
    GroupProfile { group: String, profile: String, known: String },
}

impl Fault {
    /// The name of the host that has already what another one asks for.
    pub fn first(&self) -> Option<&str> {
        match self {
            Self::Mac { first, .. } | Self::Ip { first, .. } | Self::Identity { first, .. } => Some(first),
            _ => None,
        }
    }
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
            if let Err(found) = snapshot.insert(Arc::new(host)) {
                conflicts.extend(found);
            }
        }
        if conflicts.is_empty() { Ok(snapshot) } else { Err(conflicts) }
    }

    /// The same with what profiles may name.
    #[must_use]
    pub fn with_named(self, named: Named) -> Self {
        Self { named: Arc::new(named), ..self }
    }

    /// The same with these groups in place of those that it has; or all conflicts at once.
    pub fn with_groups(self, groups: impl IntoIterator<Item = Arc<Group>>) -> Result<Self, Vec<Conflict>> {
        let (mut fitting, mut conflicts) = (BTreeMap::new(), Vec::new());
        for group in groups {
            match self.misfits(&group, &fitting) {
                faults if faults.is_empty() => drop(fitting.insert(group.name.clone(), group)),
                faults => conflicts.extend(faults),
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        Ok(Self { groups: Arc::new(Groups::new(fitting.into_values())), ..self })
    }

    /// All that speaks against a group beside the `others`, by name.
    fn misfits(&self, group: &Group, others: &BTreeMap<String, Arc<Group>>) -> Vec<Conflict> {
        let (name, mut faults) = (|| group.name.clone(), Vec::new());
        if let Some(first) = others.get(&group.name) {
            faults.push(Fault::Group { name: name(), first: first.origin.clone() });
        }
        let is_default = |group: &Group| group.selector.is_empty();
        if is_default(group)
            && let Some(first) = others.values().find(|other| is_default(other))
        {
            faults.push(Fault::Default { first: first.name.clone(), second: name() });
        }
        if let Some(profile) = group.profile.clone().filter(|profile| !self.profiles.contains_key(profile)) {
            faults.push(Fault::GroupProfile { group: name(), profile, known: self.known_profiles() });
        }
        faults.into_iter().map(|fault| Conflict { origin: group.origin.clone(), fault }).collect()
    }

    fn note_odd(&mut self, kind: Kind, name: String, why: String) {
        let odd = OddObject { kind, name: name.clone(), why };
        self.odd.insert((kind, name), Arc::new(odd));
    }

    fn known_profiles(&self) -> String {
        self.profiles.keys().cloned().collect::<Vec<_>>().join(", ")
    }

    /// Adds a host, unless it contradicts what is there.
    fn insert(&mut self, host: Arc<Host>) -> Result<(), Vec<Conflict>> {
        let conflicts = self.conflicts(&host);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        self.by_mac.extend(host.macs.iter().map(|&mac| (mac, host.clone())));
        self.by_ip.extend(host.ip.map(|ip| (ip, host.clone())));
        self.by_ip6.extend(host.ip6.map(|ip| (ip, host.clone())));
        self.by_client_id.extend(host.client_id.clone().map(|id| (id, host.clone())));
        self.by_uuid.extend(host.uuid.map(|uuid| (uuid, host.clone())));
        self.by_circuit.extend(host.circuit.clone().map(|circuit| (circuit, host.clone())));
        self.by_duid.extend(host.duid.clone().map(|duid| (duid, host.clone())));
        self.hosts.insert(host.name.clone(), host);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Option<Arc<Host>> {
        let host = self.hosts.remove(name)?;
        for mac in &host.macs {
            self.by_mac.remove(mac);
        }
        host.ip.and_then(|ip| self.by_ip.remove(&ip));
        host.ip6.and_then(|ip| self.by_ip6.remove(&ip));
        host.client_id.as_ref().and_then(|id| self.by_client_id.remove(id));
        host.uuid.and_then(|uuid| self.by_uuid.remove(&uuid));
        host.circuit.as_ref().and_then(|circuit| self.by_circuit.remove(circuit));
        host.duid.as_ref().and_then(|duid| self.by_duid.remove(duid));
        Some(host)
    }

    fn leave_out(&mut self, left_out: LeftOut) {
        self.left_out.insert(left_out.entry.name.clone(), Arc::new(left_out));
    }

    /// All that speaks against adding a host.
    fn conflicts(&self, host: &Host) -> Vec<Conflict> {
        let second = || host.name.clone();
        let mut faults = Vec::new();
        if let Some(first) = self.hosts.get(&host.name) {
            faults.push(Fault::Name { name: second(), first: first.origin.clone() });
        }
        for (index, &mac) in host.macs.iter().enumerate() {
            let twice = host.macs[..index].contains(&mac).then_some(&host.name);
            if let Some(first) = twice.or_else(|| self.by_mac.get(&mac).map(|first| &first.name)) {
                faults.push(Fault::Mac { mac, first: first.clone(), second: second() });
            }
        }
        for (ip, first) in self.reservations(host) {
            faults.push(Fault::Ip { ip, first: first.name.clone(), second: second() });
        }
        for (what, value, first) in self.identities(host) {
            faults.push(Fault::Identity { what, value, first: first.name.clone(), second: second() });
        }
        if let Some(profile) = &host.profile
            && !self.profiles.contains_key(profile)
        {
            let known = self.known_profiles();
            faults.push(Fault::Profile { host: second(), profile: profile.clone(), known });
        }
        faults.into_iter().map(|fault| Conflict { origin: host.origin.clone(), fault }).collect()
    }

    /// Reservations of `host` that another one has already.
    fn reservations(&self, host: &Host) -> impl Iterator<Item = (IpAddr, &Arc<Host>)> {
        let v4 = host.ip.and_then(|ip| Some((ip.into(), self.by_ip.get(&ip)?)));
        let v6 = host.ip6.and_then(|ip| Some((ip.into(), self.by_ip6.get(&ip)?)));
        v4.into_iter().chain(v6)
    }

    /// Identities of `host` that another one has already.
    fn identities(&self, host: &Host) -> Vec<(&'static str, String, &Arc<Host>)> {
        let client_id =
            host.client_id.as_ref().and_then(|id| Some((id.to_string(), self.by_client_id.get(id)?)));
        let uuid = host.uuid.and_then(|uuid| Some((uuid.to_string(), self.by_uuid.get(&uuid)?)));
        let circuit = host.circuit.as_ref().and_then(|id| Some((id.to_string(), self.by_circuit.get(id)?)));
        let duid = host.duid.as_ref().and_then(|id| Some((id.to_string(), self.by_duid.get(id)?)));
        let found = [("client identifier", client_id), ("UUID", uuid), ("circuit", circuit), ("DUID", duid)];
        found
            .into_iter()
            .filter_map(|(what, found)| found.map(|(value, first)| (what, value, first)))
            .collect()
    }

    /// By name, in order.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &Arc<Host>> {
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

    /// By option 97.
    pub fn host_by_uuid(&self, uuid: Uuid) -> Option<&Arc<Host>> {
        self.by_uuid.get(&uuid)
    }

    pub fn host_by_ip(&self, ip: Ipv4Addr) -> Option<&Arc<Host>> {
        self.by_ip.get(&ip)
    }

    /// By its reservation, of either family.
    pub fn host_at(&self, address: IpAddr) -> Option<&Arc<Host>> {
        match address {
            IpAddr::V4(ip) => self.by_ip.get(&ip),
            IpAddr::V6(ip) => self.by_ip6.get(&ip),
        }
    }

    /// A host of the store that is not in force.
    pub fn left_out(&self, name: &str) -> Option<&Arc<LeftOut>> {
        self.left_out.get(name)
    }

    /// All of those, by name, in order.
    pub fn all_left_out(&self) -> impl ExactSizeIterator<Item = &Arc<LeftOut>> {
        self.left_out.values()
    }

    pub fn profile(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.get(name)
    }

    /// Those in force, and which of them counts for a machine.
    pub fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    /// Profiles and groups of the store that are not in force, by kind and name, in order.
    pub fn odd_objects(&self) -> impl Iterator<Item = &OddObject> {
        self.odd.values().map(|odd| &**odd)
    }

    /// What profiles may name, that are set by command.
    pub fn named(&self) -> &Named {
        &self.named
    }

    /// The templates that profiles may name.
    pub fn templates(&self) -> &Templates {
        &self.named.templates
    }
}
