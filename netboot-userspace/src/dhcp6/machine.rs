//! DHCPv6 (RFC 8415, RFC 5970): a datagram and the time in, what to do out.
//!
//! **Invariant:** nothing here reads a clock, a socket or a disk. **Invariant:** a Reply that grants a dynamic address comes with the
//! lease to be stored; the caller sends it only once the lease is durable.

use std::collections::HashSet;
use std::net::Ipv6Addr;
use std::sync::Arc;

use netboot_common::Mac;
use netboot_common::class::Class;

use super::client;
use super::exchange::{Client, Exchange};
use super::leases::{Book, Entry, Holder};
use super::reply;
use super::stats::{Leave, Outcome};
use super::tables::{Changed, Elsewhere, Hosts, Mode, Plan, Served, Subnet6, heard_by_each};
use super::wire::{self, Envelope, Message, MessageType};

/// What the caller has to do for one datagram, in this order.
#[derive(Debug)]
pub struct Actions {
    pub outcome: Outcome,
    pub mac: Option<Mac>,
    pub class: Option<Class>,
    /// What was given, or offered.
    pub ip: Option<Ipv6Addr>,
    /// The name of the host that it is.
    pub host: Option<String>,
    /// Make these durable first. If that fails, none of the rest may happen.
    pub store: Vec<(Holder, Entry)>,
    /// Then send so many bytes of the output buffer to the sender, at this port.
    pub send: Option<(usize, u16)>,
}

/// The server's knowledge.
#[derive(Debug)]
pub struct Machine {
    pub plan: Plan,
    pub hosts: Hosts,
    pub book: Book,
    /// Whether machines without a host entry are served.
    pub serve_unknown: bool,
    /// Who may know those that the inventory does not.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
}

/// Where a datagram came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub datagram: &'a [u8],
    /// Which of [`Plan::served`].
    pub interface: usize,
    pub source: Ipv6Addr,
    /// Whether it was sent to a group of servers, and not to one of our own addresses.
    pub to_group: bool,
}

impl Machine {
    /// Takes the hosts over as they are now. All that were, go first: two of them may exchange what they are known by.
    pub fn apply(&mut self, changed: &[Changed]) {
        let Self { plan, hosts, book, .. } = self;
        let old = || changed.iter().filter_map(|changed| changed.old.as_ref());
        let new = || changed.iter().filter_map(|changed| changed.new.as_ref());
        old().for_each(|host| hosts.remove(host));
        new().for_each(|host| hosts.insert(host));
        book.change_taken(
            old().filter_map(|host| host.ip6),
            new().filter_map(|host| host.ip6).chain(plan.own()),
        );
    }

    /// Takes over another plan, other hosts, and the addresses that are nobody's to lease. Gives back what was in force.
    pub(super) fn succeed(
        &mut self,
        plan: Plan,
        hosts: Hosts,
        taken: HashSet<Ipv6Addr>,
    ) -> (Plan, Hosts, HashSet<Ipv6Addr>) {
        let (plan, hosts) =
            (std::mem::replace(&mut self.plan, plan), std::mem::replace(&mut self.hosts, hosts));
        (plan, hosts, self.book.set_taken(taken))
    }

    /// One datagram at `now` (Unix time, seconds). `out` takes the reply: 2 KiB are enough.
    pub fn handle(&mut self, arrival: Arrival<'_>, now: u64, out: &mut [u8]) -> Actions {
        match Envelope::read(arrival.datagram) {
            Ok(envelope) => self.answer(&envelope, &arrival, now, out),
            Err(_) => Actions::left(Leave::Malformed),
        }
    }

    fn answer(
        &mut self,
        envelope: &Envelope<'_>,
        arrival: &Arrival<'_>,
        now: u64,
        out: &mut [u8],
    ) -> Actions {
        let message = &envelope.message;
        let macs: Vec<Mac> = client::macs(envelope, arrival.source).collect();
        let duid = message.client_id.unwrap_or_default();
        let host = self.hosts.find(duid, &macs).cloned();
        let mac = macs.first().copied().or(host.as_ref().and_then(|host| host.mac));
        let (class, name) = (client::class(message), host.as_ref().map(|host| host.name.clone()));
        let heard = self.hosts.heard(duid, &macs, class);
        let is_elsewhere = || {
            let other = self.elsewhere.as_ref();
            other.is_some_and(|other| heard_by_each(heard, &macs).any(|heard| other.knows(heard)))
        };
        let is_known = host.is_some() || self.serve_unknown || self.hosts.are_grouped(duid, &macs);
        let is_known = is_known || is_elsewhere();
        let profile = match &host {
            Some(host) => host.profile.clone(),
            None => self.hosts.groups().profile_of_stranger(heard, None).map(str::to_owned),
        };
        let client = Client { mac, class, host, profile };
        let answered = match is_known {
            true => self.reply(envelope, arrival, client, now, out),
            false => Err(Leave::UnknownIgnored),
        };
        let actions = answered.unwrap_or_else(Actions::left);
        Actions { mac, class: Some(class), host: name, ..actions }
    }

    fn reply(
        &mut self,
        envelope: &Envelope<'_>,
        arrival: &Arrival<'_>,
        client: Client,
        now: u64,
        out: &mut [u8],
    ) -> Result<Actions, Leave> {
        let Self { plan, book, .. } = self;
        let (message, is_relayed) = (&envelope.message, !envelope.relays.is_empty());
        let to_group = arrival.to_group || is_relayed;
        validate(message, &plan.server_id, to_group)?;
        let served = plan.served.get(arrival.interface).ok_or(Leave::NoSubnet)?;
        if served.mode == Mode::Stateless && message.kind != MessageType::InformationRequest {
            return Err(Leave::Stateless);
        }
        let subnet = link_of(plan, served, envelope).ok_or(Leave::NoSubnet)?;
        let mut exchange = Exchange { message, served, subnet, client, book, now, store: Vec::new() };
        let answer = if to_group { exchange.answer()? } else { exchange.redirected() };
        let Exchange { client, store, .. } = exchange;
        let facts = reply::Facts { plan, served, subnet, client: &client };
        let length = reply::write(envelope, &answer, &facts, out).ok_or(Leave::TooLong)?;
        let port = if is_relayed { wire::SERVER } else { wire::CLIENT };
        Ok(Actions {
            outcome: Outcome::Answered(message.kind),
            mac: None,
            class: None,
            ip: answer.leased(),
            host: None,
            store,
            send: Some((length, port)),
        })
    }
}

/// RFC 8415 section 16. A sound message of a kind that must be sent to the group, and was not, is answered with UseMulticast where
/// the client names us, and else discarded.
fn validate(message: &Message<'_>, server_id: &[u8], to_group: bool) -> Result<(), Leave> {
    use MessageType::*;
    let is_ours = |id: &[u8]| if id == server_id { Ok(()) } else { Err(Leave::OtherServer) };
    match message.kind {
        Solicit | Confirm | Rebind if message.server_id.is_some() => return Err(Leave::NamesServer),
        Solicit | Confirm | Rebind | InformationRequest if !to_group => return Err(Leave::Unicast),
        Solicit | Confirm | Rebind => {}
        Request | Renew | Release | Decline => is_ours(message.server_id.ok_or(Leave::NoServerId)?)?,
        InformationRequest if !message.ias.is_empty() => return Err(Leave::IaInInformationRequest),
        // The one message that may come without a client's identifier.
        InformationRequest => return message.server_id.map_or(Ok(()), is_ours),
        Advertise | Reply | Reconfigure | RelayForward | RelayReply => return Err(Leave::NotForServers),
    }
    message.client_id.map(drop).ok_or(Leave::NoClientId)
}

/// The subnet of the client's link: what the relay agent nearest to it says that says anything, or the interface's own
/// (RFC 8415 section 13.1).
fn link_of<'a>(plan: &'a Plan, served: &'a Served, envelope: &Envelope<'_>) -> Option<&'a Subnet6> {
    let told = envelope.relays.iter().rev().map(|relay| relay.link).find(|link| !link.is_unspecified());
    match told {
        Some(link) => plan.subnet_of(link),
        None => Some(&served.subnet),
    }
}

impl Actions {
    fn left(leave: Leave) -> Self {
        let outcome = Outcome::Left(leave);
        Self { outcome, mac: None, class: None, ip: None, host: None, store: Vec::new(), send: None }
    }
}
