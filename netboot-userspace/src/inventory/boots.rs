//! Boot records: what was decided for each boot of each machine, why, and how far it came. Pure: the time is an argument.
//!
//! **A boot** begins with the first DISCOVER of a machine's firmware, or with the first thing that is seen of it otherwise. Firmware and
//! iPXE send DISCOVERs of their own within one boot, and clients repeat theirs; which of them begins the next is [`Boots::begins`]'s
//! to say. What an installed system or our agent asks of DHCP says nothing about a boot.
//!
//! **Invariant:** of each machine there is one record in force at most, and it has one decision, which is taken again only for
//! what [`Basis`] and [`Boots::repeats`] name.

mod breaker;
mod record;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use netboot_common::Mac;

pub use breaker::{Breaker, Fruit, Instead, Loop};
pub use record::{BootId, Decided, Kind, Outcome, Record, Step};

use super::Profile;
use super::group::Groups;
use super::identity::Uuid;
use super::machines::Decision;
use super::observed::{Observation, State};

/// Seconds without a sign of it after which a boot that had not gone far is over: longer than firmware waits for a link, an offer or
/// a menu, and than a loader takes to ask again.
pub const QUIET: u64 = 300;
/// Boots that are over and still known, of one machine.
pub const OF_ONE: usize = 8;
/// … and of all together: anybody on the wire can begin boots.
pub const OF_ALL: usize = 16_384;

/// A decision as it was taken, and by what.
#[derive(Clone, Debug)]
pub struct Taken {
    pub decision: Decision,
    /// For a person.
    pub why: String,
    /// What was known of the machine then.
    pub known: Basis,
    /// Whether the breaker took it.
    pub stopped: bool,
    /// Those of the configuration that it was taken by.
    pub groups: Arc<Groups>,
}

/// What a decision hangs on beside the configuration: where it is another one when somebody asks, the decision is taken again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// The host that the machine is known to be.
    pub host: Option<String>,
    /// As it showed it.
    pub uuid: Option<Uuid>,
    /// The group that counts for all that is known and that it says of itself.
    pub group: Option<String>,
    /// What boots it elsewhere, where the inventory says nothing.
    pub elsewhere: Option<(Arc<Profile>, String)>,
    /// The profile that was chosen from a boot menu, and until when that counts.
    pub choice: Option<(String, u64)>,
    /// Whether its disk is installed.
    pub installed: bool,
}

/// The boot of a machine that is under way, or was its last.
#[derive(Debug)]
struct InForce {
    record: Record,
    /// `None`: taken before this daemon started, so that it is to be taken again.
    taken: Option<Taken>,
    /// An operator said meanwhile what this boot is to do.
    is_overruled: bool,
    /// The class of the client that began it, where that was DHCP.
    class: Option<&'static str>,
    /// It began before this daemon started: of what was seen of it then, the record may lack some.
    is_restored: bool,
    /// The store has its record.
    is_kept: bool,
    /// How many observations were lost before it began.
    lost: u64,
}

/// All boots that are known.
#[derive(Debug)]
pub struct Boots {
    /// The lower half of the next id.
    next: u32,
    /// The last id: the next is a greater one, whatever the clock says by then.
    last: BootId,
    /// How many observations were lost by now.
    lost: u64,
    in_force: HashMap<Mac, InForce>,
    /// Whose each boot in force is.
    by_id: HashMap<BootId, Mac>,
    /// Those that are over, the last one last.
    past: HashMap<Mac, VecDeque<Arc<Record>>>,
    /// The order in which they are forgotten.
    order: BTreeSet<(BootId, Mac)>,
}

impl Boots {
    /// None yet. `salt`: some number that another start of the daemon does not have.
    pub fn new(salt: u32) -> Self {
        let (in_force, by_id, past, order) = Default::default();
        Self { next: salt, last: BootId::default(), lost: 0, in_force, by_id, past, order }
    }

    /// So many observations were lost by now: of boots that were under way then, nobody knows what they bore.
    pub fn lose(&mut self, lost: u64) {
        self.lost = lost;
    }

    /// Takes in what the store remembers of a machine: the oldest first.
    pub fn restore(&mut self, mac: Mac, records: Vec<Record>) {
        for record in records {
            self.last = self.last.max(record.id);
            if record.ended.is_some() {
                self.keep(mac, record);
            } else {
                let (taken, is_overruled, class, lost) = (None, false, None, self.lost);
                let (is_restored, is_kept) = (true, true);
                self.by_id.insert(record.id, mac);
                let boot = InForce { record, taken, is_overruled, class, is_restored, is_kept, lost };
                self.in_force.insert(mac, boot);
            }
        }
    }

    /// Whether `seen` begins a boot of this machine, the next one or its first.
    pub fn begins(&self, mac: Mac, seen: &Observation, now: u64) -> bool {
        let boot = self.in_force.get(&mac);
        match seen {
            Observation::Dhcp { class: "plain", .. } => false,
            Observation::Dhcp { kind, class, .. } => boot.is_none_or(|boot| {
                is_discover(kind)
                    && match boot.record.state {
                        _ if boot.is_quiet(now) => true,
                        State::Seen | State::Dhcp => false,
                        // The loader that we have just served.
                        State::Loader => !is_ipxe(class),
                        _ => true,
                    }
            }),
            Observation::Unserved { .. } => false,
            _ => boot.is_none(),
        }
    }

    /// Whether whoever asks now what it is to do has begun another boot, of which we saw nothing: it asks for a script behind a kernel.
    pub fn begins_asking(&self, mac: Mac, now: u64) -> bool {
        self.in_force.get(&mac).is_none_or(|boot| match boot.record.state {
            State::Kernel | State::Agent | State::Installing | State::Installed | State::Failed => true,
            State::Seen | State::Dhcp | State::Loader | State::Script | State::Local => boot.is_quiet(now),
        })
    }

    /// Whether `seen` is the DISCOVER of a client that has sent one before and has fetched nothing since: what holds by now is decided.
    pub fn repeats(&self, mac: Mac, seen: &Observation, now: u64) -> bool {
        let Observation::Dhcp { kind, class, .. } = seen else { return false };
        self.in_force.get(&mac).is_some_and(|boot| {
            let is_same = boot.class == Some(*class) && boot.record.state <= State::Dhcp;
            is_same && is_discover(kind) && now != boot.record.decided
        })
    }

    /// Begins a boot, with this decision. The one before is over: what it bore.
    pub fn begin(&mut self, mac: Mac, class: Option<&'static str>, taken: Taken, now: u64) -> BootId {
        self.end(mac, now);
        self.next = self.next.wrapping_add(1);
        let id = BootId::new(now, self.next).max(self.last.next());
        self.last = id;
        let record = Record::new(id, mac, &taken, now);
        let (taken, is_overruled, lost) = (Some(taken), false, self.lost);
        let (is_restored, is_kept) = (false, false);
        self.by_id.insert(id, mac);
        self.in_force.insert(mac, InForce { record, taken, is_overruled, class, is_restored, is_kept, lost });
        id
    }

    /// The boot in force is over.
    pub fn end(&mut self, mac: Mac, now: u64) {
        let Some(InForce { mut record, .. }) = self.in_force.remove(&mac) else { return };
        self.by_id.remove(&record.id);
        record.ended = Some(now);
        self.keep(mac, record);
    }

    /// What the boot in force has borne so far, as far as all that was seen of it is known.
    pub fn fruit(&self, mac: Mac) -> Fruit {
        match self.in_force.get(&mac) {
            Some(boot) if boot.is_restored => Fruit::Unknown,
            Some(boot) if boot.lost != self.lost && boot.record.fruit() == Fruit::None => Fruit::Unknown,
            Some(boot) => boot.record.fruit(),
            None => Fruit::Unknown,
        }
    }

    /// Who asks for what follows its boot may be another than the machine: that it bears no fruit says nothing.
    pub fn doubt(&mut self, mac: Mac) {
        if let Some(boot) = self.in_force.get_mut(&mac) {
            boot.record.uncertain = true;
        }
    }

    /// Another decision for the boot in force.
    pub fn take_again(&mut self, mac: Mac, taken: Taken, now: u64) {
        let Some(boot) = self.in_force.get_mut(&mac) else { return };
        boot.record.decide(&taken, now);
        (boot.taken, boot.is_overruled) = (Some(taken), false);
    }

    /// The decision of the boot in force, where it still holds for a machine of which `known` is known.
    pub fn decision(&self, mac: Mac, known: &Basis, now: u64) -> Option<(BootId, Decision)> {
        let boot = self.in_force.get(&mac).filter(|boot| !boot.is_overruled)?;
        let taken = boot.taken.as_ref()?;
        taken.known.holds(known, now).then(|| (boot.record.id, taken.decision.clone()))
    }

    /// How the boot in force was decided.
    pub fn taken(&self, mac: Mac) -> Option<&Taken> {
        self.in_force.get(&mac)?.taken.as_ref()
    }

    /// Whether the boot in force began with DHCP: else nobody but those who ask can begin it.
    pub fn is_by_dhcp(&self, mac: Mac) -> bool {
        self.in_force.get(&mac).is_some_and(|boot| boot.class.is_some())
    }

    /// When the boot in force began, where it is one of a profile, and not stopped.
    pub fn began(&self, mac: Mac) -> Option<u64> {
        let record = self.current(mac)?;
        let Decided { kind, stopped, .. } = record.decision;
        (!stopped && matches!(kind, Kind::Profile | Kind::Install)).then_some(record.began)
    }

    /// How far the boot in force is.
    pub fn state(&self, mac: Mac) -> Option<State> {
        self.in_force.get(&mac).map(|boot| boot.record.state)
    }

    /// An operator said what the boot in force is to do: its decision is taken again before anybody acts on it.
    pub fn overrule(&mut self, mac: Mac) {
        if let Some(boot) = self.in_force.get_mut(&mac) {
            boot.is_overruled = true;
        }
    }

    /// Puts what was seen into the record in force. `name`: the host that the machine is. Whether the boot bears fruit since.
    pub fn note(
        &mut self,
        mac: Mac,
        name: Option<&String>,
        seen: &Observation,
        state: State,
        now: u64,
    ) -> bool {
        let Some(boot) = self.in_force.get_mut(&mac) else { return false };
        if boot.record.name.as_ref() != name {
            boot.record.name = name.cloned();
        }
        let before = boot.record.fruit();
        boot.record.note(seen, state, now);
        boot.is_kept |= boot.record.must_survive(seen);
        before != Fruit::Some && boot.record.fruit() == Fruit::Some
    }

    /// Whose boot in force this is.
    pub fn mac_of(&self, id: BootId) -> Option<Mac> {
        self.by_id.get(&id).copied()
    }

    /// Whether the store has the record of the boot in force.
    pub fn is_kept(&self, mac: Mac) -> bool {
        self.in_force.get(&mac).is_some_and(|boot| boot.is_kept)
    }

    /// The id of the boot in force.
    pub fn id(&self, mac: Mac) -> Option<BootId> {
        self.in_force.get(&mac).map(|boot| boot.record.id)
    }

    /// The record in force.
    pub fn current(&self, mac: Mac) -> Option<&Record> {
        self.in_force.get(&mac).map(|boot| &boot.record)
    }

    /// Those of one machine that are over, the first one first.
    pub fn past(&self, mac: Mac) -> Vec<Record> {
        self.past.get(&mac).into_iter().flatten().map(|record| Record::clone(record)).collect()
    }

    /// Those of one machine, the first one first.
    pub fn of(&self, mac: Mac) -> Vec<Record> {
        self.past(mac).into_iter().chain(self.current(mac).cloned()).collect()
    }

    /// The last `most` of all, in the order in which they began.
    pub fn last(&self, most: usize) -> Vec<Record> {
        let in_force = self.by_id.iter().map(|(id, mac)| (*id, *mac));
        let mut ids: Vec<(BootId, Mac)> = self.order.iter().copied().chain(in_force).collect();
        ids.sort_unstable();
        let before = ids.len().saturating_sub(most);
        ids.into_iter().skip(before).filter_map(|(id, mac)| self.record(mac, id)).cloned().collect()
    }

    /// One of them.
    pub fn by_id(&self, id: BootId) -> Option<&Record> {
        let past = || self.order.range((id, Mac([0; 6]))..=(id, Mac([0xff; 6]))).next().map(|(_, mac)| *mac);
        self.record(self.mac_of(id).or_else(past)?, id)
    }

    fn record(&self, mac: Mac, id: BootId) -> Option<&Record> {
        let past = self.past.get(&mac).into_iter().flatten().map(|record| &**record);
        past.chain(self.current(mac)).find(|record| record.id == id)
    }

    /// Forgets machines.
    pub fn forget(&mut self, macs: &[Mac]) {
        for mac in macs {
            if let Some(boot) = self.in_force.remove(mac) {
                self.by_id.remove(&boot.record.id);
            }
            for record in self.past.remove(mac).into_iter().flatten() {
                self.order.remove(&(record.id, *mac));
            }
        }
    }

    fn keep(&mut self, mac: Mac, record: Record) {
        self.order.insert((record.id, mac));
        let of_machine = self.past.entry(mac).or_default();
        of_machine.push_back(Arc::new(record));
        if of_machine.len() > OF_ONE
            && let Some(gone) = of_machine.pop_front()
        {
            self.order.remove(&(gone.id, mac));
        }
        while self.order.len() > OF_ALL
            && let Some((id, mac)) = self.order.pop_first()
        {
            let Some(of_machine) = self.past.get_mut(&mac) else { continue };
            of_machine.retain(|record| record.id != id);
            if of_machine.is_empty() {
                self.past.remove(&mac);
            }
        }
    }
}

impl InForce {
    /// Also where the clock was set back by more than that: else nothing would be decided again until it is as late as it was.
    fn is_quiet(&self, now: u64) -> bool {
        now.abs_diff(self.record.last_seen) > QUIET
    }
}

impl Basis {
    /// Whether what was decided by this still holds where `now_known` is known. What is no longer known is no reason to decide again.
    fn holds(&self, now_known: &Self, now: u64) -> bool {
        let Self { host, uuid, group, elsewhere, choice, installed } = now_known;
        let is_other = |new: &Option<_>, old: &Option<_>| new.is_some() && new != old;
        let chosen = self.choice.as_ref().filter(|(_, until)| *until > now);
        let is_installed_since = *installed && !self.installed;
        let is_other_uuid = uuid.is_some() && *uuid != self.uuid;
        let is_elsewhere_too = elsewhere.is_some() && *elsewhere != self.elsewhere;
        let is_same_group = *group == self.group && !is_elsewhere_too;
        let is_same = !is_other(host, &self.host) && !is_other_uuid && is_same_group;
        is_same && !is_installed_since && chosen == choice.as_ref()
    }
}

/// The kinds of answers that a DISCOVER, or a SOLICIT of DHCPv6, gets.
fn is_discover(kind: &str) -> bool {
    matches!(kind, "offer" | "proxy_offer" | "bootp" | "advertise")
}

fn is_ipxe(class: &str) -> bool {
    class.starts_with("ipxe") || class.starts_with("netboot-ipxe")
}

#[cfg(test)]
mod tests;
