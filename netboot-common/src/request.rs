//! A received frame -> what its sender asks, or the reason why no lane needs to look further.

use crate::class::{Class, Hints, Ipxe, NO_ARCH, Vendor};
use crate::maps::HostKey;
use crate::packet::{Packet, Step, Walker, walk};
use crate::stats::Leave;
use crate::wire::dhcp::{self, MessageType, option, relay};
use crate::wire::pxe::{self, arch};
use crate::wire::{be16, ethernet, ipv4, udp, vlan};

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

/// Where things are in a frame, and where it came in: as much of its headers as tells DHCP from all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Offset of the IPv4 header: 14, 18 or 22.
    pub l3: u16,
    /// Outer and inner VID; 0: none.
    pub vlan: [u16; 2],
    pub destination_port: u16,
    /// Offset of the end of the UDP payload.
    pub end: u16,
}

impl Headers {
    /// Offset of the BOOTP message.
    #[inline(always)]
    pub const fn message(&self) -> usize {
        self.l3 as usize + ipv4::HEADER + udp::HEADER
    }

    /// The innermost VID; 0: none.
    #[inline(always)]
    pub const fn vid(&self) -> u16 {
        if self.vlan[1] != 0 { self.vlan[1] } else { self.vlan[0] }
    }

    /// Finds a UDP datagram for port 67 or 4011: untagged or with up to two tags, IPv4 without options or fragments.
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P) -> Result<Self, Leave> {
        let mut ethertype = be16(packet.read(ethernet::field::ETHERTYPE).ok_or(Leave::NotDhcp)?);
        let mut vlan = [packet.offloaded_vlan(), 0];
        let mut l3 = ethernet::HEADER;
        if vlan::is_tpid(ethertype) {
            let [tci0, tci1, type0, type1] = packet.read(l3).ok_or(Leave::NotDhcp)?;
            push_vid(&mut vlan, vlan::vid(be16([tci0, tci1])))?;
            ethertype = be16([type0, type1]);
            l3 += vlan::TAG;
        }
        if vlan::is_tpid(ethertype) {
            let [tci0, tci1, type0, type1] = packet.read(l3).ok_or(Leave::NotDhcp)?;
            push_vid(&mut vlan, vlan::vid(be16([tci0, tci1])))?;
            ethertype = be16([type0, type1]);
            l3 += vlan::TAG;
        }
        if vlan::is_tpid(ethertype) {
            return Err(Leave::Tags);
        }
        if ethertype != ethernet::TYPE_IPV4 {
            return Err(Leave::NotDhcp);
        }
        let ip: [u8; ipv4::HEADER] = packet.read(l3).ok_or(Leave::NotDhcp)?;
        if ip[ipv4::field::PROTOCOL] != ipv4::UDP {
            return Err(Leave::NotDhcp);
        }
        if ip[ipv4::field::VERSION_IHL] != ipv4::VERSION_IHL {
            return Err(Leave::IpOptions);
        }
        if be16([ip[ipv4::field::FRAGMENT], ip[ipv4::field::FRAGMENT + 1]]) & ipv4::FRAGMENT != 0 {
            return Err(Leave::Fragment);
        }
        let [_, _, dp0, dp1, len0, len1, ..]: [u8; udp::HEADER] =
            packet.read(l3 + ipv4::HEADER).ok_or(Leave::NotDhcp)?;
        let destination_port = be16([dp0, dp1]);
        if destination_port != udp::DHCP_SERVER && destination_port != udp::PXE {
            return Err(Leave::NotDhcp);
        }
        let total = be16([ip[ipv4::field::TOTAL_LENGTH], ip[ipv4::field::TOTAL_LENGTH + 1]]) as usize;
        let datagram = be16([len0, len1]) as usize;
        if l3 + total > packet.length() {
            return Err(Leave::Truncated);
        }
        if datagram + ipv4::HEADER > total {
            return Err(Leave::Lengths);
        }
        if datagram < udp::HEADER + dhcp::FIXED {
            return Err(Leave::Truncated);
        }
        Ok(Self { l3: l3 as u16, vlan, destination_port, end: (l3 + ipv4::HEADER + datagram) as u16 })
    }
}

/// Adds a VID behind those found; a priority tag (VID 0) adds none.
#[inline(always)]
fn push_vid(vlan: &mut [u16; 2], vid: u16) -> Result<(), Leave> {
    match (vid, vlan[0], vlan[1]) {
        (0, _, _) => {}
        (_, 0, _) => vlan[0] = vid,
        (_, _, 0) => vlan[1] = vid,
        _ => return Err(Leave::Tags),
    }
    Ok(())
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

/// Where the walk over the options stands.
// VERIFIER (6.18, 2026-11): kept in the caller's memory, which is a map's. On the stack the verifier knows each value of `at`,
// which never converges: "BPF program is too large. Processed 1000001 insn".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walk {
    at: u16,
    end: u16,
    /// The option whose sub-options are walked.
    inner: u8,
    problem: Problem,
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
    /// Option 43 is there.
    pub vendor_options: Span,
    /// Options 60, 77, 93 and 175, for what is read from them once all are found.
    vendor_class: Span,
    user_class_list: Span,
    arch_list: Span,
    ipxe: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum UserClass {
    Other = 0,
    Ipxe = 1,
    Netboot = 2,
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

/// Why the walk stopped before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Problem {
    None = 0,
    Cut = 1,
    Long = 2,
    Overload = 3,
}

/// The walk over the options area.
struct Reader<'a>(&'a mut Request);

impl<P: Packet> Walker<P> for Reader<'_> {
    #[inline(always)]
    fn step(&mut self, packet: &P) -> Step {
        match self.0.walk.next(packet) {
            Found::Option { code, value, length } => self.option(packet, code, value, length),
            Found::Pad => Step::Next,
            Found::End => Step::Done,
            Found::Cut => self.stop(Problem::Cut),
        }
    }
}

/// What stands where a walk has come to.
enum Found {
    Pad,
    /// Of the options, or of the area.
    End,
    /// It reaches past the end of the area.
    Cut,
    /// `value`: its offset.
    Option {
        code: u8,
        value: usize,
        length: u8,
    },
}

impl Walk {
    /// The next option, and past it.
    #[inline(always)]
    fn next<P: Packet>(&mut self, packet: &P) -> Found {
        let (start, end) = (self.at, self.end);
        if start >= end {
            return Found::End;
        }
        let at = start as usize;
        // Pads and the end have no length; where nothing follows them, it reads as 0.
        let both = packet.read(at).or_else(|| packet.read(at).map(|[code]: [u8; 1]| [code, 0]));
        let Some([code, length]) = both else { return Found::Cut };
        match code {
            option::PAD => {
                self.at = start + 1;
                return Found::Pad;
            }
            option::END => return Found::End,
            _ => {}
        }
        let next = start as u32 + 2 + length as u32;
        if next > end as u32 {
            return Found::Cut;
        }
        self.at = next as u16;
        Found::Option { code, value: at + 2, length }
    }
}

impl Reader<'_> {
    #[inline(always)]
    fn stop(&mut self, problem: Problem) -> Step {
        self.0.walk.problem = problem;
        Step::Done
    }

    /// One option. Those of a wrong length are as good as absent (RFC 2132: fixed lengths).
    #[inline(always)]
    fn option<P: Packet>(&mut self, packet: &P, code: u8, value: usize, length: u8) -> Step {
        let options = &mut self.0.options;
        match (code, length) {
            (option::MESSAGE_TYPE, 1) => {
                let [byte] = packet.read(value).unwrap_or_default();
                options.message_type = MessageType::from_byte(byte);
            }
            (option::REQUESTED_ADDRESS, 4) => options.requested = packet.read(value).unwrap_or_default(),
            (option::SERVER_IDENTIFIER, 4) => options.server = packet.read(value).unwrap_or_default(),
            (option::MAX_MESSAGE_SIZE, 2) => options.max_size = be16(packet.read(value).unwrap_or_default()),
            (option::CLIENT_ARCH, 1..) => {
                return self.keep(|options| &mut options.arch_list, value, length);
            }
            (option::VENDOR_CLASS, 1..) => {
                return self.keep(|options| &mut options.vendor_class, value, length);
            }
            (option::USER_CLASS, 1..) => {
                return self.keep(|options| &mut options.user_class_list, value, length);
            }
            (option::IPXE, 1..) => return self.keep(|options| &mut options.ipxe, value, length),
            (option::CLIENT_UUID, 1..) => {
                return self.keep(|options| &mut options.uuid, value, length);
            }
            (option::CLIENT_IDENTIFIER, 1..) => {
                return self.keep(|options| &mut options.client_id, value, length);
            }
            (option::RELAY_AGENT, 1..) => {
                return self.keep(|options| &mut options.relay_agent, value, length);
            }
            (option::PARAMETER_LIST, 1..) => options.parameter_list = Span { at: value as u16, length },
            (option::VENDOR_SPECIFIC, 1..) => options.vendor_options = Span { at: value as u16, length },
            (option::SUBNET_SELECTION, 4) if options.link == ipv4::UNSPECIFIED => {
                options.link = packet.read(value).unwrap_or_default();
            }
            (option::HOST_NAME, 1..) => options.hostname = Span { at: value as u16, length },
            (option::OVERLOAD, 1) => return self.stop(Problem::Overload),
            _ => {}
        }
        Step::Next
    }

    /// Remembers where an option is. In two parts (RFC 3396) it is userspace's.
    #[inline(always)]
    fn keep(&mut self, field: impl Fn(&mut Options) -> &mut Span, value: usize, length: u8) -> Step {
        let span = field(&mut self.0.options);
        if !span.is_empty() {
            return self.stop(Problem::Long);
        }
        *span = Span { at: value as u16, length };
        Step::Next
    }
}

/// The walk over the sub-options of option 82 or 175.
struct Inside<'a>(&'a mut Request);

impl<P: Packet> Walker<P> for Inside<'_> {
    #[inline(always)]
    fn step(&mut self, packet: &P) -> Step {
        let Request { options, walk, .. } = &mut *self.0;
        let (code, value, length) = match walk.next(packet) {
            Found::Option { code, value, length } => (code, value, length),
            Found::Pad => return Step::Next,
            Found::End | Found::Cut => return Step::Done,
        };
        match (walk.inner, code, length) {
            (option::IPXE, pxe::ipxe::FEATURE_HTTP, _) => options.ipxe_http = true,
            (option::RELAY_AGENT, relay::CIRCUIT_ID, 1..) => {
                options.circuit = Span { at: value as u16, length };
            }
            (option::RELAY_AGENT, relay::LINK_SELECTION, 4) => {
                options.link = packet.read(value).unwrap_or_default();
            }
            _ => {}
        }
        Step::Next
    }
}

/// A byte, looked for in a part of the packet.
struct Search {
    at: u16,
    end: u16,
    code: u8,
    found: bool,
}

impl<P: Packet> Walker<P> for Search {
    #[inline(always)]
    fn step(&mut self, packet: &P) -> Step {
        if self.at >= self.end {
            return Step::Done;
        }
        let [byte] = packet.read(self.at as usize).unwrap_or_default();
        self.at += 1;
        if byte != self.code {
            return Step::Next;
        }
        self.found = true;
        Step::Done
    }
}

/// Option 93 is a list (RFC 4578 section 2.1): the first known value of its first four wins.
#[inline(always)]
fn read_arch<P: Packet>(packet: &P, value: usize, length: u8) -> u16 {
    let first = be16(packet.read(value).unwrap_or_default());
    let mut found = first;
    let mut i = 1;
    while i < 4 {
        if !known_arch(found) && length as usize >= 2 * (i + 1) {
            found = be16(packet.read(value + 2 * i).unwrap_or_default());
        }
        i += 1;
    }
    if known_arch(found) { found } else { first }
}

#[inline(always)]
const fn known_arch(value: u16) -> bool {
    matches!(
        value,
        arch::BIOS
            | arch::EFI_IA32
            | arch::EFI_X64
            | arch::EFI_X64_ALTERNATE
            | arch::EFI_ARM64
            | arch::EFI_IA32_HTTP
            | arch::EFI_X64_HTTP
            | arch::EFI_ARM64_HTTP
    )
}

#[inline(always)]
fn read_vendor<P: Packet>(packet: &P, value: usize, length: u8) -> Vendor {
    if length >= 9 && packet.read(value) == Some(pxe::PXE_CLIENT) {
        return Vendor::Pxe;
    }
    if length >= 10 && packet.read(value) == Some(pxe::HTTP_CLIENT) {
        return Vendor::Http;
    }
    Vendor::Other
}

/// A bare string (iPXE), or the first entry of a list (RFC 3004 section 4).
#[inline(always)]
fn read_user_class<P: Packet>(packet: &P, value: usize, length: u8) -> UserClass {
    let (text, size) = match packet.read(value) {
        Some([entry]) if entry as u16 + 1 == length as u16 || entry < 32 => (value + 1, entry),
        _ => (value, length),
    };
    if size as u16 + (text - value) as u16 > length as u16 {
        return UserClass::Other;
    }
    if size == 4 && packet.read(text) == Some(pxe::USER_CLASS_IPXE) {
        return UserClass::Ipxe;
    }
    if size == 7 && packet.read(text) == Some(pxe::USER_CLASS_NETBOOT) {
        return UserClass::Netboot;
    }
    UserClass::Other
}
