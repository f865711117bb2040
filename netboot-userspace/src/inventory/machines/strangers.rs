//! Machines without a host entry, in the order in which they make room for others. Pure: the time is an argument.
//!
//! Anybody on the wire can invent MAC addresses, and ask for their scripts: what costs one datagram or one GET keeps nobody's place.

use std::collections::{BTreeSet, HashMap};

use netboot_common::Mac;

use crate::inventory::observed::{Machine, State};

/// Seconds that a machine may install, unseen, before it makes room: an agent's session has ended by then.
const INSTALLING: u64 = 86_400;

/// How much it matters. The order is that in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Idle,
    /// It got its script.
    Booting,
    /// Its agent runs: it has traded a one-time token.
    Installing,
    /// Something is written in its record that must not be forgotten.
    Marked,
}

/// **Invariant:** each of `places` is in `order` once, and nobody else.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    places: HashMap<Mac, (Rank, u64)>,
    order: BTreeSet<(Rank, u64, Mac)>,
}

impl Strangers {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn contains(&self, mac: Mac) -> bool {
        self.places.contains_key(&mac)
    }

    /// Puts it where it belongs by its record; without one, it is the next to go.
    pub(super) fn put(&mut self, mac: Mac, machine: Option<&Machine>) {
        let place = machine.map_or((Rank::Idle, 0), |machine| (Rank::of(machine), machine.last_seen));
        let before = self.places.insert(mac, place);
        if before == Some(place) {
            return;
        }
        if let Some((rank, seen)) = before {
            self.order.remove(&(rank, seen, mac));
        }
        self.order.insert((place.0, place.1, mac));
    }

    pub(super) fn remove(&mut self, mac: Mac) {
        if let Some((rank, seen)) = self.places.remove(&mac) {
            self.order.remove(&(rank, seen, mac));
        }
    }

    /// Who goes next, and whether it may.
    pub(super) fn next(&self, now: u64) -> Option<(Mac, bool)> {
        let (rank, seen, mac) = *self.order.first()?;
        let may_go = match rank {
            Rank::Idle | Rank::Booting => true,
            Rank::Installing => now > seen.saturating_add(INSTALLING),
            Rank::Marked => false,
        };
        Some((mac, may_go))
    }

    /// Forgets that these are strangers.
    pub(super) fn remove_where(&mut self, is_none: impl Fn(Mac) -> bool) {
        let gone: Vec<Mac> = self.places.keys().copied().filter(|mac| is_none(*mac)).collect();
        gone.into_iter().for_each(|mac| self.remove(mac));
    }
}

impl Rank {
    fn of(machine: &Machine) -> Self {
        match machine.state {
            _ if machine.is_marked() => Self::Marked,
            State::Agent | State::Installing => Self::Installing,
            State::Script | State::Kernel => Self::Booting,
            _ => Self::Idle,
        }
    }
}
