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
mod tests;
