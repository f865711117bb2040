//! Which addresses of a pool are free: a bit for each, and a list of those in use by when they are over. Finding one takes no
//! longer in a full pool than in an empty one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

/// The addresses of one network that may be leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The network's number.
    pub network: u16,
    /// First and last address of each range, none of which overlap.
    pub ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
}

impl Pool {
    /// `ranges` without `excluded`.
    pub fn new(network: u16, ranges: &[(Ipv4Addr, Ipv4Addr)], excluded: &[(Ipv4Addr, Ipv4Addr)]) -> Self {
        let mut ranges: Vec<(u32, u32)> = ranges.iter().map(|&(a, b)| (a.to_bits(), b.to_bits())).collect();
        for &(first, last) in excluded {
            let (first, last) = (first.to_bits(), last.to_bits());
            ranges = ranges.into_iter().flat_map(|range| without(range, first, last)).collect();
        }
        ranges.sort_unstable();
        let ranges = ranges.into_iter().map(|(a, b)| (a.into(), b.into())).collect();
        Self { network, ranges }
    }
}

/// What is left of a range on both sides of another one.
fn without((a, b): (u32, u32), first: u32, last: u32) -> impl Iterator<Item = (u32, u32)> {
    let before = (a < first).then(|| (a, b.min(first.saturating_sub(1))));
    let behind = (b > last).then(|| (a.max(last.saturating_add(1)), b));
    [before, behind].into_iter().flatten().filter(|(a, b)| a <= b)
}

/// All pools, by network.
#[derive(Clone, Debug, Default)]
pub(super) struct Pools {
    by_network: HashMap<u16, Usage>,
    /// Addresses that are never leased, in a pool or not.
    taken: HashSet<Ipv4Addr>,
}

#[derive(Clone, Debug)]
struct Usage {
    ranges: Vec<(u32, u32)>,
    size: u32,
    /// One for each address that is taken, or has an entry in the book.
    used: Vec<u64>,
    taken: HashSet<u32>,
    /// Entries by when they are over.
    over: BTreeSet<(u64, u32)>,
    until: HashMap<u32, u64>,
    /// Addresses that clients declined, by when that is over.
    declined: BTreeSet<(u64, u32)>,
}

impl Pools {
    /// `taken`: addresses that are never leased.
    pub(super) fn new(pools: Vec<Pool>, taken: &HashSet<Ipv4Addr>) -> Self {
        let by_network = pools.into_iter().map(|pool| (pool.network, Usage::new(&pool, taken))).collect();
        Self { by_network, taken: taken.clone() }
    }

    /// Whether an address is one of this network's pool, and not taken.
    pub(super) fn may_lease(&self, network: u16, ip: Ipv4Addr) -> bool {
        self.by_network
            .get(&network)
            .is_some_and(|usage| usage.index(ip.to_bits()).is_some() && !usage.taken.contains(&ip.to_bits()))
    }

    /// Whether an address is one of some network's pool, also where it is taken.
    pub(super) fn contain(&self, ip: Ipv4Addr) -> bool {
        self.by_network.values().any(|usage| usage.index(ip.to_bits()).is_some())
    }

    /// Whether an address is never leased, also one that is in no pool any more.
    pub(super) fn is_taken(&self, ip: Ipv4Addr) -> bool {
        self.taken.contains(&ip)
    }

    /// From now on, whether `ip` is never leased.
    pub(super) fn set_taken(&mut self, ip: Ipv4Addr, taken: bool) {
        if taken {
            self.taken.insert(ip)
        } else {
            self.taken.remove(&ip)
        };
        for usage in self.by_network.values_mut() {
            usage.set_taken(ip.to_bits(), taken);
        }
    }

    /// The book has an entry for `ip`, which is over at `until`.
    pub(super) fn put(&mut self, ip: Ipv4Addr, until: u64) {
        for usage in self.by_network.values_mut() {
            usage.put(ip.to_bits(), until);
        }
    }

    /// The book has no entry for `ip` any more.
    pub(super) fn take_out(&mut self, ip: Ipv4Addr) {
        for usage in self.by_network.values_mut() {
            usage.take_out(ip.to_bits());
        }
    }

    /// The entry of `ip`, which was put in just now, says that clients declined it. All their word keeps from others is a quarter
    /// of a pool: beyond that, the address that was declined first is to be free again, which is what this gives back.
    pub(super) fn decline(&mut self, ip: Ipv4Addr) -> Option<Ipv4Addr> {
        self.by_network.values_mut().find_map(|usage| usage.decline(ip.to_bits()))
    }

    /// An address that nobody has: one without an entry, else the one that has been over for longest. It starts where the client's
    /// identifier points, so that a client which was forgotten is likely to get its old address.
    pub(super) fn free(&self, network: u16, client: &[u8], now: u64) -> Option<Ipv4Addr> {
        let usage = self.by_network.get(&network)?;
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        let start = (hasher.finish() % u64::from(usage.size.max(1))) as u32;
        usage.unused(start).or_else(|| usage.longest_over(now)).map(Ipv4Addr::from)
    }
}

impl Usage {
    fn new(pool: &Pool, taken: &HashSet<Ipv4Addr>) -> Self {
        let ranges: Vec<_> = pool.ranges.iter().map(|&(a, b)| (a.to_bits(), b.to_bits())).collect();
        let size = ranges.iter().map(|(a, b)| b - a + 1).sum();
        let used = vec![0; (size as usize).div_ceil(64)];
        let (over, until, declined) = (BTreeSet::new(), HashMap::new(), BTreeSet::new());
        let mut usage = Self { ranges, size, used, taken: HashSet::new(), over, until, declined };
        taken.iter().for_each(|ip| usage.set_taken(ip.to_bits(), true));
        usage
    }

    fn set_taken(&mut self, ip: u32, taken: bool) {
        let Some(index) = self.index(ip) else { return };
        if taken {
            self.taken.insert(ip)
        } else {
            self.taken.remove(&ip)
        };
        self.mark(index, taken || self.until.contains_key(&ip));
    }

    fn put(&mut self, ip: u32, until: u64) {
        let Some(index) = self.index(ip) else { return };
        self.mark(index, true);
        if let Some(before) = self.until.insert(ip, until) {
            self.forget(before, ip);
        }
        self.over.insert((until, ip));
    }

    fn take_out(&mut self, ip: u32) {
        let Some(index) = self.index(ip) else { return };
        let taken = self.taken.contains(&ip);
        self.mark(index, taken);
        if let Some(until) = self.until.remove(&ip) {
            self.forget(until, ip);
        }
    }

    /// What was known of an entry.
    fn forget(&mut self, until: u64, ip: u32) {
        self.over.remove(&(until, ip));
        self.declined.remove(&(until, ip));
    }

    fn decline(&mut self, ip: u32) -> Option<Ipv4Addr> {
        self.declined.insert((*self.until.get(&ip)?, ip));
        let most = (self.size as usize / 4).max(1);
        let (_, first) = if self.declined.len() > most { self.declined.pop_first()? } else { return None };
        Some(first.into())
    }

    fn mark(&mut self, index: u32, used: bool) {
        let (word, bit) = (&mut self.used[index as usize / 64], 1 << (index % 64));
        if used { *word |= bit } else { *word &= !bit }
    }

    /// The first unused address from `start` on, and round.
    fn unused(&self, start: u32) -> Option<u32> {
        let words = self.used.len();
        let first = start as usize / 64;
        let candidate = |i: usize| {
            let word = (first + i) % words;
            // Of the first word, what is before `start` comes last of all.
            let skipped = match i {
                0 => !(u64::MAX << (start % 64)),
                _ if i == words => u64::MAX << (start % 64),
                _ => 0,
            };
            let free = !(self.used[word] | skipped);
            let index = word as u32 * 64 + free.trailing_zeros();
            (free != 0 && index < self.size).then_some(index)
        };
        if words == 0 { None } else { (0..=words).find_map(candidate).map(|index| self.address(index)) }
    }

    fn longest_over(&self, now: u64) -> Option<u32> {
        let reusable = self.over.iter().take_while(|(until, _)| *until <= now);
        reusable.map(|(_, ip)| *ip).find(|ip| !self.taken.contains(ip))
    }

    /// The position of an address in the pool.
    fn index(&self, ip: u32) -> Option<u32> {
        let mut before = 0;
        for (first, last) in &self.ranges {
            if (*first..=*last).contains(&ip) {
                return Some(before + (ip - first));
            }
            before += last - first + 1;
        }
        None
    }

    fn address(&self, index: u32) -> u32 {
        let mut left = index;
        for (first, last) in &self.ranges {
            if left <= last - first {
                return first + left;
            }
            left -= last - first + 1;
        }
        // An index comes from `size`, which is the sum of all ranges.
        self.ranges.last().map_or(0, |(_, last)| *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(bits: u32) -> Ipv4Addr {
        Ipv4Addr::from(bits)
    }

    #[test]
    fn exclusions_are_cut_out() {
        let whole = [(ip(10), ip(20))];
        type Range<T> = (T, T);
        type Case = (Vec<Range<Ipv4Addr>>, &'static [Range<u32>]);
        let cases: [Case; 6] = [
            (vec![], &[(10, 20)]),
            (vec![(ip(10), ip(10)), (ip(20), ip(20))], &[(11, 19)]),
            (vec![(ip(14), ip(16))], &[(10, 13), (17, 20)]),
            (vec![(ip(0), ip(12)), (ip(19), ip(99))], &[(13, 18)]),
            (vec![(ip(0), ip(99))], &[]),
            (vec![(ip(30), ip(40))], &[(10, 20)]),
        ];
        for (excluded, left) in cases {
            let left: Vec<_> = left.iter().map(|&(a, b)| (ip(a), ip(b))).collect();
            assert_eq!(Pool::new(0, &whole, &excluded).ranges, left, "{excluded:?}");
        }
    }

    #[test]
    fn every_address_is_found_once_from_any_start() {
        let pool = Pool { network: 7, ranges: vec![(ip(100), ip(199)), (ip(300), ip(329))] };
        for client in [&b"a"[..], b"bc", b"def", b""] {
            let mut pools = Pools::new(vec![pool.clone()], &[ip(110), ip(329)].into());
            let mut found = BTreeSet::new();
            while let Some(free) = pools.free(7, client, 0) {
                assert!(found.insert(free), "{free} twice");
                pools.put(free, 1000);
            }
            assert_eq!(found.len(), 128);
            assert!(!found.contains(&ip(110)) && !found.contains(&ip(329)));
            pools.take_out(ip(150));
            pools.take_out(ip(110));
            assert_eq!(pools.free(7, client, 0), Some(ip(150)));
            pools.set_taken(ip(150), true);
            assert_eq!(pools.free(7, client, 0), None);
            pools.set_taken(ip(150), false);
            assert_eq!(pools.free(7, client, 0), Some(ip(150)));
            pools.put(ip(150), 5);
            assert_eq!(pools.free(7, client, 5), Some(ip(150)), "over");
            assert_eq!(pools.free(8, client, 0), None, "no such network");
        }
    }
}
