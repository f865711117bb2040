//! Addresses that try tokens that are none. Pure: the time is an argument, in seconds of any clock that does not step back.
//!
//! A token can't be guessed; who tries all the same must not fill the log. A right token opens whatever its address has tried: others may
//! be behind the same one, and what bars them would be theirs to use.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tries that an address has at first.
pub(super) const BURST: u64 = 10;
/// Seconds until it has one more.
pub(super) const EACH: u64 = 6;
/// Addresses that are remembered; one more takes the place of the one that has tried least.
const MOST: usize = 4096;

/// The tries of all addresses.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// When an address will have all its tries again.
    whole_at: Mutex<HashMap<IpAddr, u64>>,
}

impl Tries {
    /// Seconds until this address may try again; `None`: it may.
    pub(super) fn barred(&self, address: IpAddr, now: u64) -> Option<u64> {
        let whole_at = *self.lock().get(&network(address))?;
        let wait = (whole_at + EACH).saturating_sub(now + BURST * EACH);
        (wait > 0).then_some(wait)
    }

    /// It has tried what is no token; how many tries it has left.
    pub(super) fn failed(&self, address: IpAddr, now: u64) -> u64 {
        let mut all = self.lock();
        let network = network(address);
        if !all.contains_key(&network) && all.len() >= MOST {
            make_room(&mut all, now);
        }
        let whole_at = all.entry(network).or_insert(now);
        *whole_at = (*whole_at).max(now) + EACH;
        (now + BURST * EACH).saturating_sub(*whole_at) / EACH
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        self.whole_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(all: &mut HashMap<IpAddr, u64>, now: u64) {
    all.retain(|_, whole_at| *whole_at > now);
    if all.len() < MOST {
        return;
    }
    if let Some(least) = all.iter().min_by_key(|(_, whole_at)| **whole_at).map(|(address, _)| *address) {
        all.remove(&least);
    }
}

/// One host has a /64 of IPv6 to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn an_address_has_ten_tries_and_then_one_in_six_seconds() {
        let tries = Tries::default();
        for left in (0..BURST).rev() {
            assert_eq!(tries.barred(v4(1), 100), None);
            assert_eq!(tries.failed(v4(1), 100), left);
        }
        assert_eq!((tries.barred(v4(1), 100), tries.barred(v4(1), 105)), (Some(6), Some(1)));
        assert_eq!((tries.barred(v4(1), 106), tries.barred(v4(2), 100)), (None, None));
        tries.failed(v4(1), 106);
        assert_eq!(tries.barred(v4(1), 106), Some(6));
        assert_eq!(tries.barred(v4(1), 1000), None);
        assert_eq!(tries.failed(v4(1), 1000), BURST - 1, "all is forgotten in a minute");
    }

    #[test]
    fn one_network_of_ipv6_is_one_address_and_all_together_have_bounds() {
        let tries = Tries::default();
        let v6 = |network: u16, host: u16| IpAddr::from([0xfd00, 0, 0, network, 0, 0, 0, host]);
        (0..BURST as u16).for_each(|host| assert!(tries.failed(v6(0, host), 0) < BURST));
        assert!(tries.barred(v6(0, 99), 0).is_some() && tries.barred(v6(1, 0), 0).is_none());
        (1..9000).for_each(|network| assert_eq!(tries.failed(v6(network, 1), 0), BURST - 1));
        assert_eq!(tries.lock().len(), MOST);
        assert!(tries.barred(v6(0, 1), 0).is_some(), "who has tried most is not forgotten for those");
    }
}
