//! Every machine that was observed, and what each boots next.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use netboot_common::Mac;

use super::events::{Event, Events, Lane};
use super::observed::{Machine, Observation, State};
use super::{Boot, Host, Live, Profile, ProfileBoot};
use crate::image::protocol::Status;
use crate::store::{self, Store};

/// How many machines are remembered. Beyond it, those unseen for longest go, unless they are installed: anybody on
/// the wire can invent MAC addresses.
const MOST: usize = 65_536;

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
}

/// Which machine was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Mac(Mac),
    /// The machine last seen with this address; none: nobody's observation.
    Address(Ipv4Addr),
}

/// Every machine that was observed.
#[derive(Debug)]
pub struct Machines {
    store: Arc<Store>,
    events: Arc<Events>,
    live: Arc<Live>,
    policy: Policy,
    known: Mutex<Known>,
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
    by_address: HashMap<Ipv4Addr, Mac>,
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
                known.by_address.extend(machine.address.map(|address| (address, mac)));
                known.by_mac.insert(mac, machine);
            }
        }
        Ok(Self { store, events, live, policy, known: Mutex::new(known) })
    }

    /// Takes in what was seen, durably where it must survive, and publishes it. Answers the
    /// machine as it stands now; `None` if nobody is known by that address.
    ///
    /// # Errors
    /// The store can't be written; the machine stands as observed all the same.
    pub fn observe(&self, who: Who, lane: Lane, seen: &Observation) -> Result<Option<Machine>, store::Error> {
        let mut known = self.lock();
        let mac = match who {
            Who::Mac(mac) => mac,
            Who::Address(address) => match known.by_address.get(&address) {
                Some(&mac) => mac,
                None => return Ok(None),
            },
        };
        let now = now();
        known.make_room();
        let new = || Machine { mac: mac.to_string(), first_seen: now, since: now, ..Machine::default() };
        let machine = known.by_mac.entry(mac).or_insert_with(new);
        let before = machine.state;
        machine.name = self.live.snapshot().host_by_mac(mac).map(|host| host.name.clone());
        let keep = machine.observe(seen, now);
        let machine = machine.clone();
        known.by_address.extend(machine.address.map(|address| (address, mac)));
        self.events.publish(event(seen, lane, before, &machine).mac(mac).name(machine.name.clone()));
        if keep {
            self.store.put_machines(&[(&machine.mac, Some(&machine))])?;
        }
        Ok(Some(machine))
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
    pub fn mac_at(&self, address: Ipv4Addr) -> Option<Mac> {
        self.lock().by_address.get(&address).copied()
    }

    /// Forgets that these were installed, and that their `boot: once` was used: they boot what their profile says.
    /// False if none of them was known.
    ///
    /// # Errors
    /// The store can't be written; nothing has changed then.
    pub fn reset(&self, macs: &[Mac]) -> Result<bool, store::Error> {
        self.change(macs, |machine| {
            (machine.installed, machine.once_done) = (None, false);
        })
    }

    /// Makes `boot: once` valid again.
    ///
    /// # Errors
    /// As [`Machines::reset`].
    pub fn rearm_once(&self, macs: &[Mac]) -> Result<bool, store::Error> {
        self.change(macs, |machine| machine.once_done = false)
    }

    /// What this machine boots next, by the inventory of this moment.
    pub fn decide(&self, mac: Mac) -> Decision {
        let inventory = self.live.snapshot();
        let host = inventory.host_by_mac(mac).cloned();
        let boot = match &host {
            Some(host) => host.boot,
            None if self.policy.boot_unknown => Boot::Profile,
            None => {
                return Decision::Nothing(format!("{mac} is not a host, and unknown machines are ignored"));
            }
        };
        match boot {
            Boot::Ignore => return Decision::Ignore,
            Boot::Local => return Decision::Local,
            Boot::Profile | Boot::Once => {}
        }
        let default = self.policy.default_profile.as_deref();
        let name = host.as_ref().and_then(|host| host.profile.as_deref()).or(default);
        let Some(profile) = name.and_then(|name| inventory.profile(name)).cloned() else {
            return Decision::Nothing(format!("{mac} has no profile, and there is no default_profile"));
        };
        let past = self.past(mac, host.as_deref());
        let done =
            if boot == Boot::Once { past.once_done } else { past.installed && profile.install.is_some() };
        if done || profile.boot == ProfileBoot::Local {
            return Decision::Local;
        }
        Decision::Profile { profile, host }
    }

    /// A machine with two ports is one machine: what one of its MACs installed, all did.
    fn past(&self, mac: Mac, host: Option<&Host>) -> Past {
        let known = self.lock();
        let macs = host.map_or(std::slice::from_ref(&mac), |host| &host.macs);
        let machines = || macs.iter().filter_map(|mac| known.by_mac.get(mac));
        Past {
            installed: machines().any(|machine| machine.installed.is_some()),
            once_done: machines().any(|machine| machine.once_done),
        }
    }

    fn change(&self, macs: &[Mac], change: impl Fn(&mut Machine)) -> Result<bool, store::Error> {
        let mut known = self.lock();
        let mut changed = Vec::new();
        for mac in macs {
            let Some(machine) = known.by_mac.get(mac) else { continue };
            let mut machine = machine.clone();
            change(&mut machine);
            changed.push((*mac, machine));
        }
        let entries: Vec<_> = changed.iter().map(|(_, m)| (m.mac.as_str(), Some(m))).collect();
        self.store.put_machines(&entries)?;
        let any = !changed.is_empty();
        known.by_mac.extend(changed);
        Ok(any)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forgets a sixteenth of the machines, those unseen for longest, when there are too many.
    fn make_room(&mut self) {
        if self.by_mac.len() < MOST {
            return;
        }
        let mut old: Vec<_> = self
            .by_mac
            .iter()
            .filter(|(_, machine)| machine.installed.is_none())
            .map(|(mac, machine)| (machine.last_seen, *mac))
            .collect();
        old.sort_unstable();
        for (_, mac) in old.into_iter().take(MOST / 16) {
            self.by_mac.remove(&mac);
        }
        let Self { by_mac, by_address } = self;
        by_address.retain(|_, mac| by_mac.contains_key(mac));
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
        Observation::Kernel { file, bytes } => Event::new("kernel", lane, format!("{file}, {bytes} bytes"))
            .field("file", file.as_str())
            .field("bytes", *bytes),
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
        assert!(machines.rearm_once(&[MAC]).unwrap());
        assert_eq!(boots(&machines, MAC), "install", "told again");
        live.apply(Change::Put(host(Boot::Profile, None))).unwrap();
        assert_eq!(boots(&machines, MAC), "local");
        assert!(machines.reset(&[MAC]).unwrap());
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
        assert!(!machines.reset(&[MAC]).unwrap());
    }

    #[test]
    fn machines_are_found_by_address() {
        let dir = tempfile::tempdir().unwrap();
        let (_, machines) = open(dir.path(), true);
        let ip = Ipv4Addr::new(10, 0, 0, 9);
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
    fn the_longest_unseen_make_room_but_not_the_installed() {
        let mut known = Known::default();
        for n in 0..MOST as u64 {
            let installed = (n == 0).then_some(1);
            let [.., a, b, c] = n.to_be_bytes();
            known
                .by_mac
                .insert(Mac([2, 0, 0, a, b, c]), Machine { last_seen: n, installed, ..Machine::default() });
        }
        known.make_room();
        assert_eq!(known.by_mac.len(), MOST - MOST / 16);
        assert!(known.by_mac.contains_key(&Mac([2, 0, 0, 0, 0, 0])));
        assert!(!known.by_mac.contains_key(&Mac([2, 0, 0, 0, 0, 1])));
    }
}
