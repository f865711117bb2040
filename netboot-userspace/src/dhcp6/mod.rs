//! DHCPv6: addresses and boot URLs over IPv6 (RFC 8415, RFC 5970), in userspace alone.
//!
//! [`tables::Plan`] is the site, [`machine::Machine`] decides, this file moves datagrams: three sockets and a thread for each
//! interface. Router advertisements are somebody else's: routers send them.

mod client;
mod exchange;
pub mod leases;
pub mod machine;
mod persist;
mod reply;
mod sockets;
mod stats;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod wire;

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netboot_common::Mac;
use netboot_common::class::Class;
use rustix::event::{PollFd, PollFlags, poll};

use self::leases::Book;
use self::machine::{Actions, Arrival, Machine};
use self::sockets::Port;
use self::tables::{Hosts, Link, Plan, Reserved};
use crate::config::Checked;
use crate::inventory::Snapshot;
use crate::inventory::change::Changed;
use crate::inventory::elsewhere::Elsewhere;
use crate::inventory::group::Grouped;
use crate::inventory::identity::Duid;
use crate::store::{Lease6, Store};
use crate::sys::stoppable::Stoppable;

pub use self::stats::{Leave, Outcome};

/// Why DHCPv6 can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{interface}: UDP port 547: {}", explain(source))]
    Socket { interface: String, source: io::Error },
    #[error("the store of DHCPv6 leases")]
    Store(#[from] crate::store::Error),
    #[error("starting a thread")]
    Thread(#[source] io::Error),
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another DHCPv6 server serves this interface".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "no permission (needs CAP_NET_BIND_SERVICE and CAP_NET_RAW)".to_owned()
        }
        _ => error.to_string(),
    }
}

/// What became of one datagram.
#[derive(Clone, Debug)]
pub struct Event {
    pub outcome: Outcome,
    pub mac: Option<Mac>,
    pub class: Option<Class>,
    /// What was given, or offered.
    pub ip: Option<Ipv6Addr>,
    /// The host that it is.
    pub host: Option<String>,
    pub interface: String,
}

type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// The running server.
pub struct Server {
    shared: Arc<Shared>,
    /// A thread for each interface, in the order of [`Plan::served`].
    running: Mutex<Vec<Stoppable>>,
}

struct Shared {
    machine: Mutex<Machine>,
    store: Arc<Store>,
    counters: stats::Counters,
    observer: Observer,
}

impl Server {
    /// Takes up its sockets. `serve_unknown`: whether machines without a host entry are served.
    pub fn start(
        plan: Plan,
        serve_unknown: bool,
        snapshot: &Snapshot,
        store: Arc<Store>,
        observer: Observer,
    ) -> Result<Self, Error> {
        let mut book = Book::default();
        for (holder, entry) in persist::restore(&plan, &store)? {
            book.restore(holder, entry);
        }
        // What a flood left in the store, too.
        plan.pools().for_each(|pool| book.bound_declined(pool));
        book.set_taken(plan.taken(snapshot));
        let links: Vec<Link> = plan.served.iter().map(|served| served.link.clone()).collect();
        let ends = links.into_iter().enumerate().map(|(index, link)| End::open(index, &link));
        let ends = ends.collect::<Result<Vec<_>, _>>()?;
        let hosts = Hosts::new(snapshot);
        let machine = Mutex::new(Machine { plan, hosts, book, serve_unknown, elsewhere: None });
        let counters = stats::Counters::default();
        let shared = Arc::new(Shared { machine, store, counters, observer });
        let running = ends.into_iter().map(|end| end.start(shared.clone()));
        let running = Mutex::new(running.collect::<Result<_, _>>()?);
        Ok(Self { shared, running })
    }

    /// Serves those as well that the inventory does not know, and `elsewhere` does.
    pub fn serve_known_elsewhere(&self, elsewhere: Arc<dyn Elsewhere>) {
        self.shared.machine().elsewhere = Some(elsewhere);
    }

    /// Puts an inventory's changes into force before it returns: the next message sees them.
    pub fn apply(&self, changed: &[Changed]) {
        self.shared.machine().apply(changed);
    }

    /// The same of the inventory's groups: hosts to which they give another profile are told what that one says.
    pub fn regroup(&self, snapshot: &Snapshot) {
        let before = self.shared.machine().hosts.groups().clone();
        // Whoever may change the inventory is here: meanwhile the hosts stay who they are. Requests wait for a few at a time.
        let (moved, grouped) = (snapshot.moved(&before).collect::<Vec<_>>(), Grouped::of(snapshot.groups()));
        self.shared.machine().hosts.regroup(snapshot.groups(), grouped);
        for hosts in moved.chunks(CHUNK) {
            let reserved: Vec<_> = hosts.iter().map(|host| Reserved::of(host, snapshot.groups())).collect();
            let mut machine = self.shared.machine();
            hosts.iter().zip(reserved).for_each(|(host, reserved)| machine.hosts.reserve(host, reserved));
        }
    }

    /// The plan of another configuration, for the same interfaces.
    pub fn plan(&self, config: &Checked, links: &[Link]) -> Plan {
        Plan::new(config, links, self.shared.machine().plan.server_id.clone())
    }

    /// Puts another configuration into force, for the same interfaces, with the hosts of `snapshot`.
    pub fn switch(&self, plan: Plan, serve_unknown: bool, snapshot: &Snapshot) {
        let (taken, hosts) = (plan.taken(snapshot), Hosts::new(snapshot));
        let mut machine = self.shared.machine();
        let before = machine.succeed(plan, hosts, taken);
        machine.serve_unknown = serve_unknown;
        drop(machine);
        // It is large: nobody waits for that.
        drop(before);
    }

    /// The interfaces that are served, as they were last seen, and the prefix lengths of their networks.
    pub fn links(&self) -> Vec<(Link, u8)> {
        let machine = self.shared.machine();
        machine.plan.served.iter().map(|served| (served.link.clone(), served.subnet.prefix)).collect()
    }

    /// The interface of this name was made anew, or has another MAC: from now on it is served as what it is.
    ///
    /// # Errors
    /// It can't be; all is as before.
    pub fn relink(&self, link: &Link) -> Result<(), Error> {
        let mut machine = self.shared.machine();
        let mut served = machine.plan.served.iter_mut().enumerate();
        let Some((index, served)) = served.find(|(_, served)| served.link.name == link.name) else {
            return Ok(());
        };
        // The sockets of an interface are its own for as long as it is there.
        let ended = if served.link.index == link.index {
            None
        } else {
            // What they hear is decided when the machine is free again.
            let started = End::open(index, link)?.start(self.shared.clone())?;
            self.running().get_mut(index).map(|running| std::mem::replace(running, started))
        };
        served.link = link.clone();
        drop(machine);
        ended.into_iter().for_each(Stoppable::stop);
        Ok(())
    }

    /// What was counted, by outcome; those that are zero are left out.
    pub fn counts(&self) -> Vec<(String, u64)> {
        self.shared.counters.all()
    }

    /// Ends the threads.
    pub fn shutdown(&self) {
        self.running().drain(..).for_each(Stoppable::stop);
    }

    fn running(&self) -> MutexGuard<'_, Vec<Stoppable>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
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
}

/// Hosts that are taken over while requests wait.
const CHUNK: usize = 256;

const SERVER_ID: &str = "dhcp6/server-id";

/// Our DUID: the one that the store has, so that it stays the same whatever becomes of the interfaces (RFC 8415 section 11), or
/// else one made of `mac`, which is stored then.
pub fn server_id(store: &Store, mac: Mac) -> Result<Vec<u8>, Error> {
    let stored = store.values::<String>(SERVER_ID)?.into_iter().next();
    if let Some(duid) = stored.and_then(|(_, text)| text.parse::<Duid>().ok()) {
        return Ok(duid.0);
    }
    // DUID-LL (RFC 8415 section 11.4) of an Ethernet address.
    let duid = Duid([&[0, 3, 0, 1], &mac.0[..]].concat());
    store.put_values(&[(SERVER_ID, Some(&duid.to_string()))])?.wait()?;
    Ok(duid.0)
}

/// Datagrams handled between two commits of leases.
const BATCH: usize = 64;
/// Longer ones are no client's.
const LONGEST: usize = 4096;

/// One interface's sockets.
struct End {
    interface: String,
    /// Which of [`Plan::served`].
    index: usize,
    ports: Vec<Port>,
}

/// A datagram that was decided, and where its answer goes.
struct Decided {
    actions: Actions,
    reply: Vec<u8>,
    to: SocketAddrV6,
}

impl End {
    fn open(index: usize, link: &Link) -> Result<Self, Error> {
        let interface = link.name.clone();
        match sockets::open(link) {
            Ok(ports) => Ok(Self { interface, index, ports }),
            Err(source) => Err(Error::Socket { interface, source }),
        }
    }

    /// Serves in a thread of its own, until it is stopped.
    fn start(self, shared: Arc<Shared>) -> Result<Stoppable, Error> {
        Stoppable::start("dhcp6", move |wake| self.serve(&shared, wake)).map_err(Error::Thread)
    }

    /// Until `wake` is readable.
    fn serve(&self, shared: &Shared, wake: &OwnedFd) {
        let mut buffers = Box::new([[0; LONGEST]; 2]);
        loop {
            let sockets =
                self.ports.iter().map(|port| PollFd::from_borrowed_fd(port.socket.as_fd(), PollFlags::IN));
            let mut waiting: Vec<PollFd<'_>> = sockets.collect();
            waiting.push(PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN));
            if let Err(error) = poll(&mut waiting, None)
                && error != rustix::io::Errno::INTR
            {
                tracing::error!(interface = %self.interface, %error, "DHCPv6: waiting for datagrams");
                return;
            }
            if waiting.last().is_some_and(|wake| !wake.revents().is_empty()) {
                return;
            }
            self.ports.iter().for_each(|port| self.batch(port, shared, &mut buffers));
        }
    }

    /// Reads what is there, decides, makes all leases durable in one commit, and only then answers.
    fn batch(&self, port: &Port, shared: &Shared, [datagram, out]: &mut [[u8; LONGEST]; 2]) {
        let mut decided: Vec<Decided> = Vec::new();
        while decided.len() < BATCH {
            let (length, from) = match port.socket.recv_from(datagram) {
                Ok((length, SocketAddr::V6(from))) => (length, from),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::warn!(interface = %self.interface, %error, "DHCPv6: receiving");
                    break;
                }
            };
            let arrival = Arrival {
                datagram: &datagram[..length],
                interface: self.index,
                source: *from.ip(),
                to_group: port.is_group,
            };
            let actions = shared.machine().handle(arrival, shared.store.clock().now(), out);
            let (length, port) = actions.send.unwrap_or_default();
            let to = SocketAddrV6::new(*from.ip(), port, 0, from.scope_id());
            decided.push(Decided { actions, reply: out[..length].to_vec(), to });
        }
        let stored = decided.iter().flat_map(|decided| decided.actions.store.clone());
        let now = shared.store.clock().now();
        let leases: Vec<Lease6> = stored.map(|lease| persist::to_lease(lease, now)).collect();
        let durable = leases.is_empty() || self.commit(shared, &leases);
        decided.into_iter().for_each(|decided| self.carry_out(shared, decided, durable));
    }

    fn commit(&self, shared: &Shared, leases: &[Lease6]) -> bool {
        let written = shared.store.put_leases6(leases);
        if let Err(error) = &written {
            let count = leases.len();
            tracing::error!(interface = %self.interface, count, %error, "DHCPv6: leases are not durable, so not given");
        }
        written.is_ok()
    }

    fn carry_out(&self, shared: &Shared, decided: Decided, durable: bool) {
        let Decided { actions, reply, to } = decided;
        let Actions { mut outcome, mac, class, ip, host, store, .. } = actions;
        if !store.is_empty() && !durable {
            outcome = Outcome::Left(Leave::NotDurable);
        } else if let (false, Some(own)) = (reply.is_empty(), self.ports.last())
            && let Err(error) = own.socket.send_to(&reply, to)
        {
            tracing::warn!(interface = %self.interface, %to, %error, "DHCPv6: sending");
        }
        shared.counters.add(outcome);
        (shared.observer)(Event { outcome, mac, class, ip, host, interface: self.interface.clone() });
    }
}
