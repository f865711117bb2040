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

/// How long an address that somebody unknown uses is kept from everybody, in seconds.
pub const QUARANTINE: u64 = 3600;
/// How long an address that was offered is kept for the answer, in seconds.
const OFFER: u64 = 60;

/// An address and its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub ip: Ipv4Addr,
    pub mac: Mac,
    /// Unix time, seconds.
    pub until: u64,
    /// Until when the disk knows it as bound, Unix time: nothing beyond is promised to anybody. 0: not at all.
    pub durable: u64,
    pub hostname: String,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Kept for a client that has not asked for it yet. Not durable: a crash forgets it, and nothing was promised.
    Offered,
    /// The client's. It may be told so as far as the binding is [durable](Entry::durable).
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
    /// Whose lease of it was over, or given back: nobody must go on promising it to him.
    pub displaced: Option<Mac>,
}

impl Entry {
    /// Kept for a client that was offered it just now.
    fn offered(ip: Ipv4Addr, mac: Mac, now: u64) -> Self {
        Self { ip, mac, until: now + OFFER, durable: 0, hostname: String::new(), state: State::Offered }
    }
}

impl Offer {
    /// Of an address that the client has.
    pub fn known(ip: Ipv4Addr) -> Self {
        Self { ip, fresh: false, displaced: None }
    }
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
        // What is held without a client, was a reservation.
        let (ip, by_client) = (entry.ip, entry.state == State::Declined && !key.client.is_empty());
        self.entries.insert(ip, (key, entry));
        if by_client {
            self.bound_declined(ip);
        }
    }

    /// The client's current entry.
    pub fn of(&self, key: &Key) -> Option<&Entry> {
        self.current.get(key).and_then(|ip| self.entries.get(ip)).map(|(_, entry)| entry)
    }

    /// Whether `ip` is what this client has now. Of what it had before, nothing is promised any more.
    pub fn is_current(&self, key: &Key, ip: Ipv4Addr) -> bool {
        self.current.get(key) == Some(&ip)
    }

    /// Whose an address is.
    pub fn at(&self, ip: Ipv4Addr) -> Option<(&Key, &Entry)> {
        self.entries.get(&ip).map(|(key, entry)| (key, entry))
    }

    /// Every entry, by address.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.values().map(|(key, entry)| (key, entry))
    }

    /// Every entry; none is left.
    pub fn take_entries(&mut self) -> impl Iterator<Item = (Key, Entry)> {
        self.current.clear();
        std::mem::take(&mut self.entries).into_values()
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
        let there = self.entries.get(&ip);
        let had = there.is_some_and(|(holder, entry)| holder == key && entry.state != State::Declined);
        let displaced = there.filter(|(holder, _)| holder != key).map(|(_, entry)| entry.mac);
        match self.entries.get_mut(&ip) {
            Some((holder, entry)) if holder == key && entry.state == State::Bound => {
                // It may be over: then it is kept as any other offer.
                entry.until = entry.until.max(now + OFFER);
                let until = entry.until;
                self.pools.put(ip, until);
                self.current.insert(key.clone(), ip);
            }
            _ => self.enter(key, Entry::offered(ip, mac, now)),
        }
        Some(Offer { ip, fresh: !had, displaced })
    }

    /// The address that a REQUEST may be answered with: the client's own, offered or bound. One that is over is the client's
    /// again if nobody else got it meanwhile. One that the inventory gave away is not renewed.
    pub fn held(&mut self, key: &Key, networks: &[u16], now: u64) -> Option<Ipv4Addr> {
        let entry = self.of(key)?;
        let (ip, state) = (entry.ip, entry.state);
        let live = matches!(state, State::Offered | State::Bound) && entry.until > now;
        let again = matches!(state, State::Bound) && self.usable(key, networks, ip, now);
        ((live && !self.pools.is_taken(ip)) || again).then_some(ip)
    }

    /// Whether the client has a lease whose address the inventory gave to somebody.
    pub fn gave_away(&self, key: &Key, now: u64) -> bool {
        let held = self.of(key).filter(|entry| entry.state == State::Bound && entry.until > now);
        held.is_some_and(|entry| self.pools.is_taken(entry.ip))
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

    /// What is to be written for a decision about an address: the entry as it is now, for more may have been decided since.
    /// `None`: the address has become another client's, whose entry must not be overwritten.
    pub fn to_write(&self, key: &Key, decided: &Entry) -> Option<Entry> {
        match self.entries.get(&decided.ip) {
            Some((holder, _)) if holder != key => None,
            Some((_, entry)) if entry.state != State::Offered => Some(entry.clone()),
            // Offers are not written.
            _ => Some(decided.clone()),
        }
    }

    /// What was decided is on the disk. Whether its client may be told: the address is its own still.
    pub fn written(&mut self, key: &Key, decided: &Entry) -> bool {
        if decided.state != State::Bound {
            return true;
        }
        let Some((holder, entry)) = self.entries.get_mut(&decided.ip) else { return false };
        if holder != key || !matches!(entry.state, State::Bound | State::Offered) {
            return false;
        }
        entry.state = State::Bound;
        entry.until = entry.until.max(decided.until);
        entry.durable = entry.durable.max(decided.until);
        let until = entry.until;
        self.pools.put(decided.ip, until);
        true
    }

    /// What was decided is not on the disk: a binding is what it was before, and the address is kept a little for the client
    /// that asks again. What was given back stays so: that breaks no promise.
    pub fn not_written(&mut self, key: &Key, decided: &Entry, now: u64) {
        let Some((holder, entry)) = self.entries.get_mut(&decided.ip) else { return };
        if holder != key || entry.state != State::Bound || entry.durable >= decided.until {
            return;
        }
        if entry.durable > now {
            entry.until = entry.durable;
        } else {
            (entry.state, entry.until) = (State::Offered, now + OFFER);
        }
        let until = entry.until;
        self.pools.put(decided.ip, until);
    }

    /// Whether somebody's lease of `ip` goes beyond `now`.
    pub fn leased(&self, ip: Ipv4Addr, now: u64) -> Option<(&Key, &Entry)> {
        self.at(ip).filter(|(_, entry)| entry.state == State::Bound && entry.until > now)
    }

    /// The lease of `ip` is not renewed any more: it is over by `until`, at the latest. Whose it is.
    pub fn end_by(&mut self, ip: Ipv4Addr, until: u64) -> Option<Mac> {
        let (_, entry) = self.entries.get_mut(&ip).filter(|(_, entry)| entry.state == State::Bound)?;
        entry.until = entry.until.min(until);
        entry.durable = entry.durable.min(entry.until);
        let (mac, until) = (entry.mac, entry.until);
        self.pools.put(ip, until);
        Some(mac)
    }

    /// `ip` was a reservation of `mac` until now, and may be in use until `until`: it is leased to nobody before. What is to be
    /// stored; `None`: it is in no pool, or leased.
    pub fn hold(&mut self, ip: Ipv4Addr, mac: Mac, now: u64, until: u64) -> Option<(Key, Entry)> {
        if !self.pools.contain(ip) || self.leased(ip, now).is_some() {
            return None;
        }
        let key = Key { link: u16::MAX, client: Vec::new() };
        let entry = Entry { state: State::Declined, until, ..Entry::offered(ip, mac, 0) };
        if let Some((displaced, _)) = self.entries.insert(ip, (key.clone(), entry.clone()))
            && self.current.get(&displaced) == Some(&ip)
        {
            self.current.remove(&displaced);
        }
        self.pools.put(ip, until);
        Some((key, entry))
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
        let (_, entry) = self
            .entries
            .get_mut(&ip)
            .filter(|(holder, entry)| holder == key && entry.state != State::Declined)?;
        (entry.state, entry.until, entry.durable) = (State::Released, now, 0);
        let entry = entry.clone();
        self.pools.put(ip, now);
        Some(entry)
    }

    /// `ip` is in use by somebody unknown: kept from everybody until `until`. `key`: who found it out; `None`: we did. Clients that
    /// decline all they are offered use up no pool: of what they say, the oldest is forgotten beyond a quarter of it. Who is offered
    /// such an address next, is offered it behind a probe.
    pub fn decline(&mut self, key: Option<&Key>, ip: Ipv4Addr, until: u64) -> Option<(Key, Entry)> {
        let (holder, entry) =
            self.entries.get_mut(&ip).filter(|(holder, _)| key.is_none_or(|key| holder == key))?;
        (entry.state, entry.until, entry.durable) = (State::Declined, until, 0);
        if self.current.get(holder) == Some(&ip) {
            self.current.remove(holder);
        }
        self.pools.put(ip, until);
        let declined = (holder.clone(), entry.clone());
        if key.is_some() {
            self.bound_declined(ip);
        }
        Some(declined)
    }

    /// A client declined `ip`: what was declined first may have to make room.
    fn bound_declined(&mut self, ip: Ipv4Addr) {
        let Some(freed) = self.pools.decline(ip) else { return };
        if let Some((_, entry)) = self.entries.get_mut(&freed) {
            // It was somebody's, or nobody's, until it was declined.
            (entry.state, entry.until) = (State::Released, entry.until.saturating_sub(QUARANTINE));
            let until = entry.until;
            self.pools.put(freed, until);
        }
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
    fn clients_that_decline_everything_use_up_no_pool() {
        let mut book = Book::default();
        let pool = Pool { network: 0, ranges: vec![(ip(10), ip(17))] };
        book.set_pools(vec![pool.clone()], &HashSet::new());
        let mut declined = Vec::new();
        for i in 0..100_u8 {
            let now = u64::from(i);
            let given = offer(&mut book, &[i, 0], None, now).expect("there is always one");
            declined.push(given);
            book.decline(Some(&key(&[i, 0])), given, now + QUARANTINE).unwrap();
        }
        let kept = |book: &Book| -> Vec<_> {
            let kept = book.entries().filter(|(_, entry)| entry.state == State::Declined);
            kept.map(|(_, entry)| entry.ip).collect()
        };
        let mut last = declined.split_off(98);
        last.sort_unstable();
        assert_eq!(kept(&book), last, "a quarter of eight, and those that were declined last");
        // Our own probes are no hearsay.
        for i in 100..106_u8 {
            let given = offer(&mut book, &[i, 0], None, 100).unwrap();
            book.decline(None, given, 100 + QUARANTINE).unwrap();
        }
        assert_eq!((kept(&book).len(), offer(&mut book, b"late", None, 100)), (8, None));
        // A start finds the same: what a flood left in the store is bounded, too.
        let mut entries: Vec<_> = book.take_entries().collect();
        let mut restored = Book::default();
        restored.set_pools(vec![pool], &HashSet::new());
        entries.reverse();
        entries.into_iter().for_each(|(key, entry)| restored.restore(key, entry));
        assert_eq!(kept(&restored).len(), 2);
        assert!(offer(&mut restored, b"late", None, 200).is_some());
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

    /// Bound in memory; the caller says what became of it on the disk.
    fn bind(book: &mut Book, client: &[u8], until: u64) -> Entry {
        book.bind(&key(client), until, "").unwrap()
    }

    #[test]
    fn a_binding_that_is_not_written_is_what_it_was_before() {
        let mut book = book(&[]);
        let ip = offer(&mut book, b"a", None, 0).unwrap();
        let first = bind(&mut book, b"a", 100);
        assert_eq!(book.of(&key(b"a")).unwrap().durable, 0, "nothing is promised yet");
        book.not_written(&key(b"a"), &first, 10);
        assert_eq!(
            book.of(&key(b"a")).map(|entry| (entry.state, entry.until)),
            Some((State::Offered, 10 + OFFER))
        );
        assert_ne!(offer(&mut book, b"b", Some(ip), 20), Some(ip), "kept for the client that asks again");
        let second = bind(&mut book, b"a", 200);
        assert!(book.written(&key(b"a"), &second));
        // A renewal that fails takes nothing from what is promised already.
        let third = bind(&mut book, b"a", 300);
        book.not_written(&key(b"a"), &third, 30);
        let entry = book.of(&key(b"a")).unwrap();
        assert_eq!((entry.state, entry.until, entry.durable), (State::Bound, 200, 200));
        // Two threads, one client: the one whose write succeeds is right, whatever becomes of the other's.
        let (fourth, fifth) = (bind(&mut book, b"a", 400), bind(&mut book, b"a", 401));
        book.not_written(&key(b"a"), &fourth, 40);
        assert!(book.written(&key(b"a"), &fifth));
        let entry = book.of(&key(b"a")).unwrap();
        assert_eq!((entry.state, entry.until, entry.durable), (State::Bound, 401, 401));
    }

    #[test]
    fn what_became_another_clients_is_neither_overwritten_nor_acknowledged() {
        let mut book = book(&[]);
        let ip = offer(&mut book, b"a", None, 0).unwrap();
        let bound = bind(&mut book, b"a", 100);
        let released = book.release(&key(b"a"), ip, 1).unwrap();
        assert_eq!(book.to_write(&key(b"a"), &bound), Some(released.clone()), "as it is now");
        assert!(!book.written(&key(b"a"), &bound), "given back meanwhile");
        assert_eq!(offer(&mut book, b"b", Some(ip), 2), Some(ip));
        assert_eq!(book.to_write(&key(b"a"), &released), None);
        let other = bind(&mut book, b"b", 100);
        assert_eq!(book.to_write(&key(b"b"), &other), Some(other.clone()));
        assert!(book.written(&key(b"b"), &other));
        assert!(!book.written(&key(b"a"), &bound));
        book.not_written(&key(b"a"), &bound, 3);
        assert_eq!(book.at(ip).unwrap().1.durable, 100, "it is nobody else's to take back");
    }

    #[test]
    fn an_offer_of_a_lease_that_is_over_is_kept_for_its_client() {
        let mut book = book(&[ip(11), ip(12), ip(13)]);
        offer(&mut book, b"a", None, 0).unwrap();
        bind(&mut book, b"a", 100);
        assert_eq!(offer(&mut book, b"a", None, 100), Some(ip(10)));
        assert_eq!(offer(&mut book, b"b", None, 101), None, "the only address is offered");
        assert_eq!(book.held(&key(b"a"), NET, 101), Some(ip(10)));
        let taken = book.offer(&key(b"b"), MAC, NET, None, 100 + OFFER).unwrap();
        assert_eq!((taken.ip, taken.displaced), (ip(10), Some(MAC)), "whose it was is told");
    }

    #[test]
    fn who_declined_an_address_can_not_give_it_back_and_gets_it_probed_afterwards() {
        let mut book = book(&[ip(11), ip(12), ip(13)]);
        offer(&mut book, b"a", None, 0).unwrap();
        bind(&mut book, b"a", 100);
        book.decline(Some(&key(b"a")), ip(10), 1000).unwrap();
        assert_eq!(book.release(&key(b"a"), ip(10), 5), None);
        assert_eq!(offer(&mut book, b"b", None, 999), None);
        assert!(book.offer(&key(b"a"), MAC, NET, None, 1000).unwrap().fresh);
    }

    #[test]
    fn a_lease_whose_address_is_reserved_is_not_renewed_and_ends() {
        let mut book = book(&[]);
        let own = offer(&mut book, b"a", None, 0).unwrap();
        let bound = bind(&mut book, b"a", 7200);
        book.written(&key(b"a"), &bound);
        book.change_taken(std::iter::empty(), [own].into_iter());
        assert_eq!(book.held(&key(b"a"), NET, 10), None);
        assert!(book.gave_away(&key(b"a"), 10));
        assert_eq!(book.end_by(own, 3610), Some(MAC));
        assert!(book.leased(own, 3609).is_some() && book.leased(own, 3610).is_none());
        assert_ne!(offer(&mut book, b"a", None, 20), Some(own), "it gets another one");
    }

    #[test]
    fn a_lease_whose_address_is_reserved_and_in_no_pool_any_more_is_not_renewed() {
        let mut book = book(&[]);
        let own = offer(&mut book, b"a", Some(ip(13)), 0).unwrap();
        let bound = bind(&mut book, b"a", 7200);
        book.written(&key(b"a"), &bound);
        // The range shrinks, and the address is reserved, in one edit.
        book.set_pools(vec![Pool { network: 0, ranges: vec![(ip(10), ip(11))] }], &[own].into());
        assert_eq!(book.held(&key(b"a"), NET, 10), None);
        assert!(book.gave_away(&key(b"a"), 10));
    }

    #[test]
    fn what_was_reserved_is_leased_to_nobody_while_it_may_be_in_use() {
        let mut book = book(&[ip(10), ip(11), ip(12)]);
        offer(&mut book, b"a", None, 0).unwrap();
        bind(&mut book, b"a", 5000);
        book.change_taken([ip(10)].into_iter(), std::iter::empty());
        assert!(book.hold(ip(10), MAC, 100, 3700).is_some());
        assert_eq!(book.hold(ip(13), MAC, 100, 3700), None, "leased");
        assert_eq!(book.hold(ip(99), MAC, 100, 3700), None, "in no pool");
        assert_eq!(offer(&mut book, b"b", Some(ip(10)), 3699), None);
        assert_eq!(offer(&mut book, b"b", None, 3700), Some(ip(10)));
    }
}
