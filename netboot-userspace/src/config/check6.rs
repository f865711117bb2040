//! From what was typed to what is meant: IPv6.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::errors::Errors;
use super::net;
use super::net6::{self, Dhcp6Mode, Subnet6, V6};
use super::reader::{Field, Place, Placed, Section};
use super::{Checked, DEFAULT_LEASE, Interface};
use crate::inventory::entry;

/// The IPv6 keys of an interface whose clients send these `vlan` tags.
pub(super) fn v6(section: &mut Section<'_>, vlan: &[u16], errors: &mut Errors) -> V6 {
    let mode = section.take("dhcp6");
    let modes = [("server", Dhcp6Mode::Server), ("stateless", Dhcp6Mode::Stateless), ("off", Dhcp6Mode::Off)];
    let place = mode.as_ref().map(|field| field.place.clone());
    let mode = mode.and_then(|field| field.word(errors, &modes)).unwrap_or_default();
    let (is_typed, subnet) = subnet(section, errors);
    let preference = section.take("preference6").and_then(|field| field.parse(errors, preference));
    let rapid_commit = section.take("rapid_commit6").and_then(|field| {
        let words = [("true", true), ("false", false)];
        field.word(errors, &words)
    });
    if let Some(place) = place.filter(|_| mode != Dhcp6Mode::Off) {
        if !is_typed {
            let mode = mode.name();
            place.fault(
                errors,
                format!("`dhcp6: {mode}` needs `subnet6`: add it, as in `subnet6: 2001:db8::/64`"),
            );
        }
        if !vlan.is_empty() {
            let what = "goes by the kernel's own sockets, which see no tags: name the VLAN's own interface, as in eth1.100";
            place.fault(errors, what);
        }
    }
    V6 {
        mode,
        subnet,
        preference: preference.unwrap_or(u8::MAX),
        rapid_commit: rapid_commit.unwrap_or(false),
    }
}

fn preference(text: &str) -> Result<u8, String> {
    text.parse().map_err(|_| format!("{text:?} is not a preference: it takes 0 to 255"))
}

/// The IPv6 keys of a subnet, in an interface or in an item of `subnets`: whether `subnet6` was typed, and what it means, unless it
/// is wrong.
pub(super) fn subnet(section: &mut Section<'_>, errors: &mut Errors) -> (bool, Option<Subnet6>) {
    let typed = section.take("subnet6");
    let (range, dns, lease) = (section.take("range6"), section.take("dns6"), section.take("lease6"));
    let network = typed.as_ref().and_then(|field| field.parse(errors, net6::network));
    if typed.is_none() {
        for field in [&range, &dns, &lease].into_iter().flatten() {
            field.place.fault(errors, "goes with `subnet6`, which is missing here");
        }
    }
    let limits = Duration::from_secs(60)..=Duration::from_secs(365 * 86400);
    let lease = lease.and_then(|field| field.parse(errors, |text| net::duration(text, limits)));
    let dns = dns.map(|field| field.one_or_more(errors)).unwrap_or_default();
    let dns = dns.iter().filter_map(|field| field.parse(errors, entry::address6)).collect();
    let lease = lease.unwrap_or(DEFAULT_LEASE);
    let subnet = network.map(|(network, prefix)| {
        let mut subnet = Subnet6 { network, prefix, range: None, dns, lease };
        subnet.range = range.and_then(|field| field.parse(errors, |text| pool(text, &subnet)));
        subnet
    });
    (typed.is_some(), subnet)
}

fn pool(text: &str, subnet: &Subnet6) -> Result<(Ipv6Addr, Ipv6Addr), String> {
    let (first, last) = net6::range(text)?;
    inside(first, subnet)?;
    inside(last, subnet)?;
    Ok((first, last))
}

fn inside(ip: Ipv6Addr, subnet: &Subnet6) -> Result<(), String> {
    if !subnet.contains(ip) {
        return Err(format!("{ip} is outside the subnet {subnet}"));
    }
    // RFC 4291 section 2.6.1: the routers' anycast address.
    if ip == subnet.network && subnet.prefix < 127 {
        return Err(format!("{ip} is every router's address in {subnet}: take another"));
    }
    Ok(())
}

/// Every subnet, and faults where two share addresses.
pub(super) fn all_subnets(
    interfaces: &[Placed<Interface>],
    relayed: &[Placed<Subnet6>],
    errors: &mut Errors,
) -> Vec<Subnet6> {
    let direct = interfaces.iter().filter_map(|i| Some((i.value.v6.subnet.clone()?, &i.place)));
    let all: Vec<(Subnet6, &Place)> =
        direct.chain(relayed.iter().map(|s| (s.value.clone(), &s.place))).collect();
    for (i, (subnet, place)) in all.iter().enumerate() {
        if let Some((first, at)) = all[..i].iter().find(|(first, _)| first.overlaps(subnet)) {
            place.fault(errors, format!("{subnet} shares addresses with {first}, at {}", at.origin()));
        }
    }
    all.into_iter().map(|(subnet, _)| subnet).collect()
}

/// Whether `ip` may be one machine's own.
pub(super) fn reservation(ip: Ipv6Addr, subnets: &[&Subnet6]) -> Result<(), String> {
    let Some(subnet) = subnets.iter().find(|subnet| subnet.contains(ip)) else {
        let known = subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none is configured".to_owned() } else { known };
        return Err(format!("{ip} is outside every subnet6 (there are: {known})"));
    };
    inside(ip, subnet)
}

/// DHCPv6 hands out URLs with our IPv6 address: what they name must be there, too. `typed`: where it was told to listen, if it
/// was.
pub(super) fn listen(listen: &mut SocketAddr, typed: Option<Field<'_>>, is_used: bool, errors: &mut Errors) {
    if !is_used || listen.is_ipv6() {
        return;
    }
    let port = listen.port();
    match typed {
        None => *listen = (Ipv6Addr::UNSPECIFIED, port).into(),
        Some(field) => field.place.fault(
            errors,
            format!("is IPv4 only, and `dhcp6` sends machines to IPv6 addresses: write \"[::]:{port}\", which is both"),
        ),
    }
}

impl Checked {
    /// Every IPv6 subnet that is served: those of the interfaces, then those behind relay agents.
    pub fn all_subnets6(&self) -> impl Iterator<Item = &Subnet6> {
        self.interfaces.iter().filter_map(|interface| interface.v6.subnet.as_ref()).chain(&self.subnets6)
    }
}
