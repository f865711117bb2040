//! The site as tables: what the kernel's maps hold, and what the userspace lane looks up. One description for both.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::maps::{
    HostKey, HostValue, InterfaceKey, InterfaceValue, Kind, Mode, Template, TemplateKey,
};

use super::render;
pub use crate::config::Subnet;
use crate::config::{Checked, DhcpMode, Interface};
use crate::inventory::{Boot, Host, Snapshot};

/// An interface of the configuration, as it is on this machine.
#[derive(Clone, Debug)]
pub struct Link {
    pub name: String,
    pub index: u32,
    pub mac: Mac,
    /// Our address there.
    pub address: Ipv4Addr,
    pub prefix: u8,
}

/// One (interface, VLAN) that DHCP serves.
#[derive(Clone, Debug)]
pub struct Served {
    pub link: Link,
    pub key: InterfaceKey,
    pub value: InterfaceValue,
    /// Its own network; `None` for a proxy that was told none.
    pub subnet: Option<Subnet>,
}

/// Everything that changes only with the configuration.
#[derive(Debug)]
pub struct Plan {
    pub served: Vec<Served>,
    /// Every subnet, at the index of its group - 1.
    pub subnets: Vec<Subnet>,
    pub templates: HashMap<TemplateKey, Template>,
    default_lease: u32,
}

/// The group of hosts that belong to no subnet: a proxy's clients.
const NO_SUBNET: u16 = 0;

impl Plan {
    /// `links`: one for each served interface of `config`, in its order.
    pub fn new(config: &Checked, links: &[Link]) -> Result<Self, render::Error> {
        let served: Vec<Served> = config
            .interfaces
            .iter()
            .zip(links)
            .enumerate()
            .filter_map(|(scope, (interface, link))| serve(scope as u16, interface, link))
            .collect();
        let own = served.iter().filter_map(|served| served.subnet.clone());
        let mut subnets: Vec<Subnet> = Vec::new();
        for subnet in own.chain(config.subnets.iter().cloned()) {
            if !subnets.contains(&subnet) {
                subnets.push(subnet);
            }
        }
        let default_lease = subnets.first().map_or(3600, lease_seconds);
        let mut plan = Self { served, subnets, templates: HashMap::new(), default_lease };
        plan.render(config)?;
        Ok(plan)
    }

    fn render(&mut self, config: &Checked) -> Result<(), render::Error> {
        let groups: Vec<(u16, Option<&Subnet>)> = std::iter::once((NO_SUBNET, None))
            .chain(self.subnets.iter().enumerate().map(|(i, subnet)| (i as u16 + 1, Some(subnet))))
            .collect();
        for served in &self.served {
            let site = render::Site {
                address: served.link.address,
                mode: served.value.mode(),
                http_port: config.http.listen.port(),
                domain: config.domain.clone(),
                proxy_here: false,
            };
            for (group, subnet) in &groups {
                for (class, kind) in replies(site.mode) {
                    let key = TemplateKey::new(served.value.scope(), *group, class, kind);
                    self.templates.insert(key, render::template(&site, *subnet, class, kind)?);
                }
            }
        }
        Ok(())
    }

    /// The group of the network that `address` belongs to, and that network.
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<(u16, &Subnet)> {
        let found = self.subnets.iter().position(|subnet| subnet.contains(address))?;
        Some((found as u16 + 1, &self.subnets[found]))
    }

    /// What a lane may promise to `host`, without a dynamic lease.
    pub fn host_value(&self, host: &Host) -> HostValue {
        let subnet = host.ip.and_then(|ip| Some((ip, self.subnet_of(ip)?)));
        let value = match subnet {
            Some((ip, (group, subnet))) => {
                HostValue::new(ip.octets(), subnet.prefix, lease_seconds(subnet), group)
            }
            None => HostValue::new([0; 4], 0, self.default_lease, NO_SUBNET),
        };
        let flags = if host.boot == Boot::Ignore { HostValue::IGNORE } else { 0 };
        value.with_hostname(&host.name).with_flags(flags)
    }

    /// What a lane may promise to a client that leased `ip`.
    pub fn lease_value(&self, ip: Ipv4Addr, hostname: &str, ignored: bool) -> Option<HostValue> {
        let (group, subnet) = self.subnet_of(ip)?;
        let flags = HostValue::DYNAMIC | if ignored { HostValue::IGNORE } else { 0 };
        let value = HostValue::new(ip.octets(), subnet.prefix, lease_seconds(subnet), group);
        Some(value.with_hostname(hostname).with_flags(flags))
    }

    /// What a proxy says to a machine that the inventory does not know.
    pub fn stranger(&self) -> HostValue {
        HostValue::new([0; 4], 0, self.default_lease, NO_SUBNET)
    }

    /// The map entries of all hosts of `snapshot`.
    pub fn hosts(&self, snapshot: &Snapshot) -> HashMap<HostKey, HostValue> {
        snapshot.hosts().flat_map(|host| self.host_entries(host)).collect()
    }

    /// One host's map entries: one for each MAC and each VLAN that is served.
    pub fn host_entries(&self, host: &Host) -> Vec<(HostKey, HostValue)> {
        let value = self.host_value(host);
        let keys = host.macs.iter().flat_map(|mac| self.keys(*mac));
        keys.map(|key| (key, value)).collect()
    }

    /// The keys under which lanes look a MAC up.
    pub fn keys(&self, mac: Mac) -> impl Iterator<Item = HostKey> {
        let mut vids: Vec<u16> = self.served.iter().map(|served| innermost(served.key.vlan())).collect();
        vids.sort_unstable();
        vids.dedup();
        vids.into_iter().map(move |vid| HostKey::new(mac.0, vid))
    }
}

/// The innermost VID of two, 0 for none.
fn innermost([outer, inner]: [u16; 2]) -> u16 {
    if inner != 0 { inner } else { outer }
}

/// Seconds, as option 51 carries them.
pub fn lease_seconds(subnet: &Subnet) -> u32 {
    u32::try_from(subnet.lease.as_secs()).unwrap_or(u32::MAX)
}

fn serve(scope: u16, interface: &Interface, link: &Link) -> Option<Served> {
    let mode = match interface.dhcp {
        DhcpMode::Server => Mode::Server,
        DhcpMode::Proxy => Mode::Proxy,
        DhcpMode::Off => return None,
    };
    let tag = |i: usize| interface.vlan.get(i).copied().unwrap_or(0);
    let prefix = interface.subnet.as_ref().map_or(link.prefix, |subnet| subnet.prefix);
    Some(Served {
        link: link.clone(),
        key: InterfaceKey::new(link.index, [tag(0), tag(1)]),
        value: InterfaceValue::new(link.address.octets(), prefix, link.mac.0, mode, scope),
        subnet: interface.subnet.clone(),
    })
}

/// The templates that a mode needs. NAKs are the same for every class.
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
