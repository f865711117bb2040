//! DHCP and ProxyDHCP: the tables that all lanes share, and the lane in userspace.
//!
//! [`tables::Plan`] says what each interface, network and class is told; [`machine::Machine`] decides; [`port`] moves frames: a
//! packet socket and a thread for each interface. Port 67 is never needed: another DHCP server may have it.

mod arp;
pub mod explain;
pub mod leases;
pub mod machine;
mod normal;
mod numbers;
mod persist;
pub mod pools;
mod port;
mod ports;
pub mod refusals;
pub mod render;
pub mod tables;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::limit::Limits;
use netboot_common::maps::{HostKey, HostValue, Template, TemplateKey};
use netboot_common::stats::{Lane, Leave, Outcome};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};

use self::explain::Explanation;
use self::leases::{Book, State};
use self::machine::{Hosts, Machine, NamedHost, Now};
use self::refusals::{Refusal, Refusals};
use self::tables::Plan;
use crate::fastpath::{self, KernelTables};
use crate::inventory::change::Changed;
use crate::inventory::{Host, Snapshot};
use crate::store::Store;
use crate::sys::clock;

pub use self::machine::Lesson;

/// Why DHCP can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{interface}: opening a packet socket (needs CAP_NET_RAW)")]
    Socket { interface: String, source: io::Error },
    #[error("the lease store")]
    Store(#[from] crate::store::Error),
    #[error("filling the kernel's tables")]
    Kernel(#[from] fastpath::Error),
    #[error("making a wake-up descriptor")]
    Wake(#[source] io::Error),
}

/// What became of one frame that reached userspace.
#[derive(Clone, Debug)]
pub struct Event {
    pub outcome: Outcome,
    pub mac: Option<Mac>,
    pub class: Option<Class>,
    pub ip: Ipv4Addr,
    /// The host that its message names by more than its MAC.
    pub host: Option<Arc<str>>,
    pub interface: String,
}

type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// The running lane, and the tables behind all lanes.
pub struct Server {
    shared: Arc<Shared>,
    wake: Arc<OwnedFd>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    machine: Mutex<Machine>,
    kernel: Option<Mutex<KernelTables>>,
    store: Arc<Store>,
    counters: Vec<AtomicU64>,
    refusals: Mutex<Refusals>,
    observer: Observer,
}

/// How machines are treated, whoever they are.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether machines without a host entry are served.
    pub serve_unknown: bool,
    pub authoritative: bool,
    pub limits: Limits,
}

impl Server {
    /// Fills the tables, then takes up its sockets. `kernel`: the tables of the kernel's lanes, where there are any.
    pub fn start(
        mut plan: Plan,
        policy: Policy,
        snapshot: &Snapshot,
        store: Arc<Store>,
        kernel: Option<KernelTables>,
        observer: Observer,
    ) -> Result<Self, Error> {
        let now = now();
        let hosts = entries(&mut plan, snapshot.hosts());
        let mut book = Book::default();
        book.set_pools(plan.pools(), &taken(&plan, snapshot));
        for lease in store.leases()? {
            let (key, entry) = persist::from_lease(&plan, lease);
            book.restore(key, entry);
        }
        let Policy { serve_unknown, authoritative, limits } = policy;
        let mut machine = Machine { plan, hosts, book, serve_unknown, authoritative };
        let ports = port::open(&machine.plan)?;
        let kernel = match kernel {
            Some(mut tables) => {
                tables.limit(limits)?;
                fill(&mut tables, &mut machine, now)?;
                Some(Mutex::new(tables))
            }
            None => None,
        };
        let counters = (0..Outcome::COUNT).map(|_| AtomicU64::new(0)).collect();
        let (machine, refusals) = (Mutex::new(machine), Mutex::default());
        let shared = Arc::new(Shared { machine, kernel, store, counters, refusals, observer });
        let wake =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| Error::Wake(e.into()))?;
        let wake = Arc::new(wake);
        let threads = ports
            .into_iter()
            .map(|port| {
                let (shared, wake) = (shared.clone(), wake.clone());
                std::thread::spawn(move || port.serve(&shared, &wake))
            })
            .collect();
        Ok(Self { shared, wake, threads: Mutex::new(threads) })
    }

    /// Puts an inventory's changes into force, in all lanes, before it returns: the next DISCOVER sees them.
    pub fn apply(&self, changed: &[Changed]) -> Result<(), Error> {
        let mut machine = self.shared.machine();
        let Machine { plan, hosts, book, .. } = &mut *machine;
        let old = || changed.iter().filter_map(|changed| changed.old.as_ref());
        let new = || changed.iter().filter_map(|changed| changed.new.as_ref());
        let (before, after) = (entries(plan, old()), entries(plan, new()));
        let put = after.by_mac.iter().filter(|(key, value)| before.by_mac.get(key) != Some(value));
        let mut lessons: Vec<Lesson> = put.map(|(key, value)| Lesson::Put(*key, *value)).collect();
        // New entries before old ones go: a MAC that moves to another host is never without an answer.
        let gone = before.by_mac.keys().filter(|key| !after.by_mac.contains_key(key));
        lessons.extend(gone.map(|key| Lesson::Remove(*key)));
        hosts.change(&before, after);
        let fixed = fixed(plan);
        let free = old().filter_map(|host| host.ip).filter(|ip| !fixed.contains(ip));
        book.change_taken(free, new().filter_map(|host| host.ip));
        let fresh = plan.take_fresh();
        self.shared.teach(&lessons, &fresh)
    }

    /// What `mac` would get on each interface, as a client of `class`.
    pub fn explain(&self, mac: Mac, class: Class) -> Vec<Explanation> {
        explain::explain(&mut self.shared.machine(), mac, class, now())
    }

    /// Why this machine was not answered lately.
    pub fn refusal(&self, mac: Mac) -> Option<Refusal> {
        self.shared.refusals().of(mac).cloned()
    }

    /// The kernel's lanes dropped a message of `mac`.
    pub fn note_refusal(&self, mac: Mac, lane: Lane, leave: Leave, ifindex: u32) {
        let machine = self.shared.machine();
        let served = machine.plan.served.iter().find(|served| served.link.index == ifindex);
        let interface = served.map(|served| served.link.name.clone()).unwrap_or_default();
        drop(machine);
        self.shared.refusals().note(mac, now().unix, lane, leave, &interface);
    }

    /// What this lane counted, by outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.shared.counters[outcome.index() as usize].load(Ordering::Relaxed)
    }

    /// Ends the threads. The kernel's lanes stay as they are.
    pub fn shutdown(&self) {
        // An eventfd takes a one unless it is full, and then its readers are awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Shared {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: Outcome) {
        self.counters[outcome.index() as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the kernel's lanes of leases. One whose machine got a reservation meanwhile is not told: `machine` is locked, so
    /// that an inventory's change comes either before this or behind it.
    fn teach_leases(&self, lessons: &[Lesson]) -> Result<(), Error> {
        if lessons.is_empty() {
            return Ok(());
        }
        let mut machine = self.machine();
        let fresh = machine.plan.take_fresh();
        let reserved =
            |key: &HostKey| machine.hosts.by_mac.get(key).is_some_and(|host| host.yiaddr != [0; 4]);
        let valid = |lesson: &&Lesson| match lesson {
            Lesson::Put(key, value) => !(value.dynamic() && reserved(key)),
            Lesson::Remove(key) => !reserved(key),
        };
        let lessons: Vec<Lesson> = lessons.iter().filter(valid).copied().collect();
        self.teach(&lessons, &fresh)
    }

    /// Templates before the hosts that lead to them. All of them, also behind one that fails: the first error.
    fn teach(&self, lessons: &[Lesson], templates: &[(TemplateKey, Template)]) -> Result<(), Error> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
        kernel.add_templates(templates)?;
        let change = |lesson: &Lesson| match *lesson {
            Lesson::Put(key, value) => fastpath::Change::Put(key, value),
            Lesson::Remove(key) => fastpath::Change::Remove(key),
        };
        let results: Vec<_> = lessons.iter().map(|lesson| kernel.change(change(lesson))).collect();
        Ok(results.into_iter().collect::<Result<(), _>>()?)
    }
}

/// Hosts, by each of their identities.
fn entries<'a>(plan: &mut Plan, of: impl Iterator<Item = &'a Arc<Host>>) -> Hosts {
    let mut hosts = Hosts::default();
    for host in of {
        let entries = plan.host_entries(host);
        hosts.by_mac.extend(entries);
        if host.client_id.is_none() && host.uuid.is_none() && host.circuit.is_none() {
            continue;
        }
        let Ok(value) = plan.host_value(host) else { continue };
        let named = NamedHost { value, name: host.name.as_str().into() };
        hosts.by_client_id.extend(host.client_id.as_ref().map(|id| (id.0.clone(), named.clone())));
        hosts.by_uuid.extend(host.uuid.map(|uuid| (uuid.to_wire(), named.clone())));
        hosts.by_circuit.extend(host.circuit.as_ref().map(|circuit| (circuit.0.clone(), named)));
    }
    hosts
}

/// Replaces what the kernel's tables hold by what is known now: reservations, and the leases that are durable.
fn fill(tables: &mut KernelTables, machine: &mut Machine, now: Now) -> Result<(), Error> {
    let mut hosts: HashMap<HostKey, HostValue> = leased(machine, now);
    hosts.extend(machine.hosts.by_mac.iter().map(|(key, value)| (*key, *value)));
    let hosts: Vec<_> = hosts.into_iter().collect();
    // All of them are told anew.
    machine.plan.take_fresh();
    let templates: Vec<_> = machine.plan.templates.iter().map(|(key, value)| (*key, *value)).collect();
    Ok(tables.replace(&machine.plan.kernel_interfaces(), &hosts, &templates)?)
}

/// The host entries of leases whose client is its MAC.
fn leased(machine: &mut Machine, now: Now) -> HashMap<HostKey, HostValue> {
    let Machine { plan, book, hosts, .. } = machine;
    let stranger = plan.stranger();
    let mut leased = HashMap::new();
    for (key, entry) in book.entries() {
        let by_mac = key.client.split_first() == Some((&1, &entry.mac.0[..]));
        if !by_mac || entry.state != State::Bound || entry.until <= now.unix {
            continue;
        }
        let until = now.boot + (entry.until - now.unix);
        for host_key in plan.keys(entry.mac).collect::<Vec<_>>() {
            let known = hosts.by_mac.get(&host_key).unwrap_or(&stranger);
            if let Some(value) = plan.lease_value(entry.ip, known) {
                leased.insert(host_key, value.with_valid_until(until));
            }
        }
    }
    leased
}

/// Addresses that are nobody's to lease: reservations, routers, our own.
fn taken(plan: &Plan, snapshot: &Snapshot) -> HashSet<Ipv4Addr> {
    let mut taken = fixed(plan);
    taken.extend(snapshot.hosts().filter_map(|host| host.ip));
    taken
}

/// Those of them that are no reservations.
fn fixed(plan: &Plan) -> HashSet<Ipv4Addr> {
    let routers = plan.networks.iter().filter_map(|network| network.subnet.router);
    routers.chain(plan.served.iter().map(|served| served.link.address)).collect()
}

fn now() -> Now {
    Now { unix: clock::now(), boot: clock_gettime(ClockId::Boottime).tv_sec as u64 }
}
