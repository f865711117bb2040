//! IPv6: subnets, and what DHCPv6 does on an interface.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

/// One IPv6 subnet, with what DHCPv6 says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet6 {
    /// Its first address: the host bits are zero.
    pub network: Ipv6Addr,
    /// 0 to 128.
    pub prefix: u8,
    /// The dynamic pool, first and last address, both in the subnet; `None`: reservations only.
    pub range: Option<(Ipv6Addr, Ipv6Addr)>,
    pub dns: Vec<Ipv6Addr>,
    /// How long an address is promised for (its valid lifetime).
    pub lease: Duration,
}

impl Subnet6 {
    pub fn contains(&self, ip: Ipv6Addr) -> bool {
        ip.to_bits() & mask_bits(self.prefix) == self.network.to_bits()
    }

    /// True if the two share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// IPv6 on an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V6 {
    pub mode: Dhcp6Mode,
    /// Always there unless [`Dhcp6Mode::Off`].
    pub subnet: Option<Subnet6>,
    /// Option 7: 255 has clients take our offer at once, lower values have them wait for others.
    pub preference: u8,
    /// Whether clients that ask for it get their address in one exchange (RFC 8415 section 21.14).
    pub rapid_commit: bool,
}

/// What DHCPv6 does on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dhcp6Mode {
    /// Addresses and options.
    Server,
    /// Options only: addresses come from router advertisements.
    Stateless,
    #[default]
    Off,
}

impl Dhcp6Mode {
    /// As `netboot.yaml` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Stateless => "stateless",
            Self::Off => "off",
        }
    }
}

/// Addresses of one pool, at most: more than a site has machines, and few enough to be searched.
const POOL: u128 = 1 << 20;

/// The first `prefix` bits set.
fn mask_bits(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

/// `2001:db8::/64`, with the host bits zero.
pub(super) fn network(text: &str) -> Result<(Ipv6Addr, u8), String> {
    let shape =
        || format!("{text:?} is not an IPv6 subnet: it takes an address and a prefix, as in 2001:db8::/64");
    let (address, prefix) = text.split_once('/').ok_or_else(shape)?;
    let address: Ipv6Addr = address.parse().map_err(|_| shape())?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 128).ok_or_else(shape)?;
    let first = Ipv6Addr::from_bits(address.to_bits() & mask_bits(prefix));
    if first != address {
        return Err(format!("{text} has bits set behind its prefix: the subnet is {first}/{prefix}"));
    }
    if address.is_unicast_link_local() || address.is_multicast() {
        return Err(format!(
            "{text} is no subnet of machines' own addresses: take one as 2001:db8::/64 or fd00::/64"
        ));
    }
    Ok((address, prefix))
}

/// `2001:db8::1000-2001:db8::1fff`, the first not above the last.
pub(super) fn range(text: &str) -> Result<(Ipv6Addr, Ipv6Addr), String> {
    let shape =
        || format!("{text:?} is not a range: it takes two addresses, as in 2001:db8::1000-2001:db8::1fff");
    let (first, last) = text.split_once('-').ok_or_else(shape)?;
    let first: Ipv6Addr = first.trim().parse().map_err(|_| shape())?;
    let last: Ipv6Addr = last.trim().parse().map_err(|_| shape())?;
    if first > last {
        return Err(format!("{text} runs backwards: write {last}-{first}"));
    }
    if last.to_bits() - first.to_bits() >= POOL {
        return Err(format!("{text} has more than {POOL} addresses, the most that a pool has"));
    }
    Ok((first, last))
}
