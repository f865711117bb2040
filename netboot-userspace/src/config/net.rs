//! Subnets: what an address may be, and for whom.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::inventory::settings::Settings;

/// One IPv4 subnet, with what DHCP says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its first address: the host bits are zero.
    pub network: Ipv4Addr,
    /// 0 to 32.
    pub prefix: u8,
    /// The dynamic pools, first and last address of each, all in the subnet; none: reservations only.
    pub pools: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Addresses of the pools that are never leased, first and last of each range.
    pub excluded: Vec<(Ipv4Addr, Ipv4Addr)>,
    pub router: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    /// How long an address is promised for.
    pub lease: Duration,
    /// Relay agents that speak for this subnet from addresses outside it.
    pub relays: Vec<Ipv4Addr>,
    pub settings: Settings,
}

impl Subnet {
    /// Reservations only, and nothing said.
    pub fn new(network: Ipv4Addr, prefix: u8, lease: Duration) -> Self {
        Self {
            network,
            prefix,
            pools: Vec::new(),
            excluded: Vec::new(),
            router: None,
            dns: Vec::new(),
            lease,
            relays: Vec::new(),
            settings: Settings::default(),
        }
    }

    /// An address that is in two of its pools.
    pub fn overlapping_pools(&self) -> Option<Ipv4Addr> {
        let mut pools = self.pools.clone();
        pools.sort_unstable();
        pools.windows(2).find(|pair| pair[1].0 <= pair[0].1).map(|pair| pair[1].0)
    }

    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask_bits(self.prefix))
    }

    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        ip.to_bits() & mask_bits(self.prefix) == self.network.to_bits()
    }

    /// The subnet's broadcast address (its last).
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !mask_bits(self.prefix))
    }

    /// True for an address that a machine may have: in the subnet, and, where it has more than two addresses, neither
    /// its first (the network) nor its last (the broadcast address).
    pub fn is_usable(&self, ip: Ipv4Addr) -> bool {
        self.contains(ip) && (self.prefix > 30 || (ip != self.network && ip != self.broadcast()))
    }

    /// True if the two share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// The first `prefix` bits set.
pub(super) fn mask_bits(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// `10.10.0.0/16`, with the host bits zero.
pub(super) fn network(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let shape = || format!("{text:?} is not a subnet: it takes an address and a prefix, as in 10.10.0.0/16");
    let (address, prefix) = text.split_once('/').ok_or_else(shape)?;
    let address: Ipv4Addr = address.parse().map_err(|_| shape())?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32).ok_or_else(shape)?;
    let first = Ipv4Addr::from_bits(address.to_bits() & mask_bits(prefix));
    if first != address {
        return Err(format!("{text} has bits set behind its prefix: the subnet is {first}/{prefix}"));
    }
    Ok((address, prefix))
}

/// `10.10.1.0-10.10.200.255`, the first not above the last.
pub(super) fn range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let shape = || format!("{text:?} is not a range: it takes two addresses, as in 10.10.1.0-10.10.200.255");
    let (first, last) = text.split_once('-').ok_or_else(shape)?;
    let first: Ipv4Addr = first.trim().parse().map_err(|_| shape())?;
    let last: Ipv4Addr = last.trim().parse().map_err(|_| shape())?;
    if first > last {
        return Err(format!("{text} runs backwards: write {last}-{first}"));
    }
    Ok((first, last))
}

/// `1h`, `90s`, `30m`, `7d`, or a number of seconds, within `limits`.
pub fn duration(text: &str, limits: RangeInclusive<Duration>) -> Result<Duration, String> {
    let shape = || {
        let (least, most) = (limits.start().as_secs(), limits.end().as_secs());
        format!("{text:?} is not a time: write 90s, 30m, 1h or 7d (from {least}s to {most}s)")
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(shape()),
    };
    let count: u64 = digits.parse().map_err(|_| shape())?;
    let time = count.checked_mul(unit).map(Duration::from_secs);
    time.filter(|time| limits.contains(time)).ok_or_else(shape)
}
