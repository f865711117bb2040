//! BOOTP and DHCP messages (RFC 951, 2131, 2132): the fixed part, the option codes, the message types.
//!
//! ```text
//!  0        1        2        3
//! +--------+--------+--------+--------+
//! |   op   | htype  |  hlen  |  hops  |  0
//! |                xid                |  4
//! |      secs       |      flags      |  8
//! |              ciaddr               | 12
//! |              yiaddr               | 16
//! |              siaddr               | 20
//! |              giaddr               | 24
//! |           chaddr (16)             | 28
//! |           sname (64)              | 44
//! |           file (128)              | 108
//! |         magic cookie              | 236
//! |         options …                 | 240
//! ```

/// Bytes before the options, the cookie included.
pub const FIXED: usize = 240;
/// Bytes before `sname`: what differs from client to client in the fixed part.
pub const HEAD: usize = 44;
/// The fixed size of a BOOTP message (RFC 951 section 3); some boot ROMs drop shorter replies.
pub const REPLY_MIN: usize = 300;
/// The IP datagram that every client must take (RFC 2131 section 2), whatever its option 57 says.
pub const DATAGRAM_MIN: usize = 576;
/// RFC 2131 section 3.
pub const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The broadcast bit of `flags`.
pub const FLAG_BROADCAST: u16 = 0x8000;
/// `hops` beyond which a message circles (RFC 1542 section 4.1.1).
pub const HOPS_MAX: u8 = 16;

/// `op` of what clients send.
pub const BOOTREQUEST: u8 = 1;
/// `op` of what servers send.
pub const BOOTREPLY: u8 = 2;
/// `htype` of Ethernet.
pub const ETHERNET: u8 = 1;

/// Where each field of the fixed part starts.
pub mod field {
    pub const OP: usize = 0;
    pub const HTYPE: usize = 1;
    pub const HLEN: usize = 2;
    pub const HOPS: usize = 3;
    pub const XID: usize = 4;
    pub const SECS: usize = 8;
    pub const FLAGS: usize = 10;
    pub const CIADDR: usize = 12;
    pub const YIADDR: usize = 16;
    pub const SIADDR: usize = 20;
    pub const GIADDR: usize = 24;
    pub const CHADDR: usize = 28;
    pub const SNAME: usize = 44;
    pub const FILE: usize = 108;
    pub const COOKIE: usize = 236;
}

/// Bytes of `sname`.
pub const SNAME: usize = 64;
/// Bytes of `file`.
pub const FILE: usize = 128;

/// Option codes.
pub mod option {
    /// RFC 2132 section 3.1: no length byte.
    pub const PAD: u8 = 0;
    pub const HOST_NAME: u8 = 12;
    /// RFC 2132 section 8.4.
    pub const VENDOR_SPECIFIC: u8 = 43;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    /// `sname` and `file` hold options (RFC 2132 section 9.3).
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_IDENTIFIER: u8 = 54;
    pub const PARAMETER_LIST: u8 = 55;
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_IDENTIFIER: u8 = 61;
    /// RFC 3004; iPXE sends a bare string.
    pub const USER_CLASS: u8 = 77;
    /// RFC 3046.
    pub const RELAY_AGENT: u8 = 82;
    /// RFC 4578 section 2.1.
    pub const CLIENT_ARCH: u8 = 93;
    /// RFC 4578 section 2.3.
    pub const CLIENT_UUID: u8 = 97;
    /// RFC 8925: how long a client may do without IPv4.
    pub const V6_ONLY: u8 = 108;
    /// RFC 3011.
    pub const SUBNET_SELECTION: u8 = 118;
    /// iPXE's own options (etherboot encapsulated).
    pub const IPXE: u8 = 175;
    /// RFC 2132 section 3.2: no length byte.
    pub const END: u8 = 255;
}

/// Sub-options of option 82.
pub mod relay {
    /// RFC 3046 section 3.1.
    pub const CIRCUIT_ID: u8 = 1;
    /// RFC 3527: the client's network, where it is not `giaddr`'s.
    pub const LINK_SELECTION: u8 = 5;
}

/// Option 53 (RFC 2132 section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum MessageType {
    /// No option 53: a BOOTP message.
    #[default]
    Absent = 0,
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
    Inform = 8,
    /// A type of a later RFC, or none.
    Other = 255,
}

impl MessageType {
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => Self::Other,
        }
    }
}
