//! From what was typed to what is meant.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::entries::{self, Files, HostAt, ProfileAt};
use super::errors::Errors;
use super::files::Raw;
use super::net::Subnet;
use super::net6::Subnet6;
use super::reader::{Field, Place, Placed, Section};
use super::{
    Checked, Dhcp6Mode, DhcpMode, Interface, LIMITS, Level, Named, Option82, PROBE, Paths, Unknown, XdpMode,
    assets, breaker, check6, groups, http, livebootp, matchbox, settings, subnets, templates, tftp,
};
use crate::inventory::menu::Menu;
use crate::inventory::settings::Settings;
use crate::inventory::{Host, entry};
use netboot_common::limit::{Budget, Limits};

/// `None`, or a value with faults in `errors`, where something is wrong.
pub(super) fn check(raw: Raw, errors: &mut Errors) -> Option<(Checked, Places)> {
    let document = Field::document(raw.main.source.clone(), &raw.main.node);
    let site = document.place.clone();
    let mut section = document.section(errors)?;
    let top = &mut section;

    let before = errors.len();
    let interfaces = interfaces(top, errors);
    let (subnets, subnets6) = relayed(top, errors);
    // A subnet that is wrong itself is no reason to call the addresses in it wrong.
    let all_known = !errors.iter().skip(before).any(|fault| fault.field.ends_with(".subnet"));
    let all_known6 = !errors.iter().skip(before).any(|fault| fault.field.ends_with(".subnet6"));
    let is_v6 = interfaces.iter().any(|interface| interface.value.v6.mode != Dhcp6Mode::Off);
    let (assets, cache) = assets::read(top.take("assets"), &raw.folder, errors);
    let matchbox = matchbox::read(top, &raw.folder, errors);
    let registry = livebootp::read(top, &raw.folder, &assets, errors);
    let ipxe = folder(top.take("ipxe"), &raw.folder, "/usr/lib/ipxe", errors);
    let unknown = top
        .take("unknown")
        .and_then(|f| f.word(errors, &[("boot", Unknown::Boot), ("ignore", Unknown::Ignore)]));
    let default_profile = top.take("default_profile");
    let (http, https) = http::read(top, &raw.folder, is_v6, errors);
    let tftp = tftp::read(top, &raw.folder, is_v6, errors);
    let paths = paths(top, &raw.folder, errors);
    let authoritative = top.take("authoritative").and_then(|f| truth(&f, errors)).unwrap_or(true);
    let domain = top.take("domain").and_then(|f| f.parse(errors, entry::host_name));
    let settings = settings::read(top, errors);
    let limits = limits(top, errors);
    let probe = probe(top, errors);
    let breaker = breaker::read(top, errors);
    let (folder, template_files) = templates::read(top, &raw.folder, errors);

    if let Some(ring) = &matchbox.key_ring {
        let images = registry.typed.as_ref().map(|registry| registry.images.as_path());
        for served in [Some(assets.as_path()), Some(tftp.root.as_path()), images].into_iter().flatten() {
            matchbox::keep_out(ring, served, &site, errors);
        }
    }

    let files = Files { folder: &assets, cache: &cache, templates: &template_files };
    let mut profiles = list(top, "profiles", errors, |f, e| entries::profile(f, &files, e));
    let mut hosts = list(top, "hosts", errors, entries::host);
    let mut groups = list(top, "groups", errors, groups::group);
    section.finish(errors);
    for file in &raw.profiles {
        let field = Field::document(file.source.clone(), &file.node);
        profiles.extend(field.list(errors).iter().filter_map(|f| entries::profile(f, &files, errors)));
    }
    for file in &raw.hosts {
        let field = Field::document(file.source.clone(), &file.node);
        hosts.extend(field.list(errors).iter().filter_map(|f| entries::host(f, errors)));
    }

    for file in &raw.groups {
        let field = Field::document(file.source.clone(), &file.node);
        groups.extend(field.list(errors).iter().filter_map(|f| groups::group(f, errors)));
    }

    profiles.extend(registry.profiles);
    hosts.extend(registry.hosts);

    let served = all_subnets(&interfaces, &subnets, errors);
    let served6 = check6::all_subnets(&interfaces, &subnets6, errors);
    let names = unique_profiles(&profiles, errors);
    let default_profile = default_profile
        .and_then(|field| field.parse(errors, |name| known_profile(name, &names).map(|()| name.to_owned())));
    groups::check(&groups, |name| known_profile(name, &names), errors);
    unique_hosts(&hosts, errors);
    unique_identities(&hosts, errors);
    for host in &hosts {
        check_host_at(host, all_known.then_some(&served), all_known6.then_some(&served6), &names, errors);
    }

    let of_interface = |i: &Placed<Interface>| vec![i.place.clone(); i.value.subnets.len()];
    let places = Places {
        site,
        https,
        subnets: interfaces
            .iter()
            .flat_map(of_interface)
            .chain(subnets.iter().map(|subnet| subnet.place.clone()))
            .collect(),
        profiles: profiles.iter().map(|profile| profile.place.clone()).collect(),
        groups: groups.iter().map(|group| group.place.clone()).collect(),
        hosts: hosts.iter().map(|host| host.place.clone()).collect(),
    };
    let checked = Checked {
        interfaces: interfaces.into_iter().map(|interface| interface.value).collect(),
        subnets: subnets.into_iter().map(|subnet| subnet.value).collect(),
        subnets6: subnets6.into_iter().map(|subnet| subnet.value).collect(),
        unknown: unknown.unwrap_or_default(),
        default_profile,
        http,
        tftp,
        assets,
        matchbox,
        livebootp: registry.typed,
        cache,
        ipxe,
        paths,
        authoritative,
        domain,
        settings,
        limits,
        probe,
        breaker,
        templates: folder,
        template_files,
        groups: groups.into_iter().map(|group| group.group).collect(),
        profiles: profiles.into_iter().filter_map(|profile| profile.profile).collect(),
        hosts: hosts.into_iter().map(|host| host.host).collect(),
    };
    for (level, settings) in checked.levels() {
        if let Err(fault) = checked.known_profiles(settings) {
            places.fault(level, errors, fault);
        }
    }
    Some((checked, places))
}

/// Where each level was typed, of a configuration without faults.
#[derive(Debug)]
pub(super) struct Places {
    site: Place,
    https: Option<Place>,
    subnets: Vec<Place>,
    profiles: Vec<Place>,
    groups: Vec<Place>,
    hosts: Vec<Place>,
}

impl Places {
    pub(super) fn fault(&self, level: Level, errors: &mut Errors, message: String) {
        let place = match level {
            Level::Site => None,
            Level::Https => self.https.as_ref(),
            Level::Subnet(index) => self.subnets.get(index),
            Level::Profile(index) => self.profiles.get(index),
            Level::Group(index) => self.groups.get(index),
            Level::Host(index) => self.hosts.get(index),
        };
        place.unwrap_or(&self.site).fault(errors, message);
    }
}

impl Checked {
    /// Every subnet that is served: those of the interfaces, then those behind relays.
    pub fn all_subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.interfaces.iter().flat_map(|interface| &interface.subnets).chain(&self.subnets)
    }

    /// All settings that were typed.
    fn levels(&self) -> impl Iterator<Item = (Level, &Settings)> {
        let subnets = self.all_subnets().enumerate().map(|(i, of)| (Level::Subnet(i), &of.settings));
        let profiles = self.profiles.iter().enumerate().map(|(i, of)| (Level::Profile(i), &of.settings));
        let hosts = self.hosts.iter().enumerate().map(|(i, of)| (Level::Host(i), &of.settings));
        [(Level::Site, &self.settings)].into_iter().chain(subnets).chain(profiles).chain(hosts)
    }

    /// What profiles that are set by command may name.
    pub fn named(&self) -> Named {
        let (assets, cache) = (self.assets.clone(), self.cache.clone());
        Named { assets, cache, templates: self.template_files.clone() }
    }

    /// The profiles that a menu names.
    fn known_profiles(&self, settings: &Settings) -> Result<(), String> {
        let mut named = settings.menu.iter().flat_map(Menu::profiles);
        let known = |name: &str| self.profiles.iter().any(|profile| profile.name == name);
        let Some(name) = named.find(|name| !known(name)) else { return Ok(()) };
        let names: Vec<String> = self.profiles.iter().map(|profile| profile.name.clone()).collect();
        known_profile(name, &names).map_err(|fault| format!("pxe_menu: {fault}"))
    }

    /// Whether a host set by CLI or API fits this site.
    ///
    /// # Errors
    /// Which of its addresses is none that we could give, and why.
    pub fn check_host(&self, host: &Host) -> Result<(), String> {
        let subnets: Vec<&Subnet> = self.all_subnets().collect();
        let subnets6: Vec<&Subnet6> = self.all_subnets6().collect();
        let v4 = host.ip.map_or(Ok(()), |ip| reservation(ip, &subnets));
        let v6 = host.ip6.map_or(Ok(()), |ip| check6::reservation(ip, &subnets6));
        v4.map_err(|fault| format!("ip: {fault}"))?;
        v6.map_err(|fault| format!("ip6: {fault}"))?;
        self.known_profiles(&host.settings)
    }
}

fn list<T>(
    top: &mut Section<'_>,
    key: &'static str,
    errors: &mut Errors,
    mut read: impl FnMut(&Field<'_>, &mut Errors) -> Option<T>,
) -> Vec<T> {
    let items = top.take(key).map(|field| field.list(errors)).unwrap_or_default();
    items.iter().filter_map(|field| read(field, errors)).collect()
}

/// Subnets behind relay agents: of IPv4, of IPv6.
fn relayed(top: &mut Section<'_>, errors: &mut Errors) -> (Vec<Placed<Subnet>>, Vec<Placed<Subnet6>>) {
    let (mut subnets, mut subnets6) = (Vec::new(), Vec::new());
    for field in top.take("subnets").map(|field| field.list(errors)).unwrap_or_default() {
        let Some(mut section) = field.section(errors) else { continue };
        let place = section.place.clone();
        let v4 = subnets::read(&mut section, errors);
        let (is_v6, v6) = check6::subnet(&mut section, errors);
        section.finish(errors);
        if v4.is_none() && !is_v6 {
            place.fault(errors, "`subnet` is missing: add it, as in `subnet: 10.20.0.0/24`, or `subnet6`");
        }
        subnets.extend(v4.map(|value| Placed { value, place: place.clone() }));
        subnets6.extend(v6.map(|value| Placed { value, place }));
    }
    (subnets, subnets6)
}

fn interfaces(top: &mut Section<'_>, errors: &mut Errors) -> Vec<Placed<Interface>> {
    let typed = top.required("interfaces", "[{name: eth1, dhcp: proxy}]", errors);
    let items = typed.as_ref().map(|field| field.list(errors)).unwrap_or_default();
    if let Some(field) = typed.filter(|_| items.is_empty()) {
        field.place.fault(errors, "names no interface: add one, as in `- {name: eth1, dhcp: proxy}`");
    }
    let interfaces: Vec<_> = items.iter().filter_map(|field| interface(field, errors)).collect();
    let mut seen = HashMap::new();
    for interface in &interfaces {
        let key = (interface.value.name.clone(), interface.value.vlan.clone());
        if let Some(first) = seen.insert(key, interface.place.origin()) {
            interface.place.fault(errors, format!("{} is there already, at {first}", interface.value.name));
        }
    }
    interfaces
}

fn interface(field: &Field<'_>, errors: &mut Errors) -> Option<Placed<Interface>> {
    let mut section = field.section(errors)?;
    let place = section.place.clone();
    let name = section.required("name", "eth1", errors).and_then(|f| f.parse(errors, interface_name));
    let vlan = section.take("vlan").map(|field| vlan(&field, errors)).unwrap_or_default();
    let modes = [
        ("server", DhcpMode::Server),
        ("proxy", DhcpMode::Proxy),
        ("observe", DhcpMode::Observe),
        ("off", DhcpMode::Off),
    ];
    let dhcp = section.required("dhcp", "server", errors).and_then(|field| field.word(errors, &modes));
    let modes = [
        ("auto", XdpMode::Auto),
        ("native", XdpMode::Native),
        ("generic", XdpMode::Generic),
        ("off", XdpMode::Off),
    ];
    let xdp = section.take("xdp").and_then(|field| field.word(errors, &modes)).unwrap_or_default();
    let policies = [("drop", Option82::Drop), ("trust", Option82::Trust)];
    let option_82 =
        section.take("option_82").and_then(|field| field.word(errors, &policies)).unwrap_or_default();
    let policies = [("ignore", false), ("allow", true)];
    let subnet_selection = section.take("subnet_selection").and_then(|field| field.word(errors, &policies));
    let subnet_selection = subnet_selection.unwrap_or_default();
    let typed = section.take("subnet").is_some();
    let subnet = subnets::read(&mut section, errors);
    let more = subnets::list(&mut section, errors);
    let v6 = check6::v6(&mut section, &vlan, errors);
    section.finish(errors);
    if dhcp == Some(DhcpMode::Server) && !typed {
        place.fault(errors, "`dhcp: server` needs `subnet`: add it, as in `subnet: 10.10.0.0/16`");
    }
    // Where something is wrong the whole is refused, so what stands in for it is never seen.
    let (name, dhcp) = (name.unwrap_or_default(), dhcp.unwrap_or_default());
    let subnets = subnet.into_iter().chain(more.into_iter().map(|subnet| subnet.value)).collect();
    Some(Placed {
        value: Interface { name, vlan, dhcp, xdp, option_82, subnet_selection, subnets, v6 },
        place,
    })
}

/// What Linux takes for an interface's name.
fn interface_name(text: &str) -> Result<String, String> {
    let ok = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    if (1..=15).contains(&text.len()) && text.chars().all(ok) && text != "." && text != ".." {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not an interface's name: it takes 1 to 15 characters, as in eth1"))
}

fn vlan(field: &Field<'_>, errors: &mut Errors) -> Vec<u16> {
    let items = field.one_or_more(errors);
    if items.len() > 2 {
        field.place.fault(errors, "takes one tag, or two with the outer first, as in `vlan: [100, 77]`");
    }
    let tag = |text: &str| match text.parse() {
        Ok(tag @ 1..=4094) => Ok(tag),
        _ => Err(format!("{text:?} is not a VLAN: it takes 1 to 4094")),
    };
    items.iter().filter_map(|item| item.parse(errors, tag)).collect()
}

/// `limits: { client: 10, relay: 20000 }`: requests in a second, with bursts of four and two seconds' worth; `off`.
fn limits(top: &mut Section<'_>, errors: &mut Errors) -> Limits {
    let mut limits = LIMITS;
    if let Some(mut section) = top.take("limits").and_then(|field| field.section(errors)) {
        let Limits { client, relay } = &mut limits;
        for (key, budget, seconds) in [("client", client, 4), ("relay", relay, 2)] {
            let rate = section.take(key).and_then(|field| field.parse(errors, rate));
            *budget = rate.map_or(*budget, |rate| Budget::new(rate, rate * seconds));
        }
        section.finish(errors);
    }
    limits
}

fn rate(text: &str) -> Result<u32, String> {
    match text.parse() {
        _ if text == "off" => Ok(0),
        Ok(rate @ 1..=1_000_000) => Ok(rate),
        _ => Err(format!("{text:?} is no rate: it takes requests in a second, from 1 to 1000000, or off")),
    }
}

fn probe(top: &mut Section<'_>, errors: &mut Errors) -> Option<Duration> {
    let Some(field) = top.take("probe") else { return Some(PROBE) };
    let read = |text: &str| {
        let milliseconds = text.strip_suffix("ms").and_then(|digits| digits.parse().ok());
        match milliseconds {
            _ if text == "off" => Ok(None),
            Some(wait @ 10..=3000) => Ok(Some(Duration::from_millis(wait))),
            _ => Err(format!("{text:?} is no waiting time: write 100ms (from 10ms to 3000ms), or off")),
        }
    };
    field.parse(errors, read).flatten()
}

/// `:8080` (every IPv4 address), `10.10.0.1:8080` or `[::]:8080`.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| format!("{text:?} is nothing to listen on: write \":8080\" or 10.10.0.1:8080"))
}

fn paths(top: &mut Section<'_>, base: &Path, errors: &mut Errors) -> Paths {
    let mut paths = Paths::default();
    if let Some(mut section) = top.take("paths").and_then(|field| field.section(errors)) {
        let Paths { state, control, pins } = &mut paths;
        for (key, path) in [("state", state), ("control", control), ("pins", pins)] {
            let typed = section.take(key).and_then(|f| f.parse(errors, |text| entries::folder(text, base)));
            *path = typed.unwrap_or_else(|| path.clone());
        }
        section.finish(errors);
    }
    paths
}

/// A folder that was typed must be there; the default may come later.
pub(super) fn folder(field: Option<Field<'_>>, base: &Path, default: &str, errors: &mut Errors) -> PathBuf {
    let typed = field.and_then(|field| field.parse(errors, |text| folder_of(text, base)));
    typed.unwrap_or_else(|| default.into())
}

/// A folder that is there.
pub(super) fn folder_of(text: &str, base: &Path) -> Result<PathBuf, String> {
    let path = entries::folder(text, base)?;
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err(format!("{} is not a folder", path.display())),
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
    }
}

pub(super) fn truth(field: &Field<'_>, errors: &mut Errors) -> Option<bool> {
    field.word(errors, &[("true", true), ("false", false)])
}

/// Every subnet, and faults where two share addresses.
fn all_subnets(
    interfaces: &[Placed<Interface>],
    relayed: &[Placed<Subnet>],
    errors: &mut Errors,
) -> Vec<Subnet> {
    let direct = interfaces.iter().flat_map(|i| i.value.subnets.iter().map(|s| (s.clone(), &i.place)));
    let all: Vec<(Subnet, &Place)> =
        direct.chain(relayed.iter().map(|s| (s.value.clone(), &s.place))).collect();
    for (i, (subnet, place)) in all.iter().enumerate() {
        if let Some((first, at)) = all[..i].iter().find(|(first, _)| first.overlaps(subnet)) {
            place.fault(errors, format!("{subnet} shares addresses with {first}, at {}", at.origin()));
        }
    }
    all.into_iter().map(|(subnet, _)| subnet).collect()
}

/// The names, and faults where two profiles have the same.
fn unique_profiles(profiles: &[ProfileAt], errors: &mut Errors) -> Vec<String> {
    let mut seen: HashMap<&str, String> = HashMap::new();
    for ProfileAt { name, place, .. } in profiles {
        if let Some(first) = seen.insert(name, place.origin()) {
            place.fault(errors, format!("the profile {name} is there already, at {first}"));
        }
    }
    profiles.iter().map(|profile| profile.name.clone()).collect()
}

fn known_profile(name: &str, names: &[String]) -> Result<(), String> {
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    let known = if names.is_empty() { "none is configured".to_owned() } else { names.join(", ") };
    Err(format!("there is no profile {name:?}; known: {known}"))
}

fn unique_hosts(hosts: &[HostAt], errors: &mut Errors) {
    let (mut names, mut macs, mut ips) = (HashMap::new(), HashMap::new(), HashMap::new());
    for HostAt { host, place, macs: mac_places, ip: ip_place, ip6: ip6_place, .. } in hosts {
        let who = format!("{} ({})", host.name, host.origin);
        if let Some(first) = names.insert(&host.name, host.origin.clone()) {
            place.fault(errors, format!("the host {} is there already, at {first}", host.name));
        }
        for (mac, place) in host.macs.iter().zip(mac_places) {
            if let Some(first) = macs.insert(mac, who.clone()) {
                place.fault(
                    errors,
                    format!("{mac} belongs to host {first} already: each machine has its own"),
                );
            }
        }
        let own = [(host.ip.map(IpAddr::V4), ip_place), (host.ip6.map(IpAddr::V6), ip6_place)];
        for (ip, place) in own {
            if let (Some(ip), Some(place)) = (ip, place)
                && let Some(first) = ips.insert(ip, who.clone())
            {
                place
                    .fault(errors, format!("{ip} belongs to host {first} already: each machine has its own"));
            }
        }
    }
}

/// Faults where two hosts are known by the same client identifier, UUID, DUID or circuit.
fn unique_identities(hosts: &[HostAt], errors: &mut Errors) {
    let mut seen = HashMap::new();
    for HostAt { host, place, .. } in hosts {
        let client_id = host.client_id.as_ref().map(|id| ("client_id", id.to_string()));
        let uuid = host.uuid.map(|uuid| ("uuid", uuid.to_string()));
        let circuit = host.circuit.as_ref().map(|id| ("circuit", id.to_string()));
        let duid = host.duid.as_ref().map(|duid| ("duid", duid.to_string()));
        for (what, value) in [client_id, uuid, circuit, duid].into_iter().flatten() {
            let who = format!("{} ({})", host.name, host.origin);
            if let Some(first) = seen.insert((what, value.clone()), who) {
                place.fault(errors, format!("its {what} {value} belongs to host {first} already"));
            }
        }
    }
}

fn check_host_at(
    host: &HostAt,
    served: Option<&Vec<Subnet>>,
    served6: Option<&Vec<Subnet6>>,
    profiles: &[String],
    errors: &mut Errors,
) {
    if let (Some(ip), Some(place), Some(served)) = (host.host.ip, &host.ip, served)
        && let Err(message) = reservation(ip, &served.iter().collect::<Vec<_>>())
    {
        place.fault(errors, message);
    }
    if let (Some(ip), Some(place), Some(served)) = (host.host.ip6, &host.ip6, served6)
        && let Err(message) = check6::reservation(ip, &served.iter().collect::<Vec<_>>())
    {
        place.fault(errors, message);
    }
    if let (Some(profile), Some(place)) = (&host.host.profile, &host.profile)
        && let Err(message) = known_profile(profile, profiles)
    {
        place.fault(errors, message);
    }
}

/// Whether `ip` may be one machine's own.
fn reservation(ip: Ipv4Addr, subnets: &[&Subnet]) -> Result<(), String> {
    let Some(subnet) = subnets.iter().find(|subnet| subnet.contains(ip)) else {
        let known = subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none is configured".to_owned() } else { known };
        return Err(format!("{ip} is outside every subnet (there are: {known})"));
    };
    if subnet.router == Some(ip) {
        return Err(format!("{ip} is the router of {subnet}: take another"));
    }
    subnets::inside(ip, subnet).map(|_| ())
}
