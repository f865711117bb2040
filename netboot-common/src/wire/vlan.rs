//! IEEE 802.1Q and 802.1ad tags: four bytes each, between the source address and the EtherType.

/// Bytes of one tag.
pub const TAG: usize = 4;
/// The TPID of a customer tag.
pub const TPID_8021Q: u16 = 0x8100;
/// The TPID of a service tag (QinQ).
pub const TPID_8021AD: u16 = 0x88a8;

/// True for the types that announce a tag.
#[inline(always)]
pub const fn is_tpid(ethertype: u16) -> bool {
    ethertype == TPID_8021Q || ethertype == TPID_8021AD
}

/// The VLAN identifier in a tag control word: its low 12 bits. 0 is a priority tag: no VLAN.
#[inline(always)]
pub const fn vid(tci: u16) -> u16 {
    tci & 0x0fff
}
