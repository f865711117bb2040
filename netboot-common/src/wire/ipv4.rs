//! IPv4 headers without options (RFC 791).

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Version 4, five words: the only first byte that the fast lanes take.
pub const VERSION_IHL: u8 = 0x45;
/// "More fragments" and the fragment offset: any of these bits make a fragment.
pub const FRAGMENT: u16 = 0x3fff;
/// "Don't fragment".
pub const DONT_FRAGMENT: u16 = 0x4000;
/// 255.255.255.255
pub const BROADCAST: [u8; 4] = [255; 4];
/// 0.0.0.0
pub const UNSPECIFIED: [u8; 4] = [0; 4];
/// The TTL that our datagrams start with.
pub const TTL: u8 = 64;
/// The protocol number of UDP.
pub const UDP: u8 = 17;

/// Where each field of the header starts.
pub mod field {
    pub const VERSION_IHL: usize = 0;
    pub const TOTAL_LENGTH: usize = 2;
    pub const FRAGMENT: usize = 6;
    pub const PROTOCOL: usize = 9;
    pub const CHECKSUM: usize = 10;
    pub const SOURCE: usize = 12;
    pub const DESTINATION: usize = 16;
}

/// True when `a` and `b` share their first `prefix` bits (0 to 32).
#[inline(always)]
pub const fn same_network(a: [u8; 4], b: [u8; 4], prefix: u8) -> bool {
    let differing = u32::from_be_bytes(a) ^ u32::from_be_bytes(b);
    // 64-bit, so that a prefix of 0 shifts everything out in place of overflowing.
    (differing as u64) >> (32 - if prefix > 32 { 32 } else { prefix } as u64) == 0
}

#[cfg(test)]
mod tests {
    use super::same_network;

    #[test]
    fn compares_networks_at_every_border() {
        assert!(same_network([10, 0, 0, 1], [192, 168, 1, 1], 0));
        assert!(same_network([10, 0, 0, 1], [10, 255, 0, 1], 8));
        assert!(!same_network([10, 0, 0, 1], [11, 0, 0, 1], 8));
        assert!(same_network([10, 0, 0, 1], [10, 0, 0, 1], 32));
        assert!(!same_network([10, 0, 0, 1], [10, 0, 0, 0], 32));
        assert!(!same_network([10, 0, 0, 1], [10, 0, 0, 0], 255));
    }
}
