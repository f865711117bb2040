//! The site as the machine looks it up: links, subnets, and what hosts are told.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use netboot_common::Mac;
use netboot_common::class::Class;

use super::leases::Pool;
pub use crate::config::Subnet6;
use crate::config::{Checked, Dhcp6Mode, Interface};
pub use crate::inventory::change::Changed;
pub use crate::inventory::elsewhere::Elsewhere;
use crate::inventory::group::{Grouped, Groups};
use crate::inventory::labels::Heard;
use crate::inventory::{Boot, Host, Profile, Snapshot};

/// An interface of the configuration, as it is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub index: u32,
    pub mac: Mac,
    /// Our address there, within its `subnet6`: the host of every URL.
    pub address: Ipv6Addr,
}

/// One interface that is served.
#[derive(Clone, Debug)]
pub struct Served {
    pub link: Link,
    pub mode: Mode,
    pub subnet: Subnet6,
    /// Option 7.
    pub preference: u8,
    pub rapid_commit: bool,
    http_port: u16,
    /// What each class that boots is told to fetch, unless somebody says otherwise.
    urls: Vec<(Class, String)>,
}

/// The first file of each class, where it is not ours.
pub type BootFiles = BTreeMap<Class, String>;

/// What is served on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Addresses and options.
    Stateful,
    /// Options only.
    Stateless,
}

/// Everything that changes only with the configuration.
#[derive(Debug)]
pub struct Plan {
    pub served: Vec<Served>,
    /// Every subnet: those of the interfaces, then those behind relay agents.
    pub subnets: Vec<Subnet6>,
    /// Our DUID.
    pub server_id: Vec<u8>,
    /// Option 24's value; empty: no domain.
    pub domains: Vec<u8>,
    boot_files: BootFiles,
    profiles: HashMap<String, BootFiles>,
    default_profile: Option<String>,
}

/// What the inventory says of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    pub name: String,
    /// `None`: a dynamic address.
    pub ip: Option<Ipv6Addr>,
    /// It gets an address, and no boot file.
    pub is_ignored: bool,
    /// Of a host that was not known by its MAC: the first of those it has.
    pub mac: Option<Mac>,
    /// By its entry, else by its group; `None`: the site's default.
    pub profile: Option<String>,
    pub boot_files: BootFiles,
}

impl Reserved {
    /// A host, with the profile that it has beside these groups.
    pub fn of(host: &Host, groups: &Groups) -> Arc<Self> {
        Arc::new(Self {
            name: host.name.clone(),
            ip: host.ip6,
            is_ignored: host.boot == Boot::Ignore,
            mac: host.macs.first().copied(),
            profile: groups.profile_of(Some(host), None).map(str::to_owned),
            boot_files: host.settings.boot_files.clone(),
        })
    }
}

/// The hosts, by all that a message may tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    by_duid: HashMap<Vec<u8>, Arc<Reserved>>,
    by_mac: HashMap<Mac, Arc<Reserved>>,
    by_uuid: HashMap<[u8; 16], Arc<Reserved>>,
    /// The groups of the inventory, which give profiles to hosts whose entries name none, and to machines without an entry.
    groups: Arc<Groups>,
    grouped: Grouped,
}

impl Plan {
    /// `links`: one for each interface of `config` that has DHCPv6, in its order.
    pub fn new(config: &Checked, links: &[Link], server_id: Vec<u8>) -> Self {
        let interfaces = config.interfaces.iter().filter(|interface| interface.v6.mode != Dhcp6Mode::Off);
        let port = config.http.listen.port();
        let served =
            interfaces.zip(links).filter_map(|(interface, link)| serve(interface, link, port)).collect();
        let subnets = config.all_subnets6().cloned().collect();
        let domains = config.domain.as_deref().map(encode_name).unwrap_or_default();
        let files = |profile: &Profile| (profile.name.clone(), profile.settings.boot_files.clone());
        Self {
            served,
            subnets,
            server_id,
            domains,
            boot_files: config.settings.boot_files.clone(),
            profiles: config.profiles.iter().map(files).collect(),
            default_profile: config.default_profile.clone(),
        }
    }

    /// What this class is told to fetch on an interface: what the host, the machine's profile (`None`: the site's default) or the
    /// site says, the nearest first, else ours. `None`: it does not boot.
    pub fn url<'a>(
        &'a self,
        served: &'a Served,
        host: Option<&'a Reserved>,
        profile: Option<&str>,
        class: Class,
    ) -> Option<Cow<'a, str>> {
        let ours = served.url(class)?;
        let profile = profile.or(self.default_profile.as_deref());
        let profile = profile.and_then(|name| self.profiles.get(name));
        let levels = [host.map(|host| &host.boot_files), profile, Some(&self.boot_files)];
        let set = levels.into_iter().flatten().find_map(|files| files.get(&class));
        Some(set.map_or(Cow::Borrowed(ours), |file| served.url_of(class, file)))
    }

    pub fn subnet_of(&self, address: Ipv6Addr) -> Option<&Subnet6> {
        self.subnets.iter().find(|subnet| subnet.contains(address))
    }

    /// For how long an address is promised, seconds; 0: nobody's subnet has it.
    pub fn lease_seconds(&self, address: Ipv6Addr) -> u64 {
        self.subnet_of(address).map_or(0, |subnet| subnet.lease.as_secs())
    }

    /// Addresses that are nobody's to lease: reservations, and our own.
    pub fn taken(&self, snapshot: &Snapshot) -> HashSet<Ipv6Addr> {
        snapshot.hosts().filter_map(|host| host.ip6).chain(self.own()).collect()
    }

    /// What each subnet leases.
    pub fn pools(&self) -> impl Iterator<Item = Pool> {
        self.subnets.iter().filter_map(|subnet| subnet.range).map(|(first, last)| Pool { first, last })
    }

    /// Our addresses.
    pub fn own(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.served.iter().map(|served| served.link.address)
    }
}

impl Served {
    fn url(&self, class: Class) -> Option<&str> {
        self.urls.iter().find(|(of, _)| *of == class).map(|(_, url)| url.as_str())
    }

    /// A boot file as the operator writes it: a URL, or a path under the TFTP root, which HTTP has under `/loaders/`.
    fn url_of<'a>(&self, class: Class, file: &'a str) -> Cow<'a, str> {
        let (server, path) = (self.link.address, file.trim_start_matches('/'));
        match () {
            () if file.contains("://") => Cow::Borrowed(file),
            () if class.boots_by_http() => {
                Cow::Owned(format!("http://[{server}]:{}/loaders/{path}", self.http_port))
            }
            () => Cow::Owned(format!("tftp://[{server}]/{path}")),
        }
    }
}

impl Hosts {
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut hosts = Self::default();
        hosts.regroup(snapshot.groups(), Grouped::of(snapshot.groups()));
        snapshot.hosts().for_each(|host| hosts.insert(host));
        hosts
    }

    /// The groups by which hosts have their profiles.
    pub fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    /// Other groups, and whom they ask for. Hosts to which they give another profile are as they were until they are put in again.
    pub fn regroup(&mut self, groups: &Arc<Groups>, grouped: Grouped) {
        (self.groups, self.grouped) = (groups.clone(), grouped);
    }

    /// Whether a group asks for one of these MACs, or for the UUID in this DUID.
    pub fn are_grouped(&self, duid: &[u8], macs: &[Mac]) -> bool {
        let by_uuid = || super::client::uuids(duid).any(|uuid| self.grouped.has_uuid(uuid));
        macs.iter().any(|mac| self.grouped.has_mac(*mac)) || by_uuid()
    }

    /// What puts a machine without an entry into a group. `macs`: the surest first.
    pub fn heard(&self, duid: &[u8], macs: &[Mac], class: Class) -> Heard {
        // Of several MACs, and of two ways to read a UUID, the one that a group asks for: by that it is answered. Else the surest, and
        // as iPXE sends it.
        let mac = macs.iter().find(|mac| self.grouped.has_mac(**mac)).or(macs.first()).copied();
        let by_group = super::client::uuids(duid).find(|uuid| self.grouped.has_uuid(*uuid));
        Heard { mac, uuid: by_group.or_else(|| super::client::uuids(duid).next()), class: Some(class) }
    }

    pub fn insert(&mut self, host: &Host) {
        let reserved = Reserved::of(host, &self.groups);
        self.reserve(host, reserved);
    }

    /// What is known of a host already.
    pub fn reserve(&mut self, host: &Host, reserved: Arc<Reserved>) {
        self.by_duid.extend(host.duid.iter().map(|duid| (duid.0.clone(), reserved.clone())));
        self.by_mac.extend(host.macs.iter().map(|mac| (*mac, reserved.clone())));
        self.by_uuid.extend(host.uuid.map(|uuid| (uuid.0, reserved)));
    }

    pub fn remove(&mut self, host: &Host) {
        host.duid.iter().for_each(|duid| drop(self.by_duid.remove(&duid.0)));
        host.macs.iter().for_each(|mac| drop(self.by_mac.remove(mac)));
        host.uuid.iter().for_each(|uuid| drop(self.by_uuid.remove(&uuid.0)));
    }

    /// By its DUID, else by one of `macs`, else by the UUID in its DUID.
    pub fn find(&self, duid: &[u8], macs: &[Mac]) -> Option<&Arc<Reserved>> {
        let by_mac = || macs.iter().find_map(|mac| self.by_mac.get(mac));
        let by_uuid = || super::client::uuids(duid).find_map(|uuid| self.by_uuid.get(&uuid.0));
        self.by_duid.get(duid).or_else(by_mac).or_else(by_uuid)
    }
}

fn serve(interface: &Interface, link: &Link, http_port: u16) -> Option<Served> {
    let mode = match interface.v6.mode {
        Dhcp6Mode::Server => Mode::Stateful,
        Dhcp6Mode::Stateless => Mode::Stateless,
        Dhcp6Mode::Off => return None,
    };
    let (preference, rapid_commit) = (interface.v6.preference, interface.v6.rapid_commit);
    let url = |class| Some((class, url(link.address, http_port, class)?));
    let urls = Class::ALL.into_iter().filter_map(url).collect();
    let subnet = interface.v6.subnet.clone()?;
    Some(Served { link: link.clone(), mode, subnet, preference, rapid_commit, http_port, urls })
}

/// What a class is told to fetch first (RFC 5970 section 3.1: the address in brackets).
fn url(server: Ipv6Addr, http_port: u16, class: Class) -> Option<String> {
    let tftp = |file| format!("tftp://[{server}]/{file}");
    let http = |file| format!("http://[{server}]:{http_port}/{file}");
    Some(match class {
        Class::Plain | Class::Unknown => return None,
        Class::Bios => tftp("undionly.kpxe"),
        Class::EfiIa32 => tftp("ipxe32.efi"),
        Class::EfiX64 => tftp("snponly.efi"),
        Class::EfiArm64 => tftp("snponly-arm64.efi"),
        Class::EfiIa32Http => http("loaders/ipxe32.efi"),
        Class::EfiX64Http => http("loaders/snponly.efi"),
        Class::EfiArm64Http => http("loaders/snponly-arm64.efi"),
        Class::IpxeBios
        | Class::IpxeEfiIa32
        | Class::IpxeEfiX64
        | Class::IpxeEfiArm64
        | Class::NetbootIpxe => http("boot.ipxe"),
    })
}

/// A domain name as DNS writes it (RFC 8415 section 10): the configuration has seen to its labels.
fn encode_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes()));
    labels.chain([0]).collect()
}

/// What is known of a machine, by each of its MACs in turn, or without any.
pub fn heard_by_each(heard: Heard, macs: &[Mac]) -> impl Iterator<Item = Heard> {
    let without = macs.is_empty().then_some(heard);
    macs.iter().map(move |mac| Heard { mac: Some(*mac), ..heard }).chain(without)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_for_each_class_that_boots() {
        let server = "2001:db8::1".parse().unwrap();
        let cases = [
            (Class::Plain, None),
            (Class::Unknown, None),
            (Class::EfiX64, Some("tftp://[2001:db8::1]/snponly.efi")),
            (Class::EfiArm64, Some("tftp://[2001:db8::1]/snponly-arm64.efi")),
            (Class::EfiX64Http, Some("http://[2001:db8::1]:8080/loaders/snponly.efi")),
            (Class::IpxeEfiX64, Some("http://[2001:db8::1]:8080/boot.ipxe")),
        ];
        for (class, want) in cases {
            assert_eq!(url(server, 8080, class).as_deref(), want, "{class}");
        }
        assert!(Class::ALL.into_iter().all(|class| class.boots() == url(server, 80, class).is_some()));
    }

    /// A folder's group may select by UUID alone, and firmware with a DUID-UUID says no MAC.
    #[test]
    fn a_machine_without_a_mac_is_asked_for_once_and_one_with_two_by_each() {
        let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
        let heard = Heard { class: Some(Class::EfiX64), ..Heard::default() };
        let asked = |macs: &[Mac]| {
            heard_by_each(heard, macs).map(|heard| (heard.mac, heard.class)).collect::<Vec<_>>()
        };
        assert_eq!(asked(&[]), [(None, heard.class)]);
        assert_eq!(asked(&macs), macs.map(|mac| (Some(mac), heard.class)));
    }

    #[test]
    fn a_domain_as_dns_writes_it() {
        assert_eq!(encode_name("lab.example"), b"\x03lab\x07example\x00");
    }
}
