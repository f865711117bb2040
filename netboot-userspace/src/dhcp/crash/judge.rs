//! What the clients, and the kernel's lanes, were told: nothing of it may be lost, and nothing contradict itself.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::store::{Lease, LeaseState};

/// For how long clients are promised an address, seconds.
pub(super) const LEASE: u64 = 3600;

/// One of the clients: the last two bytes of its MAC.
pub(super) type Client = u16;

/// Something that was said, at `now` (Unix time of the run).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The ACK that left.
    Acked { client: Client, ip: Ipv4Addr, now: u64 },
    /// What the kernel's lanes may promise, and until when.
    Taught { client: Client, ip: Ipv4Addr, until: u64 },
    /// RELEASE or DECLINE, as the client sends it: from here on it has nothing.
    GaveBack { client: Client, ip: Ipv4Addr },
    /// A DECLINE that is durable.
    Quarantined { ip: Ipv4Addr, until: u64 },
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Acked { client, ip, now } => write!(f, "said acked {client} {ip} {now}"),
            Self::Taught { client, ip, until } => write!(f, "said taught {client} {ip} {until}"),
            Self::GaveBack { client, ip } => write!(f, "said back {client} {ip} 0"),
            Self::Quarantined { ip, until } => write!(f, "said quarantined 0 {ip} {until}"),
        }
    }
}

impl FromStr for Said {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["said", what, client, ip, time] = words[..] else { return Err(()) };
        let client = client.parse().map_err(drop)?;
        let ip = ip.parse().map_err(drop)?;
        let time = time.parse().map_err(drop)?;
        match what {
            "acked" => Ok(Self::Acked { client, ip, now: time }),
            "taught" => Ok(Self::Taught { client, ip, until: time }),
            "back" => Ok(Self::GaveBack { client, ip }),
            "quarantined" => Ok(Self::Quarantined { ip, until: time }),
            _ => Err(()),
        }
    }
}

/// Whose an address is, and until when: of each client, the last one.
#[derive(Debug, Default)]
struct Claims {
    by_ip: HashMap<Ipv4Addr, (Client, u64)>,
    by_client: HashMap<Client, Ipv4Addr>,
}

impl Claims {
    fn claim(&mut self, client: Client, ip: Ipv4Addr, until: u64) {
        if let Some(before) = self.by_client.insert(client, ip).filter(|before| *before != ip) {
            self.give_up(client, before);
        }
        self.by_ip.insert(ip, (client, until));
    }

    fn give_up(&mut self, client: Client, ip: Ipv4Addr) {
        if self.by_ip.get(&ip).is_some_and(|(holder, _)| *holder == client) {
            self.by_ip.remove(&ip);
        }
    }

    fn at(&self, now: u64) -> impl Iterator<Item = (Ipv4Addr, Client, u64)> {
        let live = self.by_ip.iter().filter(move |(_, (_, until))| *until > now);
        live.map(|(ip, (client, until))| (*ip, *client, *until))
    }

    /// Nobody else may have it.
    fn check(&self, what: &str, client: Client, ip: Ipv4Addr, now: u64) {
        if let Some((holder, until)) = self.by_ip.get(&ip) {
            let free = *holder == client || *until <= now;
            assert!(free, "{ip} is {what} by {holder} until {until}, and {client} got it at {now}");
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Judge {
    /// What clients rely on.
    held: Claims,
    /// What the kernel's lanes would say by themselves.
    promised: Claims,
    quarantined: HashMap<Ipv4Addr, u64>,
    pub(super) acked: usize,
}

impl Judge {
    pub(super) fn hear(&mut self, said: Said) {
        match said {
            Said::Acked { client, ip, now } => {
                self.held.check("held", client, ip, now);
                self.promised.check("promised", client, ip, now);
                let until = self.quarantined.get(&ip).copied().unwrap_or(0);
                assert!(until <= now, "{ip} is nobody's until {until}, and {client} got it at {now}");
                self.held.claim(client, ip, now + LEASE);
                self.acked += 1;
            }
            Said::Taught { client, ip, until } => self.promised.claim(client, ip, until),
            Said::GaveBack { client, ip } => {
                self.held.give_up(client, ip);
                self.promised.give_up(client, ip);
            }
            Said::Quarantined { ip, until } => drop(self.quarantined.insert(ip, until)),
        }
    }

    /// After a crash at `now`: all of it must be on the disk.
    pub(super) fn compare(&self, leases: &[Lease], now: u64) {
        let leases: HashMap<Ipv4Addr, &Lease> = leases.iter().map(|lease| (lease.ip, lease)).collect();
        for (what, claims) in [("held", &self.held), ("promised", &self.promised)] {
            for (ip, client, until) in claims.at(now) {
                let lease = leases.get(&ip);
                let kept = lease.is_some_and(|lease| {
                    let holder = lease.client.last_chunk().map(|bytes| u16::from_be_bytes(*bytes));
                    lease.state == LeaseState::Bound && holder == Some(client) && lease.expires >= until
                });
                assert!(kept, "{ip} is {what} by {client} until {until}, and the disk has {lease:?}");
            }
        }
        for (ip, until) in self.quarantined.iter().filter(|(_, until)| **until > now) {
            let lease = leases.get(ip);
            let kept = lease.is_some_and(|l| l.state == LeaseState::Declined && l.expires >= *until);
            assert!(kept, "{ip} is nobody's until {until}, and the disk has {lease:?}");
        }
    }

    /// What each client believes to have at `now`.
    pub(super) fn believed(&self, now: u64) -> HashMap<Client, Ipv4Addr> {
        self.held.at(now).map(|(ip, client, _)| (client, ip)).collect()
    }
}
