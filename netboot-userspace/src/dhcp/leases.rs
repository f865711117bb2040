//! The book of dynamic leases: who has which address of a pool. Pure: time is an argument, and nothing is on disk before
//! the caller put it there.
//!
//! **Invariant:** an address has one entry, and an entry that is bound and not over is reused for nobody else, whatever its
//! client asked for since.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

use netboot_common::Mac;

use super::pools::{Pool, Pools};

/// Who holds a lease: option 61's bytes, or the hardware type and the MAC (RFC 2131 section 4.2, RFC 4361).
pub type ClientId = Vec<u8>;

/// A client on one link: on another link it has another lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The number of its link: an interface's networks, or a relay agent's.
    pub link: u16,
    pub client: ClientId,
}

impl Key {
    /// Whether its client sent no identifier but this address.
    pub fn is_by_mac(&self, mac: Mac) -> bool {
        self.client.split_first() == Some((&1, &mac.0[..]))
    }
}

/// How long an address that was offered is kept for the answer, in seconds.
const OFFER: u64 = 60;

/// An address and its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub ip: Ipv4Addr,
    pub mac: Mac,
    /// Unix time, seconds.
    pub until: u64,
    pub hostname: String,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Kept for a client that has not asked for it yet. Not durable: a crash forgets it, and nothing was promised.
    Offered,
    Bound,
    /// Given back: free for others, first choice of the same client.
    Released,
    /// In use by somebody unknown (DECLINE, or an answered probe): nobody's until `until`.
    Declined,
}

/// An address for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub ip: Ipv4Addr,
    /// This client did not have it before: somebody else may use it without our knowing.
    pub fresh: bool,
}

/// Every entry, by address and by client.
#[derive(Clone, Debug, Default)]
pub struct Book {
    entries: BTreeMap<Ipv4Addr, (Key, Entry)>,
    /// The address that is the client's now. Those that it had before stay its own until they are over.
    current: HashMap<Key, Ipv4Addr>,
    pools: Pools,
}

impl Book {
    /// The pools, and the addresses in them that belong to hosts of the inventory, routers and ourselves.
    pub fn set_pools(&mut self, pools: Vec<Pool>, taken: &HashSet<Ipv4Addr>) {
        self.pools = Pools::new(pools, taken);
        for (_, entry) in self.entries.values() {
            self.pools.put(entry.ip, entry.until);
        }
    }

    /// Gives some addresses back to the pools, then takes others out.
    pub fn change_taken(
        &mut self,
        free: impl Iterator<Item = Ipv4Addr>,
        take: impl Iterator<Item = Ipv4Addr>,
    ) {
        free.for_each(|ip| self.pools.set_taken(ip, false));
        take.for_each(|ip| self.pools.set_taken(ip, true));
    }

    /// Puts in what the store kept. Of several addresses of one client, the one that is its own longest is the current one.
    pub fn restore(&mut self, key: Key, entry: Entry) {
        self.pools.put(entry.ip, entry.until);
        let rank = |entry: &Entry| (entry.state == State::Bound, entry.until);
        let current = self.current.get(&key).and_then(|ip| self.entries.get(ip));
        if entry.state != State::Declined && current.is_none_or(|(_, other)| rank(other) < rank(&entry)) {
            self.current.insert(key.clone(), entry.ip);
        }
        self.entries.insert(entry.ip, (key, entry));
    }

    /// The client's current entry.
    pub fn of(&self, key: &Key) -> Option<&Entry> {
        self.current.get(key).and_then(|ip| self.entries.get(ip)).map(|(_, entry)| entry)
    }

    /// Whose an address is.
    pub fn at(&self, ip: Ipv4Addr) -> Option<(&Key, &Entry)> {
        self.entries.get(&ip).map(|(key, entry)| (key, entry))
    }

    /// Every entry, by address.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.values().map(|(key, entry)| (key, entry))
    }

    /// Every entry, and no more book.
    pub fn into_entries(self) -> impl Iterator<Item = (Key, Entry)> {
        self.entries.into_values()
    }

    /// An address to offer: the client's current or previous one, else the one that it asks for, else a free one
    /// (RFC 2131 section 4.3.1). `None`: the pools of these networks are used up.
    pub fn offer(
        &mut self,
        key: &Key,
        mac: Mac,
        networks: &[u16],
        requested: Option<Ipv4Addr>,
        now: u64,
    ) -> Option<Offer> {
        let own = self.of(key).map(|entry| entry.ip);
        let wanted = [own, requested].into_iter().flatten().find(|&ip| self.usable(key, networks, ip, now));
        let ip = wanted
            .or_else(|| networks.iter().find_map(|&network| self.pools.free(network, &key.client, now)))?;
        let had = self.entries.get(&ip).is_some_and(|(holder, _)| holder == key);
        let bound = self.of(key).is_some_and(|entry| entry.ip == ip && entry.state == State::Bound);
        if !bound {
            let entry = Entry { ip, mac, until: now + OFFER, hostname: String::new(), state: State::Offered };
            self.enter(key, entry);
        }
        Some(Offer { ip, fresh: !had })
    }

    /// The address that a REQUEST may be answered with: the client's own, offered or bound. One that is over is the client's
    /// again if nobody else got it meanwhile.
    pub fn held(&mut self, key: &Key, networks: &[u16], now: u64) -> Option<Ipv4Addr> {
        let entry = self.of(key)?;
        let (ip, state) = (entry.ip, entry.state);
        let live = matches!(state, State::Offered | State::Bound) && entry.until > now;
        let again = matches!(state, State::Bound) && self.usable(key, networks, ip, now);
        (live || again).then_some(ip)
    }

    /// Binds what the client holds until `until`. The caller makes it durable before it tells the client.
    pub fn bind(&mut self, key: &Key, until: u64, hostname: &str) -> Option<Entry> {
        let ip = *self.current.get(key)?;
        let (_, entry) = self.entries.get_mut(&ip)?;
        let until = if entry.state == State::Bound { entry.until.max(until) } else { until };
        (entry.state, entry.until) = (State::Bound, until);
        hostname.clone_into(&mut entry.hostname);
        let entry = entry.clone();
        self.pools.put(ip, entry.until);
        Some(entry)
    }

    /// The client took another server's offer: ours is free again.
    pub fn withdraw(&mut self, key: &Key) {
        if self.of(key).is_some_and(|entry| entry.state == State::Offered)
            && let Some(ip) = self.current.remove(key)
        {
            self.entries.remove(&ip);
            self.pools.take_out(ip);
        }
    }

    /// The client gives `ip` back.
    pub fn release(&mut self, key: &Key, ip: Ipv4Addr, now: u64) -> Option<Entry> {
        let (_, entry) = self.entries.get_mut(&ip).filter(|(holder, _)| holder == key)?;
        (entry.state, entry.until) = (State::Released, now);
        let entry = entry.clone();
        self.pools.put(ip, now);
        Some(entry)
    }

    /// `ip` is in use by somebody unknown: kept from everybody until `until`. `key`: who found it out; `None`: we did.
    pub fn decline(&mut self, key: Option<&Key>, ip: Ipv4Addr, until: u64) -> Option<(Key, Entry)> {
        let (holder, entry) =
            self.entries.get_mut(&ip).filter(|(holder, _)| key.is_none_or(|key| holder == key))?;
        (entry.state, entry.until) = (State::Declined, until);
        if self.current.get(holder) == Some(&ip) {
            self.current.remove(holder);
        }
        self.pools.put(ip, until);
        Some((holder.clone(), entry.clone()))
    }

    fn enter(&mut self, key: &Key, entry: Entry) {
        self.pools.put(entry.ip, entry.until);
        let ip = entry.ip;
        if let Some((displaced, _)) = self.entries.insert(ip, (key.clone(), entry))
            && displaced != *key
            && self.current.get(&displaced) == Some(&ip)
        {
            self.current.remove(&displaced);
        }
        let previous = self.current.insert(key.clone(), ip).filter(|previous| *previous != ip);
        // An offer that it did not take; what was bound stays until it is over.
        if let Some(previous) = previous
            && self.entries.get(&previous).is_some_and(|(_, entry)| entry.state == State::Offered)
        {
            self.entries.remove(&previous);
            self.pools.take_out(previous);
        }
    }

    /// Whether the client may be offered `ip`.
    fn usable(&self, key: &Key, networks: &[u16], ip: Ipv4Addr, now: u64) -> bool {
        if !networks.iter().any(|&network| self.pools.may_lease(network, ip)) {
            return false;
        }
        let Some((holder, entry)) = self.entries.get(&ip) else { return true };
        match entry.state {
            State::Released => true,
            State::Declined => entry.until <= now,
            State::Offered | State::Bound => holder == key || entry.until <= now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const NET: &[u16] = &[0];

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn key(client: &[u8]) -> Key {
        Key { link: 0, client: client.to_vec() }
    }

    /// Addresses 10 to 13, but for those taken.
    fn book(taken: &[Ipv4Addr]) -> Book {
        let mut book = Book::default();
        let pool = Pool { network: 0, ranges: vec![(ip(10), ip(13))] };
        book.set_pools(vec![pool], &taken.iter().copied().collect());
        book
    }

    fn offer(book: &mut Book, client: &[u8], requested: Option<Ipv4Addr>, now: u64) -> Option<Ipv4Addr> {
        book.offer(&key(client), MAC, NET, requested, now).map(|offer| offer.ip)
    }

    #[test]
    fn rfc2131_12_the_current_then_the_previous_then_the_requested_address() {
        let mut book = book(&[]);
        assert_eq!(offer(&mut book, b"a", Some(ip(12)), 0), Some(ip(12)), "requested");
        book.bind(&key(b"a"), 100, "");
        assert_eq!(offer(&mut book, b"a", Some(ip(11)), 50), Some(ip(12)), "current");
        assert_eq!(offer(&mut book, b"a", Some(ip(11)), 500), Some(ip(12)), "previous");
        book.bind(&key(b"a"), 600, "");
        book.release(&key(b"a"), ip(12), 550);
        assert_eq!(offer(&mut book, b"a", None, 560), Some(ip(12)), "released");
    }

    #[test]
    fn an_address_is_never_given_twice_and_a_full_pool_gives_none() {
        let mut book = book(&[]);
        let mut given: Vec<_> = (0..4_u8).map(|i| offer(&mut book, &[i, 0], None, 0).unwrap()).collect();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 4);
        assert_eq!(offer(&mut book, b"late", None, 0), None);
        assert!(
            offer(&mut book, b"late", None, OFFER + 1).is_some(),
            "offers that nobody took are free again"
        );
    }

    #[test]
    fn of_those_that_are_over_the_oldest_goes_first() {
        let mut book = book(&[]);
        for (i, until) in [(0_u8, 300), (1, 100), (2, 200), (3, 400)] {
            offer(&mut book, &[i, 0], Some(ip(10 + i)), 0).unwrap();
            book.bind(&key(&[i, 0]), until, "").unwrap();
        }
        assert_eq!(offer(&mut book, b"new", None, 99), None);
        assert_eq!(offer(&mut book, b"new", None, 250), Some(ip(11)));
    }

    #[test]
    fn rfc2131_9_a_declined_address_is_held_out() {
        let mut book = book(&[]);
        let first = offer(&mut book, b"a", None, 0).unwrap();
        book.bind(&key(b"a"), 100, "");
        assert!(book.decline(Some(&key(b"b")), first, 1000).is_none(), "another's is not its to decline");
        book.decline(Some(&key(b"a")), first, 1000).unwrap();
        for client in [&b"a"[..], b"b", b"c"] {
            assert_ne!(offer(&mut book, client, Some(first), 10), Some(first));
        }
        assert_ne!(book.held(&key(b"a"), NET, 10), Some(first));
        assert_eq!(offer(&mut book, b"d", Some(first), 1001), Some(first), "the quarantine ends");
    }

    #[test]
    fn rfc2131_6_an_offer_that_was_not_taken_is_freed() {
        let mut book = book(&[]);
        let first = offer(&mut book, b"a", None, 0).unwrap();
        book.withdraw(&key(b"a"));
        assert_eq!(book.held(&key(b"a"), NET, 1), None);
        assert_eq!(offer(&mut book, b"b", Some(first), 1), Some(first));
        book.bind(&key(b"b"), 100, "");
        book.withdraw(&key(b"b"));
        assert_eq!(book.held(&key(b"b"), NET, 2), Some(first), "a binding stays");
    }

    #[test]
    fn addresses_of_the_inventory_are_not_leased() {
        let mut book = book(&[ip(10), ip(11), ip(12)]);
        assert_eq!(offer(&mut book, b"a", Some(ip(10)), 0), Some(ip(13)));
        assert_eq!(offer(&mut book, b"b", None, 0), None);
        // A reservation moves on: its old address is free, unless another one has it now.
        book.change_taken([ip(10), ip(11)].into_iter(), [ip(11), ip(13)].into_iter());
        assert_eq!(offer(&mut book, b"b", Some(ip(11)), 0), Some(ip(10)));
    }

    #[test]
    fn a_lease_that_ran_out_is_its_clients_until_somebody_else_gets_it() {
        let mut book = book(&[]);
        let ip = offer(&mut book, b"a", None, 0).unwrap();
        assert_eq!(book.held(&key(b"a"), NET, 10), Some(ip));
        assert_eq!(book.held(&key(b"a"), NET, OFFER), None, "an offer ends");
        book.bind(&key(b"a"), 100, "");
        assert_eq!(book.held(&key(b"a"), NET, 100), Some(ip));
        assert_eq!(offer(&mut book, b"b", Some(ip), 100), Some(ip));
        assert_eq!(book.held(&key(b"a"), NET, 101), None);
    }

    #[test]
    fn a_client_has_a_lease_on_each_link() {
        let mut book = Book::default();
        let pool = |network, last| Pool { network, ranges: vec![(ip(last), ip(last + 1))] };
        book.set_pools(vec![pool(0, 10), pool(1, 20)], &HashSet::new());
        let on = |link| Key { link, client: b"a".to_vec() };
        let first = book.offer(&on(0), MAC, &[0], None, 0).unwrap().ip;
        let second = book.offer(&on(1), MAC, &[1], None, 0).unwrap().ip;
        book.bind(&on(0), 100, "");
        book.bind(&on(1), 100, "");
        assert_ne!(first, second);
        assert_eq!(book.held(&on(0), &[0], 1), Some(first));
        assert_eq!(book.held(&on(1), &[1], 1), Some(second));
    }

    #[test]
    fn what_was_bound_stays_so_when_its_client_moves_on_also_after_a_restart() {
        let mut before = book(&[]);
        let mut after = book(&[]);
        assert_eq!(offer(&mut before, b"a", Some(ip(12)), 0), Some(ip(12)));
        let old = before.bind(&key(b"a"), 1000, "").unwrap();
        // The pool shrinks, and the client gets another address; its first lease is not over.
        before.set_pools(vec![Pool { network: 0, ranges: vec![(ip(10), ip(11))] }], &HashSet::new());
        let new = offer(&mut before, b"a", None, 10).unwrap();
        let new = before.bind(&key(b"a"), 2000, "").filter(|entry| entry.ip == new).unwrap();
        for entry in [new.clone(), old.clone()] {
            after.restore(key(b"a"), entry);
        }
        for book in [&mut before, &mut after] {
            assert_eq!(book.of(&key(b"a")).map(|entry| entry.ip), Some(new.ip));
            assert_ne!(offer(book, b"b", Some(old.ip), 20), Some(old.ip));
        }
    }
}
