//! The exchanges under way. Pure: time is an argument, frames go in and out.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::tally::{Fault, Tally};
use crate::clients::{Network, mac};
use crate::frames::{Request, Way};
use crate::replies::{self, Kind, Reply};
use crate::wire::Outbox;

/// Low bits of an `xid`: which flight. The others count, so that a late reply is not taken for another exchange's.
const SLOT: u32 = (1 << 17) - 1;
/// Every so many replies the checksums are verified.
const SOUND_EVERY: u64 = 16;

/// Which address a client may be given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expect {
    /// Its own.
    Reservation(Network),
    /// Any of a pool that nobody else was given.
    Lease(Ipv4Addr, Ipv4Addr),
}

pub(super) struct Exchanges {
    discover: Request,
    request: Request,
    server: Ipv4Addr,
    expect: Expect,
    first: u32,
    clients: u32,
    flights: Vec<Flight>,
    free: Vec<u32>,
    /// In the order of their begin.
    oldest: VecDeque<u32>,
    given: HashMap<Ipv4Addr, u32>,
    replies: u64,
    pub(super) tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flight {
    xid: u32,
    client: u32,
    since: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ended,
    Discovering,
    Requesting(Ipv4Addr),
}

impl Exchanges {
    pub(super) fn new(way: &Way, expect: Expect, first: u32, clients: u32) -> Self {
        Self {
            discover: Request::discover(way),
            request: Request::selecting(way),
            server: way.server,
            expect,
            first,
            clients,
            flights: Vec::new(),
            free: Vec::new(),
            oldest: VecDeque::new(),
            given: HashMap::new(),
            replies: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// The next client's DISCOVER. `since`: when it was due.
    pub(super) fn begin(&mut self, since: Duration, frame: &mut Vec<u8>) {
        let number = self.tally.begin();
        let client = self.first + (number % u64::from(self.clients)) as u32;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flights.push(Flight { xid: self.flights.len() as u32, ..Flight::default() });
            self.flights.len() as u32 - 1
        });
        let flight = &mut self.flights[slot as usize];
        *flight = Flight { xid: flight.xid.wrapping_add(SLOT + 1), client, since, state: State::Discovering };
        self.oldest.push_back(flight.xid);
        self.discover.patch(client, flight.xid, None, frame);
    }

    /// Takes a frame; what it leads to is added to `out`.
    pub(super) fn reply(&mut self, frame: &[u8], now: Duration, out: &mut Outbox) {
        let Some(reply) = replies::read(frame) else { return };
        self.replies += 1;
        if self.replies.is_multiple_of(SOUND_EVERY) && !replies::sound(frame) {
            self.tally.fault(Fault::Unsound);
        }
        let slot = (reply.xid & SLOT) as usize;
        let Some(flight) = self.flights.get(slot).copied().filter(|flight| flight.xid == reply.xid) else {
            return self.tally.fault(Fault::Stray);
        };
        match (flight.state, reply.kind) {
            (State::Discovering, Kind::Offer) => match self.wrong(&flight, &reply) {
                None => {
                    self.flights[slot].state = State::Requesting(reply.yiaddr);
                    self.request.patch(flight.client, flight.xid, Some(reply.yiaddr), out.add());
                }
                Some(fault) => self.tally.fault(fault),
            },
            (State::Requesting(_), Kind::Ack) => {
                if let Some(fault) = self.wrong(&flight, &reply) {
                    return self.tally.fault(fault);
                }
                self.tally.complete(now.saturating_sub(flight.since));
                self.end(slot);
            }
            (State::Requesting(_), Kind::Nak) => {
                self.tally.fault(Fault::Refused);
                self.end(slot);
            }
            _ => self.tally.fault(Fault::Duplicate),
        }
    }

    /// Gives up the exchanges that began longer than `patience` ago.
    pub(super) fn expire(&mut self, now: Duration, patience: Duration) {
        while let Some(&xid) = self.oldest.front() {
            let slot = (xid & SLOT) as usize;
            let flight = self.flights[slot];
            let under_way = flight.xid == xid && flight.state != State::Ended;
            if under_way && now < flight.since + patience {
                return;
            }
            self.oldest.pop_front();
            if under_way {
                self.tally.lose(flight.state == State::Discovering);
                self.end(slot);
            }
        }
    }

    fn end(&mut self, slot: usize) {
        self.flights[slot].state = State::Ended;
        self.free.push(slot as u32);
    }

    fn wrong(&mut self, flight: &Flight, reply: &Reply) -> Option<Fault> {
        if reply.chaddr != mac(flight.client) || reply.server != self.server {
            return Some(Fault::Wrong);
        }
        let right = match (flight.state, self.expect) {
            (State::Requesting(offered), _) if reply.yiaddr != offered => false,
            (_, Expect::Reservation(network)) => reply.yiaddr == network.address(flight.client),
            (_, Expect::Lease(first, last)) => (first..=last).contains(&reply.yiaddr),
        };
        if !right {
            return Some(Fault::Address);
        }
        // Only what was acknowledged is given.
        if matches!((flight.state, self.expect), (State::Requesting(_), Expect::Lease(..))) {
            let holder = *self.given.entry(reply.yiaddr).or_insert(flight.client);
            return (holder != flight.client).then_some(Fault::GivenTwice);
        }
        None
    }
}
