//! DHCPv6 on the wire (RFC 8415 sections 8, 9 and 21): a datagram read in place, a reply written into a given buffer.
//!
//! Our own, and not dhcproto's: what is read stays a slice of the datagram, a reply is written once, and the tests have dhcproto
//! as a reader and a writer that shares nothing with this one.
//!
//! **Invariant:** reading is bounded: [`LEVELS`] relay agents, [`IAS`] IAs, and one level of options within an IA.

use std::net::Ipv6Addr;

/// Clients listen on it (RFC 8415 section 7.2).
pub const CLIENT: u16 = 546;
/// Servers and relay agents listen on it.
pub const SERVER: u16 = 547;

/// `All_DHCP_Relay_Agents_and_Servers`: what clients on the link ask (RFC 8415 section 7.1).
pub const ALL_AGENTS_AND_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// `All_DHCP_Servers`: what relay agents ask that were not told a server's address.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3);

/// `HOP_COUNT_LIMIT` (RFC 8415 section 7.6).
pub const HOP_COUNT_LIMIT: usize = 8;
/// How deep Relay-forward messages nest: a relay agent passes on what has a hop count below the limit.
const LEVELS: usize = HOP_COUNT_LIMIT + 1;
/// IAs of one message that are answered: more than any client has.
const IAS: usize = 8;

/// Bytes of a message in front of its options: type and transaction id.
const HEADER: usize = 4;
/// The same of a Relay-forward and a Relay-reply: type, hop count, link address, peer address.
const RELAY_HEADER: usize = 34;

/// Option codes, as IANA lists them.
pub mod option {
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_TA: u16 = 4;
    pub const IA_ADDRESS: u16 = 5;
    pub const REQUESTED: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const RELAY_MESSAGE: u16 = 9;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const USER_CLASS: u16 = 15;
    pub const VENDOR_CLASS: u16 = 16;
    pub const INTERFACE_ID: u16 = 18;
    /// RFC 3646.
    pub const DNS_SERVERS: u16 = 23;
    /// RFC 3646.
    pub const DOMAINS: u16 = 24;
    pub const IA_PD: u16 = 25;
    /// RFC 5970.
    pub const BOOTFILE_URL: u16 = 59;
    /// RFC 5970.
    pub const ARCHITECTURES: u16 = 61;
    /// RFC 5970.
    pub const NETWORK_INTERFACE: u16 = 62;
    /// RFC 6939.
    pub const LINK_LAYER_ADDRESS: u16 = 79;
}

/// RFC 8415 section 7.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageType {
    Solicit = 1,
    Advertise = 2,
    Request = 3,
    Confirm = 4,
    Renew = 5,
    Rebind = 6,
    Reply = 7,
    Release = 8,
    Decline = 9,
    Reconfigure = 10,
    InformationRequest = 11,
    RelayForward = 12,
    RelayReply = 13,
}

impl MessageType {
    pub const ALL: [Self; 13] = [
        Self::Solicit,
        Self::Advertise,
        Self::Request,
        Self::Confirm,
        Self::Renew,
        Self::Rebind,
        Self::Reply,
        Self::Release,
        Self::Decline,
        Self::Reconfigure,
        Self::InformationRequest,
        Self::RelayForward,
        Self::RelayReply,
    ];

    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// In counters and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Solicit => "solicit",
            Self::Advertise => "advertise",
            Self::Request => "request",
            Self::Confirm => "confirm",
            Self::Renew => "renew",
            Self::Rebind => "rebind",
            Self::Reply => "reply",
            Self::Release => "release",
            Self::Decline => "decline",
            Self::Reconfigure => "reconfigure",
            Self::InformationRequest => "information_request",
            Self::RelayForward => "relay_forward",
            Self::RelayReply => "relay_reply",
        }
    }
}

/// RFC 8415 section 21.13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    Success = 0,
    NoAddrsAvail = 2,
    NoBinding = 3,
    NotOnLink = 4,
    UseMulticast = 5,
    NoPrefixAvail = 6,
}

impl Status {
    /// For a person who reads the client's log.
    const fn text(self) -> &'static str {
        match self {
            Self::Success => "",
            Self::NoAddrsAvail => "no address is free",
            Self::NoBinding => "this address is not yours",
            Self::NotOnLink => "wrong address for this link",
            Self::UseMulticast => "send to ff02::1:2",
            Self::NoPrefixAvail => "no prefixes are delegated here",
        }
    }
}

/// Why a datagram is none that we understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends within a header, or within an option.
    Short,
    Type(u8),
    /// An option's value has an impossible length.
    Option(u16),
    /// More relay agents than the hop count allows.
    TooDeep,
    /// More IAs than we answer.
    TooManyIas,
}

/// A client's message, and the relay agents that it came through, outermost first.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    pub relays: Relays<'a>,
    pub message: Message<'a>,
}

/// Outermost first.
pub type Relays<'a> = Bounded<Relay<'a>, LEVELS>;

/// What one relay agent wrapped around a message (RFC 8415 section 9).
#[derive(Clone, Copy, Debug)]
pub struct Relay<'a> {
    pub hop_count: u8,
    /// Of the link that it received the message on; unspecified: another relay agent says it.
    pub link: Ipv6Addr,
    /// Who sent it: the client, or the relay agent before.
    pub peer: Ipv6Addr,
    pub interface_id: Option<&'a [u8]>,
    /// The client's hardware type and address (RFC 6939).
    pub link_layer: Option<&'a [u8]>,
}

/// A client's message. Options that are of no interest, or unknown, are skipped; of an option that comes twice the first counts.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    pub kind: MessageType,
    pub transaction: [u8; 3],
    pub client_id: Option<&'a [u8]>,
    pub server_id: Option<&'a [u8]>,
    pub ias: Bounded<Ia<'a>, IAS>,
    pub rapid_commit: bool,
    pub user_class: &'a [u8],
    /// Enterprise number, and a list of strings.
    pub vendor_class: &'a [u8],
    pub architectures: &'a [u8],
    requested: &'a [u8],
}

/// An identity association (RFC 8415 sections 21.4, 21.5, 21.21).
#[derive(Clone, Copy, Debug)]
pub struct Ia<'a> {
    pub kind: IaKind,
    pub iaid: u32,
    options: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IaKind {
    /// Addresses that are renewed.
    Na,
    /// Temporary addresses.
    Ta,
    /// Delegated prefixes.
    Pd,
}

impl<'a> Envelope<'a> {
    pub fn read(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut relays = Bounded::default();
        let mut inner = datagram;
        while inner.first() == Some(&(MessageType::RelayForward as u8)) {
            let (relay, message) = Relay::read(inner)?;
            relays.push(relay).ok_or(Malformed::TooDeep)?;
            inner = message;
        }
        Ok(Self { relays, message: Message::read(inner)? })
    }

    /// The relay agent on the client's own link.
    pub fn first_relay(&self) -> Option<&Relay<'a>> {
        self.relays.iter().last()
    }
}

impl<'a> Relay<'a> {
    fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (header, options) = bytes.split_first_chunk::<RELAY_HEADER>().ok_or(Malformed::Short)?;
        let mut relay = Self {
            hop_count: header[1],
            link: address(&header[2..18])?,
            peer: address(&header[18..34])?,
            interface_id: None,
            link_layer: None,
        };
        let mut message = None;
        for option in Options(options) {
            match option? {
                (option::INTERFACE_ID, value) => relay.interface_id = relay.interface_id.or(Some(value)),
                (option::LINK_LAYER_ADDRESS, value) => relay.link_layer = relay.link_layer.or(Some(value)),
                (option::RELAY_MESSAGE, value) => message = message.or(Some(value)),
                _ => {}
            }
        }
        Ok((relay, message.ok_or(Malformed::Short)?))
    }
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (&[kind, transaction @ ..], options) =
            bytes.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        let mut message = Self {
            kind: MessageType::from_byte(kind).ok_or(Malformed::Type(kind))?,
            transaction,
            client_id: None,
            server_id: None,
            ias: Bounded::default(),
            rapid_commit: false,
            user_class: &[],
            vendor_class: &[],
            architectures: &[],
            requested: &[],
        };
        for option in Options(options) {
            let (code, value) = option?;
            message.take(code, value)?;
        }
        Ok(message)
    }

    fn take(&mut self, code: u16, value: &'a [u8]) -> Result<(), Malformed> {
        let first = |kept: &mut &'a [u8]| *kept = if kept.is_empty() { value } else { *kept };
        match code {
            option::CLIENT_ID => self.client_id = self.client_id.or(Some(duid(code, value)?)),
            option::SERVER_ID => self.server_id = self.server_id.or(Some(duid(code, value)?)),
            option::IA_NA | option::IA_TA | option::IA_PD => {
                self.ias.push(Ia::read(code, value)?).ok_or(Malformed::TooManyIas)?;
            }
            option::RAPID_COMMIT => self.rapid_commit = true,
            option::REQUESTED if value.len().is_multiple_of(2) => first(&mut self.requested),
            // RFC 5970 sections 3.3 and 3.4: a list of 16-bit types; type, major and minor.
            option::ARCHITECTURES if value.len().is_multiple_of(2) => first(&mut self.architectures),
            option::NETWORK_INTERFACE if value.len() == 3 => {}
            option::REQUESTED | option::ARCHITECTURES | option::NETWORK_INTERFACE => {
                return Err(Malformed::Option(code));
            }
            option::USER_CLASS => first(&mut self.user_class),
            option::VENDOR_CLASS => first(&mut self.vendor_class),
            _ => {}
        }
        Ok(())
    }

    /// Whether the client asks for this option (RFC 8415 section 21.7).
    pub fn asks_for(&self, code: u16) -> bool {
        self.requested.chunks_exact(2).any(|asked| asked == code.to_be_bytes())
    }

    /// Option 61, in the client's order.
    pub fn architectures(&self) -> impl Iterator<Item = u16> {
        self.architectures.chunks_exact(2).map(|arch| u16::from_be_bytes([arch[0], arch[1]]))
    }
}

impl<'a> Ia<'a> {
    fn read(code: u16, value: &'a [u8]) -> Result<Self, Malformed> {
        // IAID, and but for temporary addresses T1 and T2.
        let (kind, header) = match code {
            option::IA_TA => (IaKind::Ta, 4),
            option::IA_PD => (IaKind::Pd, 12),
            _ => (IaKind::Na, 12),
        };
        let (&iaid, _) = value.split_first_chunk::<4>().ok_or(Malformed::Option(code))?;
        let options = value.get(header..).ok_or(Malformed::Option(code))?;
        for option in Options(options) {
            match option? {
                (code @ option::IA_ADDRESS, value) if value.len() < 24 => {
                    return Err(Malformed::Option(code));
                }
                _ => {}
            }
        }
        Ok(Self { kind, iaid: u32::from_be_bytes(iaid), options })
    }

    /// The addresses that it names. What is within them is not looked at.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> + use<'a> {
        let options = Options(self.options).filter_map(Result::ok);
        options.filter(|(code, _)| *code == option::IA_ADDRESS).filter_map(|(_, value)| address(value).ok())
    }
}

/// RFC 8415 section 11.1: a type, and 1 to 128 bytes.
fn duid(code: u16, value: &[u8]) -> Result<&[u8], Malformed> {
    if (3..=130).contains(&value.len()) { Ok(value) } else { Err(Malformed::Option(code)) }
}

/// The first 16 bytes.
fn address(bytes: &[u8]) -> Result<Ipv6Addr, Malformed> {
    bytes.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets)).ok_or(Malformed::Short)
}

/// Options one behind the other: code, length, value. A fault is the last that comes.
#[derive(Clone, Copy, Debug)]
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.0);
        let Some((&[c, d, l, m], rest)) = rest.split_first_chunk::<4>() else {
            return Some(Err(Malformed::Short));
        };
        let Some((value, rest)) = rest.split_at_checked(u16::from_be_bytes([l, m]).into()) else {
            return Some(Err(Malformed::Short));
        };
        self.0 = rest;
        Some(Ok((u16::from_be_bytes([c, d]), value)))
    }
}

/// The strings of option 15, or of option 16 behind its enterprise number: each with a 16-bit length (RFC 8415 sections 21.15
/// and 21.16). What is cut short ends them.
pub fn strings(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = list.split_first_chunk::<2>()?;
        let (string, rest) = rest.split_at_checked(u16::from_be_bytes(length).into())?;
        list = rest;
        Some(string)
    })
}

/// A few items, without an allocation.
#[derive(Clone, Debug)]
pub struct Bounded<T, const N: usize> {
    items: [Option<T>; N],
    count: usize,
}

impl<T, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self { items: [const { None }; N], count: 0 }
    }
}

impl<T, const N: usize> Bounded<T, N> {
    fn push(&mut self, item: T) -> Option<()> {
        *self.items.get_mut(self.count)? = Some(item);
        self.count += 1;
        Some(())
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter().flatten()
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Writes a message. What has no room is noted, and [`Writer::finish`] then answers with nothing.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut [u8],
    at: usize,
    is_full: bool,
}

impl<'b> Writer<'b> {
    pub fn new(out: &'b mut [u8]) -> Self {
        Self { out, at: 0, is_full: false }
    }

    /// How many bytes were written; `None` if not all had room.
    pub fn finish(self) -> Option<usize> {
        (!self.is_full).then_some(self.at)
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.at..self.at + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            None => self.is_full = true,
        }
    }

    pub fn header(&mut self, kind: MessageType, transaction: [u8; 3]) {
        self.bytes(&[kind as u8]);
        self.bytes(&transaction);
    }

    /// An option, whose value `value` writes.
    pub fn option(&mut self, code: u16, value: impl FnOnce(&mut Self)) {
        let length = self.open(code);
        value(self);
        self.close(length);
    }

    /// Code and room for the length; where that is.
    fn open(&mut self, code: u16) -> usize {
        self.bytes(&code.to_be_bytes());
        self.bytes(&[0, 0]);
        self.at
    }

    /// Sets the length of the option whose value began there.
    fn close(&mut self, begin: usize) {
        let Ok(count) = u16::try_from(self.at - begin) else { return self.is_full = true };
        if !self.is_full {
            self.out[begin - 2..begin].copy_from_slice(&count.to_be_bytes());
        }
    }

    pub fn plain(&mut self, code: u16, value: &[u8]) {
        self.option(code, |writer| writer.bytes(value));
    }

    pub fn status(&mut self, status: Status) {
        self.option(option::STATUS, |writer| {
            writer.bytes(&(status as u16).to_be_bytes());
            writer.bytes(status.text().as_bytes());
        });
    }

    /// An address in an IA, with its lifetimes in seconds.
    pub fn address(&mut self, ip: Ipv6Addr, preferred: u32, valid: u32) {
        self.option(option::IA_ADDRESS, |writer| {
            writer.bytes(&ip.octets());
            writer.bytes(&preferred.to_be_bytes());
            writer.bytes(&valid.to_be_bytes());
        });
    }

    /// Wraps what `message` writes for each of `relays`: hop count, link and peer address and Interface-Id come back as they were
    /// (RFC 8415 section 19.3).
    pub fn relayed(&mut self, relays: &Relays<'_>, message: impl FnOnce(&mut Self)) {
        let mut open = Bounded::<usize, LEVELS>::default();
        for relay in relays.iter() {
            self.bytes(&[MessageType::RelayReply as u8, relay.hop_count]);
            self.bytes(&relay.link.octets());
            self.bytes(&relay.peer.octets());
            if let Some(id) = relay.interface_id {
                self.plain(option::INTERFACE_ID, id);
            }
            // As many as were read, so there is room.
            let _ = open.push(self.open(option::RELAY_MESSAGE));
        }
        message(self);
        open.iter().for_each(|begin| self.close(*begin));
    }
}
