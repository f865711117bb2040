//! Who is answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Subnets, which may be exchanged while workers read them.
pub type Sources = Arc<ArcSwap<Vec<(IpAddr, u8)>>>;

/// An IPv4 client that an IPv6 socket heard, as an IPv4 client.
pub(super) fn canonical(client: SocketAddr) -> SocketAddr {
    match client.ip().to_canonical() {
        IpAddr::V4(address) => (address, client.port()).into(),
        IpAddr::V6(_) => client,
    }
}

/// Whether it is inside one of them; no network at all is every network. Link-local addresses are always of the link.
pub(super) fn allowed(sources: &[(IpAddr, u8)], client: IpAddr) -> bool {
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
    sources.is_empty() || sources.iter().any(inside)
}
