//! Who is answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Whom to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    Everybody,
    /// Subnets: address and prefix length. None of them: nobody.
    These(Vec<(IpAddr, u8)>),
}

/// The same, which may be exchanged while workers read it.
pub type Sources = Arc<ArcSwap<Served>>;

/// An IPv4 client that an IPv6 socket heard, as an IPv4 client.
pub(super) fn canonical(client: SocketAddr) -> SocketAddr {
    match client.ip().to_canonical() {
        IpAddr::V4(address) => (address, client.port()).into(),
        IpAddr::V6(_) => client,
    }
}

/// Whether it is answered. Where there is a network of IPv6, link-local addresses are of the link.
pub(super) fn allowed(served: &Served, client: IpAddr) -> bool {
    let Served::These(sources) = served else { return true };
    let inside = |&(network, prefix): &(IpAddr, u8)| match (network, client) {
        (IpAddr::V4(network), IpAddr::V4(client)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            network.to_bits() & mask == client.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(client)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            client.is_unicast_link_local() || network.to_bits() & mask == client.to_bits() & mask
        }
        _ => false,
    };
    sources.iter().any(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_networks_that_is_empty_is_nobody() {
        let client = IpAddr::from([10, 0, 0, 9]);
        let these = |networks: &[([u8; 4], u8)]| {
            Served::These(networks.iter().map(|(network, prefix)| ((*network).into(), *prefix)).collect())
        };
        assert!(allowed(&Served::Everybody, client));
        assert!(!allowed(&these(&[]), client));
        assert!(!allowed(&these(&[([0; 4], 32), ([10, 0, 1, 0], 24)]), client));
        assert!(allowed(&these(&[([0; 4], 32), ([10, 0, 0, 0], 24)]), client));
        assert!(allowed(&these(&[([0; 4], 0)]), client));
    }
}
