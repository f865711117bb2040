//! A received frame -> what its sender asks, or the reason why no lane needs to look further.

mod class;
mod headers;
mod walk;

use self::class::{UserClass, read_arch, read_user_class, read_vendor};
pub use self::headers::Headers;
use self::walk::{Inside, Problem, Reader, Search, Walk};
use crate::class::{Class, Hints, Ipxe, NO_ARCH, Vendor};
use crate::maps::HostKey;
use crate::packet::{Packet, walk};
use crate::stats::Leave;
use crate::wire::dhcp::{self, MessageType, option};
use crate::wire::{be16, ethernet, ipv4};

/// Options that the fast lanes walk, pads included. Firmware sends 8 to 40.
pub const OPTIONS_FAST: u32 = 96;
/// What userspace walks: all that the largest datagram can hold. It takes BOOTP messages without a cookie, too.
pub const OPTIONS_ALL: u32 = 65_536;

/// Some of the packet's bytes; empty: absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub at: u16,
    pub length: u8,
}

impl Span {
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.length == 0
    }
}

/// One BOOTREQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub headers: Headers,
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    pub source: [u8; 4],
    pub destination: [u8; 4],
    pub source_port: u16,
    pub xid: [u8; 4],
    pub flags: [u8; 2],
    pub ciaddr: [u8; 4],
    pub giaddr: [u8; 4],
    pub chaddr: [u8; 6],
    pub options: Options,
    class: Class,
    walk: Walk,
}

/// What the options say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub message_type: MessageType,
    /// Option 50; 0.0.0.0: absent.
    pub requested: [u8; 4],
    /// Option 54; 0.0.0.0: absent.
    pub server: [u8; 4],
    /// Option 57; 0: absent.
    pub max_size: u16,
    /// Option 93: the first known value, else the first; [`NO_ARCH`]: absent.
    pub arch: u16,
    pub vendor: Vendor,
    user_class: UserClass,
    /// Option 175, sub-option 19.
    ipxe_http: bool,
    /// Option 61, of at least 2 bytes (RFC 2132 section 9.14).
    pub client_id: Span,
    /// Option 82.
    pub relay_agent: Span,
    /// Option 97 of type 0, 17 bytes.
    pub uuid: Span,
    /// Option 12.
    pub hostname: Span,
    /// Option 55.
    pub parameter_list: Span,
    /// Sub-option 1 of option 82.
    pub circuit: Span,
    /// Option 118, or sub-option 5 of option 82, which is nearer to the client's network; 0.0.0.0: absent.
    pub link: [u8; 4],
    /// `link` is what option 118 says: the client's own wish.
    pub link_is_wish: bool,
    /// Option 43 is there.
    pub vendor_options: Span,
    /// Options 60, 77, 93 and 175, for what is read from them once all are found.
    vendor_class: Span,
    user_class_list: Span,
    arch_list: Span,
    ipxe: Span,
}

impl Options {
    const NONE: Self = Self {
        message_type: MessageType::Absent,
        requested: [0; 4],
        server: [0; 4],
        max_size: 0,
        arch: NO_ARCH,
        vendor: Vendor::Other,
        user_class: UserClass::Other,
        ipxe_http: false,
        client_id: Span { at: 0, length: 0 },
        relay_agent: Span { at: 0, length: 0 },
        uuid: Span { at: 0, length: 0 },
        hostname: Span { at: 0, length: 0 },
        parameter_list: Span { at: 0, length: 0 },
        circuit: Span { at: 0, length: 0 },
        link: [0; 4],
        link_is_wish: false,
        vendor_options: Span { at: 0, length: 0 },
        vendor_class: Span { at: 0, length: 0 },
        user_class_list: Span { at: 0, length: 0 },
        arch_list: Span { at: 0, length: 0 },
        ipxe: Span { at: 0, length: 0 },
    };
}

impl Options {
    #[inline(always)]
    fn class(&self) -> Class {
        let ipxe = match (self.user_class, self.ipxe_http) {
            (UserClass::Netboot, _) => Ipxe::Ours,
            (UserClass::Ipxe, true) => Ipxe::WithHttp,
            _ => Ipxe::No,
        };
        Class::of(Hints { arch: self.arch, vendor: self.vendor, ipxe })
    }
}

impl Request {
    /// Everything that can be known without a table. `options_max`: [`OPTIONS_FAST`] or [`OPTIONS_ALL`].
    pub fn read<P: Packet>(packet: &P, options_max: u32) -> Result<Self, Leave> {
        let headers = Headers::read(packet)?;
        let mut request = Self {
            headers,
            destination_mac: [0; 6],
            source_mac: [0; 6],
            source: [0; 4],
            destination: [0; 4],
            source_port: 0,
            xid: [0; 4],
            flags: [0; 2],
            ciaddr: [0; 4],
            giaddr: [0; 4],
            chaddr: [0; 6],
            options: Options::NONE,
            class: Class::Plain,
            walk: Walk { at: 0, end: 0, inner: 0, problem: Problem::None },
        };
        request.fill(packet, &headers, options_max)?;
        Ok(request)
    }

    /// The second half of [`Request::read`], into memory of the caller's: a BPF program has 512 bytes of stack.
    #[inline(always)]
    pub fn fill<P: Packet>(&mut self, packet: &P, headers: &Headers, options_max: u32) -> Result<(), Leave> {
        use dhcp::field;
        let head: [u8; dhcp::HEAD] = packet.read(headers.message()).ok_or(Leave::Truncated)?;
        if head[field::OP] != dhcp::BOOTREQUEST {
            return Err(Leave::NotRequest);
        }
        let chaddr = four_and_two(&head);
        let usable = ethernet::Mac(chaddr).is_unicast();
        if head[field::HTYPE] != dhcp::ETHERNET || head[field::HLEN] != 6 || !usable {
            return Err(Leave::Hardware);
        }
        if head[field::HOPS] > dhcp::HOPS_MAX {
            return Err(Leave::Hops);
        }
        let cookie: [u8; 4] = packet.read(headers.message() + field::COOKIE).ok_or(Leave::Truncated)?;
        let plain_bootp = cookie != dhcp::COOKIE;
        if plain_bootp && options_max != OPTIONS_ALL {
            return Err(Leave::NoCookie);
        }
        self.headers = *headers;
        self.read_addresses(packet)?;
        self.xid = [head[4], head[5], head[6], head[7]];
        self.flags = [head[10], head[11]];
        self.ciaddr = [head[12], head[13], head[14], head[15]];
        self.giaddr = [head[24], head[25], head[26], head[27]];
        self.chaddr = chaddr;
        self.walk = Walk {
            at: headers.message() as u16 + dhcp::FIXED as u16,
            end: headers.end,
            inner: 0,
            problem: Problem::None,
        };
        self.options = Options::NONE;
        self.class = Class::Plain;
        if plain_bootp {
            return Ok(());
        }
        if !walk(packet, &mut Reader(self), options_max) {
            return Err(Leave::ManyOptions);
        }
        self.read_class(packet);
        self.read_inside(packet, option::RELAY_AGENT, self.options.relay_agent);
        self.read_inside(packet, option::IPXE, self.options.ipxe);
        self.forget_unsound(packet);
        self.class = self.options.class();
        match self.walk.problem {
            Problem::None => Ok(()),
            Problem::Cut => Err(Leave::OptionCut),
            Problem::Long => Err(Leave::LongOption),
            Problem::Overload => Err(Leave::Overload),
        }
    }

    /// Who sent the datagram, and to whom.
    #[inline(always)]
    fn read_addresses<P: Packet>(&mut self, packet: &P) -> Result<(), Leave> {
        let l3 = self.headers.l3 as usize;
        self.destination_mac = packet.read(ethernet::field::DESTINATION).ok_or(Leave::Truncated)?;
        self.source_mac = packet.read(ethernet::field::SOURCE).ok_or(Leave::Truncated)?;
        self.source = packet.read(l3 + ipv4::field::SOURCE).ok_or(Leave::Truncated)?;
        self.destination = packet.read(l3 + ipv4::field::DESTINATION).ok_or(Leave::Truncated)?;
        self.source_port = be16(packet.read(l3 + ipv4::HEADER).ok_or(Leave::Truncated)?);
        Ok(())
    }

    /// What tells the client's class. Not in the walk: what it takes to read a list would be verified once for each option.
    #[inline(always)]
    fn read_class<P: Packet>(&mut self, packet: &P) {
        let options = &mut self.options;
        let Span { at, length } = options.arch_list;
        if length != 0 && length.is_multiple_of(2) {
            options.arch = read_arch(packet, at as usize, length);
        }
        let Span { at, length } = options.vendor_class;
        if length != 0 {
            options.vendor = read_vendor(packet, at as usize, length);
        }
        let Span { at, length } = options.user_class_list;
        if length != 0 {
            options.user_class = read_user_class(packet, at as usize, length);
        }
        packet.forget();
    }

    /// The sub-options of an option, which have the form of options. What is wrong with them is no fault of the message.
    #[inline(always)]
    fn read_inside<P: Packet>(&mut self, packet: &P, code: u8, span: Span) {
        if !span.is_empty() {
            (self.walk.at, self.walk.end) = (span.at, span.at + span.length as u16);
            self.walk.inner = code;
            // Each step is a byte at least.
            packet.walk_apart(&mut Inside(self), u8::MAX as u32 + 1);
        }
    }

    /// Identities of a wrong length are as good as absent. Only now, for each may have come in parts.
    #[inline(always)]
    fn forget_unsound<P: Packet>(&mut self, packet: &P) {
        let options = &mut self.options;
        // RFC 2132 section 9.14: at least two bytes.
        if options.client_id.length < 2 {
            options.client_id = Span::default();
        }
        // RFC 4578 section 2.3: 17 bytes, the first of which is 0.
        if options.uuid.length != 17 || packet.read(options.uuid.at as usize) != Some([0]) {
            options.uuid = Span::default();
        }
    }

    /// The same request as if it came without option 82.
    pub fn without_relay_agent(mut self) -> Self {
        self.options.relay_agent = Span::default();
        self
    }

    /// Which client is this.
    // VERIFIER (6.18, 2026-11): kept in the caller's memory, which is a map's, once the options are read. Worked out where it is
    // asked for, all that follows is walked once for each class, whose number the verifier knows then: "Processed 1000001 insn".
    #[inline(always)]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether the client asks for an option (option 55).
    #[inline(always)]
    pub fn asks_for<P: Packet>(&self, packet: &P, code: u8) -> bool {
        let Span { at, length } = self.options.parameter_list;
        let mut search = Search { at, end: at + length as u16, code, found: false };
        walk(packet, &mut search, u8::MAX as u32 + 1);
        search.found
    }

    /// Under which key the table has the host.
    #[inline(always)]
    pub const fn host_key(&self) -> HostKey {
        HostKey::new(self.chaddr, self.headers.vid())
    }

    /// True when a relay agent speaks for the client.
    #[inline(always)]
    pub const fn relayed(&self) -> bool {
        u32::from_be_bytes(self.giaddr) != 0
    }

    /// The broadcast bit.
    #[inline(always)]
    pub const fn wants_broadcast(&self) -> bool {
        u16::from_be_bytes(self.flags) & dhcp::FLAG_BROADCAST != 0
    }
}

#[inline(always)]
fn four_and_two(head: &[u8; dhcp::HEAD]) -> [u8; 6] {
    [head[28], head[29], head[30], head[31], head[32], head[33]]
}
