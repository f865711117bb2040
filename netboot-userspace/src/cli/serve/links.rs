//! The configured interfaces, as they are on this machine.

use std::net::Ipv4Addr;

use anyhow::{Context, bail};

use crate::config::{Checked, Dhcp6Mode, DhcpMode, Interface, Subnet6, XdpMode};
use crate::dhcp::tables::Link;
use crate::dhcp6;
use crate::fastpath::XdpWish;
use crate::sys::interface::{self, interfaces};
use crate::sys::netif::Control;

/// The interfaces of the configuration, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    /// All of them.
    pub(super) v4: Vec<Link>,
    /// Those with DHCPv6.
    pub(super) v6: Vec<dhcp6::tables::Link>,
}

/// What they are on this machine, now.
pub(super) fn resolve(config: &Checked) -> anyhow::Result<Links> {
    let there = interfaces().context("listing the network interfaces")?;
    let mut links = Links::default();
    for wanted in &config.interfaces {
        let Some(found) = there.get(&wanted.name) else {
            let known: Vec<&str> = there.keys().map(String::as_str).collect();
            bail!("interface {}: there is no such interface (there are: {})", wanted.name, known.join(", "));
        };
        links.v4.push(link(wanted, found)?);
        if let (Some(subnet), true) = (&wanted.v6.subnet, wanted.v6.mode != Dhcp6Mode::Off) {
            links.v6.push(link6(wanted, subnet, found)?);
        }
    }
    Ok(links)
}

fn link6(
    wanted: &Interface,
    subnet: &Subnet6,
    found: &interface::Interface,
) -> anyhow::Result<dhcp6::tables::Link> {
    let name = &wanted.name;
    let Some(&(address, _)) = found.addresses6.iter().find(|(ip, _)| subnet.contains(*ip)) else {
        let has = listed(&found.addresses6);
        bail!(
            "interface {name}: it has no IPv6 address in {subnet} (it has: {has}); give it one: ip address add ADDRESS/PREFIX dev {name}"
        );
    };
    Ok(dhcp6::tables::Link { name: name.clone(), index: found.index, mac: found.mac, address })
}

/// `10.0.0.1/24, 10.1.0.1/24`
fn listed<T: std::fmt::Display>(addresses: &[(T, u8)]) -> String {
    let has: Vec<String> = addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect();
    if has.is_empty() { "none".to_owned() } else { has.join(", ") }
}

fn link(wanted: &Interface, found: &interface::Interface) -> anyhow::Result<Link> {
    let name = &wanted.name;
    let address = match wanted.subnets.first() {
        Some(subnet) => found.addresses.iter().find(|(ip, _)| subnet.contains(*ip)),
        None => found.addresses.first(),
    };
    // Without DHCP for IPv4, none is handed out or named in an answer.
    let address = match wanted.dhcp {
        DhcpMode::Off => address.or(Some(&(Ipv4Addr::UNSPECIFIED, 32))),
        DhcpMode::Server | DhcpMode::Proxy | DhcpMode::Observe => address,
    };
    let Some(&(address, prefix)) = address else {
        let network =
            wanted.subnets.first().map(|subnet| format!(" in {}/{}", subnet.network, subnet.prefix));
        let has = listed(&found.addresses);
        bail!(
            "interface {name}: it has no IPv4 address{} (it has: {has}); give it one: ip address add ADDRESS/PREFIX dev {name}",
            network.unwrap_or_default()
        );
    };
    if !found.up {
        tracing::warn!("interface {name} is down: nothing arrives until it is up (ip link set {name} up)");
    }
    let mtu = Control::new().and_then(|control| control.mtu(name));
    let mtu = mtu.with_context(|| format!("interface {name}: reading its MTU"))?;
    Ok(Link { name: name.clone(), index: found.index, mac: found.mac, address, prefix, mtu })
}

/// Each interface once, and how XDP is to be attached there. Of several VLANs on one interface, the first decides.
pub(super) fn wishes(config: &Checked) -> Vec<(String, XdpWish)> {
    let mut wishes: Vec<(String, XdpWish)> = Vec::new();
    for interface in config.interfaces.iter().filter(|interface| interface.dhcp != DhcpMode::Off) {
        if wishes.iter().all(|(name, _)| *name != interface.name) {
            let wish = match interface.xdp {
                XdpMode::Auto => XdpWish::Auto,
                XdpMode::Native => XdpWish::Native,
                XdpMode::Generic => XdpWish::Generic,
                XdpMode::Off => XdpWish::Off,
            };
            wishes.push((interface.name.clone(), wish));
        }
    }
    wishes
}
