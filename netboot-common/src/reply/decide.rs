//! Which reply a request deserves: its kind, and the address in it.

use crate::class::Class;
use crate::maps::{HostValue, InterfaceValue, Kind, Mode};
use crate::request::Request;
use crate::stats::Leave;
use crate::wire::dhcp::MessageType;
use crate::wire::{ipv4, udp};

/// Which reply a request deserves, before any of its bytes is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub kind: Kind,
    pub class: Class,
    /// NAKs are the same for every class; an ignored host is told no boot file.
    pub template_class: Class,
    pub yiaddr: [u8; 4],
    pub ciaddr: [u8; 4],
}

/// What `host`, which is on the network of its address, is owed: RFC 2131 section 4.3 and its tables 4 and 5; PXE 2.1 section 2.2.
#[inline(always)]
pub fn decide(
    request: &Request,
    interface: &InterfaceValue,
    host: &HostValue,
    now: u64,
) -> Result<Verdict, Leave> {
    match (interface.mode(), request.headers.destination_port) {
        (_, udp::PXE) => decide_boot_server(request, host),
        (Mode::Proxy, _) => decide_proxy(request, host),
        (Mode::Server, _) => decide_server(request, interface, host, now),
    }
}

/// Port 4011 (PXE 2.1 section 2.2.1): every class that was offered is answered.
#[inline(always)]
fn decide_boot_server(request: &Request, host: &HostValue) -> Result<Verdict, Leave> {
    match request.options.message_type {
        // The answer goes to the client's own address.
        _ if request.source == ipv4::UNSPECIFIED => Err(Leave::Contradiction),
        MessageType::Request | MessageType::Inform => proxied(request, host, Kind::ProxyAck),
        _ => Err(Leave::MessageType),
    }
}

#[inline(always)]
fn decide_proxy(request: &Request, host: &HostValue) -> Result<Verdict, Leave> {
    match request.options.message_type {
        MessageType::Discover => proxied(request, host, Kind::ProxyOffer),
        _ => Err(Leave::NotProxied),
    }
}

#[inline(always)]
fn proxied(request: &Request, host: &HostValue, kind: Kind) -> Result<Verdict, Leave> {
    let class = request.class();
    match class {
        Class::Plain => return Err(Leave::NotPxe),
        Class::Unknown => return Err(Leave::NoLoader),
        _ => {}
    }
    if host.ignored() {
        return Err(Leave::Ignored);
    }
    let ciaddr = match kind {
        Kind::ProxyAck => request.ciaddr,
        _ => [0; 4],
    };
    Ok(Verdict { kind, class, template_class: class, yiaddr: [0; 4], ciaddr })
}

#[inline(always)]
fn decide_server(
    request: &Request,
    interface: &InterfaceValue,
    host: &HostValue,
    now: u64,
) -> Result<Verdict, Leave> {
    let message_type = request.options.message_type;
    match message_type {
        MessageType::Discover | MessageType::Request | MessageType::Inform => {}
        MessageType::Decline => return Err(Leave::Decline),
        MessageType::Release => return Err(Leave::Release),
        _ => return Err(Leave::MessageType),
    }
    if host.yiaddr == ipv4::UNSPECIFIED {
        return Err(Leave::NoAddress);
    }
    // Before the network is looked at: a client of another server is that server's.
    let selecting = request.options.server != ipv4::UNSPECIFIED;
    if message_type as u8 == MessageType::Request as u8
        && selecting
        && request.options.server != interface.address
    {
        return Err(Leave::OtherServer);
    }
    let class = request.class();
    let template_class = if host.ignored() { Class::Plain } else { class };
    let (yiaddr, ciaddr) = (host.yiaddr, request.ciaddr);
    let verdict = |kind, yiaddr, ciaddr| Verdict { kind, class, template_class, yiaddr, ciaddr };
    match message_type {
        MessageType::Discover => fresh(host, now, verdict(Kind::Offer, yiaddr, [0; 4])),
        MessageType::Inform if ciaddr == ipv4::UNSPECIFIED => Err(Leave::Contradiction),
        MessageType::Inform => Ok(verdict(Kind::InformAck, [0; 4], ciaddr)),
        _ => match asked_address(request, selecting)? {
            asked if asked == yiaddr => fresh(host, now, verdict(Kind::Ack, yiaddr, ciaddr)),
            // INIT-REBOOT and REBINDING name no server: of a machine that has a reservation, and no lease of ours, it may be
            // another one's.
            _ if !(selecting
                || interface.authoritative()
                || host.dynamic()
                || renews_with_us(request, interface)) =>
            {
                Err(Leave::OtherServer)
            }
            // A lane that can't promise this address any more does not know of a newer one either.
            _ => {
                let nak = Verdict { template_class: Class::Plain, ..verdict(Kind::Nak, [0; 4], [0; 4]) };
                fresh(host, now, nak)
            }
        },
    }
}

/// RENEWING is sent to the server itself. What a relay agent sends there, its client broadcast.
#[inline(always)]
fn renews_with_us(request: &Request, interface: &InterfaceValue) -> bool {
    !request.relayed() && request.destination == interface.address
}

/// The address that a REQUEST is about, by the client's state (RFC 2131 table 4).
#[inline(always)]
fn asked_address(request: &Request, selecting: bool) -> Result<[u8; 4], Leave> {
    let requested = request.options.requested;
    match (requested != ipv4::UNSPECIFIED, request.ciaddr != ipv4::UNSPECIFIED) {
        // SELECTING (with option 54) and INIT-REBOOT (without).
        (true, false) => Ok(requested),
        // RENEWING and REBINDING.
        (false, true) if !selecting => Ok(request.ciaddr),
        // Some clients fill in both, or name the server while they renew: taken where they agree.
        (true, true) if requested == request.ciaddr => Ok(requested),
        (false, true) => Ok(request.ciaddr),
        _ => Err(Leave::Contradiction),
    }
}

/// A dynamic lease is promised no longer than it is durable.
#[inline(always)]
fn fresh(host: &HostValue, now: u64, verdict: Verdict) -> Result<Verdict, Leave> {
    let until = host.valid_until();
    if until != 0 && now + host.lease() as u64 > until {
        return Err(Leave::Stale);
    }
    Ok(verdict)
}
