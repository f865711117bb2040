//! One message and its answer: what each identity association is told (RFC 8415 section 18.3).

use std::net::Ipv6Addr;
use std::sync::Arc;

use netboot_common::Mac;
use netboot_common::class::Class;

use super::leases::{Book, Entry, Holder, Pool};
use super::stats::Leave;
use super::tables::{Reserved, Served, Subnet6};
use super::wire::{Ia, IaKind, Message, MessageType, Status};

/// How long a declined address is kept from everybody, in seconds.
const QUARANTINE: u64 = 3600;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) mac: Option<Mac>,
    pub(super) class: Class,
    pub(super) host: Option<Arc<Reserved>>,
    /// By its host's entry, else by its group; `None`: the site's default.
    pub(super) profile: Option<String>,
}

impl Client {
    /// The reservation, where it is of this link.
    fn reserved(&self, subnet: &Subnet6) -> Option<Ipv6Addr> {
        self.host.as_ref()?.ip.filter(|ip| subnet.contains(*ip))
    }
}

/// A sound message, and what it is answered from.
pub(super) struct Exchange<'a> {
    pub(super) message: &'a Message<'a>,
    pub(super) served: &'a Served,
    pub(super) subnet: &'a Subnet6,
    pub(super) client: Client,
    pub(super) book: &'a mut Book,
    /// Unix time, seconds.
    pub(super) now: u64,
    /// What must be durable before the answer leaves.
    pub(super) store: Vec<(Holder, Entry)>,
}

/// What a client is told.
#[derive(Debug)]
pub(super) struct Answer {
    /// Advertise or Reply.
    pub(super) kind: MessageType,
    /// Of the whole message.
    pub(super) status: Option<Status>,
    pub(super) ias: Vec<(IaKind, u32, Said)>,
    pub(super) rapid_commit: bool,
    /// Whether the site's options go with it, as far as they are asked for.
    pub(super) is_configured: bool,
}

/// What one identity association is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// This is its address; these are not.
    Leased(Ipv6Addr, Vec<Ipv6Addr>),
    /// These are not its addresses (any more): both lifetimes 0.
    Gone(Vec<Ipv6Addr>),
    Refused(Status),
}

impl Answer {
    fn reply(status: Status) -> Self {
        let (kind, status) = (MessageType::Reply, Some(status));
        Self { kind, status, ias: Vec::new(), rapid_commit: false, is_configured: false }
    }

    fn configured(kind: MessageType, ias: Vec<(IaKind, u32, Said)>) -> Self {
        Self { kind, status: None, ias, rapid_commit: false, is_configured: true }
    }

    /// The first address in it.
    pub(super) fn leased(&self) -> Option<Ipv6Addr> {
        self.ias.iter().find_map(|(_, _, said)| match said {
            Said::Leased(ip, _) => Some(*ip),
            _ => None,
        })
    }
}

impl Exchange<'_> {
    pub(super) fn answer(&mut self) -> Result<Answer, Leave> {
        match self.message.kind {
            MessageType::Solicit => Ok(self.solicit()),
            MessageType::Request => Ok(self.request()),
            MessageType::Renew => Ok(Answer::configured(MessageType::Reply, self.each(Self::renew))),
            MessageType::Rebind => self.rebind(),
            MessageType::Confirm => self.confirm(),
            MessageType::Release => Ok(self.given_back(Self::release)),
            MessageType::Decline => Ok(self.given_back(Self::decline)),
            MessageType::InformationRequest => Ok(Answer::configured(MessageType::Reply, Vec::new())),
            _ => Err(Leave::NotForServers),
        }
    }

    /// To a client that sent to our own address, which we never told it to (RFC 8415 section 18.4).
    pub(super) fn redirected(&self) -> Answer {
        Answer::reply(Status::UseMulticast)
    }

    fn solicit(&mut self) -> Answer {
        let commits = self.message.rapid_commit && self.served.rapid_commit;
        let ias = self.each(|exchange, ia, is_first| Some(exchange.grant(ia, is_first, commits)));
        let kind = if commits { MessageType::Reply } else { MessageType::Advertise };
        Answer { rapid_commit: commits, ..Answer::configured(kind, ias) }
    }

    fn request(&mut self) -> Answer {
        let ias = self.each(|exchange, ia, is_first| {
            let is_elsewhere = ia.addresses().any(|ip| !exchange.subnet.contains(ip));
            Some(match is_elsewhere {
                true => Said::Refused(Status::NotOnLink),
                false => exchange.grant(ia, is_first, true),
            })
        });
        Answer::configured(MessageType::Reply, ias)
    }

    /// RFC 8415 section 18.3.4.
    fn renew(&mut self, ia: &Ia<'_>, is_first: bool) -> Option<Said> {
        Some(self.extended(ia, is_first).unwrap_or(Said::Refused(Status::NoBinding)))
    }

    /// RFC 8415 section 18.3.5. The client asks everybody: what is another server's is left to it.
    fn rebind(&mut self) -> Result<Answer, Leave> {
        let ias = self
            .each(|exchange, ia, is_first| exchange.extended(ia, is_first).or_else(|| exchange.disowned(ia)));
        if ias.is_empty() {
            return Err(Leave::NotOurs);
        }
        Ok(Answer::configured(MessageType::Reply, ias))
    }

    fn disowned(&self, ia: &Ia<'_>) -> Option<Said> {
        let elsewhere: Vec<_> = ia.addresses().filter(|ip| !self.subnet.contains(*ip)).collect();
        if !elsewhere.is_empty() {
            return Some(Said::Gone(elsewhere));
        }
        let is_ours = self.pool().is_some_and(|pool| ia.addresses().any(|ip| pool.contains(ip)));
        is_ours.then_some(Said::Refused(Status::NoBinding))
    }

    /// RFC 8415 section 18.3.3.
    fn confirm(&self) -> Result<Answer, Leave> {
        let mut addresses = self.message.ias.iter().flat_map(Ia::addresses).peekable();
        addresses.peek().ok_or(Leave::NotOurs)?;
        let here = addresses.all(|ip| self.subnet.contains(ip));
        Ok(Answer::reply(if here { Status::Success } else { Status::NotOnLink }))
    }

    /// Release and Decline (RFC 8415 sections 18.3.7 and 18.3.8): only what we know nothing of is mentioned.
    fn given_back(&mut self, take: fn(&mut Self, &Holder, Ipv6Addr) -> Option<Entry>) -> Answer {
        let ias = self.each(|exchange, ia, _| {
            let holder = exchange.holder(ia);
            let reserved = exchange.client.reserved(exchange.subnet);
            let mut is_known = false;
            for ip in ia.addresses() {
                let entry = take(exchange, &holder, ip);
                is_known |= entry.is_some() || reserved == Some(ip);
                exchange.store.extend(entry.map(|entry| (holder.clone(), entry)));
            }
            (!is_known).then_some(Said::Refused(Status::NoBinding))
        });
        Answer { ias, ..Answer::reply(Status::Success) }
    }

    fn release(&mut self, holder: &Holder, ip: Ipv6Addr) -> Option<Entry> {
        self.book.release(holder, ip, self.now)
    }

    fn decline(&mut self, holder: &Holder, ip: Ipv6Addr) -> Option<Entry> {
        let declined = self.book.decline(holder, ip, self.now + QUARANTINE)?;
        self.pool().into_iter().for_each(|pool| self.book.bound_declined(pool));
        Some(declined)
    }

    /// Asks `say` for each identity association; whether it is the first that takes addresses goes with it.
    fn each(
        &mut self,
        mut say: impl FnMut(&mut Self, &Ia<'_>, bool) -> Option<Said>,
    ) -> Vec<(IaKind, u32, Said)> {
        let message = self.message;
        let mut is_first = true;
        let mut told = Vec::new();
        for ia in message.ias.iter() {
            let first = ia.kind == IaKind::Na && std::mem::take(&mut is_first);
            told.extend(say(self, ia, first).map(|said| (ia.kind, ia.iaid, said)));
        }
        told
    }

    /// An address for the association: the machine's reservation to the first of each message (firmware, its loader and the system
    /// all number theirs differently), and else one of the pool.
    fn grant(&mut self, ia: &Ia<'_>, is_first: bool, commits: bool) -> Said {
        match ia.kind {
            IaKind::Na => {}
            IaKind::Ta => return Said::Refused(Status::NoAddrsAvail),
            IaKind::Pd => return Said::Refused(Status::NoPrefixAvail),
        }
        if let Some(ip) = self.client.reserved(self.subnet).filter(|_| is_first) {
            return Said::Leased(ip, Vec::new());
        }
        let (holder, pool) = (self.holder(ia), self.pool());
        let (mac, wanted, now) = (self.client.mac, ia.addresses().next(), self.now);
        let Some(pool) = pool else { return Said::Refused(Status::NoAddrsAvail) };
        let offered = self.book.offer(&holder, mac, pool, wanted, now);
        let Some(ip) = offered else { return Said::Refused(Status::NoAddrsAvail) };
        if commits {
            self.bind(holder, pool);
        }
        Said::Leased(ip, Vec::new())
    }

    /// What the association has, for longer; what else it names is gone.
    fn extended(&mut self, ia: &Ia<'_>, is_first: bool) -> Option<Said> {
        if ia.kind != IaKind::Na {
            return None;
        }
        let holder = self.holder(ia);
        let reserved = self.client.reserved(self.subnet).filter(|_| is_first);
        let ip = match reserved {
            Some(ip) => ip,
            None => {
                let pool = self.pool()?;
                let ip = self.book.bound(&holder, pool, self.now)?;
                self.bind(holder, pool);
                ip
            }
        };
        Some(Said::Leased(ip, ia.addresses().filter(|other| *other != ip).collect()))
    }

    fn bind(&mut self, holder: Holder, pool: Pool) {
        let until = self.now + self.subnet.lease.as_secs();
        let name = self.client.host.as_ref().map_or("", |host| host.name.as_str());
        let entry = self.book.bind(&holder, pool, until, name);
        self.store.extend(entry.map(|entry| (holder, entry)));
    }

    fn holder(&self, ia: &Ia<'_>) -> Holder {
        Holder { duid: self.message.client_id.unwrap_or_default().to_vec(), iaid: ia.iaid }
    }

    fn pool(&self) -> Option<Pool> {
        let (first, last) = self.subnet.range?;
        Some(Pool { first, last })
    }
}
