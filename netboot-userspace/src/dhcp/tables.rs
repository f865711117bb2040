//! The site as tables: what the kernel's maps hold, and what the userspace lane looks up. One description for both.
//!
//! A template belongs to a **scope** (an interface and VLAN, and whether its clients are on it or behind a relay agent) and to a
//! **group** (a network, and what is set for it, for a profile and for a host). Both are numbers for what they stand for
//! ([`Numbers`]): a host's entry that is old and a template that is new never meet in one reply.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::maps::{
    HostKey, HostValue, InterfaceKey, InterfaceValue, Kind, Mode, TEMPLATES_MAX, Template, TemplateKey,
};

use netboot_common::wire::pxe::BootItem;

use super::numbers::Numbers;
use super::pools::Pool;
use super::promised::Outlived;
use super::render::{self, Chosen, Facts, NetworkFacts, Site};
pub use crate::config::Subnet;
use crate::config::{Checked, DhcpMode, Interface, Option82};
use crate::fastpath::NumbersInUse;
pub use crate::inventory::elsewhere::Elsewhere;
use crate::inventory::group::Groups as Placing;
use crate::inventory::labels::Heard;
pub use crate::inventory::menu::Boots;
use crate::inventory::settings::Settings;
use crate::inventory::{Boot, Host};

/// An interface of the configuration, as it is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub index: u32,
    pub mac: Mac,
    /// Our address there.
    pub address: Ipv4Addr,
    pub prefix: u8,
    /// Bytes of the longest IPv4 datagram.
    pub mtu: u16,
}

/// One (interface, VLAN) that DHCP serves.
#[derive(Clone, Debug)]
pub struct Served {
    pub link: Link,
    pub key: InterfaceKey,
    pub value: InterfaceValue,
    /// The networks of the clients on it, by number.
    pub networks: Vec<u16>,
    /// It answers nothing, and records what it would have answered.
    pub observe: bool,
    /// Clients may choose another of our subnets (RFC 3011).
    pub selects: bool,
}

/// A subnet, and the link that its clients are on.
#[derive(Clone, Debug)]
pub struct Network {
    pub subnet: Subnet,
    /// A client has a lease on each link.
    pub link: u16,
    /// Its clients are on an interface of ours: an ARP probe reaches them.
    pub direct: bool,
}

impl Network {
    /// Whether the kernel's lanes know its clients behind relay agents: all of ours that no interface of ours is on, and those others
    /// that name relay agents. To make each template twice, for agents that hardly anybody has there, would take the room of other
    /// networks'.
    pub fn is_relayed(&self) -> bool {
        !self.direct || !self.subnet.relays.is_empty()
    }
}

/// Which groups have templates in a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Sees {
    /// A proxy: whatever network its clients are on.
    All,
    /// Those of these networks.
    Networks(Vec<(Ipv4Addr, u8)>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Scope {
    site: Site,
    relayed: bool,
    sees: Sees,
}

/// The numbers of a plan that is to be made.
#[derive(Clone, Debug, Default)]
pub struct Numbering {
    scopes: Numbers<Scope>,
    groups: Numbers<Facts>,
}

impl Numbering {
    /// Beside those that somebody uses whose plan nobody knows any more: the kernel's tables, of a server that was killed.
    pub fn beside(used: NumbersInUse) -> Self {
        Self { scopes: Numbers::beside(used.scopes), groups: Numbers::beside(used.groups) }
    }
}

/// Everything that follows from the configuration, and the templates of all groups met so far.
#[derive(Debug)]
pub struct Plan {
    pub served: Vec<Served>,
    /// Every subnet, at the index of its number.
    pub networks: Vec<Network>,
    /// Those that the kernel's lanes have, too.
    pub templates: HashMap<TemplateKey, Template>,
    /// How long somebody may take to say that an address is his.
    pub probe: Option<Duration>,
    authoritative: bool,
    scopes: Numbers<Scope>,
    scope_of: HashMap<u16, Scope>,
    groups: Numbers<Facts>,
    facts_of: HashMap<u16, Facts>,
    pub(super) site: Settings,
    profiles: HashMap<String, Settings>,
    default_profile: Option<String>,
    /// The groups of the inventory, which give profiles to hosts whose entries name none, and to machines without an entry. (Those
    /// above are groups of templates.)
    placing: Arc<Placing>,
    domain: Option<String>,
    /// Templates that were made since they were last asked for.
    fresh: Vec<TemplateKey>,
    pub(super) outlived: Outlived,
}

impl Plan {
    /// `links`: one for each interface of `config`, in its order. `numbering`: that of the plan in force, if there is one
    /// ([`Plan::numbering`]).
    pub fn new(config: &Checked, links: &[Link], numbering: Numbering) -> Result<Self, render::Error> {
        let mut plan = Self {
            served: Vec::new(),
            networks: networks(config),
            templates: HashMap::new(),
            probe: config.probe,
            authoritative: config.authoritative,
            scopes: numbering.scopes,
            scope_of: HashMap::new(),
            groups: numbering.groups,
            facts_of: HashMap::new(),
            site: config.settings.clone(),
            profiles: config.profiles.iter().map(|p| (p.name.clone(), p.settings.clone())).collect(),
            default_profile: config.default_profile.clone(),
            placing: Arc::default(),
            domain: config.domain.clone(),
            fresh: Vec::new(),
            outlived: Vec::new(),
        };
        for (i, (interface, link)) in config.interfaces.iter().zip(links).enumerate() {
            plan.serve(i as u16, interface, link, config.http.listen.port())?;
        }
        let strangers = plan.upper(None);
        plan.group(None, strangers.clone())?;
        for network in 0..plan.networks.len() as u16 {
            plan.group(Some(network), strangers.clone())?;
        }
        Ok(plan)
    }

    /// For the plan that follows this one.
    pub fn numbering(&self) -> Numbering {
        Numbering { scopes: self.scopes.after(), groups: self.groups.after() }
    }

    /// The groups by which machines have their profiles.
    pub fn placing(&self) -> &Arc<Placing> {
        &self.placing
    }

    /// Other groups: what was made for hosts before, is as it was.
    pub fn place_by(&mut self, groups: &Arc<Placing>) {
        self.placing = groups.clone();
    }

    fn serve(
        &mut self,
        index: u16,
        interface: &Interface,
        link: &Link,
        http_port: u16,
    ) -> Result<(), render::Error> {
        let mode = match interface.dhcp {
            DhcpMode::Server | DhcpMode::Observe => Mode::Server,
            DhcpMode::Proxy => Mode::Proxy,
            DhcpMode::Off => return Ok(()),
        };
        let site = |boot_server| Site { address: link.address, mode, http_port, boot_server };
        let own = |network: &&Network| network.direct && network.link == index;
        let direct = self.sees(mode, own);
        let relayed = self.sees(mode, |network| network.is_relayed());
        let scope = self.scope(Scope { site: site(true), relayed: false, sees: direct })?;
        // Port 4011 is for those who reach it without a router between.
        let relay_scope = self.scope(Scope { site: site(false), relayed: true, sees: relayed })?;
        let tag = |i: usize| interface.vlan.get(i).copied().unwrap_or(0);
        let prefix = interface.subnets.first().map_or(link.prefix, |subnet| subnet.prefix);
        let numbered = self.networks.iter().enumerate();
        self.served.push(Served {
            link: link.clone(),
            key: InterfaceKey::new(link.index, [tag(0), tag(1)]),
            value: InterfaceValue::new(
                link.address.octets(),
                prefix,
                link.mac.0,
                mode,
                [scope, relay_scope],
                link.mtu,
            )
            .with_flags(self.flags(interface)),
            networks: numbered.filter(|(_, network)| own(network)).map(|(i, _)| i as u16).collect(),
            observe: interface.dhcp == DhcpMode::Observe,
            selects: interface.subnet_selection,
        });
        Ok(())
    }

    fn flags(&self, interface: &Interface) -> u8 {
        let trusts = interface.option_82 == Option82::Trust;
        let flags = [
            (trusts, InterfaceValue::TRUSTS_OPTION_82),
            (!self.authoritative, InterfaceValue::NOT_AUTHORITATIVE),
        ];
        flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag)
    }

    fn sees(&self, mode: Mode, of: impl Fn(&&Network) -> bool) -> Sees {
        let networks = self.networks.iter().filter(of);
        match mode {
            Mode::Proxy => Sees::All,
            Mode::Server => Sees::Networks(
                networks.map(|network| (network.subnet.network, network.subnet.prefix)).collect(),
            ),
        }
    }

    fn scope(&mut self, scope: Scope) -> Result<u16, render::Error> {
        let (number, _) = self.scopes.of(&scope).ok_or(render::Error::TooMany { what: "interfaces" })?;
        self.scope_of.insert(number, scope);
        Ok(number)
    }

    /// The number of a group, whose templates are there from now on.
    fn group(&mut self, network: Option<u16>, upper: Settings) -> Result<u16, render::Error> {
        let facts = Facts {
            network: network.map(|network| self.network_facts(network)),
            site: self.site.clone(),
            upper,
            domain: self.domain.clone(),
        };
        let (number, is_new) =
            self.groups.of(&facts).ok_or(render::Error::TooMany { what: "different sets of options" })?;
        if is_new {
            self.render(number, &facts)?;
            self.facts_of.insert(number, facts);
        }
        Ok(number)
    }

    fn network_facts(&self, number: u16) -> NetworkFacts {
        NetworkFacts::of(&self.network(number).subnet)
    }

    /// All templates of a group. Beyond what the kernel's map holds, userspace makes them as it needs them.
    fn render(&mut self, group: u16, facts: &Facts) -> Result<(), render::Error> {
        let scopes: Vec<(u16, Scope)> = self.scope_of.iter().map(|(n, scope)| (*n, scope.clone())).collect();
        for (number, scope) in scopes.into_iter().filter(|(_, scope)| scope.has(facts)) {
            for (class, kind) in replies(scope.site.mode) {
                let template = render::template(&scope.site, facts, class, kind)?;
                if self.templates.len() < TEMPLATES_MAX as usize {
                    let key = TemplateKey::new(number, group, class, kind);
                    self.templates.insert(key, template);
                    self.fresh.push(key);
                }
            }
        }
        Ok(())
    }

    /// The template of a reply; `None` where this scope has none for this group.
    pub fn template(&self, scope: u16, group: u16, class: Class, kind: Kind) -> Option<Cow<'_, Template>> {
        if let Some(template) = self.templates.get(&TemplateKey::new(scope, group, class, kind)) {
            return Some(Cow::Borrowed(template));
        }
        let (scope, facts) = (self.scope_of.get(&scope)?, self.facts_of.get(&group)?);
        // What fails here failed before, when the group was met.
        let made = || render::template(&scope.site, facts, class, kind).ok();
        if scope.has(facts) || kind == Kind::ProxyAck { made().map(Cow::Owned) } else { None }
    }

    /// The answer to a choice from the menu of a group; `None` where it has none, or not this item.
    pub fn chosen(&self, scope: u16, group: u16, class: Class, item: BootItem) -> Option<Chosen> {
        let (scope, facts) = (self.scope_of.get(&scope)?, self.facts_of.get(&group)?);
        render::chosen(&scope.site, facts, class, item)
    }

    /// Templates that were made since this was last asked: the kernel's lanes must have them before the hosts that lead to them.
    pub fn take_fresh(&mut self) -> Vec<(TemplateKey, Template)> {
        let fresh = std::mem::take(&mut self.fresh);
        fresh.into_iter().filter_map(|key| Some((key, *self.templates.get(&key)?))).collect()
    }

    /// What is served on the interface of this name, if that is what `link` says now.
    pub fn relinked(&self, link: &Link) -> Vec<Served> {
        let same = self.served.iter().filter(|served| served.link.name == link.name);
        let relink = |served: &Served| Served {
            link: Link { index: link.index, mac: link.mac, ..served.link.clone() },
            key: InterfaceKey::new(link.index, served.key.vlan()),
            value: served.value.with_mac(link.mac.0),
            ..served.clone()
        };
        same.map(relink).collect()
    }

    /// Puts that into force, if whoever must know can be told.
    pub fn relink<E>(&mut self, link: &Link, tell: impl FnOnce(&Self) -> Result<(), E>) -> Result<(), E> {
        let (before, new) = (self.served.clone(), self.relinked(link));
        let old = self.served.iter_mut().filter(|served| served.link.name == link.name);
        old.zip(new).for_each(|(old, new)| *old = new);
        tell(self).inspect_err(|_| self.served = before)
    }

    /// The network that `address` belongs to, by number.
    pub fn network_of(&self, address: Ipv4Addr) -> Option<u16> {
        let found = self.networks.iter().position(|network| network.subnet.contains(address))?;
        Some(found as u16)
    }

    /// The networks of the clients that the relay agent at `giaddr` speaks for.
    pub fn networks_behind(&self, giaddr: Ipv4Addr) -> Vec<u16> {
        let of = |(_, network): &(usize, &Network)| {
            network.subnet.contains(giaddr) || network.subnet.relays.contains(&giaddr)
        };
        self.networks.iter().enumerate().filter(of).map(|(i, _)| i as u16).collect()
    }

    /// For how long the clients of an address are promised it; 0: it is in none of our networks.
    pub fn lease_seconds(&self, ip: Ipv4Addr) -> u64 {
        let network = self.network_of(ip).map(|network| &self.network(network).subnet);
        network.map_or(0, |subnet| lease_seconds(subnet).into())
    }

    /// The networks on the link of `address`, where that is one behind a relay agent.
    pub fn networks_beside(&self, address: Ipv4Addr) -> Option<Vec<u16>> {
        let of = self.network(self.network_of(address)?);
        let same = |(_, network): &(usize, &Network)| network.link == of.link;
        (!of.direct).then(|| self.networks.iter().enumerate().filter(same).map(|(i, _)| i as u16).collect())
    }

    pub fn network(&self, number: u16) -> &Network {
        &self.networks[usize::from(number)]
    }

    /// What each network may lease.
    pub fn pools(&self) -> Vec<Pool> {
        let numbered = self.networks.iter().enumerate();
        let pool = |(i, network): (usize, &Network)| {
            Pool::new(i as u16, &network.subnet.pools, &network.subnet.excluded)
        };
        numbered.map(pool).filter(|pool| !pool.ranges.is_empty()).collect()
    }

    /// What a host, and the profile that it has by its entry, set.
    fn upper(&self, host: Option<&Host>) -> Settings {
        let profile = self.profile(self.placing.profile_of(host, self.default_profile.as_deref()));
        match (host, profile) {
            (Some(host), Some(profile)) => host.settings.over(profile),
            (host, profile) => host.map(|host| &host.settings).or(profile).cloned().unwrap_or_default(),
        }
    }

    fn profile(&self, name: Option<&str>) -> Option<&Settings> {
        self.profiles.get(name?)
    }

    /// What a lane may promise to `host`, without a dynamic lease.
    pub fn host_value(&mut self, host: &Host) -> Result<HostValue, render::Error> {
        let (upper, network) = (self.upper(Some(host)), host.ip.and_then(|ip| self.network_of(ip)));
        let group = self.group(network, upper)?;
        let value = match (host.ip, network) {
            (Some(ip), Some(network)) => self.addressed(ip, network, group),
            _ => HostValue::new([0; 4], 0, 0, group),
        };
        let flags = if host.boot == Boot::Ignore { HostValue::IGNORE } else { 0 };
        Ok(value.with_hostname(&host.name).with_flags(flags))
    }

    fn addressed(&self, ip: Ipv4Addr, network: u16, group: u16) -> HostValue {
        let subnet = &self.network(network).subnet;
        HostValue::new(ip.octets(), subnet.prefix, lease_seconds(subnet), group)
    }

    /// What a lane may promise to a client that leased `ip`. `known`: what the inventory says of it, or [`Plan::stranger`].
    pub fn lease_value(&mut self, ip: Ipv4Addr, known: &HostValue) -> Option<HostValue> {
        let network = self.network_of(ip)?;
        let upper = self.facts_of.get(&known.group())?.upper.clone();
        let group = self.group(Some(network), upper).ok()?;
        let (name, length) = known.hostname();
        let name = String::from_utf8_lossy(&name[..usize::from(length)]).into_owned();
        let flags = HostValue::DYNAMIC | if known.ignored() { HostValue::IGNORE } else { 0 };
        Some(self.addressed(ip, network, group).with_hostname(&name).with_flags(flags))
    }

    /// What is said to a machine of which nothing is known.
    pub fn stranger(&mut self) -> HostValue {
        let upper = self.upper(None);
        // Met when the plan was made.
        let group = self.group(None, upper).unwrap_or_default();
        HostValue::new([0; 4], 0, 0, group)
    }

    /// What is said to a machine without an entry, which is in the group that what DHCP heard of it puts it into.
    pub fn stranger_in_group(&mut self, heard: Heard) -> HostValue {
        let named = self.placing.profile_of_stranger(heard, self.default_profile.as_deref());
        let upper = self.profile(named).cloned().unwrap_or_default();
        match self.group(None, upper) {
            Ok(group) => HostValue::new([0; 4], 0, 0, group),
            // A group whose profile does not fit is refused before it is in force.
            Err(_) => self.stranger(),
        }
    }

    /// One host's map entries: one for each MAC and each VLAN that is served.
    pub fn host_entries(&mut self, host: &Host) -> Vec<(HostKey, HostValue)> {
        let value = match self.host_value(host) {
            Ok(value) => value,
            Err(error) => {
                tracing::error!(host = host.name, %error, "DHCP: this host gets no reservation");
                return Vec::new();
            }
        };
        let vids = self.vids();
        let keys = host.macs.iter().flat_map(|mac| vids.iter().map(|vid| HostKey::new(mac.0, *vid)));
        keys.map(|key| (key, value)).collect()
    }

    /// The keys under which lanes look a MAC up.
    pub fn keys(&self, mac: Mac) -> impl Iterator<Item = HostKey> {
        self.vids().into_iter().map(move |vid| HostKey::new(mac.0, vid))
    }

    fn vids(&self) -> Vec<u16> {
        let mut vids: Vec<u16> = self.served.iter().map(|served| innermost(served.key.vlan())).collect();
        vids.sort_unstable();
        vids.dedup();
        vids
    }

    /// The interfaces that the kernel's lanes answer on.
    pub fn kernel_interfaces(&self) -> Vec<(InterfaceKey, InterfaceValue)> {
        let answering = self.served.iter().filter(|served| !served.observe);
        answering.map(|served| (served.key, served.value)).collect()
    }
}

impl Scope {
    fn has(&self, facts: &Facts) -> bool {
        match (&self.sees, &facts.network) {
            (Sees::All, _) => true,
            (Sees::Networks(_), None) => false,
            (Sees::Networks(networks), Some(network)) => {
                networks.contains(&(network.network, network.prefix))
            }
        }
    }
}

fn networks(config: &Checked) -> Vec<Network> {
    let direct = config.interfaces.iter().enumerate().flat_map(|(link, interface)| {
        let network =
            move |subnet: &Subnet| Network { subnet: subnet.clone(), link: link as u16, direct: true };
        interface.subnets.iter().map(network)
    });
    let links = relay_links(&config.subnets, config.interfaces.len() as u16);
    let relayed = config.subnets.iter().zip(links);
    let relayed = relayed.map(|(subnet, link)| Network { subnet: subnet.clone(), link, direct: false });
    direct.chain(relayed).collect()
}

/// The links of subnets behind relay agents, numbered from `first` on: those that share a relay agent are one link.
fn relay_links(subnets: &[Subnet], first: u16) -> Vec<u16> {
    let speaks = |relay: &Ipv4Addr, subnet: &Subnet| subnet.contains(*relay) || subnet.relays.contains(relay);
    let shared = |a: &Subnet, b: &Subnet| {
        a.relays.iter().any(|relay| speaks(relay, b)) || b.relays.iter().any(|relay| speaks(relay, a))
    };
    let mut links: Vec<u16> = (0..subnets.len() as u16).map(|i| first + i).collect();
    for (i, subnet) in subnets.iter().enumerate() {
        for j in 0..i {
            if shared(subnet, &subnets[j]) {
                let (from, to) = (links[i].max(links[j]), links[i].min(links[j]));
                links.iter_mut().filter(|link| **link == from).for_each(|link| *link = to);
            }
        }
    }
    links
}

/// The innermost VID of two, 0 for none.
fn innermost([outer, inner]: [u16; 2]) -> u16 {
    if inner != 0 { inner } else { outer }
}

/// Seconds, as option 51 carries them.
pub fn lease_seconds(subnet: &Subnet) -> u32 {
    u32::try_from(subnet.lease.as_secs()).unwrap_or(u32::MAX)
}

/// The templates that the kernel's lanes need in a mode. NAKs are the same for every class.
fn replies(mode: Mode) -> impl Iterator<Item = (Class, Kind)> {
    let kinds: &[Kind] = match mode {
        Mode::Server => &[Kind::Offer, Kind::Ack, Kind::InformAck, Kind::ProxyAck],
        Mode::Proxy => &[Kind::ProxyOffer, Kind::ProxyAck],
    };
    let nak = (mode == Mode::Server).then_some((Class::Plain, Kind::Nak));
    let proxied = |kind| matches!(kind, Kind::ProxyOffer | Kind::ProxyAck);
    let each = Class::ALL.into_iter().flat_map(|class| kinds.iter().map(move |&kind| (class, kind)));
    each.filter(move |&(class, kind)| class.boots() || !proxied(kind)).chain(nak)
}
