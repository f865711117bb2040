//! How many of something each has, of those who have any, and places that each client has its share of.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

/// Counts by key. Nothing is kept of who has none.
#[derive(Debug)]
pub(super) struct Tally<K>(HashMap<K, u32>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// How many `key` has.
    pub(super) fn of(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, |count| *count as usize)
    }

    /// One more.
    pub(super) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// One less.
    pub(super) fn take(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }

    /// Whether nobody has any.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How many places clients have, by their addresses.
#[derive(Debug, Default)]
pub(super) struct Taken {
    addresses: Tally<IpAddr>,
    /// Of IPv6, by their first 64 bits: who has one address of such a network can have any of them.
    networks: Tally<u64>,
    total: usize,
}

impl Taken {
    /// One more for `peer`, unless it or all together have too many, or its network, with which nobody takes more than half of all.
    pub(super) fn take(&mut self, peer: IpAddr, per_peer: usize, total: usize) -> bool {
        let is_full = self.total >= total
            || self.addresses.of(&peer) >= per_peer
            || network(peer).is_some_and(|network| self.networks.of(&network) >= total.div_ceil(2));
        if is_full {
            return false;
        }
        self.total += 1;
        self.addresses.add(peer);
        if let Some(network) = network(peer) {
            self.networks.add(network);
        }
        true
    }

    /// One less.
    pub(super) fn give_back(&mut self, peer: IpAddr) {
        self.total = self.total.saturating_sub(1);
        self.addresses.take(&peer);
        if let Some(network) = network(peer) {
            self.networks.take(&network);
        }
    }

    /// How many this address has.
    pub(super) fn of(&self, peer: IpAddr) -> usize {
        self.addresses.of(&peer)
    }

    /// Whether nobody has any.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0 && self.addresses.is_empty() && self.networks.is_empty()
    }
}

fn network(peer: IpAddr) -> Option<u64> {
    match peer {
        IpAddr::V6(address) => Some((address.to_bits() >> 64) as u64),
        IpAddr::V4(_) => None,
    }
}
