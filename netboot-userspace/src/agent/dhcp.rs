//! A DHCP client (RFC 2131) for as long as the machine runs, as a pure machine: bytes and time in, actions out.
//!
//! It takes the first offer. While its interface has no address it asks for broadcast answers, and repeats itself with
//! a doubling wait until it is answered.
//! **Invariant:** it never says that an address is its own when the lease is over: [`Action::GiveUp`] comes first.

mod message;
mod random;

use std::net::Ipv4Addr;
use std::time::Duration;

use netboot_common::Mac;

use message::{ACK, Answer, DISCOVER, NAK, OFFER, REQUEST, Request};
use random::Random;

pub use message::MESSAGE_LEN;

/// RFC 2131 section 4.1 proposes 4 s; on a switched network a second is plenty.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Each wait is longer by up to this: machines that start together drift apart (section 4.1).
const JITTER: Duration = Duration::from_millis(512);
/// REQUESTs without an answer, before going back to DISCOVER.
const REQUEST_TRIES: u32 = 4;
/// Section 4.4.5: between two REQUESTs of a client that has an address, at least.
const RENEWAL_WAIT: Duration = Duration::from_secs(60);

/// An address, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub netmask: Ipv4Addr,
    pub router: Option<Ipv4Addr>,
    /// Who gave it (option 54).
    pub server: Ipv4Addr,
    /// Counted from the REQUEST. `None`: for ever.
    pub time: Option<Duration>,
    /// T1 and T2 (options 58 and 59), where the server names them.
    pub renewal: Option<Duration>,
    pub rebinding: Option<Duration>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to port 67 of `to`, then ask again.
    Send { message: Box<[u8; MESSAGE_LEN]>, to: Ipv4Addr },
    /// The lease is over, or its server took it back: take the address from the interface, then ask again.
    GiveUp,
    /// Nothing before this time, unless something comes in.
    WaitUntil(Duration),
}

/// RFC 2131 figure 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// DISCOVER is out.
    Selecting,
    /// An offer was taken: REQUEST is out.
    Requesting {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    Bound(Binding),
    /// T1 is over: the lease is asked for again, of its server.
    Renewing(Binding),
    /// T2 is over: of any server.
    Rebinding(Binding),
}

/// A lease, as moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Binding {
    address: Ipv4Addr,
    server: Ipv4Addr,
    renew: Duration,
    rebind: Duration,
    expire: Duration,
}

/// The client of one interface. Times count from any fixed moment.
#[derive(Debug)]
pub struct Client {
    mac: Mac,
    random: Random,
    xid: u32,
    state: State,
    /// Since when it is in this state.
    entered: Duration,
    /// When it began to look for an address, and the `secs` of its last DISCOVER.
    began: Duration,
    secs: u16,
    /// Messages sent in this state.
    sent: u32,
    next: Duration,
    /// The address that it had until its lease was over.
    previous: Option<Ipv4Addr>,
    /// The interface still has an address that is no longer ours.
    overdue: bool,
}

impl Client {
    /// A client without a lease. `seed`: random.
    pub fn new(mac: Mac, seed: u64, now: Duration) -> Self {
        let mut random = Random::new(seed);
        Self {
            mac,
            xid: random.next(),
            random,
            state: State::Selecting,
            entered: now,
            began: now,
            secs: 0,
            sent: 0,
            next: now,
            previous: None,
            overdue: false,
        }
    }

    /// It has a lease, and expects no message.
    pub fn is_bound(&self) -> bool {
        matches!(self.state, State::Bound(_))
    }

    /// What is due at this time.
    pub fn poll(&mut self, now: Duration) -> Action {
        while let Some(state) = self.due(now) {
            self.enter(state, now);
        }
        if std::mem::take(&mut self.overdue) {
            return Action::GiveUp;
        }
        if now < self.next {
            return Action::WaitUntil(self.next);
        }
        self.next = self.repeat(now);
        self.sent += 1;
        let (request, to) = self.request(now);
        Action::Send { message: Box::new(request.bytes()), to }
    }

    /// Takes what came in to port 68. `Some`: the lease is ours, for the first time or anew.
    pub fn receive(&mut self, packet: &[u8], now: Duration) -> Option<Lease> {
        let answer = Answer::read(packet, self.mac, self.xid)?;
        match (self.state, answer.kind) {
            (State::Selecting, OFFER) => {
                // A ProxyDHCP server offers no address.
                let Lease { address, server, .. } = answer.lease?;
                self.enter(State::Requesting { address, server }, now);
                None
            }
            (State::Requesting { server, .. }, ACK) => {
                answer.lease.filter(|lease| lease.server == server).map(|lease| self.bind(lease, now))
            }
            (State::Renewing(_) | State::Rebinding(_), ACK) => {
                answer.lease.map(|lease| self.bind(lease, now))
            }
            (State::Requesting { server, .. }, NAK) if answer.server != Some(server) => None,
            (State::Requesting { .. } | State::Renewing(_) | State::Rebinding(_), NAK) => {
                self.enter(State::Selecting, now);
                self.previous = None;
                // A server that says NAK to its own offer would be asked in a tight loop.
                self.next = now + FIRST_WAIT;
                None
            }
            _ => None,
        }
    }

    /// The state that takes this one's place now.
    fn due(&self, now: Duration) -> Option<State> {
        match self.state {
            State::Requesting { .. } if self.sent >= REQUEST_TRIES && now >= self.next => {
                Some(State::Selecting)
            }
            State::Bound(binding) if now >= binding.renew => Some(State::Renewing(binding)),
            State::Renewing(binding) if now >= binding.rebind => Some(State::Rebinding(binding)),
            State::Rebinding(binding) if now >= binding.expire => Some(State::Selecting),
            _ => None,
        }
    }

    fn enter(&mut self, state: State, now: Duration) {
        if let (Some(lost), State::Selecting) = (self.binding(), state) {
            (self.overdue, self.previous, self.began) = (true, Some(lost.address), now);
        }
        // A REQUEST answers an OFFER with the OFFER's xid (section 3.1); everything else begins an exchange.
        if !matches!(state, State::Requesting { .. }) {
            self.xid = self.random.next();
        }
        let next = if let State::Bound(binding) = state { binding.renew } else { now };
        (self.state, self.entered, self.sent, self.next) = (state, now, 0, next);
    }

    fn bind(&mut self, lease: Lease, now: Duration) -> Lease {
        // From the first REQUEST that this may be the answer to (section 4.4.1): never later than the server thinks.
        let binding = Binding::new(&lease, self.entered, &mut self.random);
        self.enter(State::Bound(binding), now);
        lease
    }

    fn binding(&self) -> Option<Binding> {
        match self.state {
            State::Bound(binding) | State::Renewing(binding) | State::Rebinding(binding) => Some(binding),
            State::Selecting | State::Requesting { .. } => None,
        }
    }

    /// When to say the same again.
    fn repeat(&mut self, now: Duration) -> Duration {
        // Section 4.4.5: after half of what is left of the time in this state.
        let half = |until: Duration| now + (until.saturating_sub(now) / 2).max(RENEWAL_WAIT);
        match self.state {
            State::Renewing(binding) => half(binding.rebind).min(binding.rebind),
            State::Rebinding(binding) => half(binding.expire).min(binding.expire),
            State::Bound(binding) => binding.renew,
            State::Selecting | State::Requesting { .. } => {
                let wait = (FIRST_WAIT * (1 << self.sent.min(4))).min(LONGEST_WAIT);
                now + wait + self.random.below(JITTER)
            }
        }
    }

    /// RFC 2131 table 5.
    fn request(&mut self, now: Duration) -> (Request, Ipv4Addr) {
        let secs = |since: Duration| u16::try_from(now.saturating_sub(since).as_secs()).unwrap_or(u16::MAX);
        let (mac, xid) = (self.mac, self.xid);
        let mut request =
            Request { kind: REQUEST, mac, xid, secs: self.secs, ciaddr: None, requested: None, server: None };
        let mut to = Ipv4Addr::BROADCAST;
        match self.state {
            State::Selecting => {
                self.secs = secs(self.began);
                (request.kind, request.secs, request.requested) = (DISCOVER, self.secs, self.previous);
            }
            // With the DISCOVER's `secs` (section 3.1, item 3): relay agents then treat it alike.
            State::Requesting { address, server } => {
                (request.requested, request.server) = (Some(address), Some(server));
            }
            State::Bound(binding) | State::Renewing(binding) => {
                (request.ciaddr, request.secs, to) =
                    (Some(binding.address), secs(self.entered), binding.server);
            }
            State::Rebinding(binding) => {
                (request.ciaddr, request.secs) = (Some(binding.address), secs(self.entered));
            }
        }
        (request, to)
    }
}

impl Binding {
    /// RFC 2131 section 4.4.5: T1 is half of the time, T2 seven eighths, where the server names none that make sense;
    /// T1 is earlier by up to a sixteenth.
    fn new(lease: &Lease, since: Duration, random: &mut Random) -> Self {
        let Lease { address, server, .. } = *lease;
        let Some(time) = lease.time else {
            let never = Duration::MAX;
            return Self { address, server, renew: never, rebind: never, expire: never };
        };
        let rebinding = lease.rebinding.filter(|&t2| t2 < time).unwrap_or(time * 7 / 8);
        let renewal = lease.renewal.filter(|&t1| t1 < rebinding).unwrap_or((time / 2).min(rebinding));
        let renewal = renewal.saturating_sub(random.below(renewal / 16));
        Self { address, server, renew: since + renewal, rebind: since + rebinding, expire: since + time }
    }
}

#[cfg(test)]
mod tests;
