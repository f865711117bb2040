//! Why machines were not answered lately: the last reason of each.

use netboot_common::Mac;
use netboot_common::stats::{Lane, Leave};

use super::recent::Recent;

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

/// Of every machine, as far as it is remembered.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    machines: Recent<Option<Refusal>>,
}

impl Refusals {
    pub(super) fn note(&mut self, mac: Mac, time: u64, lane: Lane, leave: Leave, interface: &str) {
        let refusal = self.machines.met(mac);
        let count = refusal.as_ref().map_or(0, |refusal| refusal.count) + 1;
        *refusal = Some(Refusal { time, lane, leave, interface: interface.to_owned(), count });
    }

    pub(super) fn of(&self, mac: Mac) -> Option<&Refusal> {
        self.machines.of(mac)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_of_each_and_how_often_it_was_refused() {
        let mut refusals = Refusals::default();
        let mac = |last| Mac([2, 0, 0, 0, 0, last]);
        refusals.note(mac(0), 98, Lane::Userspace, Leave::NoFreeAddress, "eth0");
        refusals.note(mac(0), 99, Lane::Xdp, Leave::RateLimited, "eth1");
        let first = refusals.of(mac(0)).unwrap();
        assert_eq!((first.time, first.leave, first.count), (99, Leave::RateLimited, 2));
        assert!(refusals.of(mac(1)).is_none());
    }
}
