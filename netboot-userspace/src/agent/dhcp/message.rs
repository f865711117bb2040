//! The client's side of RFC 2131's message: requests to bytes, answers to meaning.

use std::net::Ipv4Addr;
use std::time::Duration;

use netboot_common::Mac;

use super::Lease;

/// RFC 951 section 3 has messages of 300 bytes; some relays drop shorter ones.
pub const MESSAGE_LEN: usize = 300;

/// RFC 2131 section 2, figure 1: where each field starts.
pub(super) mod field {
    pub(crate) const OP: usize = 0;
    pub(crate) const HTYPE: usize = 1;
    pub(crate) const HLEN: usize = 2;
    pub(crate) const XID: usize = 4;
    pub(crate) const SECS: usize = 8;
    pub(crate) const FLAGS: usize = 10;
    pub(crate) const CIADDR: usize = 12;
    pub(crate) const YIADDR: usize = 16;
    pub(crate) const CHADDR: usize = 28;
    pub(crate) const SNAME: usize = 44;
    pub(crate) const FILE: usize = 108;
    pub(crate) const COOKIE: usize = 236;
    pub(crate) const OPTIONS: usize = 240;
}

pub(super) const COOKIE: [u8; 4] = [99, 130, 83, 99];
const BOOTREQUEST: u8 = 1;
pub(super) const BOOTREPLY: u8 = 2;
const BROADCAST: u8 = 0x80;

/// RFC 2132: the options that are sent or read.
pub(super) mod option {
    pub(crate) const PAD: u8 = 0;
    pub(crate) const NETMASK: u8 = 1;
    pub(crate) const ROUTER: u8 = 3;
    pub(crate) const REQUESTED: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER: u8 = 54;
    pub(crate) const PARAMETERS: u8 = 55;
    pub(crate) const MAX_SIZE: u8 = 57;
    pub(crate) const RENEWAL: u8 = 58;
    pub(crate) const REBINDING: u8 = 59;
    pub(crate) const CLASS: u8 = 60;
    pub(crate) const CLIENT_ID: u8 = 61;
    pub(crate) const END: u8 = 255;
}

pub(super) const DISCOVER: u8 = 1;
pub(super) const OFFER: u8 = 2;
pub(super) const REQUEST: u8 = 3;
pub(super) const ACK: u8 = 5;
pub(super) const NAK: u8 = 6;

/// A lease time that an ACK must carry and does not (RFC 2131 table 3): asking again soon does no harm.
const UNSAID_TIME: Duration = Duration::from_secs(3600);
/// What renews itself in less would be a flood.
const SHORTEST_TIME: Duration = Duration::from_secs(1);

const WANTED: &[u8] = &[
    option::NETMASK,
    option::ROUTER,
    option::LEASE_TIME,
    option::SERVER,
    option::RENEWAL,
    option::REBINDING,
];

/// What a client sends: a row of RFC 2131 table 5.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) kind: u8,
    pub(super) mac: Mac,
    pub(super) xid: u32,
    pub(super) secs: u16,
    /// The address that the interface has; without one, answers must be broadcast.
    pub(super) ciaddr: Option<Ipv4Addr>,
    /// Option 50.
    pub(super) requested: Option<Ipv4Addr>,
    /// Option 54.
    pub(super) server: Option<Ipv4Addr>,
}

impl Request {
    pub(super) fn bytes(&self) -> [u8; MESSAGE_LEN] {
        let mut out = [0; MESSAGE_LEN];
        (out[field::OP], out[field::HTYPE], out[field::HLEN]) = (BOOTREQUEST, 1, 6);
        put(&mut out, field::XID, &self.xid.to_be_bytes());
        put(&mut out, field::SECS, &self.secs.to_be_bytes());
        match self.ciaddr {
            Some(ciaddr) => put(&mut out, field::CIADDR, &ciaddr.octets()),
            None => out[field::FLAGS] = BROADCAST,
        }
        put(&mut out, field::CHADDR, &self.mac.0);
        put(&mut out, field::COOKIE, &COOKIE);
        let mut at = field::OPTIONS;
        let mut option = |code: u8, value: &[u8]| {
            put(&mut out, at, &[code, value.len() as u8]);
            put(&mut out, at + 2, value);
            at += 2 + value.len();
        };
        option(option::MESSAGE_TYPE, &[self.kind]);
        for (code, address) in [(option::REQUESTED, self.requested), (option::SERVER, self.server)] {
            if let Some(address) = address {
                option(code, &address.octets());
            }
        }
        option(option::PARAMETERS, WANTED);
        option(option::MAX_SIZE, &1472u16.to_be_bytes());
        option(option::CLASS, b"netboot-agent");
        let mac = self.mac.0;
        option(option::CLIENT_ID, &[1, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]);
        out[at] = option::END;
        out
    }
}

pub(super) fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A server's message to this client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) kind: u8,
    pub(super) server: Option<Ipv4Addr>,
    /// If it has an address and names its server.
    pub(super) lease: Option<Lease>,
}

impl Answer {
    pub(super) fn read(packet: &[u8], mac: Mac, xid: u32) -> Option<Self> {
        let header = packet.first_chunk::<{ field::OPTIONS }>()?;
        let ours = header[field::OP] == BOOTREPLY
            && header[field::XID..][..4] == xid.to_be_bytes()
            && header[field::CHADDR..][..6] == mac.0
            && header[field::COOKIE..] == COOKIE;
        if !ours {
            return None;
        }
        let mut options = Options::default();
        options.walk(&packet[field::OPTIONS..]);
        // RFC 2132 section 9.3: 1 `file`, 2 `sname`, 3 both.
        let overload = options.overload;
        if overload & 1 != 0 {
            options.walk(&header[field::FILE..field::COOKIE]);
        }
        if overload & 2 != 0 {
            options.walk(&header[field::SNAME..field::FILE]);
        }
        let yiaddr = address(header[field::YIADDR..].first_chunk()?);
        let lease = options.server.filter(|_| !yiaddr.is_unspecified()).map(|server| Lease {
            address: yiaddr,
            netmask: options.netmask.filter(is_mask).unwrap_or_else(|| classful(yiaddr)),
            router: options.router.filter(|router| !router.is_unspecified()),
            server,
            time: options.lease_time(),
            renewal: options.renewal.map(seconds),
            rebinding: options.rebinding.map(seconds),
        });
        Some(Self { kind: options.kind?, server: options.server, lease })
    }
}

#[derive(Default)]
struct Options {
    kind: Option<u8>,
    server: Option<Ipv4Addr>,
    netmask: Option<Ipv4Addr>,
    router: Option<Ipv4Addr>,
    time: Option<u32>,
    renewal: Option<u32>,
    rebinding: Option<u32>,
    overload: u8,
}

impl Options {
    /// Reads until END, or until the options no longer make sense.
    fn walk(&mut self, mut bytes: &[u8]) {
        loop {
            match *bytes {
                [option::PAD, ref rest @ ..] => bytes = rest,
                [option::END, ..] => return,
                [code, len, ref rest @ ..] if rest.len() >= len as usize => {
                    let (value, rest) = rest.split_at(len as usize);
                    self.take(code, value);
                    bytes = rest;
                }
                _ => return,
            }
        }
    }

    /// One of a length that it can't have is not there.
    fn take(&mut self, code: u8, value: &[u8]) {
        match (code, value) {
            (option::MESSAGE_TYPE, &[kind]) => self.kind = Some(kind),
            (option::OVERLOAD, &[overload]) => self.overload = overload,
            // A list, the preferred one first.
            (option::ROUTER, value) if value.len() % 4 == 0 => {
                self.router = value.first_chunk().map(address);
            }
            (code, value) => {
                if let Ok(value) = value.try_into() {
                    self.take_four(code, value);
                }
            }
        }
    }

    fn take_four(&mut self, code: u8, value: &[u8; 4]) {
        let number = Some(u32::from_be_bytes(*value));
        match code {
            option::SERVER => self.server = Some(address(value)),
            option::NETMASK => self.netmask = Some(address(value)),
            option::LEASE_TIME => self.time = number,
            option::RENEWAL => self.renewal = number,
            option::REBINDING => self.rebinding = number,
            _ => {}
        }
    }

    fn lease_time(&self) -> Option<Duration> {
        match self.time {
            // RFC 2131 section 3.3: for ever.
            Some(u32::MAX) => None,
            Some(time) => Some(seconds(time).max(SHORTEST_TIME)),
            None => Some(UNSAID_TIME),
        }
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn address(octets: &[u8; 4]) -> Ipv4Addr {
    Ipv4Addr::from_octets(*octets)
}

/// Ones, then zeros: the kernel takes no other.
fn is_mask(mask: &Ipv4Addr) -> bool {
    let bits = mask.to_bits();
    bits != 0 && bits.leading_ones() == bits.count_ones()
}

/// Option 1 may be missing; then RFC 950 has the mask of the address's class.
fn classful(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets()[0] {
        0..=127 => Ipv4Addr::new(255, 0, 0, 0),
        128..=191 => Ipv4Addr::new(255, 255, 0, 0),
        _ => Ipv4Addr::new(255, 255, 255, 0),
    }
}
