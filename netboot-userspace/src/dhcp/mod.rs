//! DHCP and ProxyDHCP: the tables that all lanes share, and the lane in userspace.
//!
//! [`tables::Plan`] says what each interface, network and class is told; [`machine::Machine`] decides; [`port`] moves frames: a
//! packet socket and two threads for each interface. Port 67 is never needed: another DHCP server may have it.

mod arp;
mod behind;
mod changes;
mod contested;
#[cfg(test)]
mod crash;
pub mod explain;
pub mod fit;
mod gate;
mod hosts;
pub mod leases;
pub mod machine;
mod normal;
mod numbers;
pub mod observed;
mod persist;
pub mod pools;
mod port;
mod ports;
mod promised;
mod recent;
pub mod refusals;
mod reload;
pub mod render;
pub mod tables;
mod teaching;

use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::limit::Limits;
use netboot_common::reply::Scratch;
use netboot_common::stats::{Lane, Leave, Outcome};

use self::behind::Behind;
use self::changes::Told;
use self::explain::Explanation;
use self::hosts::taken;
use self::leases::{Book, Entry, Key};
use self::machine::{Actions, Arrival, Hosts, Machine, Now};
use self::observed::{Observations, Observed};
use self::port::Running;
use self::refusals::{Refusal, Refusals};
use self::tables::{Link, Plan};
use self::teaching::fill;
use crate::fastpath::{self, KernelTables, Room};
use crate::inventory::Snapshot;
use crate::inventory::change::Changed;
use crate::inventory::elsewhere::Elsewhere;
use crate::inventory::group::Grouped;
use crate::inventory::menu::Boots;
use crate::store::{Clock, Lease, Pending, Store, since_boot};

pub use self::gate::{Gate, Then};
pub use self::reload::Prepared;

/// Entries that are written while requests wait.
const CHUNK: usize = 256;

/// Why DHCP can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{interface}: opening a packet socket (needs CAP_NET_RAW)")]
    Socket { interface: String, source: io::Error },
    #[error("the lease store")]
    Store(#[from] crate::store::Error),
    #[error("filling the kernel's tables")]
    Kernel(#[from] fastpath::Error),
    #[error("starting a thread")]
    Thread(#[source] io::Error),
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
    /// What was chosen from a boot menu.
    pub chosen: Option<Boots>,
}

/// The store's keys of what was observed.
const OBSERVED: &str = "observed/";

type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// The running lane, and the tables behind all lanes.
pub struct Server {
    shared: Arc<Shared>,
    running: Mutex<Vec<Running>>,
    /// Tells the kernel's lanes again what they could not be told.
    telling: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    machine: Mutex<Machine>,
    kernel: Option<Mutex<KernelTables>>,
    store: Arc<Store>,
    /// What leases are dated by.
    clock: Clock,
    counters: Vec<AtomicU64>,
    refusals: Mutex<Refusals>,
    observations: Mutex<Observations>,
    observer: Observer,
    /// Why the last leases could not be made durable.
    failing: Mutex<Option<String>>,
    /// Whether the kernel's tables did not take all that they were told.
    behind: Behind,
    /// Who is asked for each machine.
    gate: Option<Arc<dyn Gate>>,
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
    /// Fills the tables, then takes up its sockets. `gate` is asked before a proxy tells a machine what to boot; `kernel`: the tables of the
    /// kernel's lanes, where there are any.
    pub fn start(
        gate: Option<Arc<dyn Gate>>,
        mut plan: Plan,
        policy: Policy,
        snapshot: &Snapshot,
        store: Arc<Store>,
        kernel: Option<KernelTables>,
        observer: Observer,
    ) -> Result<Self, Error> {
        let hosts = Hosts::of(&mut plan, snapshot);
        let mut book = Book::default();
        book.set_pools(plan.pools(), &taken(&plan, snapshot));
        let restored = persist::restore(&plan, &store)?;
        plan.resume(restored.iter().map(|(_, entry)| entry));
        for (key, entry) in restored {
            book.restore(key, entry);
        }
        let Policy { serve_unknown, authoritative, limits } = policy;
        let withheld = HashSet::new();
        let mut machine =
            Machine { plan, hosts, book, withheld, serve_unknown, elsewhere: None, authoritative };
        let clock = store.clock();
        let now = now(clock);
        let reserved = std::mem::take(&mut machine.hosts.by_mac);
        contested::withhold(&mut machine, reserved.iter(), now);
        machine.hosts.by_mac = reserved;
        let ports = port::open(&machine.plan.served, machine.plan.probe, kernel.is_some())?;
        let kernel = match kernel {
            Some(mut tables) => {
                tables.limit(limits)?;
                fill(&mut tables, &mut machine, now)?;
                Some(Mutex::new(tables))
            }
            None => None,
        };
        let seen = store.values::<Observed>(OBSERVED)?;
        let seen = seen
            .into_iter()
            .filter_map(|(key, seen)| Some((key.strip_prefix(OBSERVED)?.parse::<Mac>().ok()?, seen)));
        let mut observations = Observations::default();
        observations.restore(seen.collect());
        let observations = Mutex::new(observations);
        let counters = (0..Outcome::COUNT).map(|_| AtomicU64::new(0)).collect();
        let (machine, refusals, failing) = (Mutex::new(machine), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared {
            machine,
            kernel,
            store,
            clock,
            counters,
            refusals,
            observations,
            observer,
            failing,
            behind: Behind::default(),
            gate,
        });
        let running = ports.into_iter().map(|port| port.start(shared.clone()));
        let running = Mutex::new(running.collect::<Result<_, _>>()?);
        let telling = Mutex::new(shared.tell_what_was_not_told()?);
        Ok(Self { shared, running, telling })
    }

    /// Serves those as well that the inventory does not know, and `elsewhere` does.
    pub fn serve_known_elsewhere(&self, elsewhere: Arc<dyn Elsewhere>) {
        self.shared.machine().elsewhere = Some(elsewhere);
    }

    /// Puts an inventory's changes into force, in all lanes, before it returns: the next DISCOVER sees them.
    ///
    /// # Errors
    /// The kernel's tables can't be written.
    pub fn apply(&self, changed: &[Changed]) -> Result<(), Error> {
        self.shared.take_over(changed)
    }

    /// The same of other groups: hosts to which they give another profile are told what that one says.
    ///
    /// # Errors
    /// As [`Server::apply`].
    pub fn regroup(&self, snapshot: &Snapshot) -> Result<(), Error> {
        self.shared.regroup(snapshot)
    }

    /// Ends the lease of `ip`, as its client would by a DHCPRELEASE: no lane promises it any more when this returns. False: there is none.
    ///
    /// # Errors
    /// It is ended, and a crash may forget that.
    pub fn release(&self, ip: Ipv4Addr) -> Result<bool, crate::store::Error> {
        let pending = {
            let (mut machine, now) = (self.shared.machine(), self.shared.now());
            let Some(key) = machine.book.leased(ip, now.unix).map(|(key, _)| key.clone()) else {
                return Ok(false);
            };
            let Some(entry) = machine.book.release(&key, ip, now.unix) else { return Ok(false) };
            self.shared.withdraw(&machine, &[(entry.mac, ip)]);
            self.shared.store.ask_leases(&[persist::to_lease(&key, entry, now.unix)])
        };
        pending.wait().map(|()| true)
    }

    /// What `mac` would get on each interface, as a client of `class`.
    pub fn explain(&self, mac: Mac, class: Class) -> Vec<Explanation> {
        explain::explain(&mut self.shared.machine(), mac, class, self.shared.now())
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
        self.shared.refusals().note(mac, self.shared.now().unix, lane, leave, &interface);
    }

    /// What this lane counted, by [`Outcome::index`] or that of a note.
    pub fn count(&self, index: u32) -> u64 {
        self.shared.counters[index as usize].load(Ordering::Relaxed)
    }

    /// What interfaces that only observe have seen, by machine.
    pub fn observed(&self) -> Vec<(Mac, Observed)> {
        self.shared.observations().all()
    }

    /// Ends the threads. The kernel's lanes stay as they are.
    pub fn shutdown(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(Running::stop);
        self.shared.behind.end();
        if let Some(telling) = self.telling.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Its panic was told when it came.
            let _ = telling.join();
        }
        // Whatever the pace: nothing comes after it, and nobody else waits until it is written.
        if let Some(pending) = self.shared.remember_observed(Instant::now() + observed::PACE)
            && let Err(error) = pending.wait()
        {
            tracing::warn!("DHCP: what was observed last is not stored: {error}");
        }
    }

    /// The interfaces that are served, as they were last seen.
    pub fn links(&self) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        for served in &self.shared.machine().plan.served {
            if links.iter().all(|link| link.name != served.link.name) {
                links.push(served.link.clone());
            }
        }
        links
    }

    /// The interface of this name was made anew, or has another MAC: from now on it is served as what it is.
    ///
    /// # Errors
    /// It can't be; all is as before, but for what the kernel's table of interfaces took already: the next attempt makes it right.
    pub fn relink(&self, link: &Link) -> Result<(), Error> {
        let mut machine = self.shared.machine();
        let ports =
            port::open(&machine.plan.relinked(link), machine.plan.probe, self.shared.kernel.is_some())?;
        // What they hear is decided when the machine is free again.
        let started: Vec<Running> =
            ports.into_iter().map(|port| port.start(self.shared.clone())).collect::<Result<_, _>>()?;
        let told = machine.plan.relink(link, |plan| match self.shared.kernel() {
            Some(mut kernel) => kernel.replace_interfaces(&plan.kernel_interfaces()),
            None => Ok(()),
        });
        drop(machine);
        let ended = match &told {
            Ok(()) => self.exchange_ports(&link.name, started),
            Err(_) => started,
        };
        ended.into_iter().for_each(Running::stop);
        Ok(told?)
    }

    /// Those that served this interface until now.
    fn exchange_ports(&self, interface: &str, started: Vec<Running>) -> Vec<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, kept) = running.drain(..).partition(|port| port.interface == interface);
        *running = kept;
        running.extend(started);
        old
    }

    /// How full the kernel's table of hosts is; `None`: there are no lanes in the kernel.
    pub fn room(&self) -> Option<Room> {
        self.shared.kernel().map(|kernel| kernel.room())
    }

    /// What the kernel's tables could not be told, if they lack anything: it is told again until they have it.
    pub fn behind(&self) -> Option<String> {
        self.shared.behind.why()
    }

    /// Why no lease can be made durable, if so.
    pub fn failing(&self) -> Option<String> {
        self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    fn observations(&self) -> MutexGuard<'_, Observations> {
        self.observations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client asked, where we only observe.
    fn asked(&self, frame: &[u8], decided: &port::Decided, interface: &str) {
        let port::Decided { actions, reply } = decided;
        let now = self.now().unix;
        self.observations().asked(frame, actions.outcome, reply, interface, now);
    }

    /// Another server answered.
    fn heard(&self, frame: &[u8]) {
        self.observations().heard(frame);
    }

    /// Nobody waits for it: an observation is worth no delay.
    fn remember_observed(&self, now: Instant) -> Option<Pending> {
        let unwritten = self.observations().take_unwritten(now);
        if unwritten.is_empty() {
            return None;
        }
        let rows: Vec<(String, Option<Observed>)> =
            unwritten.into_iter().map(|(mac, seen)| (format!("{OBSERVED}{mac}"), seen)).collect();
        let rows: Vec<_> = rows.iter().map(|(key, seen)| (key.as_str(), seen.as_ref())).collect();
        let asked = self.store.put_values(&rows);
        asked.inspect_err(|error| tracing::debug!(%error, "DHCP: what was observed is not stored")).ok()
    }

    /// Hosts as they are now.
    fn take_over(&self, changed: &[Changed]) -> Result<(), Error> {
        let mut machine = self.machine();
        let now = self.now();
        let Told { ended, held, changes, templates } = machine.take_over(changed, now);
        self.withdraw(&machine, &ended);
        self.store_held(held, now);
        self.teach(&changes, &templates)
    }

    /// Other groups. Whoever may change the inventory is here: meanwhile the hosts stay who they are. Those that the groups move are
    /// taken over a few at a time, each in all lanes at one moment: requests wait only for those.
    fn regroup(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let before = self.machine().plan.placing().clone();
        let (moved, grouped) = (changes::moved(snapshot, &before), Grouped::of(snapshot.groups()));
        let moves_strangers = snapshot.moves_strangers(&before);
        let mut machine = self.machine();
        machine.regroup(snapshot.groups(), grouped);
        let leases: Vec<Ipv4Addr> = match moves_strangers {
            true => machine.book.entries().map(|(_, entry)| entry.ip).collect(),
            false => Vec::new(),
        };
        drop(machine);
        // All of them, also behind some that fail.
        let mut told = Ok(());
        for hosts in moved.chunks(CHUNK) {
            told = told.and(self.take_over(hosts));
        }
        told.and(self.tell_leases(&leases))
    }

    fn count(&self, index: u32) {
        self.counters[index as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> Now {
        now(self.clock)
    }

    /// Decides a frame. What it ends is gone from the kernel's lanes before another frame is decided.
    fn decide(&self, arrival: Arrival<'_>, scratch: &mut Scratch, out: &mut [u8]) -> Actions {
        let mut machine = self.machine();
        let actions = machine.handle(arrival, self.now(), scratch, out);
        self.withdraw(&machine, &actions.withdraw);
        actions
    }

    /// Somebody uses `ip` without a lease of ours: nobody gets it for a while.
    fn conflict(&self, ip: Ipv4Addr) {
        let (mut machine, now) = (self.machine(), self.now());
        let Some((key, entry)) = machine.conflict(ip, now) else { return };
        self.withdraw(&machine, &[(entry.mac, ip)]);
        self.store_held(vec![(key, entry)], now);
    }

    /// If a crash forgets these, the probe is left.
    fn store_held(&self, held: Vec<(Key, Entry)>, now: Now) {
        let leases: Vec<Lease> =
            held.into_iter().map(|(key, entry)| persist::to_lease(&key, entry, now.unix)).collect();
        if !leases.is_empty() {
            self.store.ask_leases(&leases).forget();
        }
    }

    /// Makes these decisions durable, in one commit. Of each, whether it is: then its client may be told.
    fn commit(&self, decided: &[(Key, Entry)]) -> Vec<bool> {
        if decided.is_empty() {
            return Vec::new();
        }
        let pending = {
            let (machine, now) = (self.machine(), self.now().unix);
            let current = |(key, decided): &(Key, Entry)| {
                Some(persist::to_lease(key, machine.book.to_write(key, decided)?, now))
            };
            let leases: Vec<Lease> = decided.iter().filter_map(current).collect();
            // Asked for while nobody else decides: what was decided later is written later, whichever thread is faster.
            self.store.ask_leases(&leases)
        };
        let written = pending.wait();
        self.note_failure(&written, decided.len());
        let (mut machine, now) = (self.machine(), self.now().unix);
        let judge = |(key, entry): &(Key, Entry)| match written {
            Ok(()) => machine.book.written(key, entry),
            Err(_) => {
                machine.book.not_written(key, entry, now);
                false
            }
        };
        decided.iter().map(judge).collect()
    }

    /// Says once that leases can't be made durable, and once that they can again.
    fn note_failure(&self, written: &Result<(), crate::store::Error>, count: usize) {
        let now = written.as_ref().err().map(ToString::to_string);
        let before =
            std::mem::replace(&mut *self.failing.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        match (before, now) {
            (None, Some(error)) => {
                tracing::error!(
                    count,
                    "DHCP: leases can't be made durable, and none is given until they can: {error}"
                );
            }
            (Some(_), None) => tracing::info!("DHCP: leases are durable again, and given"),
            _ => {}
        }
    }
}

fn now(clock: Clock) -> Now {
    let boot = since_boot();
    Now { unix: clock.at(boot), boot }
}
