//! The clients, and a server without sockets.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netboot_common::Mac;
use netboot_common::maps::Kind;
use netboot_common::reply::Scratch;
use netboot_common::stats::{Leave, Outcome};

use super::judge::{Client, LEASE, Said};
use crate::config::{Checked, Subnet};
use crate::dhcp::leases::Book;
use crate::dhcp::machine::tests::{Ask, DECLINE, DISCOVER, OUR_MAC, OURS, RELAY, RELEASE, REQUEST, config};
use crate::dhcp::machine::{Arrival, Machine};
use crate::dhcp::port::{Decided, make_durable};
use crate::dhcp::tables::{Link, Numbering, Plan};
use crate::dhcp::{Shared, persist};
use crate::inventory::Snapshot;
use crate::store::{Clock, Store};

const CLIENTS: u64 = 2000;
const ADDRESSES: u32 = 1500;

/// A site whose clients are all behind a relay agent.
pub(super) fn plan() -> Plan {
    let mut far = Subnet::new([10, 9, 0, 0].into(), 16, Duration::from_secs(LEASE));
    let first = u32::from_be_bytes([10, 9, 1, 0]);
    far.pools = vec![(first.into(), (first + ADDRESSES - 1).into())];
    let site = Checked { subnets: vec![far], ..config() };
    let link = |index| Link {
        name: format!("eth{index}"),
        index,
        mac: Mac(OUR_MAC),
        address: OURS.into(),
        prefix: 24,
        mtu: 1500,
    };
    Plan::new(&site, &[link(1), link(2)], Numbering::default()).unwrap()
}

/// Its server on this store.
pub(super) fn server(plan: Plan, store: Store, clock: Clock) -> Shared {
    let mut book = Book::default();
    book.set_pools(plan.pools(), &crate::dhcp::hosts::taken(&plan, &Snapshot::default()));
    for (key, entry) in persist::restore(&plan, &store).unwrap() {
        book.restore(key, entry);
    }
    let (hosts, withheld) = Default::default();
    let (serve_unknown, authoritative, elsewhere) = (true, true, None);
    let machine = Machine { plan, hosts, book, withheld, serve_unknown, elsewhere, authoritative };
    Shared {
        machine: Mutex::new(machine),
        kernel: None,
        store: Arc::new(store),
        clock,
        counters: (0..Outcome::COUNT).map(|_| AtomicU64::new(0)).collect(),
        refusals: Mutex::default(),
        observations: Default::default(),
        behind: Default::default(),
        gate: None,
        observer: Arc::new(|_| {}),
        failing: Mutex::default(),
    }
}

/// Numbers that follow from a seed (xorshift).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Those clients of whom one thread hears.
pub(super) struct Clients {
    random: Random,
    /// Every `of`th client, from `first` on.
    first: u64,
    of: u64,
    bound: HashMap<Client, Ipv4Addr>,
    offered: HashMap<Client, Ipv4Addr>,
    scratch: Scratch,
}

impl Clients {
    /// `bound`: what they believe to have.
    pub(super) fn new(seed: u64, first: u64, of: u64, bound: &HashMap<Client, Ipv4Addr>) -> Self {
        let mine = bound.iter().filter(|(client, _)| u64::from(**client) % of == first);
        let bound = mine.map(|(client, ip)| (*client, *ip)).collect();
        let random = Random::new(seed * of + first + 1);
        Self { random, first, of, bound, offered: HashMap::new(), scratch: Scratch::new() }
    }

    /// A batch of messages, as a port carries it out.
    pub(super) fn batch(&mut self, server: &Shared, say: &mut dyn FnMut(Said)) {
        let count = 1 + self.random.below(16);
        let mut batch = Vec::new();
        for _ in 0..count {
            let client = (self.random.below(CLIENTS / self.of) * self.of + self.first) as Client;
            let frame = self.message(client, say);
            let mut out = [0; 2048];
            let ifindex = 1;
            let arrival = Arrival { frame: &frame, ifindex };
            let actions = server.decide(arrival, &mut self.scratch, &mut out);
            batch.push((client, Decided { actions, reply: Vec::new() }));
        }
        let (clients, mut batch): (Vec<Client>, Vec<Decided>) = batch.into_iter().unzip();
        make_durable(server, &mut batch);
        for (client, Decided { actions, .. }) in clients.into_iter().zip(batch) {
            let now = server.now();
            if let Some((key, value)) = actions.teach
                && server.machine().may_be_taught(&key, &value, now)
            {
                say(Said::Taught {
                    client,
                    ip: value.yiaddr.into(),
                    until: now.unix + value.valid_until() - now.boot,
                });
            }
            if let (Outcome::Left(Leave::Decline), Some((_, entry))) = (actions.outcome, &actions.store) {
                say(Said::Quarantined { ip: entry.ip, until: entry.until });
            }
            let ip = actions.yiaddr;
            match actions.outcome {
                Outcome::Answered(Kind::Offer) => drop(self.offered.insert(client, ip)),
                Outcome::Answered(Kind::Ack) => {
                    say(Said::Acked { client, ip, now: now.unix });
                    self.bound.insert(client, ip);
                }
                Outcome::Answered(Kind::Nak) => drop(self.bound.remove(&client)),
                _ => {}
            }
        }
    }

    /// What the client sends next.
    fn message(&mut self, client: Client, say: &mut dyn FnMut(Said)) -> Vec<u8> {
        let ask = |kind| Ask::new(kind, 0).field(32, client.to_be_bytes());
        let bound = self.bound.get(&client).copied();
        let offered = self.offered.remove(&client);
        let ask = match (bound, offered, self.random.below(20)) {
            (_, Some(ip), _) => ask(REQUEST).option(50, &ip.octets()).option(54, &OURS).relayed(RELAY),
            (Some(ip), _, 0..8) => ask(REQUEST).field(12, ip.octets()).unicast(ip.octets()),
            (Some(ip), _, 8..12) => ask(REQUEST).option(50, &ip.octets()).relayed(RELAY),
            (Some(ip), _, 12..14) => {
                self.gave_back(client, ip, say);
                ask(RELEASE).field(12, ip.octets()).option(54, &OURS).unicast(ip.octets())
            }
            (Some(ip), _, 14) => {
                self.gave_back(client, ip, say);
                ask(DECLINE).option(50, &ip.octets()).option(54, &OURS).relayed(RELAY)
            }
            (_, _, 15..18) => {
                let wish = [10, 9, 1 + self.random.below(6) as u8, self.random.below(256) as u8];
                ask(DISCOVER).option(50, &wish).relayed(RELAY)
            }
            _ => ask(DISCOVER).relayed(RELAY),
        };
        ask.frame()
    }

    fn gave_back(&mut self, client: Client, ip: Ipv4Addr, say: &mut dyn FnMut(Said)) {
        self.bound.remove(&client);
        say(Said::GaveBack { client, ip });
    }
}
