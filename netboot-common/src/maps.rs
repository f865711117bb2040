//! What crosses a BPF map: bytes in network order, no padding, sizes asserted.
//!
//! | map | key | value | written by | read by |
//! |---|---|---|---|---|
//! | `INTERFACES` | [`InterfaceKey`] | [`InterfaceValue`] | userspace | all programs |
//! | `HOSTS` | [`HostKey`] | [`HostEntry`] | userspace; both programs [end](HostValue::end) leases and charge budgets | both programs |
//! | `TEMPLATES` | [`TemplateKey`] | [`Template`] | userspace | both programs |
//! | `LIMITS` | 0 | [`Limits`](crate::limit::Limits) | userspace | both programs |
//! | `RATE` | [`RateKey`](crate::limit::RateKey) | nanoseconds | all programs | all programs |
//! | `COUNTERS` | [`Lane::counter`](crate::stats::Lane::counter) | `u64` per CPU | both programs | userspace |
//! | `EVENTS` | – | [`Event`](crate::event::Event), and of TFTP [`Transfer`](crate::tftp::event::Transfer) | all programs | userspace |
//!
//! The same types are the userspace lane's own tables: one description of a host, one of a template.

use crate::class::Class;
use crate::wire::checksum::{self, Sum};
use crate::wire::dhcp;

/// Rises with every change of a layout in this file, in `event.rs`, or in those of `tftp/`. Part of the pins' path, so that a program never
/// reads what another version wrote.
pub const ABI_VERSION: u32 = 6;

/// Hosts that the map can hold.
pub const HOSTS_MAX: u32 = 1 << 20;
/// Templates that the map can hold.
pub const TEMPLATES_MAX: u32 = 1 << 16;
/// Interfaces and VLANs that the map can hold.
pub const INTERFACES_MAX: u32 = 1 << 10;
/// Senders whose rate is remembered, those heard last: clients and relay agents of what goes up to userspace, and who asks by TFTP.
pub const RATES_MAX: u32 = 1 << 16;
/// Bytes of the event ring.
pub const EVENTS_BYTES: u32 = 1 << 20;

/// Where a request arrived: the device, and the VLAN tags of the frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct InterfaceKey {
    ifindex: [u8; 4],
    /// Outer VID; 0: none.
    outer: [u8; 2],
    /// Inner VID; 0: none.
    inner: [u8; 2],
}

impl InterfaceKey {
    #[inline(always)]
    pub const fn new(ifindex: u32, vlan: [u16; 2]) -> Self {
        Self { ifindex: ifindex.to_be_bytes(), outer: vlan[0].to_be_bytes(), inner: vlan[1].to_be_bytes() }
    }

    pub const fn ifindex(&self) -> u32 {
        u32::from_be_bytes(self.ifindex)
    }

    /// Outer and inner VID, 0 for none.
    pub const fn vlan(&self) -> [u16; 2] {
        [u16::from_be_bytes(self.outer), u16::from_be_bytes(self.inner)]
    }
}

/// Who we are on one interface or VLAN.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InterfaceValue {
    /// Our address: source of replies, option 54.
    pub address: [u8; 4],
    pub mac: [u8; 6],
    mode: u8,
    /// Prefix length of the network that is directly connected.
    pub prefix: u8,
    /// The number by which templates know this interface and VLAN, for clients that are on it.
    scope: [u8; 2],
    /// The same, for clients behind relay agents. Another one, so that nobody is given an address of a network that he is not on:
    /// there is no template for it.
    relay_scope: [u8; 2],
    /// The longest datagram that leaves in one piece.
    mtu: [u8; 2],
    flags: u8,
    reserved: u8,
}

/// What we are to the clients of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// A DHCP server.
    Server = 1,
    /// A ProxyDHCP server beside somebody else's DHCP server: gives out no address, ever.
    Proxy = 2,
}

impl InterfaceValue {
    /// Option 82 is taken from clients that no relay agent spoke for: a switch between puts it in (RFC 3046 section 2.1, "trusted
    /// circuit").
    pub const TRUSTS_OPTION_82: u8 = 1;
    /// Other servers may know of clients what we don't: only those that say that they are ours are refused (RFC 2131 section 4.3.2).
    pub const NOT_AUTHORITATIVE: u8 = 2;

    /// `scopes`: for clients on this network, and for those behind relay agents. `mtu`: bytes of an IPv4 datagram.
    pub const fn new(
        address: [u8; 4],
        prefix: u8,
        mac: [u8; 6],
        mode: Mode,
        scopes: [u16; 2],
        mtu: u16,
    ) -> Self {
        let [scope, relay_scope] = [scopes[0].to_be_bytes(), scopes[1].to_be_bytes()];
        let (mode, mtu) = (mode as u8, mtu.to_be_bytes());
        Self { address, mac, mode, prefix, scope, relay_scope, mtu, flags: 0, reserved: 0 }
    }

    pub const fn with_flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    #[inline(always)]
    pub const fn authoritative(&self) -> bool {
        self.flags & Self::NOT_AUTHORITATIVE == 0
    }

    #[inline(always)]
    pub const fn trusts_option_82(&self) -> bool {
        self.flags & Self::TRUSTS_OPTION_82 != 0
    }

    /// The same, with another MAC of ours.
    pub const fn with_mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = mac;
        self
    }

    #[inline(always)]
    pub const fn mtu(&self) -> u16 {
        u16::from_be_bytes(self.mtu)
    }

    #[inline(always)]
    pub const fn mode(&self) -> Mode {
        match self.mode {
            1 => Mode::Server,
            // The map is written by this crate's own `new` only; a proxy promises least.
            _ => Mode::Proxy,
        }
    }

    /// Which templates a client gets.
    #[inline(always)]
    pub const fn scope(&self, relayed: bool) -> u16 {
        u16::from_be_bytes(if relayed { self.relay_scope } else { self.scope })
    }
}

/// A machine's port, on one VLAN.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HostKey {
    pub mac: [u8; 6],
    /// Innermost VID; 0: untagged.
    vlan: [u8; 2],
}

impl HostKey {
    #[inline(always)]
    pub const fn new(mac: [u8; 6], vlan: u16) -> Self {
        Self { mac, vlan: vlan.to_be_bytes() }
    }

    pub const fn vlan(&self) -> u16 {
        u16::from_be_bytes(self.vlan)
    }
}

/// Bytes of a host name that fit beside the rest in one cache line; longer ones are left out of replies.
pub const HOSTNAME_MAX: usize = 27;

/// What may be promised to one host.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostValue {
    /// 0.0.0.0: no address of its own.
    pub yiaddr: [u8; 4],
    lease: [u8; 4],
    valid_until: [u8; 8],
    group: [u8; 2],
    flags: u8,
    /// Prefix length of the network that `yiaddr` belongs to.
    pub prefix: u8,
    hostname_length: u8,
    hostname: [u8; HOSTNAME_MAX],
}

impl HostValue {
    /// The host gets an address but no boot file, and nothing from a proxy.
    pub const IGNORE: u8 = 1;
    /// The address is a lease of the client identifier 1 + MAC, not a reservation: other identifiers have other leases.
    pub const DYNAMIC: u8 = 2;

    /// `lease` in seconds. `group`: which templates: the number of its network and profile.
    pub const fn new(yiaddr: [u8; 4], prefix: u8, lease: u32, group: u16) -> Self {
        Self {
            yiaddr,
            lease: lease.to_be_bytes(),
            valid_until: [0; 8],
            group: group.to_be_bytes(),
            flags: 0,
            prefix,
            hostname_length: 0,
            hostname: [0; HOSTNAME_MAX],
        }
    }

    /// With option 12, if it fits ([`HOSTNAME_MAX`]).
    pub fn with_hostname(mut self, name: &str) -> Self {
        if name.len() <= HOSTNAME_MAX {
            self.hostname = [0; HOSTNAME_MAX];
            self.hostname[..name.len()].copy_from_slice(name.as_bytes());
            self.hostname_length = name.len() as u8;
        }
        self
    }

    /// Promised no longer than until `seconds` of the boot-time clock (`CLOCK_BOOTTIME`); 0: a reservation, for ever.
    pub const fn with_valid_until(mut self, seconds: u64) -> Self {
        self.valid_until = seconds.to_be_bytes();
        self
    }

    /// A lease is promised no more; a reservation stays what it is.
    #[inline(always)]
    pub const fn end(&mut self) {
        if self.dynamic() {
            self.valid_until = 1_u64.to_be_bytes();
        }
    }

    pub const fn with_flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    #[inline(always)]
    pub const fn lease(&self) -> u32 {
        u32::from_be_bytes(self.lease)
    }

    #[inline(always)]
    pub const fn valid_until(&self) -> u64 {
        u64::from_be_bytes(self.valid_until)
    }

    #[inline(always)]
    pub const fn group(&self) -> u16 {
        u16::from_be_bytes(self.group)
    }

    #[inline(always)]
    pub const fn ignored(&self) -> bool {
        self.flags & Self::IGNORE != 0
    }

    #[inline(always)]
    pub const fn dynamic(&self) -> bool {
        self.flags & Self::DYNAMIC != 0
    }

    /// The name's bytes, and how many of them count.
    #[inline(always)]
    pub const fn hostname(&self) -> (&[u8; HOSTNAME_MAX], u8) {
        (&self.hostname, self.hostname_length)
    }
}

/// A host as the map has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HostEntry {
    pub promise: HostValue,
    /// The programs' own: when the host is even with its budget ([`Budget::admit`](crate::limit::Budget::admit)), nanoseconds. Here,
    /// because whoever answers has this memory at hand. Userspace carries it over when it writes.
    pub even: [u8; 8],
}

impl HostEntry {
    pub const fn new(promise: HostValue) -> Self {
        Self { promise, even: [0; 8] }
    }
}

/// Which reply. Part of a template's key and of the counters, so its numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Offer = 0,
    Ack = 1,
    Nak = 2,
    /// The ACK of an INFORM: no `yiaddr`, no lease.
    InformAck = 3,
    ProxyOffer = 4,
    ProxyAck = 5,
    /// The reply to a BOOTP client (RFC 951): no DHCP options. Userspace only.
    Bootp = 6,
}

impl Kind {
    pub const COUNT: usize = 7;
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Offer, Self::Ack, Self::Nak, Self::InformAck, Self::ProxyOffer, Self::ProxyAck, Self::Bootp];

    /// The kind's name in metrics, logs and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Ack => "ack",
            Self::Nak => "nak",
            Self::InformAck => "inform_ack",
            Self::ProxyOffer => "proxy_offer",
            Self::ProxyAck => "proxy_ack",
            Self::Bootp => "bootp",
        }
    }

    /// The kind with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(byte as usize).copied()
    }
}

/// Which template: the interface's scope, the host's group, the client's class, the reply's kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TemplateKey {
    scope: [u8; 2],
    group: [u8; 2],
    class: u8,
    kind: u8,
    reserved: [u8; 2],
}

impl TemplateKey {
    #[inline(always)]
    pub const fn new(scope: u16, group: u16, class: Class, kind: Kind) -> Self {
        Self {
            scope: scope.to_be_bytes(),
            group: group.to_be_bytes(),
            class: class as u8,
            kind: kind as u8,
            reserved: [0; 2],
        }
    }

    /// The number of its scope.
    pub const fn scope(&self) -> u16 {
        u16::from_be_bytes(self.scope)
    }

    /// The number of its group.
    pub const fn group(&self) -> u16 {
        u16::from_be_bytes(self.group)
    }
}

/// Bytes that a template may hold: `sname`, `file`, the cookie and up to [`TEMPLATE_OPTIONS_MAX`] bytes of options.
pub const TEMPLATE_MAX: usize = 512;

/// Bytes of options that a template may hold.
pub const TEMPLATE_OPTIONS_MAX: usize = 304;

/// What is the same in every reply of one key: all from `sname` on, up to the options that depend on the client.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Template {
    pub siaddr: [u8; 4],
    /// Option 108 (RFC 8925), for clients that ask for it; 0: not configured.
    v6_only_wait: [u8; 4],
    length: [u8; 2],
    sum: [u8; 2],
    flags: u8,
    reserved: [u8; 3],
    body: [u8; TEMPLATE_MAX],
}

/// Why bytes are no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTemplate {
    /// The options take more than [`TEMPLATE_OPTIONS_MAX`] bytes.
    TooLong { options: usize },
}

impl Template {
    /// It carries a boot menu: what a client chose from it is userspace's to answer.
    pub const MENU: u8 = 1;

    /// `options`: without the cookie and the end mark. They are followed by pad options, up to a multiple of 8, because the
    /// programs copy eight bytes at a time.
    pub fn new(
        siaddr: [u8; 4],
        sname: &[u8; dhcp::SNAME],
        file: &[u8; dhcp::FILE],
        options: &[u8],
    ) -> Result<Self, BadTemplate> {
        const OPTIONS: usize = dhcp::FIXED - dhcp::HEAD;
        const FILE: usize = dhcp::field::FILE - dhcp::HEAD;
        const COOKIE: usize = dhcp::field::COOKIE - dhcp::HEAD;
        // The tail must start at a multiple of 8 of the message; the body itself starts at 44.
        let length = (dhcp::HEAD + OPTIONS + options.len()).next_multiple_of(8) - dhcp::HEAD;
        if options.len() > TEMPLATE_OPTIONS_MAX {
            return Err(BadTemplate::TooLong { options: options.len() });
        }
        let mut body = [0; TEMPLATE_MAX];
        body[..FILE].copy_from_slice(sname);
        body[FILE..COOKIE].copy_from_slice(file);
        body[COOKIE..OPTIONS].copy_from_slice(&dhcp::COOKIE);
        body[OPTIONS..OPTIONS + options.len()].copy_from_slice(options);
        let sum = checksum::fold(checksum::add(0, &body));
        let (length, sum) = ((length as u16).to_be_bytes(), sum.to_be_bytes());
        Ok(Self { siaddr, v6_only_wait: [0; 4], length, sum, flags: 0, reserved: [0; 3], body })
    }

    /// Seconds of V6ONLY_WAIT (RFC 8925 section 3.4).
    pub const fn with_v6_only_wait(mut self, seconds: u32) -> Self {
        self.v6_only_wait = seconds.to_be_bytes();
        self
    }

    pub const fn with_flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// Option 108's value, where it is configured.
    #[inline(always)]
    pub const fn v6_only_wait(&self) -> [u8; 4] {
        self.v6_only_wait
    }

    #[inline(always)]
    pub const fn has_menu(&self) -> bool {
        self.flags & Self::MENU != 0
    }

    /// Bytes of the body that count: a multiple of 4, and 44 more than a multiple of 8.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        u16::from_be_bytes(self.length) as usize
    }

    /// The sum of the body.
    #[inline(always)]
    pub const fn sum(&self) -> Sum {
        Sum::ZERO.half(self.sum)
    }

    /// What goes to [`dhcp::HEAD`]; [`Template::length`] bytes of it count, the others are zero.
    #[inline(always)]
    pub const fn body(&self) -> &[u8; TEMPLATE_MAX] {
        &self.body
    }
}

impl core::fmt::Debug for Template {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Template")
            .field("siaddr", &self.siaddr)
            .field("length", &self.length())
            .finish_non_exhaustive()
    }
}

const _: () = assert!(size_of::<InterfaceKey>() == 8 && align_of::<InterfaceKey>() == 1);
const _: () = assert!(size_of::<InterfaceValue>() == 20 && align_of::<InterfaceValue>() == 1);
const _: () = assert!(size_of::<HostKey>() == 8 && align_of::<HostKey>() == 1);
const _: () = assert!(size_of::<HostValue>() == 48 && align_of::<HostValue>() == 1);
const _: () = assert!(size_of::<HostEntry>() == 56 && align_of::<HostEntry>() == 1);
const _: () = assert!(size_of::<TemplateKey>() == 8 && align_of::<TemplateKey>() == 1);
// The programs copy eight bytes at a time, and look at what they copy.
const _: () =
    assert!((dhcp::FIXED + TEMPLATE_OPTIONS_MAX).next_multiple_of(8) - dhcp::HEAD <= TEMPLATE_MAX - 8);
const _: () = assert!(size_of::<Template>() == 528 && align_of::<Template>() == 1);

#[cfg(feature = "user")]
#[allow(unsafe_code, reason = "aya asks for a mark that the compiler cannot check")]
mod pod {
    use super::*;
    use crate::limit::Limits;
    use aya::Pod;

    // SAFETY: `repr(C)` structs of bytes without padding (sizes asserted above): any bit pattern is a value.
    unsafe impl Pod for InterfaceKey {}
    // SAFETY: as above.
    unsafe impl Pod for InterfaceValue {}
    // SAFETY: as above.
    unsafe impl Pod for HostKey {}
    // SAFETY: as above.
    unsafe impl Pod for HostEntry {}
    // SAFETY: as above.
    unsafe impl Pod for TemplateKey {}
    // SAFETY: as above.
    unsafe impl Pod for Template {}
    // SAFETY: as above.
    unsafe impl Pod for Limits {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_ends_where_eight_byte_copies_end() {
        for options in 0..=TEMPLATE_OPTIONS_MAX {
            let template =
                Template::new([0; 4], &[1; 64], &[2; 128], &[9; TEMPLATE_OPTIONS_MAX][..options]).unwrap();
            assert_eq!((dhcp::HEAD + template.length()) % 8, 0);
            assert!(template.length() >= 196 + options && template.length() < 196 + options + 8);
            assert_eq!(
                template.sum().folded(),
                checksum::fold(checksum::add(0, &template.body()[..template.length()])).to_be_bytes()
            );
        }
        assert_eq!(
            Template::new([0; 4], &[0; 64], &[0; 128], &[0; TEMPLATE_OPTIONS_MAX + 1]),
            Err(BadTemplate::TooLong { options: TEMPLATE_OPTIONS_MAX + 1 })
        );
    }

    #[test]
    fn a_host_name_that_does_not_fit_is_left_out() {
        let host = HostValue::new([10, 0, 0, 9], 24, 3600, 7);
        assert_eq!(host.with_hostname("node-1").hostname().1, 6);
        assert_eq!(host.with_hostname("abcdefghijklmnopqrstuvwxyz0").hostname().1, 27);
        assert_eq!(host.with_hostname("abcdefghijklmnopqrstuvwxyz01").hostname().1, 0);
    }
}
