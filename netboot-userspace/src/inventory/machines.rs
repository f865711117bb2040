//! Every machine that was observed, and what each boots next.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use netboot_common::Mac;

use super::events::{Event, Events, Lane};
use super::observed::{Keep, Machine, Observation, State};
use super::{Boot, Host, Live, Profile, ProfileBoot};
use crate::image::protocol::Status;
use crate::store::{self, Pending, Store};

/// How many machines without a host entry are remembered. Beyond it, those unseen for longest go: anybody on the wire can invent
/// MAC addresses. What is marked, or booting, stays.
const STRANGERS: usize = 65_536;
/// How long a choice from a boot menu counts, in seconds: as long as firmware and iPXE may take until they ask for the script.
const CHOICE: u64 = 600;
/// The store's mark of [`Machines::hold`].
const HELD: &str = "machines/held";

/// What a machine boots next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Profile {
        profile: Arc<Profile>,
        host: Option<Arc<Host>>,
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
}

/// Every machine that was observed.
#[derive(Debug)]
pub struct Machines {
    store: Arc<Store>,
    events: Arc<Events>,
    live: Arc<Live>,
    policy: RwLock<Policy>,
    known: Mutex<Known>,
    held: AtomicBool,
}

/// What the site does with machines and hosts that nobody said more about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether machines without a host entry boot the default profile.
    pub boot_unknown: bool,
    pub default_profile: Option<String>,
}

#[derive(Debug, Default)]
struct Known {
    by_mac: HashMap<Mac, Machine>,
    by_address: HashMap<IpAddr, Mac>,
    /// Machines whose record on the disk is older than the one here, because writing it failed.
    unwritten: HashSet<Mac>,
    /// What was chosen from a boot menu, and until when that counts.
    chosen: HashMap<Mac, (String, u64)>,
}

/// An observation that was taken in.
struct Taken {
    mac: Mac,
    machine: Machine,
    /// What was asked of the disk, and whether to wait for it.
    write: Option<(Pending, Keep)>,
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
        let mut known = Known::default();
        for (key, machine) in store.machines::<Machine>()? {
            if let Ok(mac) = key.parse() {
                known.by_address.extend(machine.addresses().map(|address| (address, mac)));
                known.by_mac.insert(mac, machine);
            }
        }
        let held = AtomicBool::new(!store.values::<bool>(HELD)?.is_empty());
        Ok(Self { store, events, live, policy: RwLock::new(policy), known: Mutex::new(known), held })
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

    /// Takes in what was seen, durably where it must survive, and publishes it. Answers the
    /// machine as it stands now; `None` if nobody is known by that address.
    ///
    /// # Errors
    /// The store can't be written; the machine stands as observed all the same.
    pub fn observe(&self, who: Who, lane: Lane, seen: &Observation) -> Result<Option<Machine>, store::Error> {
        let Some(taken) = self.take_in(who, lane, seen) else { return Ok(None) };
        // The lock is free while the disk works.
        match taken.write {
            None => {}
            Some((pending, Keep::Now)) => self.settle(taken.mac, pending.wait())?,
            Some((pending, _)) => pending.forget(),
        }
        Ok(Some(taken.machine))
    }

    /// Under the lock: what is observed first is also written first.
    fn take_in(&self, who: Who, lane: Lane, seen: &Observation) -> Option<Taken> {
        let mut known = self.lock();
        let mac = match who {
            Who::Mac(mac) => mac,
            Who::Address(address) => *known.by_address.get(&address)?,
        };
        let host = self.live.snapshot().host_by_mac(mac).cloned();
        if host.is_none() && !known.has_room_for(mac) {
            return None;
        }
        let now = now();
        let new = || Machine { mac: mac.to_string(), first_seen: now, since: now, ..Machine::default() };
        let machine = known.by_mac.entry(mac).or_insert_with(new);
        let before = machine.state;
        let is_host = host.is_some();
        machine.name = host.map(|host| host.name.clone());
        let keep = machine.observe(seen, now);
        let machine = machine.clone();
        known.by_address.extend(machine.addresses().map(|address| (address, mac)));
        self.events.publish(event(seen, lane, before, &machine).mac(mac).name(machine.name.clone()));
        let keep = match keep {
            _ if known.unwritten.contains(&mac) => Keep::Now,
            // How far a stranger came is nobody's to remember.
            Keep::Later if !is_host => Keep::No,
            keep => keep,
        };
        let write = || self.store.put_machines(&[(&machine.mac, Some(&machine))]).ok();
        let write = if keep == Keep::No { None } else { write().map(|pending| (pending, keep)) };
        Some(Taken { mac, machine, write })
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
        self.lock().by_address.get(&address).copied()
    }

    /// How many machines are in which state.
    pub fn states(&self) -> BTreeMap<&'static str, u64> {
        let mut states = BTreeMap::new();
        for machine in self.lock().by_mac.values() {
            *states.entry(machine.state.name()).or_default() += 1;
        }
        states
    }

    /// Forgets that these were installed, and that their `boot: once` was used: they boot what their profile says, also while
    /// installations are held.
    ///
    /// # Errors
    /// The store can't be written; nothing has changed then.
    pub fn reset(&self, macs: &[Mac]) -> Result<(), store::Error> {
        self.change(macs, |machine| {
            (machine.installed, machine.wanted) = (None, true);
            (machine.once_done, machine.once_pending) = (false, None);
        })
    }

    /// Makes `boot: once` valid again.
    ///
    /// # Errors
    /// As [`Machines::reset`].
    pub fn rearm_once(&self, macs: &[Mac]) -> Result<(), store::Error> {
        self.change(macs, |machine| {
            (machine.once_done, machine.once_pending, machine.wanted) = (false, None, true);
        })
    }

    /// Another policy, from the next decision on.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// A profile was chosen from a boot menu: it takes the place of the machine's own at this boot. It installs nothing that is
    /// installed already: a menu's first item is chosen by nobody but its timeout.
    pub fn choose(&self, mac: Mac, profile: &str) {
        let now = now();
        let mut known = self.lock();
        if known.chosen.len() >= STRANGERS {
            known.chosen.retain(|_, (_, until)| *until > now);
        }
        if known.chosen.len() < STRANGERS {
            known.chosen.insert(mac, (profile.to_owned(), now + CHOICE));
        }
        self.events.publish(Event::new("menu", Lane::Userspace, format!("chose profile {profile}")).mac(mac));
    }

    fn chosen(&self, mac: Mac) -> Option<String> {
        let known = self.lock();
        known.chosen.get(&mac).filter(|(_, until)| *until > now()).map(|(profile, _)| profile.clone())
    }

    /// What this machine boots next, by the inventory of this moment.
    pub fn decide(&self, mac: Mac) -> Decision {
        let inventory = self.live.snapshot();
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner).clone();
        let host = inventory.host_by_mac(mac).cloned();
        let boot = match &host {
            Some(host) => host.boot,
            None if policy.boot_unknown => Boot::Profile,
            None => {
                return Decision::Nothing(format!("{mac} is not a host, and unknown machines are ignored"));
            }
        };
        match boot {
            Boot::Ignore => return Decision::Ignore,
            Boot::Local => return Decision::Local,
            Boot::Profile | Boot::Once => {}
        }
        let default = policy.default_profile.as_deref();
        let chosen = self.chosen(mac);
        let own = host.as_ref().and_then(|host| host.profile.as_deref()).or(default);
        let Some(profile) = chosen.as_deref().or(own).and_then(|name| inventory.profile(name)).cloned()
        else {
            return Decision::Nothing(format!("{mac} has no profile, and there is no default_profile"));
        };
        let past = self.past(mac, host.as_deref());
        let installs = profile.install.is_some();
        let done = if boot == Boot::Once { past.once_done } else { past.installed && installs };
        let held = installs && self.is_held() && !past.wanted;
        if done || held || profile.boot == ProfileBoot::Local {
            return Decision::Local;
        }
        Decision::Profile { profile, host }
    }

    /// A machine with two ports is one machine: what one of its MACs installed, all did.
    fn past(&self, mac: Mac, host: Option<&Host>) -> Past {
        let now = now();
        let known = self.lock();
        let macs = host.map_or(std::slice::from_ref(&mac), |host| &host.macs);
        let machines = || macs.iter().filter_map(|mac| known.by_mac.get(mac));
        Past {
            installed: machines().any(|machine| machine.installed.is_some()),
            once_done: machines().any(|machine| machine.once_is_used(now)),
            wanted: machines().any(|machine| machine.wanted),
        }
    }

    /// Durable first, and then in force.
    fn change(&self, macs: &[Mac], change: impl Fn(&mut Machine)) -> Result<(), store::Error> {
        let now = now();
        let changed = |known: &Known, mac: &Mac| {
            let new = || Machine { mac: mac.to_string(), first_seen: now, since: now, ..Machine::default() };
            let mut machine = known.by_mac.get(mac).cloned().unwrap_or_else(new);
            change(&mut machine);
            machine
        };
        let pending = {
            let known = self.lock();
            let machines: Vec<_> = macs.iter().map(|mac| changed(&known, mac)).collect();
            let entries: Vec<_> =
                machines.iter().map(|machine| (machine.mac.as_str(), Some(machine))).collect();
            self.store.put_machines(&entries)?
        };
        pending.wait()?;
        let mut known = self.lock();
        for mac in macs {
            // Anew, for the machine may have been seen meanwhile.
            let machine = changed(&known, mac);
            known.by_mac.insert(*mac, machine);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether one more machine may be remembered. Where there are too many, a sixteenth of them goes, those unseen for longest.
    fn has_room_for(&mut self, mac: Mac) -> bool {
        if self.by_mac.len() < STRANGERS || self.by_mac.contains_key(&mac) {
            return true;
        }
        let idle =
            |machine: &Machine| machine.name.is_none() && !machine.is_marked() && !machine.is_booting();
        let idle = self.by_mac.iter().filter(|(_, machine)| idle(machine));
        let mut old: Vec<_> = idle.map(|(mac, machine)| (machine.last_seen, *mac)).collect();
        if old.is_empty() {
            return false;
        }
        old.sort_unstable();
        for (_, mac) in old.into_iter().take(STRANGERS / 16) {
            self.by_mac.remove(&mac);
        }
        let Self { by_mac, by_address, .. } = self;
        by_address.retain(|_, mac| by_mac.contains_key(mac));
        true
    }
}

/// What is told of an observation.
fn event(seen: &Observation, lane: Lane, before: State, machine: &Machine) -> Event {
    let event = match seen {
        Observation::Dhcp { kind, class, ip } => {
            let text = match ip {
                Some(ip) => format!("{kind} {ip} to {class}"),
                None => format!("{kind} to {class}"),
            };
            Event::new("dhcp", lane, text).field("kind", kind.as_str()).field("class", class.as_str())
        }
        Observation::Loader { file, bytes } => Event::new("loader", lane, format!("{file}, {bytes} bytes"))
            .field("file", file.as_str())
            .field("bytes", *bytes),
        Observation::Script { profile, .. } => {
            Event::new("script", lane, format!("boots profile {profile}")).field("profile", profile.as_str())
        }
        Observation::Local => Event::new("script", lane, "boots from its own disk").field("profile", "local"),
        Observation::Kernel { file, bytes, .. } => {
            Event::new("kernel", lane, format!("{file}, {bytes} bytes"))
                .field("file", file.as_str())
                .field("bytes", *bytes)
        }
        Observation::Agent(report) => {
            let status = match report.status {
                Status::Started => "started",
                Status::Progress => "progress",
                Status::Done => "done",
                Status::Failed => "failed",
            };
            let dash = if report.message.is_empty() { "" } else { ": " };
            Event::new("agent", lane, format!("{} {status}{dash}{}", machine.step, report.message))
                .field("step", machine.step.as_str())
                .field("status", status)
                .field("bytes", report.bytes)
                .field("total", report.total)
                .field("bytes_per_second", report.bytes_per_second)
                .field("eta_seconds", report.eta_seconds)
        }
    };
    event.field("state", machine.state.name()).field("changed", before != machine.state)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::image::protocol::{Disk, OnFailure, Report, Step};
    use crate::inventory::entry::HostEntry;
    use crate::inventory::{Install, Snapshot, live::Change};

    const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);

    fn profile(name: &str, installs: bool) -> Profile {
        let sha256 = "0".repeat(64);
        let (disk, on_failure) = (Disk::Only, OnFailure::Reboot);
        let install = Install { image: "i".into(), sha256, size: None, disk, on_failure };
        Profile {
            name: name.into(),
            boot: ProfileBoot::Linux { kernel: "k".into(), initrd: vec![], cmdline: String::new() },
            install: installs.then_some(install),
            settings: Default::default(),
            origin: "test:1".into(),
        }
    }

    fn open(dir: &std::path::Path, boot_unknown: bool) -> (Arc<Live>, Machines) {
        let store = Arc::new(Store::open(dir).unwrap());
        let profiles = vec![profile("install", true), profile("rescue", false)];
        let configured = Snapshot::new(vec![], profiles).unwrap();
        let (live, _) = Live::open(store.clone(), configured, |_| Ok(())).unwrap();
        let live = Arc::new(live);
        let policy = Policy { boot_unknown, default_profile: Some("install".into()) };
        let machines = Machines::open(store, Arc::default(), live.clone(), policy).unwrap();
        (live, machines)
    }

    fn boots(machines: &Machines, mac: Mac) -> String {
        match machines.decide(mac) {
            Decision::Profile { profile, .. } => profile.name.clone(),
            Decision::Local => "local".into(),
            Decision::Ignore => "ignore".into(),
            Decision::Nothing(_) => "nothing".into(),
        }
    }

    fn see(machines: &Machines, seen: &Observation) -> Machine {
        machines.observe(Who::Mac(MAC), Lane::Api, seen).unwrap().unwrap()
    }

    fn installed() -> Observation {
        let (step, status) = (Step::Head, Status::Done);
        let (bytes, total, bytes_per_second, eta_seconds) = (0, None, 0, None);
        let message = String::new();
        Observation::Agent(Report { step, status, bytes, total, bytes_per_second, eta_seconds, message })
    }

    fn host(boot: Boot, profile: Option<&str>) -> HostEntry {
        let macs = vec![MAC.to_string(), OTHER.to_string()];
        HostEntry {
            name: "n".into(),
            macs,
            boot,
            profile: profile.map(str::to_owned),
            ..HostEntry::default()
        }
    }

    #[test]
    fn a_choice_from_a_menu_boots_another_profile_and_repeats_no_installation() {
        let dir = tempfile::tempdir().unwrap();
        let (live, machines) = open(dir.path(), true);
        machines.choose(MAC, "rescue");
        assert_eq!((boots(&machines, MAC), boots(&machines, OTHER)), ("rescue".into(), "install".into()));
        machines.choose(MAC, "install");
        assert_eq!(boots(&machines, MAC), "install");
        see(&machines, &installed());
        assert_eq!(boots(&machines, MAC), "local", "a timeout may have chosen it");
        machines.choose(MAC, "rescue");
        assert_eq!(boots(&machines, MAC), "rescue", "that installs nothing");
        live.apply(Change::Add(host(Boot::Local, None))).unwrap();
        assert_eq!(boots(&machines, MAC), "local", "what the operator says");
        live.apply(Change::Put(host(Boot::Ignore, None))).unwrap();
        assert_eq!(boots(&machines, MAC), "ignore");
        live.apply(Change::Put(host(Boot::Profile, None))).unwrap();
        machines.lock().chosen.get_mut(&MAC).unwrap().1 = now();
        assert_eq!(boots(&machines, MAC), "local", "its time is over");
    }

    #[test]
    fn an_installation_is_not_repeated_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (_, machines) = open(dir.path(), true);
            assert_eq!(boots(&machines, MAC), "install");
            assert_eq!(see(&machines, &installed()).state, State::Installed);
            assert_eq!(boots(&machines, MAC), "local");
        }
        let (live, machines) = open(dir.path(), true);
        assert_eq!(boots(&machines, MAC), "local", "after a restart");
        live.apply(Change::Add(host(Boot::Profile, None))).unwrap();
        assert_eq!(boots(&machines, OTHER), "local", "by its other port");
        live.apply(Change::Put(host(Boot::Profile, Some("rescue")))).unwrap();
        assert_eq!(boots(&machines, MAC), "rescue", "a profile that doesn't install");
        live.apply(Change::Put(host(Boot::Once, None))).unwrap();
        assert_eq!(boots(&machines, MAC), "install", "told to, once");
        see(&machines, &Observation::Script { profile: "install".into(), installs: true, once: true });
        assert_eq!(boots(&machines, MAC), "install", "not yet used up");
        see(&machines, &installed());
        assert_eq!(boots(&machines, MAC), "local", "used up");
        machines.rearm_once(&[MAC]).unwrap();
        assert_eq!(boots(&machines, MAC), "install", "told again");
        live.apply(Change::Put(host(Boot::Profile, None))).unwrap();
        assert_eq!(boots(&machines, MAC), "local");
        machines.reset(&[MAC]).unwrap();
        assert_eq!(boots(&machines, MAC), "install", "reset");
        live.apply(Change::Put(host(Boot::Local, None))).unwrap();
        assert_eq!(boots(&machines, MAC), "local", "boot: local");
        live.apply(Change::Put(host(Boot::Ignore, None))).unwrap();
        assert_eq!(boots(&machines, MAC), "ignore");
    }

    #[test]
    fn unknown_machines_by_policy() {
        let dir = tempfile::tempdir().unwrap();
        let (_, machines) = open(dir.path(), false);
        assert_eq!(boots(&machines, MAC), "nothing");
    }

    #[test]
    fn after_a_lost_store_nothing_is_installed_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (_, machines) = open(dir.path(), true);
            machines.hold().unwrap();
        }
        let (_, machines) = open(dir.path(), true);
        assert!(machines.is_held(), "over a restart");
        assert_eq!((boots(&machines, MAC), boots(&machines, OTHER)), ("local".into(), "local".into()));
        machines.reset(&[MAC]).unwrap();
        assert_eq!((boots(&machines, MAC), boots(&machines, OTHER)), ("install".into(), "local".into()));
        machines.release().unwrap();
        assert_eq!(boots(&machines, OTHER), "install");
        drop(machines);
        assert!(!open(dir.path(), true).1.is_held());
    }

    #[test]
    fn machines_are_found_by_address() {
        let dir = tempfile::tempdir().unwrap();
        let (_, machines) = open(dir.path(), true);
        let ip = IpAddr::from([10, 0, 0, 9]);
        let kernel = Observation::Kernel { file: "k".into(), bytes: 1 };
        assert_eq!(machines.observe(Who::Address(ip), Lane::Http, &kernel).unwrap(), None);
        see(&machines, &Observation::Dhcp { kind: "ack".into(), class: "bios".into(), ip: Some(ip) });
        see(&machines, &Observation::Script { profile: "p".into(), installs: false, once: false });
        let machine = machines.observe(Who::Address(ip), Lane::Http, &kernel).unwrap().unwrap();
        assert_eq!((machine.state, machine.step.as_str()), (State::Kernel, "k"));
        let (events, _) = machines.events.follow(9);
        assert_eq!(events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["dhcp", "script", "kernel"]);
    }

    #[test]
    fn strangers_make_room_and_nobody_who_matters() {
        let mut known = Known::default();
        let mac = |n: usize| {
            let [.., a, b, c] = n.to_be_bytes();
            Mac([2, 0, 0, a, b, c])
        };
        for n in 0..STRANGERS {
            let mut machine = Machine { last_seen: n as u64, ..Machine::default() };
            match n {
                0 => machine.installed = Some(1),
                1 => machine.name = Some("n".into()),
                2 => machine.once_done = true,
                3 => machine.state = State::Kernel,
                _ => {}
            }
            known.by_mac.insert(mac(n), machine);
        }
        assert!(known.has_room_for(mac(STRANGERS)));
        assert_eq!(known.by_mac.len(), STRANGERS - STRANGERS / 16);
        assert!((0..4).all(|n| known.by_mac.contains_key(&mac(n))));
        assert!(!known.by_mac.contains_key(&mac(4)));
        for n in 0..STRANGERS {
            known.by_mac.insert(mac(n), Machine { installed: Some(1), ..Machine::default() });
        }
        assert!(known.has_room_for(mac(7)), "one that is there already");
        assert!(!known.has_room_for(mac(STRANGERS)));
    }
}
