//! The book of leases: which identity association has which address of a pool. Pure: time is an argument, and nothing is on disk
//! before the caller put it there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv6Addr;

use netboot_common::Mac;

/// Declined addresses of one pool that are kept from others.
const DECLINED: u128 = 1024;
/// How long an address that was advertised is kept for the Request, in seconds.
const OFFER: u64 = 60;

/// Who holds a lease: one of the identity associations of a client (RFC 8415 section 12).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    pub duid: Vec<u8>,
    pub iaid: u32,
}

/// An address and what is known of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub ip: Ipv6Addr,
    /// `None`: neither the client nor a relay agent told.
    pub mac: Option<Mac>,
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
    /// Given back: free for others, first choice of the same holder.
    Released,
    /// In use by somebody unknown (Decline): nobody's until `until`.
    Declined,
}

/// The addresses of one subnet that may be leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub first: Ipv6Addr,
    pub last: Ipv6Addr,
}

impl Pool {
    pub fn contains(self, ip: Ipv6Addr) -> bool {
        (self.first..=self.last).contains(&ip)
    }

    /// The configuration sees to it that a pool is small enough to be searched.
    fn size(self) -> u128 {
        self.last.to_bits() - self.first.to_bits() + 1
    }
}

#[derive(Debug, Default)]
pub struct Book {
    /// What is whose, was, or is offered.
    entries: BTreeMap<Ipv6Addr, (Holder, Entry)>,
    /// A holder's addresses: one of each link that it asked on. A machine with two interfaces names both alike, and what it
    /// has on one link stays its own while it asks on another.
    by_holder: HashMap<Holder, Vec<Ipv6Addr>>,
    /// Declined addresses, with who declined them. Nobody's: a client that declined one goes on to another.
    declined: BTreeMap<Ipv6Addr, (Holder, Entry)>,
    /// Addresses that belong to hosts of the inventory, and ourselves.
    taken: HashSet<Ipv6Addr>,
}

impl Book {
    /// Addresses that are never leased. Gives back those that were not until now.
    pub fn set_taken(&mut self, taken: HashSet<Ipv6Addr>) -> HashSet<Ipv6Addr> {
        std::mem::replace(&mut self.taken, taken)
    }

    /// Gives some addresses back, then takes others.
    pub fn change_taken(
        &mut self,
        free: impl Iterator<Item = Ipv6Addr>,
        take: impl Iterator<Item = Ipv6Addr>,
    ) {
        for ip in free {
            self.taken.remove(&ip);
        }
        self.taken.extend(take);
    }

    /// Puts in what the store kept.
    pub fn restore(&mut self, holder: Holder, entry: Entry) {
        match entry.state {
            State::Declined => drop(self.declined.insert(entry.ip, (holder, entry))),
            _ => self.enter(holder, entry),
        }
    }

    /// What the holder has of this pool: of several, as the store may keep them, what is its own longest.
    pub fn of(&self, holder: &Holder, pool: Pool) -> Option<&Entry> {
        let own = self.by_holder.get(holder)?.iter().filter(|ip| pool.contains(**ip));
        let entries = own.filter_map(|ip| self.entries.get(ip)).map(|(_, entry)| entry);
        entries.max_by_key(|entry| (entry.state == State::Bound, entry.until))
    }

    /// An address to advertise: the holder's current or previous one, else the one that it asks for, else a free one. `None`: the
    /// pool is used up.
    pub fn offer(
        &mut self,
        holder: &Holder,
        mac: Option<Mac>,
        pool: Pool,
        requested: Option<Ipv6Addr>,
        now: u64,
    ) -> Option<Ipv6Addr> {
        let own = self.of(holder, pool).map(|entry| entry.ip);
        let ip = [own, requested].into_iter().flatten().find(|&ip| self.usable(holder, pool, ip, now));
        let ip = ip.or_else(|| self.free(holder, pool, now))?;
        let bound = self.of(holder, pool).is_some_and(|entry| entry.ip == ip && entry.state == State::Bound);
        if !bound {
            if let Some(previous) = own.filter(|own| *own != ip) {
                self.leave(previous);
            }
            let entry = Entry { ip, mac, until: now + OFFER, hostname: String::new(), state: State::Offered };
            self.enter(holder.clone(), entry);
        }
        Some(ip)
    }

    /// The address that a Renew or a Rebind may be answered with: the holder's own, while it lasts, unless the pool or the
    /// inventory has changed since.
    pub fn bound(&self, holder: &Holder, pool: Pool, now: u64) -> Option<Ipv6Addr> {
        let entry = self.of(holder, pool)?;
        let live = entry.state == State::Bound && entry.until > now;
        (live && self.usable(holder, pool, entry.ip, now)).then_some(entry.ip)
    }

    /// Binds what the holder was offered, or has, of this pool until `until`. The caller makes it durable before it tells the
    /// client.
    pub fn bind(&mut self, holder: &Holder, pool: Pool, until: u64, hostname: &str) -> Option<Entry> {
        let ip = self.of(holder, pool)?.ip;
        let (_, entry) = self.entries.get_mut(&ip)?;
        entry.state = State::Bound;
        entry.until = entry.until.max(until);
        hostname.clone_into(&mut entry.hostname);
        Some(entry.clone())
    }

    /// The holder gives `ip` back.
    pub fn release(&mut self, holder: &Holder, ip: Ipv6Addr, now: u64) -> Option<Entry> {
        let (_, entry) = self.entries.get_mut(&ip).filter(|(owner, _)| owner == holder)?;
        (entry.state, entry.until) = (State::Released, now);
        Some(entry.clone())
    }

    /// The holder found `ip` in use by another: kept from everybody until `until`.
    pub fn decline(&mut self, holder: &Holder, ip: Ipv6Addr, until: u64) -> Option<Entry> {
        self.entries.get(&ip).filter(|(owner, _)| owner == holder)?;
        let (_, mut entry) = self.leave(ip)?;
        (entry.state, entry.until) = (State::Declined, until);
        self.declined.insert(ip, (holder.clone(), entry.clone()));
        Some(entry)
    }

    /// Clients that decline all they are given use up no pool: all their word keeps from others is a quarter of it, and no more than
    /// [`DECLINED`]. Beyond that, what was declined first is free again.
    pub fn bound_declined(&mut self, pool: Pool) {
        let most = (pool.size() / 4).clamp(1, DECLINED) as usize;
        let declined = self.declined.range(pool.first..=pool.last);
        let mut by_age: Vec<_> = declined.map(|(ip, (_, entry))| (entry.until, *ip)).collect();
        by_age.sort_unstable();
        for (_, ip) in by_age.iter().rev().skip(most) {
            self.declined.remove(ip);
        }
    }

    fn enter(&mut self, holder: Holder, entry: Entry) {
        let ip = entry.ip;
        self.leave(ip);
        self.by_holder.entry(holder.clone()).or_default().push(ip);
        self.entries.insert(ip, (holder, entry));
    }

    /// Nobody has `ip` any more.
    fn leave(&mut self, ip: Ipv6Addr) -> Option<(Holder, Entry)> {
        let (holder, entry) = self.entries.remove(&ip)?;
        if let Some(own) = self.by_holder.get_mut(&holder) {
            own.retain(|other| *other != ip);
            if own.is_empty() {
                self.by_holder.remove(&holder);
            }
        }
        Some((holder, entry))
    }

    /// Whether `holder` may be offered `ip`.
    fn usable(&self, holder: &Holder, pool: Pool, ip: Ipv6Addr, now: u64) -> bool {
        let declined = self.declined.get(&ip).is_some_and(|(_, entry)| entry.until > now);
        if !pool.contains(ip) || self.taken.contains(&ip) || declined {
            return false;
        }
        let Some((other, entry)) = self.entries.get(&ip) else { return true };
        match entry.state {
            State::Released | State::Declined => true,
            State::Offered | State::Bound => other == holder || entry.until <= now,
        }
    }

    /// Starts where the holder's identifiers point, so that a client which was forgotten is likely to get its old address.
    fn free(&self, holder: &Holder, pool: Pool, now: u64) -> Option<Ipv6Addr> {
        let mut hasher = DefaultHasher::new();
        holder.hash(&mut hasher);
        let start = u128::from(hasher.finish()) % pool.size();
        (0..pool.size())
            .map(|i| Ipv6Addr::from_bits(pool.first.to_bits() + (start + i) % pool.size()))
            .find(|&ip| self.usable(holder, pool, ip, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: Pool = Pool { first: ip(0x10), last: ip(0x13) };

    const fn ip(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
    }

    fn holder(name: u8) -> Holder {
        Holder { duid: vec![0, 4, name], iaid: 1 }
    }

    #[test]
    fn the_current_then_the_previous_then_the_requested_address() {
        let (mut book, a) = (Book::default(), holder(b'a'));
        assert_eq!(book.offer(&a, None, POOL, Some(ip(0x12)), 0), Some(ip(0x12)), "requested");
        book.bind(&a, POOL, 100, "");
        assert_eq!(book.offer(&a, None, POOL, Some(ip(0x11)), 50), Some(ip(0x12)), "current");
        assert_eq!(book.offer(&a, None, POOL, Some(ip(0x11)), 500), Some(ip(0x12)), "previous");
        book.bind(&a, POOL, 600, "");
        book.release(&a, ip(0x12), 550);
        assert_eq!(book.offer(&a, None, POOL, None, 560), Some(ip(0x12)), "released");
    }

    #[test]
    fn an_address_is_never_given_twice_and_a_full_pool_gives_none() {
        let mut book = Book::default();
        let offer = |book: &mut Book, name, now| book.offer(&holder(name), None, POOL, None, now);
        let mut given: Vec<_> = (0..4).map(|name| offer(&mut book, name, 0).unwrap()).collect();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 4);
        assert_eq!(offer(&mut book, 9, 0), None);
        assert!(offer(&mut book, 9, OFFER + 1).is_some(), "offers that nobody took are free again");
    }

    #[test]
    fn each_identity_association_of_a_client_has_its_own_address() {
        let mut book = Book::default();
        let other = Holder { iaid: 2, ..holder(b'a') };
        let first = book.offer(&holder(b'a'), None, POOL, None, 0);
        assert_ne!(book.offer(&other, None, POOL, first, 0), first);
    }

    #[test]
    fn what_a_holder_has_on_one_link_stays_its_own_while_it_asks_on_another() {
        let (mut book, a, b) = (Book::default(), holder(b'a'), holder(b'b'));
        let elsewhere = Pool { first: ip(0x20), last: ip(0x23) };
        let first = book.offer(&a, None, POOL, None, 0).unwrap();
        book.bind(&a, POOL, 100, "");
        let second = book.offer(&a, None, elsewhere, None, 10).unwrap();
        assert!(elsewhere.contains(second));
        assert_ne!(book.offer(&b, None, POOL, Some(first), 20), Some(first), "promised until 100");
        assert_eq!(book.bound(&a, POOL, 50), Some(first));
        book.bind(&a, elsewhere, 200, "");
        assert_eq!((book.bound(&a, POOL, 99), book.bound(&a, elsewhere, 150)), (Some(first), Some(second)));
        assert!(book.release(&a, first, 60).is_some() && book.bound(&a, elsewhere, 150) == Some(second));
    }

    #[test]
    fn a_declined_or_reserved_address_is_held_out() {
        let (mut book, a) = (Book::default(), holder(b'a'));
        book.set_taken([ip(0x10)].into());
        let first = book.offer(&a, None, POOL, Some(ip(0x11)), 0).unwrap();
        book.bind(&a, POOL, 100, "");
        book.decline(&a, first, 1000);
        assert_eq!(book.bound(&a, POOL, 10), None);
        for name in [b'a', b'b', b'c'] {
            let given = book.offer(&holder(name), None, POOL, Some(first), 10);
            assert!(given != Some(first) && given != Some(ip(0x10)), "{given:?}");
        }
    }

    #[test]
    fn clients_that_decline_everything_use_up_no_pool_of_ipv6() {
        let mut book = Book::default();
        let mut last = None;
        for name in 0..100_u8 {
            let (holder, now) = (holder(name), u64::from(name));
            let given = book.offer(&holder, None, POOL, None, now).expect("there is always one");
            assert!(last != Some(given), "what was declined last is kept");
            book.decline(&holder, given, now + 3600).unwrap();
            book.bound_declined(POOL);
            last = Some(given);
        }
        assert_eq!(book.declined.keys().copied().collect::<Vec<_>>(), [last.unwrap()], "a quarter of four");
    }

    #[test]
    fn an_offer_is_no_binding_and_a_binding_ends() {
        let (mut book, a) = (Book::default(), holder(b'a'));
        let ip = book.offer(&a, None, POOL, None, 0);
        assert_eq!(book.bound(&a, POOL, 1), None);
        book.bind(&a, POOL, 100, "");
        assert_eq!((book.bound(&a, POOL, 99), book.bound(&a, POOL, 100)), (ip, None));
        book.set_taken([ip.unwrap()].into());
        assert_eq!(book.bound(&a, POOL, 50), None, "reserved for another since");
    }
}
