//! DHCP and ProxyDHCP: the tables that all lanes share, and the lane in userspace.
//!
//! [`tables::Plan`] says what each interface, network and class is told; [`machine::Machine`] decides; this file moves frames:
//! a packet socket and a thread for each interface. Port 67 is never needed: another DHCP server may have it.

pub mod leases;
pub mod machine;
mod ports;
pub mod render;
pub mod tables;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use netboot_common::Mac;
use netboot_common::class::Class;
use netboot_common::maps::HostKey;
use netboot_common::reply::Scratch;
use netboot_common::stats::Outcome;
use netboot_common::wire::udp;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::time::{ClockId, clock_gettime};

use self::leases::{Book, Entry, State};
use self::machine::{Actions, Arrival, Machine, Now};
use self::tables::Plan;
use crate::fastpath::{self, KernelTables};
use crate::inventory::Snapshot;
use crate::inventory::change::Changed;
use crate::store::{Lease, LeaseState, Store};
use crate::sys::packet::{self, PacketSocket};

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
    observer: Observer,
}

/// How unknown machines and wrong addresses are treated.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub serve_unknown: bool,
    pub authoritative: bool,
}

impl Server {
    /// Fills the tables, then takes up its sockets. `kernel`: the tables of the kernel's lanes, where there are any.
    pub fn start(
        plan: Plan,
        policy: Policy,
        snapshot: &Snapshot,
        store: Arc<Store>,
        kernel: Option<KernelTables>,
        observer: Observer,
    ) -> Result<Self, Error> {
        let now = now();
        let hosts = plan.hosts(snapshot);
        let mut book = Book::default();
        for lease in store.leases()? {
            let (client, entry) = from_lease(lease);
            book.restore(client, entry);
        }
        let Policy { serve_unknown, authoritative } = policy;
        let mut machine = Machine { plan, hosts, book, serve_unknown, authoritative };
        machine.book.set_taken(taken(&machine.plan, snapshot));
        let sockets = open_sockets(&machine.plan)?;
        let kernel = match kernel {
            Some(mut tables) => {
                fill(&mut tables, &machine, now)?;
                Some(Mutex::new(tables))
            }
            None => None,
        };
        let counters = (0..Outcome::COUNT).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { machine: Mutex::new(machine), kernel, store, counters, observer });
        let wake =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| Error::Wake(e.into()))?;
        let wake = Arc::new(wake);
        let threads = sockets
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
        let old = || changed.iter().filter_map(|changed| changed.old.as_ref());
        let new = || changed.iter().filter_map(|changed| changed.new.as_ref());
        let before: HashMap<_, _> = old().flat_map(|host| machine.plan.host_entries(host)).collect();
        let after: HashMap<_, _> = new().flat_map(|host| machine.plan.host_entries(host)).collect();
        let put = after.iter().filter(|(key, value)| before.get(key) != Some(value));
        let mut lessons: Vec<Lesson> = put.map(|(key, value)| Lesson::Put(*key, *value)).collect();
        // New entries before old ones go: a MAC that moves to another host is never without an answer.
        lessons.extend(before.keys().filter(|key| !after.contains_key(key)).map(|key| Lesson::Remove(*key)));
        for key in before.keys() {
            machine.hosts.remove(key);
        }
        machine.hosts.extend(after);
        let fixed = fixed(&machine.plan);
        let free = old().filter_map(|host| host.ip).filter(|ip| !fixed.contains(ip));
        machine.book.change_taken(free, new().filter_map(|host| host.ip));
        self.shared.teach(&lessons)
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

    fn teach(&self, lessons: &[Lesson]) -> Result<(), Error> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
        for lesson in lessons {
            let change = match *lesson {
                Lesson::Put(key, value) => fastpath::Change::Put(key, value),
                Lesson::Remove(key) => fastpath::Change::Remove(key),
            };
            kernel.change(change)?;
        }
        Ok(())
    }
}

/// Replaces what the kernel's tables hold by what is known now: reservations, and the leases that are durable.
fn fill(tables: &mut KernelTables, machine: &Machine, now: Now) -> Result<(), Error> {
    let interfaces: Vec<_> = machine.plan.served.iter().map(|served| (served.key, served.value)).collect();
    let mut hosts: HashMap<HostKey, _> = leased(machine, now).collect();
    hosts.extend(machine.hosts.iter().map(|(key, value)| (*key, *value)));
    let hosts: Vec<_> = hosts.into_iter().collect();
    let templates: Vec<_> = machine.plan.templates.iter().map(|(key, value)| (*key, *value)).collect();
    Ok(tables.replace(&interfaces, &hosts, &templates)?)
}

/// The host entries of leases whose client is its MAC.
fn leased(machine: &Machine, now: Now) -> impl Iterator<Item = (HostKey, netboot_common::maps::HostValue)> {
    machine
        .book
        .entries()
        .filter(move |(_, entry)| entry.state == State::Bound && entry.until > now.unix)
        .flat_map(move |(client, entry)| {
            let by_mac = client.split_first() == Some((&1, &entry.mac.0[..]));
            let value = machine.plan.lease_value(entry.ip, "", false).filter(|_| by_mac);
            let until = now.boot + (entry.until - now.unix);
            let value = value.map(|value| value.with_valid_until(until));
            machine.plan.keys(entry.mac).filter_map(move |key| Some((key, value?)))
        })
}

/// Addresses that are nobody's to lease: reservations, routers, our own.
fn taken(plan: &Plan, snapshot: &Snapshot) -> HashSet<Ipv4Addr> {
    let mut taken = fixed(plan);
    taken.extend(snapshot.hosts().filter_map(|host| host.ip));
    taken
}

/// Those of them that are no reservations.
fn fixed(plan: &Plan) -> HashSet<Ipv4Addr> {
    let routers = plan.subnets.iter().filter_map(|subnet| subnet.router);
    routers.chain(plan.served.iter().map(|served| served.link.address)).collect()
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Now { unix, boot: clock_gettime(ClockId::Boottime).tv_sec as u64 }
}

fn from_lease(lease: Lease) -> (Vec<u8>, Entry) {
    let state = match lease.state {
        LeaseState::Bound => State::Bound,
        LeaseState::Released => State::Released,
        LeaseState::Declined => State::Declined,
    };
    let Lease { ip, client, mac, expires: until, hostname, .. } = lease;
    (client, Entry { ip, mac, until, hostname, state })
}

fn to_lease((client, entry): (Vec<u8>, Entry)) -> Lease {
    let state = match entry.state {
        State::Offered | State::Bound => LeaseState::Bound,
        State::Released => LeaseState::Released,
        State::Declined => LeaseState::Declined,
    };
    let Entry { ip, mac, until: expires, hostname, .. } = entry;
    Lease { ip, client, mac, expires, hostname, state }
}

/// The sockets of one interface.
struct Port {
    interface: String,
    ifindex: u32,
    sockets: Vec<PacketSocket>,
    /// Bound, never read: while somebody listens on 67 and 4011, the kernel answers no client with "port unreachable".
    _ports: ports::Held,
}

/// One port for each interface, however many of its VLANs are served.
fn open_sockets(plan: &Plan) -> Result<Vec<Port>, Error> {
    let mut open: Vec<Port> = Vec::new();
    for served in &plan.served {
        let link = &served.link;
        let double = served.key.vlan()[1] != 0;
        if open.iter().any(|port| port.ifindex == link.index && (port.sockets.len() > 1 || !double)) {
            continue;
        }
        let protocols: &[u16] = if double { &[packet::IPV4, packet::VLAN] } else { &[packet::IPV4] };
        let socket = |protocol: &u16| PacketSocket::open(link.index, *protocol, [udp::DHCP_SERVER, udp::PXE]);
        let sockets = protocols.iter().map(socket).collect::<io::Result<_>>();
        let sockets = sockets.map_err(|source| Error::Socket { interface: link.name.clone(), source })?;
        open.retain(|port| port.ifindex != link.index);
        let held = ports::hold(link.address);
        open.push(Port { interface: link.name.clone(), ifindex: link.index, sockets, _ports: held });
    }
    Ok(open)
}

/// Frames handled between two commits of leases.
const BATCH: usize = 64;

impl Port {
    fn serve(&self, shared: &Shared, wake: &OwnedFd) {
        let mut lane = Lane { scratch: Scratch::new(), frame: [0; 2048], out: [0; 2048] };
        loop {
            let mut waiting: Vec<PollFd<'_>> = self
                .sockets
                .iter()
                .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
                .collect();
            waiting.push(PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN));
            if let Err(error) = poll(&mut waiting, None)
                && error != rustix::io::Errno::INTR
            {
                tracing::error!(interface = %self.interface, %error, "DHCP: waiting for frames");
                return;
            }
            if waiting.last().is_some_and(|wake| !wake.revents().is_empty()) {
                return;
            }
            for socket in &self.sockets {
                self.batch(socket, shared, &mut lane);
            }
        }
    }

    /// Reads what is there, decides, makes all leases durable in one commit, and only then answers.
    fn batch(&self, socket: &PacketSocket, shared: &Shared, lane: &mut Lane) {
        let mut decided: Vec<(Actions, Vec<u8>)> = Vec::new();
        while decided.len() < BATCH {
            match socket.receive(&mut lane.frame) {
                Ok(Some(received)) => {
                    let frame = &lane.frame[..received.length.min(lane.frame.len())];
                    let arrival = Arrival { frame, ifindex: self.ifindex, vlan: received.vlan };
                    let actions = shared.machine().handle(arrival, now(), &mut lane.scratch, &mut lane.out);
                    let reply = actions.send.map(|length| lane.out[..length].to_vec()).unwrap_or_default();
                    decided.push((actions, reply));
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(interface = %self.interface, %error, "DHCP: receiving");
                    break;
                }
            }
        }
        let leases: Vec<Lease> =
            decided.iter().filter_map(|(actions, _)| actions.store.clone()).map(to_lease).collect();
        let durable = leases.is_empty() || self.commit(shared, &leases);
        for (actions, reply) in decided {
            if actions.store.is_none() || durable {
                self.carry_out(socket, shared, actions, &reply);
            }
        }
    }

    fn commit(&self, shared: &Shared, leases: &[Lease]) -> bool {
        match shared.store.put_leases(leases) {
            Ok(()) => true,
            Err(error) => {
                let count = leases.len();
                tracing::error!(interface = %self.interface, count, %error, "DHCP: leases are not durable, so not given");
                false
            }
        }
    }

    fn carry_out(&self, socket: &PacketSocket, shared: &Shared, actions: Actions, reply: &[u8]) {
        // The kernel's lanes first: once the client has its ACK, they may see its next request.
        if let Err(error) = shared.teach(&actions.teach) {
            tracing::warn!(interface = %self.interface, %error, "DHCP: the kernel's lanes were not told");
        }
        if !reply.is_empty()
            && let Err(error) = socket.send(reply)
        {
            tracing::warn!(interface = %self.interface, %error, "DHCP: sending");
        }
        shared.counters[actions.outcome.index() as usize].fetch_add(1, Ordering::Relaxed);
        let Actions { outcome, mac, class, yiaddr: ip, .. } = actions;
        (shared.observer)(Event { outcome, mac, class, ip, interface: self.interface.clone() });
    }
}

/// Buffers of one thread.
struct Lane {
    scratch: Scratch,
    frame: [u8; 2048],
    out: [u8; 2048],
}
