//! What is remembered of machines: of so many, those that were met longest ago are forgotten first.

use std::collections::{BTreeMap, HashMap};

use netboot_common::Mac;

/// Machines that are remembered: anybody on the wire can invent MAC addresses.
pub(super) const MOST: usize = 16_384;

#[derive(Debug)]
pub(super) struct Recent<V> {
    by_mac: HashMap<Mac, (u64, V)>,
    by_age: BTreeMap<u64, Mac>,
    last: u64,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { by_mac: HashMap::new(), by_age: BTreeMap::new(), last: 0 }
    }
}

impl<V: Default> Recent<V> {
    /// Forgets the machine that was met longest ago, if `mac` is another one and there is no room for it.
    pub(super) fn make_room(&mut self, mac: Mac) -> Option<Mac> {
        if self.by_mac.len() < MOST || self.by_mac.contains_key(&mac) {
            return None;
        }
        let (_, oldest) = self.by_age.pop_first()?;
        self.by_mac.remove(&oldest);
        Some(oldest)
    }

    /// What is known of `mac`, which was met just now.
    pub(super) fn met(&mut self, mac: Mac) -> &mut V {
        self.make_room(mac);
        if let Some((age, _)) = self.by_mac.get(&mac) {
            self.by_age.remove(age);
        }
        self.last += 1;
        self.by_age.insert(self.last, mac);
        let (age, value) = self.by_mac.entry(mac).or_default();
        *age = self.last;
        value
    }

    pub(super) fn of(&self, mac: Mac) -> Option<&V> {
        self.by_mac.get(&mac).map(|(_, value)| value)
    }

    /// All of them, the one that was met last at the end.
    pub(super) fn all(&self) -> impl Iterator<Item = (Mac, &V)> {
        self.by_age.values().filter_map(|mac| Some((*mac, self.of(*mac)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_met_longest_ago_make_room() {
        let mut recent: Recent<u64> = Recent::default();
        let mac = |n: usize| Mac([2, 0, (n >> 24) as u8, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
        for n in 0..MOST {
            *recent.met(mac(n)) += 1;
        }
        *recent.met(mac(0)) += 1;
        *recent.met(mac(MOST)) += 1;
        assert_eq!((recent.of(mac(0)), recent.of(mac(1)), recent.of(mac(MOST))), (Some(&2), None, Some(&1)));
        assert_eq!(recent.all().count(), MOST);
        assert_eq!(recent.all().last(), Some((mac(MOST), &1)));
    }
}
