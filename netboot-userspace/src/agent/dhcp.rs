//! A DHCP client (RFC 2131), as a pure machine: bytes and time in, bytes out.
//!
//! It takes the first offer, asks for broadcast answers (its interface has no address yet), and repeats itself with
//! a doubling wait until it is answered.

use std::net::Ipv4Addr;
use std::time::Duration;

use netboot_common::Mac;

/// RFC 951 section 3 has messages of 300 bytes; some relays drop shorter ones.
pub const MESSAGE_LEN: usize = 300;
/// RFC 2131 section 4.1 proposes 4 s; on a switched network a second is plenty.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// REQUESTs without an answer, before going back to DISCOVER.
const REQUEST_TRIES: u32 = 4;

/// RFC 2131 section 2, figure 1: where each field starts.
mod field {
    pub(super) const OP: usize = 0;
    pub(super) const HTYPE: usize = 1;
    pub(super) const HLEN: usize = 2;
    pub(super) const XID: usize = 4;
    pub(super) const SECS: usize = 8;
    pub(super) const FLAGS: usize = 10;
    pub(super) const CIADDR: usize = 12;
    pub(super) const YIADDR: usize = 16;
    pub(super) const CHADDR: usize = 28;
    pub(super) const SNAME: usize = 44;
    pub(super) const FILE: usize = 108;
    pub(super) const COOKIE: usize = 236;
    pub(super) const OPTIONS: usize = 240;
}

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const BROADCAST: u8 = 0x80;

/// RFC 2132: the options that are sent or read.
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const NETMASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const REQUESTED: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const OVERLOAD: u8 = 52;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const MAX_SIZE: u8 = 57;
    pub(super) const CLASS: u8 = 60;
    pub(super) const CLIENT_ID: u8 = 61;
    pub(super) const END: u8 = 255;
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// An address, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub netmask: Ipv4Addr,
    pub router: Option<Ipv4Addr>,
    /// Who gave it (option 54).
    pub server: Ipv4Addr,
    /// `None`: for ever.
    pub time: Option<Duration>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Broadcast this to port 67, then ask again.
    Send(Box<[u8; MESSAGE_LEN]>),
    /// Nothing before this time, unless something comes in.
    WaitUntil(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// RFC 2131 section 4.4.1: DISCOVER is out.
    Selecting,
    /// An offer was taken: REQUEST is out.
    Requesting { address: Ipv4Addr, server: Ipv4Addr },
    /// Section 4.4.5: the lease is asked for again, of any server.
    Rebinding { address: Ipv4Addr },
}

/// One attempt at a lease. Times count from any fixed moment.
#[derive(Debug)]
pub struct Client {
    mac: Mac,
    xid: u32,
    started: Duration,
    state: State,
    /// Messages sent in this state.
    sent: u32,
    next: Duration,
}

impl Client {
    /// A client without a lease. `xid`: random.
    pub fn new(mac: Mac, xid: u32, now: Duration) -> Self {
        Self { mac, xid, started: now, state: State::Selecting, sent: 0, next: now }
    }

    /// A client that wants to keep its address.
    pub fn rebinding(mac: Mac, xid: u32, now: Duration, address: Ipv4Addr) -> Self {
        Self { state: State::Rebinding { address }, ..Self::new(mac, xid, now) }
    }

    /// The next message, if it is due.
    pub fn poll(&mut self, now: Duration) -> Action {
        if now < self.next {
            return Action::WaitUntil(self.next);
        }
        if self.sent >= REQUEST_TRIES && self.state != State::Selecting {
            self.enter(State::Selecting, now);
        }
        self.next = now + self.wait();
        self.sent += 1;
        Action::Send(Box::new(self.message(now)))
    }

    /// Takes what came in to port 68. `Some`: the lease is ours.
    pub fn receive(&mut self, packet: &[u8], now: Duration) -> Option<Lease> {
        let answer = Answer::read(packet, self.mac, self.xid)?;
        match (self.state, answer.kind) {
            (State::Selecting, OFFER) => {
                // A ProxyDHCP server offers no address.
                let lease = answer.lease?;
                self.enter(State::Requesting { address: lease.address, server: lease.server }, now);
                None
            }
            (State::Requesting { server, .. }, ACK) => answer.lease.filter(|lease| lease.server == server),
            (State::Rebinding { .. }, ACK) => answer.lease,
            (State::Requesting { server, .. }, NAK) if answer.server != Some(server) => None,
            (State::Requesting { .. } | State::Rebinding { .. }, NAK) => {
                self.enter(State::Selecting, now);
                // A server that says NAK to its own offer would be asked in a tight loop.
                self.next = now + FIRST_WAIT;
                None
            }
            _ => None,
        }
    }

    fn enter(&mut self, state: State, now: Duration) {
        (self.state, self.sent, self.next) = (state, 0, now);
    }

    /// 1, 2, 4, 8, 16, 16 … s, each longer by up to half a second: machines that start together drift apart.
    fn wait(&self) -> Duration {
        let jitter = Duration::from_millis(u64::from(self.xid.rotate_left(self.sent * 5) % 512));
        (FIRST_WAIT * (1 << self.sent.min(4))).min(LONGEST_WAIT) + jitter
    }

    fn message(&self, now: Duration) -> [u8; MESSAGE_LEN] {
        let mut out = [0; MESSAGE_LEN];
        (out[field::OP], out[field::HTYPE], out[field::HLEN]) = (BOOTREQUEST, 1, 6);
        put(&mut out, field::XID, &self.xid.to_be_bytes());
        let secs = u16::try_from((now - self.started).as_secs()).unwrap_or(u16::MAX);
        put(&mut out, field::SECS, &secs.to_be_bytes());
        out[field::FLAGS] = BROADCAST;
        put(&mut out, field::CHADDR, &self.mac.0);
        put(&mut out, field::COOKIE, &COOKIE);
        let mut at = field::OPTIONS;
        let mut option = |code: u8, value: &[u8]| {
            put(&mut out, at, &[code, value.len() as u8]);
            put(&mut out, at + 2, value);
            at += 2 + value.len();
        };
        let kind = if self.state == State::Selecting { DISCOVER } else { REQUEST };
        option(option::MESSAGE_TYPE, &[kind]);
        // RFC 2131 table 5: option 50 and 54 in SELECTING's REQUEST, `ciaddr` alone in REBINDING's.
        if let State::Requesting { address, server } = self.state {
            option(option::REQUESTED, &address.octets());
            option(option::SERVER, &server.octets());
        }
        option(option::PARAMETERS, &[option::NETMASK, option::ROUTER, option::LEASE_TIME, option::SERVER]);
        option(option::MAX_SIZE, &1472u16.to_be_bytes());
        option(option::CLASS, b"netboot-agent");
        let mac = self.mac.0;
        option(option::CLIENT_ID, &[1, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]]);
        out[at] = option::END;
        if let State::Rebinding { address } = self.state {
            put(&mut out, field::CIADDR, &address.octets());
        }
        out
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A server's message to this client.
struct Answer {
    kind: u8,
    server: Option<Ipv4Addr>,
    /// If it has an address and names its server.
    lease: Option<Lease>,
}

impl Answer {
    fn read(packet: &[u8], mac: Mac, xid: u32) -> Option<Self> {
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
        let yiaddr = address(&header[field::YIADDR..])?;
        let lease = options.server.filter(|_| !yiaddr.is_unspecified()).map(|server| Lease {
            address: yiaddr,
            netmask: options.netmask.unwrap_or_else(|| classful(yiaddr)),
            router: options.router.filter(|router| !router.is_unspecified()),
            server,
            // All ones: for ever (RFC 2131 section 3.3).
            time: options.time.filter(|&s| s != u32::MAX).map(|s| Duration::from_secs(s.into())),
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

    fn take(&mut self, code: u8, value: &[u8]) {
        match (code, value) {
            (option::MESSAGE_TYPE, &[kind]) => self.kind = Some(kind),
            (option::OVERLOAD, &[overload]) => self.overload = overload,
            (option::SERVER, _) => self.server = address(value),
            (option::NETMASK, _) => self.netmask = address(value),
            (option::ROUTER, _) => self.router = address(value),
            (option::LEASE_TIME, _) => self.time = value.first_chunk().map(|b| u32::from_be_bytes(*b)),
            _ => {}
        }
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from_octets(*octets))
}

/// Option 1 may be missing; then RFC 950 has the mask of the address's class.
fn classful(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets()[0] {
        0..=127 => Ipv4Addr::new(255, 0, 0, 0),
        128..=191 => Ipv4Addr::new(255, 255, 0, 0),
        _ => Ipv4Addr::new(255, 255, 255, 0),
    }
}

#[cfg(test)]
mod tests;
