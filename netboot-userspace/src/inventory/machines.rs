//! Every machine that was observed, and what each boots next.

mod asking;
mod choices;
mod deciding;
mod grouped;
mod known;
mod noted;
mod records;
mod strangers;
mod told;

use std::collections::BTreeMap;
use std::iter::once;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use netboot_common::Mac;

use self::choices::Choices;
pub use self::deciding::{Asking, Obeyed};
pub use self::grouped::Placed;
use self::known::Known;
use self::noted::{Noted, NotedQueue};
use self::told::Told;
use super::boots::{BootId, Breaker, Fruit, Record};
use super::elsewhere::Elsewhere;
use super::events::{Event, Events, Lane};
use super::group::Group;
use super::labels::Labels;
use super::observed::{Keep, Machine, Marked, Observation, Shown, State};
use super::revisions::{Fate, Kind, Name};
use super::{Host, Live, Profile, Snapshot};
use crate::store::{self, Pending, Store};
use crate::sys::clock::now;

/// How many machines without a host entry are remembered.
const STRANGERS: usize = 65_536;
/// The store's mark of [`Machines::hold`].
const HELD: &str = "machines/held";
/// What the store's boot records begin with, by MAC.
const BOOTS: &str = "boots/";

/// What a machine boots next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Profile {
        profile: Arc<Profile>,
        host: Option<Arc<Host>>,
        /// Which counts for it, whoever said which profile.
        group: Option<Arc<Group>>,
    },
    /// Its own disk.
    Local,
    /// Nothing from us: `boot: ignore`.
    Ignore,
    /// Nothing, and why.
    Nothing(String),
}

/// What a decision asks of the past.
struct Past {
    installed: bool,
    once_done: bool,
    wanted: bool,
}

/// Which machine was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Mac(Mac),
    /// The machine last seen with this address; none: nobody's observation.
    Address(IpAddr),
    /// The machine of this boot, as the URL says that it asked for from `peer`. Where that can't be its address, and where the boot is
    /// over: as [`Who::Address`].
    Boot {
        id: BootId,
        peer: IpAddr,
    },
}

/// Every machine that was observed.
#[derive(Debug)]
pub struct Machines {
    store: Arc<Store>,
    events: Arc<Events>,
    live: Arc<Live>,
    policy: RwLock<Arc<Policy>>,
    elsewhere: RwLock<Option<Arc<dyn Elsewhere>>>,
    known: Mutex<Known>,
    noted: NotedQueue,
    choices: Mutex<Choices>,
    held: AtomicBool,
    unleased: AtomicU64,
}

/// What the site does with machines and hosts that nobody said more about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether machines without a host entry boot the default profile.
    pub boot_unknown: bool,
    pub default_profile: Option<String>,
    /// IPv6 networks, as address and prefix length, in which an address may be one that a machine made itself of its MAC.
    pub networks6: Vec<(Ipv6Addr, u8)>,
    /// What stops boots that bear no fruit.
    pub breaker: Option<Breaker>,
    /// Networks in which nobody but us gives addresses.
    pub served: Vec<(IpAddr, u8)>,
}

/// An observation that was taken in.
struct Taken {
    mac: Mac,
    /// What was asked of the disk, and whether to wait for it.
    write: Option<(Pending, Keep)>,
}

/// For DHCP: as it is asked at this moment.
impl Elsewhere for Machines {
    fn boots(&self, labels: &Labels) -> Result<Option<(Arc<Profile>, String)>, String> {
        self.elsewhere().map_or(Ok(None), |elsewhere| elsewhere.boots(labels))
    }
}

impl Machines {
    /// The machines that the store remembers.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn open(
        store: Arc<Store>,
        events: Arc<Events>,
        live: Arc<Live>,
        policy: Policy,
    ) -> Result<Self, store::Error> {
        // Ids of boots of the same second differ by it, also after a restart.
        let (mut known, inventory) = (Known::new(STRANGERS, salt()), live.snapshot());
        for (key, machine) in store.machines::<Machine>()? {
            if let Ok(mac) = key.parse() {
                known.restore(mac, machine, &inventory);
            }
        }
        for (key, records) in store.values::<Vec<Record>>(BOOTS)? {
            if let Some(mac) = key.strip_prefix(BOOTS).and_then(|mac| mac.parse().ok()) {
                known.boots.restore(mac, records);
            }
        }
        let held = AtomicBool::new(!store.values::<bool>(HELD)?.is_empty());
        let (known, noted, choices) = (Mutex::new(known), NotedQueue::default(), Mutex::default());
        let (policy, elsewhere) = (RwLock::new(Arc::new(policy)), RwLock::default());
        let unleased = AtomicU64::new(0);
        Ok(Self { store, events, live, policy, elsewhere, known, noted, choices, held, unleased })
    }

    /// From now on, nothing is installed but what an operator asks for ([`Machines::reset`]): the store was lost, and with it the
    /// knowledge which machines are installed. Until [`Machines::release`], over restarts.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn hold(&self) -> Result<(), store::Error> {
        self.held.store(true, Ordering::Relaxed);
        self.store.put_values(&[(HELD, Some(&true))])?.wait()
    }

    /// Ends [`Machines::hold`].
    ///
    /// # Errors
    /// The store can't be written; installations stay held.
    pub fn release(&self) -> Result<(), store::Error> {
        self.store.put_values::<bool>(&[(HELD, None)])?.wait()?;
        self.held.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether [`Machines::hold`] is in force.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes in what was seen, durably where it must survive, and publishes it. Answers the machine as it stands now; `None` if
    /// nobody is known by that address, or there is no room for one more machine without a host entry.
    ///
    /// # Errors
    /// The store can't be written; the machine stands as observed all the same.
    pub fn observe(&self, who: Who, lane: Lane, seen: &Observation) -> Result<Option<Machine>, store::Error> {
        let (taken, machine) = {
            let mut known = self.lock();
            let Some(taken) = self.take_in(&mut known, who, lane, seen) else { return Ok(None) };
            let machine = known.by_mac.get(&taken.mac).cloned();
            (taken, machine)
        };
        // The lock is free while the disk works.
        match taken.write {
            None => {}
            Some((pending, Keep::Now)) => self.settle(taken.mac, pending.wait())?,
            Some((pending, _)) => pending.forget(),
        }
        Ok(machine)
    }

    /// Notes what was seen, for [`Machines::take_noted`]: waits for nothing, neither a lock nor the disk. False: too much was
    /// noted and not yet taken in, and this is lost, and counted.
    pub fn note(&self, who: Who, lane: Lane, seen: Observation) -> bool {
        self.noted.push(Noted { who, lane, seen })
    }

    /// As [`Machines::note`], and waits for room: of what must not be lost.
    pub fn note_surely(&self, who: Who, lane: Lane, seen: Observation) {
        self.noted.push_surely(Noted { who, lane, seen });
    }

    /// How often a machine asked on though it was told what to boot: beside a server that does not give it an address.
    pub fn unleased(&self) -> u64 {
        self.unleased.load(Ordering::Relaxed)
    }

    /// How much of what was noted was lost.
    pub fn lost(&self) -> u64 {
        self.noted.lost()
    }

    /// Takes in what was noted, and waits until the disk has what must survive of it. Whoever asks for a machine takes in what was
    /// noted before, too: the order of all observations is one.
    ///
    /// # Errors
    /// As [`Machines::observe`]: the first of them.
    pub fn take_noted(&self) -> Result<(), store::Error> {
        let mut all = Ok(());
        loop {
            let unsettled = std::mem::take(&mut self.lock().unsettled);
            if unsettled.is_empty() {
                return all;
            }
            for (mac, pending) in unsettled {
                all = all.and(self.settle(mac, pending.wait()));
            }
        }
    }

    /// What is observed first is also written first: `known` stays locked.
    fn take_in(&self, known: &mut Known, who: Who, lane: Lane, seen: &Observation) -> Option<Taken> {
        let inventory = self.live.snapshot();
        let mac = match who {
            Who::Mac(mac) => mac,
            Who::Address(address) => at(known, &inventory, address)?,
            Who::Boot { id, peer } => {
                let may_be = |mac: &Mac| self.may_be(known, &inventory, *mac, peer);
                known.boots.mac_of(id).filter(may_be).or_else(|| at(known, &inventory, peer))?
            }
        };
        let (now, is_known) = (now(), known.by_mac.contains_key(&mac));
        let (admitted, forgotten) = known.admit(&inventory, mac, now);
        self.forget(&forgotten);
        if !admitted {
            return None;
        }
        let machine = known.by_mac.entry(mac).or_insert_with(|| Machine::new(mac, now));
        let (before, was_host) = (machine.state, machine.name.is_some());
        // DHCP may tell which host it is, and that decides; all else is of the boot that it begins, if it begins one.
        let is_dhcp = matches!(seen, Observation::Dhcp { .. });
        let mut keep = if is_dhcp { Keep::No } else { self.decide_at(known, &inventory, mac, seen, now) };
        let found_by = known.keys(mac);
        keep = known.by_mac.get_mut(&mac)?.observe(seen, now).max(keep);
        keep = if known.keep_said(mac, seen) { Keep::Now } else { keep };
        known.index(mac, &found_by, seen);
        if is_dhcp {
            keep = self.decide_at(known, &inventory, mac, seen, now).max(keep);
        }
        let host = known.host(&inventory, mac, Shown::default());
        let name = host.as_ref().map(|host| &host.name);
        let machine = known.by_mac.get_mut(&mac)?;
        if machine.name.as_ref() != name {
            machine.name = name.cloned();
        }
        let (is_new, state) =
            (machine.state == State::Installed && before != State::Installed, machine.state);
        if known.boots.note(mac, name, seen, state, now) {
            keep = machine.count(Fruit::Some).max(keep);
        }
        if let Observation::Script { shown, .. } = seen
            && !self.is_known_to_own(known, &inventory, mac, *shown)
        {
            known.boots.doubt(mac);
        }
        known.rank(mac);
        let others = if is_new { known.fulfil(mac) } else { Vec::new() };
        let machine = known.by_mac.get(&mac)?;
        told::tell(&self.events, Told { mac, host, lane, seen, before, machine });
        if known.boots.current(mac).is_some_and(|boot| boot.asks_on(seen)) {
            self.events.publish(told::asks_on(lane, machine));
            self.unleased.fetch_add(1, Ordering::Relaxed);
        }
        self.keep_boots(known, mac, seen);
        self.changed(mac, if is_known { Fate::Changed } else { Fate::Added });
        let keep = match keep {
            _ if known.unwritten.contains(&mac) => Keep::Now,
            // How far a stranger came is nobody's to remember.
            Keep::Later if machine.name.is_none() && !was_host => Keep::No,
            keep => keep,
        };
        let records = once(machine).chain(&others).map(|machine| (machine.mac.as_str(), Some(machine)));
        let write = || self.store.put_machines(&records.collect::<Vec<_>>()).ok();
        let write = if keep == Keep::No { None } else { write().map(|pending| (pending, keep)) };
        Some(Taken { mac, write })
    }

    /// Tells who follows what changes.
    fn changed(&self, mac: Mac, fate: Fate) {
        self.live.revisions().note(Kind::Machine, Name::Mac(mac), fate);
    }

    /// Of a machine that is forgotten, the store remembers nothing either.
    fn forget(&self, macs: &[Mac]) {
        if macs.is_empty() {
            return;
        }
        macs.iter().for_each(|mac| self.changed(*mac, Fate::Removed));
        let names: Vec<String> = macs.iter().map(Mac::to_string).collect();
        let machines: Vec<(&str, Option<&Machine>)> = names.iter().map(|mac| (mac.as_str(), None)).collect();
        let keys: Vec<String> = names.iter().map(|mac| format!("{BOOTS}{mac}")).collect();
        let boots: Vec<(&str, Option<&Record>)> = keys.iter().map(|key| (key.as_str(), None)).collect();
        let asked = [self.store.put_machines(&machines), self.store.put_values(&boots)];
        asked.into_iter().flatten().for_each(Pending::forget);
    }

    /// Remembers whether the disk has what we have.
    fn settle(&self, mac: Mac, written: Result<(), store::Error>) -> Result<(), store::Error> {
        let mut known = self.lock();
        match &written {
            Ok(()) => known.unwritten.remove(&mac),
            Err(_) => known.unwritten.insert(mac),
        };
        written
    }

    /// All of them, by MAC.
    pub fn list(&self) -> Vec<Machine> {
        let mut machines: Vec<_> = self.lock().by_mac.values().cloned().collect();
        machines.sort_by(|a, b| a.mac.cmp(&b.mac));
        machines
    }

    pub fn machine(&self, mac: Mac) -> Option<Machine> {
        self.lock().by_mac.get(&mac).cloned()
    }

    /// The machine last seen with this address.
    pub fn mac_at(&self, address: IpAddr) -> Option<Mac> {
        self.lock().mac_at(address)
    }

    /// The host that a machine is, by all that tells it.
    pub fn host(&self, mac: Mac, shown: Shown) -> Option<Arc<Host>> {
        let inventory = self.live.snapshot();
        self.lock().host(&inventory, mac, shown)
    }

    /// All MACs of a host's machine: those of its entry, and those that it was seen with.
    pub fn macs_of(&self, host: &Host) -> Vec<Mac> {
        let inventory = self.live.snapshot();
        self.lock().macs_of(&inventory, host)
    }

    /// How many machines are in which state.
    pub fn states(&self) -> BTreeMap<&'static str, u64> {
        let mut states = BTreeMap::new();
        for machine in self.lock().by_mac.values() {
            *states.entry(machine.state.name()).or_default() += 1;
        }
        states
    }

    /// Forgets that these were installed, that their `boot: once` was used, and that the breaker stopped them: they boot what their
    /// profile says, also while installations are held, and also in the boot that is under way.
    ///
    /// # Errors
    /// The store can't be written; nothing has changed then.
    pub fn reset(&self, macs: &[Mac]) -> Result<(), store::Error> {
        self.change(macs, |machine| {
            (machine.installed, machine.wanted) = (None, true);
            (machine.once_done, machine.once_pending) = (false, None);
            machine.rearm();
        })?;
        self.overrule(macs);
        Ok(())
    }

    /// Makes `boot: once` valid again, also for the boot that is under way.
    ///
    /// # Errors
    /// As [`Machines::reset`].
    pub fn rearm_once(&self, macs: &[Mac]) -> Result<(), store::Error> {
        self.change(macs, |machine| {
            (machine.once_done, machine.once_pending, machine.wanted) = (false, None, true);
            machine.rearm();
        })?;
        self.overrule(macs);
        Ok(())
    }

    /// Another policy, from the next decision on.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// What boots machines from the next decision on of which the inventory says nothing.
    pub fn set_elsewhere(&self, elsewhere: Option<Arc<dyn Elsewhere>>) {
        *self.elsewhere.write().unwrap_or_else(PoisonError::into_inner) = elsewhere;
    }

    fn elsewhere(&self) -> Option<Arc<dyn Elsewhere>> {
        self.elsewhere.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A profile was chosen from a boot menu: it takes the place of the machine's own at this boot. It installs nothing that is
    /// installed already: a menu's first item is chosen by nobody but its timeout. `None`: something else was chosen, and a profile
    /// that was chosen before counts no more.
    pub fn choose(&self, mac: Mac, profile: Option<&str>) {
        self.choices().choose(mac, profile, now());
        let text =
            profile.map_or("chose a boot file".to_owned(), |profile| format!("chose profile {profile}"));
        self.events.publish(Event::new("menu", Lane::Userspace, text).mac(mac));
    }

    fn choices(&self) -> MutexGuard<'_, Choices> {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// In force, and asked of the disk, under one lock, so that what is observed meanwhile is written behind it, and has it.
    fn change(&self, macs: &[Mac], change: impl Fn(&mut Machine)) -> Result<(), store::Error> {
        let now = now();
        let mut undo = Vec::new();
        let pending = {
            let mut known = self.lock();
            let inventory = self.live.snapshot();
            for mac in macs {
                let (_, forgotten) = known.admit(&inventory, *mac, now);
                self.forget(&forgotten);
                let fate = Fate::of(known.by_mac.contains_key(mac), true);
                let machine = known.by_mac.entry(*mac).or_insert_with(|| Machine::new(*mac, now));
                let before = machine.marked();
                change(machine);
                fate.into_iter().for_each(|fate| self.changed(*mac, fate));
                undo.push((*mac, before, machine.marked()));
                known.rank(*mac);
            }
            let machines = macs.iter().filter_map(|mac| known.by_mac.get(mac));
            let entries: Vec<_> = machines.map(|machine| (machine.mac.as_str(), Some(machine))).collect();
            self.store.put_machines(&entries)
        };
        pending.and_then(Pending::wait).inspect_err(|_| self.undo(&undo))
    }

    /// Takes back what could not be written, where nothing was seen since that changed it again.
    fn undo(&self, changes: &[(Mac, Marked, Marked)]) {
        let mut known = self.lock();
        for (mac, before, after) in changes {
            known.unwritten.insert(*mac);
            if let Some(machine) = known.by_mac.get_mut(mac).filter(|machine| machine.marked() == *after) {
                machine.mark(*before);
            }
            known.rank(*mac);
        }
    }

    /// Instead of [`STRANGERS`].
    #[cfg(test)]
    pub(crate) fn limit_strangers(&self, room: usize) {
        self.lock().room = room;
    }

    /// With all that was noted before.
    fn lock(&self) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.boots.lose(self.noted.lost());
        for Noted { who, lane, seen } in self.noted.take() {
            let taken = self.take_in(&mut known, who, lane, &seen);
            if let Some(Taken { mac, write: Some((pending, keep)), .. }) = taken {
                match keep {
                    Keep::Now => known.unsettled.push((mac, pending)),
                    Keep::No | Keep::Later => pending.forget(),
                }
            }
        }
        known
    }
}

/// Without random numbers, ids may be those of another start in the same second.
fn salt() -> u32 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

/// Who is seen with this address. Whoever was answered in the kernel may be here before the word of it.
fn at(known: &Known, inventory: &Snapshot, address: IpAddr) -> Option<Mac> {
    known.mac_at(address).or_else(|| reserved(inventory, address))
}

/// The one MAC that this address is reserved for.
fn reserved(inventory: &Snapshot, address: IpAddr) -> Option<Mac> {
    match inventory.host_at(address)?.macs.as_slice() {
        [mac] => Some(*mac),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
