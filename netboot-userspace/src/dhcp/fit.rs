//! Whether all that is set for the site, a subnet, a profile and a host together fits into a reply: asked before it is in force.
//!
//! A host shares its answer with all others that have the same set, on a network that says the same: it is rendered once.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use netboot_common::class::Class;
use netboot_common::maps::{Kind, Mode};

use super::render::{self, Facts, NetworkFacts, Site};
use crate::config::{Checked, DhcpMode, Level, Subnet};
use crate::inventory::Host;
use crate::inventory::group::Groups;
use crate::inventory::settings::Settings;

/// Answers for one configuration.
#[derive(Debug)]
pub struct Fit {
    /// As we are on our interfaces, with the longest address that we may have.
    sites: Vec<Site>,
    settings: Settings,
    domain: Option<String>,
    /// Networks as replies show them, each once, and whether there are leases on it.
    shapes: Vec<(NetworkFacts, bool)>,
    /// Each with the index of its shape.
    subnets: Vec<(Subnet, usize)>,
    profiles: HashMap<String, Settings>,
    default_profile: Option<String>,
    known: Mutex<HashMap<Set, Result<(), String>>>,
}

/// What makes a host's replies as long as they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Set {
    network: Network,
    profile: Option<String>,
    settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Network {
    /// That of its reservation, by the index of its shape.
    Shape(usize),
    /// Any that has leases; or none, beside another server.
    Any,
}

/// Answers that are kept: enough for the sets of a site, and a bound for one whose hosts have nothing in common.
const KNOWN_MAX: usize = 4096;

impl Fit {
    pub fn new(config: &Checked) -> Self {
        let mut shapes: Vec<(NetworkFacts, bool)> = Vec::new();
        let mut subnets = Vec::new();
        for subnet in config.all_subnets() {
            let shape = NetworkFacts::of(subnet).shape();
            let index = shapes.iter().position(|(known, _)| *known == shape).unwrap_or(shapes.len());
            if index == shapes.len() {
                shapes.push((shape, false));
            }
            shapes[index].1 |= !subnet.pools.is_empty();
            subnets.push((subnet.clone(), index));
        }
        Self {
            sites: sites(config),
            settings: config.settings.clone(),
            domain: config.domain.clone(),
            shapes,
            subnets,
            profiles: config.profiles.iter().map(|p| (p.name.clone(), p.settings.clone())).collect(),
            default_profile: config.default_profile.clone(),
            known: Mutex::default(),
        }
    }

    /// Whether a host's replies fit, with the profile that it has beside these groups.
    ///
    /// # Errors
    /// The field that is too much, by how much, and which group's profile it is of.
    pub fn check(&self, host: &Host, groups: &Groups) -> Result<(), String> {
        self.fits(host, groups).map_err(|fault| match groups.deciding_for(host) {
            Some(group) => {
                let profile = group.profile.as_deref().unwrap_or_default();
                format!("{fault} (with the profile {profile} of its group {})", group.name)
            }
            None => fault,
        })
    }

    fn fits(&self, host: &Host, groups: &Groups) -> Result<(), String> {
        let subnet = host.ip.and_then(|ip| self.subnets.iter().find(|(subnet, _)| subnet.contains(ip)));
        let network = subnet.map_or(Network::Any, |(_, shape)| Network::Shape(*shape));
        let profile = groups.profile_of(Some(host), self.default_profile.as_deref()).map(str::to_owned);
        let set = Set { network, profile, settings: host.settings.clone() };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = known.get(&set) {
            return answer.clone();
        }
        let answer = self.render(&set).map_err(|error| format!("options: {error}"));
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(set, answer.clone());
        answer
    }

    fn render(&self, set: &Set) -> Result<(), render::Error> {
        let profile = set.profile.as_ref().and_then(|name| self.profiles.get(name));
        let upper = profile.map_or_else(|| set.settings.clone(), |profile| set.settings.over(profile));
        match set.network {
            Network::Shape(index) => self.replies(Some(&self.shapes[index].0), &upper),
            Network::Any => {
                self.replies(None, &upper)?;
                let mut leased = self.shapes.iter().filter(|(_, leases)| *leases);
                leased.try_for_each(|(network, _)| self.replies(Some(network), &upper))
            }
        }
    }

    /// The longest replies of each kind to each class, on `network`.
    fn replies(&self, network: Option<&NetworkFacts>, upper: &Settings) -> Result<(), render::Error> {
        let facts = Facts {
            network: network.cloned(),
            site: self.settings.clone(),
            upper: upper.clone(),
            domain: self.domain.clone(),
        };
        for site in &self.sites {
            // An ACK is as long as its OFFER, and an answer to a choice is shorter than the menu.
            let kinds = match site.mode {
                Mode::Server => [Kind::Offer, Kind::ProxyAck],
                Mode::Proxy => [Kind::ProxyOffer, Kind::ProxyAck],
            };
            for class in Class::ALL {
                for kind in kinds.into_iter().filter(|kind| class.boots() || *kind == Kind::Offer) {
                    render::template(site, &facts, class, kind)?;
                }
            }
        }
        Ok(())
    }

    fn strangers(&self) -> Option<&Settings> {
        self.profiles.get(self.default_profile.as_ref()?)
    }
}

/// Every level of `config` whose settings do not fit, with the reason; of hosts with the same set, the first.
pub fn misfits(config: &Checked) -> Vec<(Level, String)> {
    let fit = Fit::new(config);
    let said = |result: Result<(), render::Error>| result.err().map(|error| format!("options: {error}"));
    if let Some(fault) = said(fit.replies(None, &Settings::default())) {
        return vec![(Level::Site, fault)];
    }
    let bare =
        config.all_subnets().map(|subnet| fit.replies(Some(&NetworkFacts::of(subnet)), &Settings::default()));
    let mut faults: Vec<(Level, String)> =
        bare.enumerate().filter_map(|(i, result)| Some((Level::Subnet(i), said(result)?))).collect();
    let profiles = config.profiles.iter().map(|profile| fit.replies(None, &profile.settings));
    faults.extend(profiles.enumerate().filter_map(|(i, result)| Some((Level::Profile(i), said(result)?))));
    if faults.is_empty() {
        faults.extend(together(config, &fit));
    }
    faults
}

/// The same of what fits for itself: machines without an entry on each subnet, those of them that groups have, and hosts.
fn together(config: &Checked, fit: &Fit) -> Vec<(Level, String)> {
    let none = Settings::default();
    let strangers = fit.strangers().unwrap_or(&none);
    let of_default = |fault: render::Error| match &config.default_profile {
        Some(profile) => format!("options: with those of the default profile {profile}: {fault}"),
        None => format!("options: {fault}"),
    };
    let subnets = config.all_subnets().map(|subnet| fit.replies(Some(&NetworkFacts::of(subnet)), strangers));
    let mut faults: Vec<(Level, String)> = subnets
        .enumerate()
        .filter_map(|(i, result)| Some((Level::Subnet(i), of_default(result.err()?))))
        .collect();
    let groups = Groups::new(config.groups.iter().cloned().map(Arc::new));
    for (i, group) in config.groups.iter().enumerate().filter(|(_, group)| group.is_heard()) {
        let fault = group.anybody().and_then(|anybody| fit.check(&anybody, &groups).err());
        faults
            .extend(fault.map(|fault| (Level::Group(i), format!("{fault} (of machines without an entry)"))));
    }
    let mut hosts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (i, host) in config.hosts.iter().enumerate() {
        if let Err(fault) = fit.check(host, &groups) {
            hosts.entry(fault).or_insert((i, 0)).1 += 1;
        }
    }
    faults.extend(hosts.into_iter().map(|(fault, (first, count))| match count {
        1 => (Level::Host(first), fault),
        count => (Level::Host(first), format!("{fault} (and the same of {} more hosts)", count - 1)),
    }));
    faults
}

fn sites(config: &Checked) -> Vec<Site> {
    let modes = config.interfaces.iter().filter_map(|interface| match interface.dhcp {
        DhcpMode::Server | DhcpMode::Observe => Some(Mode::Server),
        DhcpMode::Proxy => Some(Mode::Proxy),
        DhcpMode::Off => None,
    });
    let mut sites: Vec<Site> = Vec::new();
    for mode in modes {
        let (address, http_port) = (Ipv4Addr::BROADCAST, config.http.listen.port());
        let site = Site { address, mode, http_port, boot_server: true };
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    sites
}

#[cfg(test)]
mod tests;
