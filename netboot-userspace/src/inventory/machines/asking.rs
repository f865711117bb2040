//! Who may speak for a machine.

use std::net::{IpAddr, Ipv6Addr};

use netboot_common::Mac;

use super::Machines;
use super::known::Known;
use crate::inventory::Snapshot;
use crate::inventory::observed::Shown;

impl Machines {
    /// Whether the machine may ask from `shown.peer`: from what is reserved for it, or was given to it last, or, of IPv6, what
    /// it made itself of its MAC (router advertisements let each machine do so). In proxy mode another server gave it its address,
    /// and any is as good.
    ///
    /// # Errors
    /// An address that it has instead.
    pub fn may_ask(&self, mac: Mac, shown: Shown) -> Result<(), IpAddr> {
        let addresses = self.addresses(mac, shown);
        match addresses.first() {
            Some(known) if !self.is_own(mac, shown, &addresses) => Err(*known),
            _ => Ok(()),
        }
    }

    /// Whether `shown.peer` is known to be the machine's.
    pub fn owns(&self, mac: Mac, shown: Shown) -> bool {
        self.is_own(mac, shown, &self.addresses(mac, shown))
    }

    /// The same with what is locked already: an address of which nobody knows whose it is, is not.
    pub(super) fn is_known_to_own(
        &self,
        known: &Known,
        inventory: &Snapshot,
        mac: Mac,
        shown: Shown,
    ) -> bool {
        self.is_own(mac, shown, &known.addresses(inventory, mac, shown))
    }

    /// Whether `peer` may be the machine: nobody knows an address of it, or that it has this one.
    pub(super) fn may_be(&self, known: &Known, inventory: &Snapshot, mac: Mac, peer: IpAddr) -> bool {
        let addresses = known.addresses(inventory, mac, Shown::default());
        addresses.is_empty() || self.is_own(mac, Shown { uuid: None, peer: Some(peer) }, &addresses)
    }

    fn is_own(&self, mac: Mac, shown: Shown, addresses: &[IpAddr]) -> bool {
        shown.peer.is_some_and(|peer| addresses.contains(&peer) || self.is_made_of(peer, mac))
    }

    /// Whether nobody but us gives addresses where this one is: of one that no machine has from us, nobody knows whose it is.
    pub fn is_served(&self, peer: IpAddr) -> bool {
        self.policy().served.iter().any(|(network, prefix)| match (peer, network) {
            (IpAddr::V4(peer), IpAddr::V4(network)) => {
                let rest = 32_u32.saturating_sub((*prefix).into());
                (peer.to_bits() ^ network.to_bits()).checked_shr(rest).unwrap_or(0) == 0
            }
            (IpAddr::V6(peer), IpAddr::V6(network)) => is_in(peer, *network, *prefix),
            _ => false,
        })
    }

    /// Whoever is outside the site's networks may choose the lower half of its address as it likes.
    fn is_made_of(&self, peer: IpAddr, mac: Mac) -> bool {
        let IpAddr::V6(peer) = peer else { return false };
        let is_in = |(network, prefix): &(Ipv6Addr, u8)| is_in(peer, *network, *prefix);
        let is_here = peer.is_unicast_link_local() || self.policy().networks6.iter().any(is_in);
        is_here && peer.octets().ends_with(&mac.interface_id())
    }

    fn addresses(&self, mac: Mac, shown: Shown) -> Vec<IpAddr> {
        let inventory = self.live.snapshot();
        self.lock().addresses(&inventory, mac, shown)
    }
}

fn is_in(address: Ipv6Addr, network: Ipv6Addr, prefix: u8) -> bool {
    let rest = 128_u32.saturating_sub(prefix.into());
    (address.to_bits() ^ network.to_bits()).checked_shr(rest).unwrap_or(0) == 0
}
