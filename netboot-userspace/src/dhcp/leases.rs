//! The book of dynamic leases: who has which address of a pool. Pure: time is an argument, and nothing is on disk before
//! the caller put it there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

use netboot_common::Mac;

/// Who holds a lease: option 61's bytes, or the hardware type and the MAC (RFC 2131 section 4.2, RFC 4361).
pub type ClientId = Vec<u8>;

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
    /// In use by somebody unknown (DECLINE): nobody's until `until`.
    Declined,
}

/// The addresses of one subnet that may be leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
}

impl Pool {
    pub fn contains(self, ip: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&ip)
    }

    fn size(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }
}

#[derive(Debug, Default)]
pub struct Book {
    by_client: HashMap<ClientId, Entry>,
    by_ip: BTreeMap<Ipv4Addr, ClientId>,
    /// Declined addresses, with who declined them. Nobody's: a client that declined one goes on to another.
    declined: BTreeMap<Ipv4Addr, (ClientId, Entry)>,
    /// Addresses that belong to hosts of the inventory, routers and ourselves.
    taken: HashSet<Ipv4Addr>,
}

impl Book {
    /// Addresses that are never leased.
    pub fn set_taken(&mut self, taken: HashSet<Ipv4Addr>) {
        self.taken = taken;
    }

    /// Gives some of them back, then takes others.
    pub fn change_taken(
        &mut self,
        free: impl Iterator<Item = Ipv4Addr>,
        take: impl Iterator<Item = Ipv4Addr>,
    ) {
        for ip in free {
            self.taken.remove(&ip);
        }
        self.taken.extend(take);
    }

    /// Puts in what the store kept.
    pub fn restore(&mut self, client: ClientId, entry: Entry) {
        match entry.state {
            State::Declined => drop(self.declined.insert(entry.ip, (client, entry))),
            _ => self.enter(client, entry),
        }
    }

    pub fn of(&self, client: &[u8]) -> Option<&Entry> {
        self.by_client.get(client)
    }

    /// Every lease, by address; declined addresses are none.
    pub fn entries(&self) -> impl Iterator<Item = (&ClientId, &Entry)> {
        self.by_ip.values().filter_map(|client| Some((client, self.by_client.get(client)?)))
    }

    /// An address to offer: the client's current or previous one, else the one that it asks for, else a free one
    /// (RFC 2131 section 4.3.1). `None`: the pool is used up.
    pub fn offer(
        &mut self,
        client: &[u8],
        mac: Mac,
        pool: Pool,
        requested: Option<Ipv4Addr>,
        now: u64,
    ) -> Option<Ipv4Addr> {
        let own = self.of(client).map(|entry| entry.ip);
        let ip = [own, requested].into_iter().flatten().find(|&ip| self.usable(client, pool, ip, now));
        let ip = ip.or_else(|| self.free(client, pool, now))?;
        let bound = self.of(client).is_some_and(|entry| entry.ip == ip && entry.state == State::Bound);
        if !bound {
            let entry = Entry { ip, mac, until: now + OFFER, hostname: String::new(), state: State::Offered };
            self.enter(client.to_vec(), entry);
        }
        Some(ip)
    }

    /// The address that a REQUEST may be answered with: the client's own, offered or bound.
    pub fn held(&self, client: &[u8], now: u64) -> Option<Ipv4Addr> {
        let entry = self.of(client)?;
        let live = matches!(entry.state, State::Offered | State::Bound) && entry.until > now;
        live.then_some(entry.ip)
    }

    /// Binds what the client holds until `until`. The caller makes it durable before it tells the client.
    pub fn bind(&mut self, client: &[u8], until: u64, hostname: &str) -> Option<Entry> {
        let entry = self.by_client.get_mut(client)?;
        entry.state = State::Bound;
        entry.until = entry.until.max(until);
        hostname.clone_into(&mut entry.hostname);
        Some(entry.clone())
    }

    /// The client gives `ip` back.
    pub fn release(&mut self, client: &[u8], ip: Ipv4Addr, now: u64) -> Option<Entry> {
        let entry = self.by_client.get_mut(client).filter(|entry| entry.ip == ip)?;
        (entry.state, entry.until) = (State::Released, now);
        Some(entry.clone())
    }

    /// The client found `ip` in use by another: kept from everybody until `until`.
    pub fn decline(&mut self, client: &[u8], ip: Ipv4Addr, until: u64) -> Option<Entry> {
        self.of(client).filter(|entry| entry.ip == ip)?;
        let mut entry = self.by_client.remove(client)?;
        self.by_ip.remove(&ip);
        (entry.state, entry.until) = (State::Declined, until);
        self.declined.insert(ip, (client.to_vec(), entry.clone()));
        Some(entry)
    }

    fn enter(&mut self, client: ClientId, entry: Entry) {
        let displaced = self.by_ip.insert(entry.ip, client.clone()).filter(|other| *other != client);
        if let Some(displaced) = displaced {
            self.by_client.remove(&displaced);
        }
        let ip = entry.ip;
        let previous = self.by_client.insert(client.clone(), entry).map(|entry| entry.ip);
        if let Some(previous) = previous.filter(|previous| *previous != ip)
            && self.by_ip.get(&previous) == Some(&client)
        {
            self.by_ip.remove(&previous);
        }
    }

    /// Whether `client` may be offered `ip`.
    fn usable(&self, client: &[u8], pool: Pool, ip: Ipv4Addr, now: u64) -> bool {
        let declined = self.declined.get(&ip).is_some_and(|(_, entry)| entry.until > now);
        if !pool.contains(ip) || self.taken.contains(&ip) || declined {
            return false;
        }
        let Some(holder) = self.by_ip.get(&ip) else { return true };
        let Some(entry) = self.by_client.get(holder) else { return true };
        match entry.state {
            State::Released | State::Declined => true,
            State::Offered | State::Bound => holder == client || entry.until <= now,
        }
    }

    /// Starts where the client's identifier points, so that a client which was forgotten is likely to get its old address.
    fn free(&self, client: &[u8], pool: Pool, now: u64) -> Option<Ipv4Addr> {
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        let start = (hasher.finish() % u64::from(pool.size())) as u32;
        (0..pool.size())
            .map(|i| Ipv4Addr::from(u32::from(pool.first) + (start + i) % pool.size()))
            .find(|&ip| self.usable(client, pool, ip, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: Pool = Pool { first: Ipv4Addr::new(10, 0, 0, 10), last: Ipv4Addr::new(10, 0, 0, 13) };
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    #[test]
    fn rfc2131_12_the_current_then_the_previous_then_the_requested_address() {
        let mut book = Book::default();
        assert_eq!(book.offer(b"a", MAC, POOL, Some(ip(12)), 0), Some(ip(12)), "requested");
        book.bind(b"a", 100, "");
        assert_eq!(book.offer(b"a", MAC, POOL, Some(ip(11)), 50), Some(ip(12)), "current");
        assert_eq!(book.offer(b"a", MAC, POOL, Some(ip(11)), 500), Some(ip(12)), "previous");
        book.bind(b"a", 600, "");
        book.release(b"a", ip(12), 550);
        assert_eq!(book.offer(b"a", MAC, POOL, None, 560), Some(ip(12)), "released");
    }

    #[test]
    fn an_address_is_never_given_twice_and_a_full_pool_gives_none() {
        let mut book = Book::default();
        let mut given: Vec<_> = (0..4_u8).map(|i| book.offer(&[i, 0], MAC, POOL, None, 0).unwrap()).collect();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 4);
        assert_eq!(book.offer(b"late", MAC, POOL, None, 0), None);
        assert!(
            book.offer(b"late", MAC, POOL, None, OFFER + 1).is_some(),
            "offers that nobody took are free again"
        );
    }

    #[test]
    fn rfc2131_9_a_declined_address_is_held_out() {
        let mut book = Book::default();
        let first = book.offer(b"a", MAC, POOL, None, 0).unwrap();
        book.bind(b"a", 100, "");
        book.decline(b"a", first, 1000);
        for client in [&b"a"[..], b"b", b"c"] {
            assert_ne!(book.offer(client, MAC, POOL, Some(first), 10), Some(first));
        }
        assert_eq!(book.held(b"a", 10).map(|ip| ip == first), Some(false));
    }

    #[test]
    fn addresses_of_the_inventory_are_not_leased() {
        let mut book = Book::default();
        book.set_taken([ip(10), ip(11), ip(12)].into());
        assert_eq!(book.offer(b"a", MAC, POOL, Some(ip(10)), 0), Some(ip(13)));
        assert_eq!(book.offer(b"b", MAC, POOL, None, 0), None);
        // A reservation moves on: its old address is free, unless another one has it now.
        book.change_taken([ip(10), ip(11)].into_iter(), [ip(11), ip(13)].into_iter());
        assert_eq!(book.offer(b"b", MAC, POOL, Some(ip(11)), 0), Some(ip(10)));
    }

    #[test]
    fn a_lease_that_ran_out_is_not_held() {
        let mut book = Book::default();
        let ip = book.offer(b"a", MAC, POOL, None, 0).unwrap();
        assert_eq!(book.held(b"a", 10), Some(ip));
        book.bind(b"a", 100, "");
        assert_eq!(book.held(b"a", 99), Some(ip));
        assert_eq!(book.held(b"a", 100), None);
    }
}
