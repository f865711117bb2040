//! The configured interfaces, as they are on this machine.

use anyhow::{Context, bail};

use crate::config::{Checked, DhcpMode, Interface, XdpMode};
use crate::dhcp::tables::Link;
use crate::fastpath::XdpWish;
use crate::sys::interface::{self, interfaces};

/// One link for each interface of the configuration, in its order.
pub(super) fn resolve(config: &Checked) -> anyhow::Result<Vec<Link>> {
    let there = interfaces().context("listing the network interfaces")?;
    let mut links = Vec::new();
    for wanted in &config.interfaces {
        let Some(found) = there.get(&wanted.name) else {
            let known: Vec<&str> = there.keys().map(String::as_str).collect();
            bail!("interface {}: there is no such interface (there are: {})", wanted.name, known.join(", "));
        };
        links.push(link(wanted, found)?);
    }
    Ok(links)
}

fn link(wanted: &Interface, found: &interface::Interface) -> anyhow::Result<Link> {
    let name = &wanted.name;
    let address = match wanted.subnets.first() {
        Some(subnet) => found.addresses.iter().find(|(ip, _)| subnet.contains(*ip)),
        None => found.addresses.first(),
    };
    let Some(&(address, prefix)) = address else {
        let network =
            wanted.subnets.first().map(|subnet| format!(" in {}/{}", subnet.network, subnet.prefix));
        let has: Vec<String> = found.addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect();
        let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
        bail!(
            "interface {name}: it has no IPv4 address{} (it has: {has}); give it one: ip address add ADDRESS/PREFIX dev {name}",
            network.unwrap_or_default()
        );
    };
    if !found.up {
        tracing::warn!("interface {name} is down: nothing arrives until it is up (ip link set {name} up)");
    }
    Ok(Link { name: name.clone(), index: found.index, mac: found.mac, address, prefix })
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
