//! Why machines were not answered lately: the last reason of each.

use std::collections::{BTreeMap, HashMap};

use netboot_common::Mac;
use netboot_common::stats::{Lane, Leave};

/// Machines that are remembered; those that were refused longest ago are forgotten first.
const MOST: usize = 16_384;

/// One machine's last unanswered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Unix time, seconds.
    pub time: u64,
    pub lane: Lane,
    pub leave: Leave,
    pub interface: String,
    /// How often in all, since it was remembered.
    pub count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_mac: HashMap<Mac, (u64, Refusal)>,
    by_age: BTreeMap<u64, Mac>,
    last: u64,
}

impl Refusals {
    pub(super) fn note(&mut self, mac: Mac, time: u64, lane: Lane, leave: Leave, interface: &str) {
        self.last += 1;
        let before = self.by_mac.remove(&mac);
        let count = before.as_ref().map_or(0, |(_, refusal)| refusal.count) + 1;
        if let Some((age, _)) = before {
            self.by_age.remove(&age);
        }
        if self.by_mac.len() >= MOST
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_mac.remove(&oldest);
        }
        self.by_age.insert(self.last, mac);
        let refusal = Refusal { time, lane, leave, interface: interface.to_owned(), count };
        self.by_mac.insert(mac, (self.last, refusal));
    }

    pub(super) fn of(&self, mac: Mac) -> Option<&Refusal> {
        self.by_mac.get(&mac).map(|(_, refusal)| refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_of_each_and_the_oldest_make_room() {
        let mut refusals = Refusals::default();
        let mac = |n: usize| {
            let [.., a, b, c] = n.to_be_bytes();
            Mac([2, 0, 0, a, b, c])
        };
        for n in 0..MOST {
            refusals.note(mac(n), n as u64, Lane::Userspace, Leave::NoFreeAddress, "eth0");
        }
        refusals.note(mac(0), 99, Lane::Xdp, Leave::RateLimited, "eth1");
        refusals.note(mac(MOST), 100, Lane::Userspace, Leave::UnknownHost, "eth0");
        let first = refusals.of(mac(0)).unwrap();
        assert_eq!((first.time, first.leave, first.count), (99, Leave::RateLimited, 2));
        assert!(refusals.of(mac(1)).is_none() && refusals.of(mac(2)).is_some());
        assert_eq!(refusals.by_age.len(), MOST);
    }
}
