//! What crosses the bench's own maps. Included by both sides.

/// Bytes of the frame that the bare program answers with, whatever the request.
pub(crate) const BARE_FRAME: usize = size_of::<Frame>();
/// The same, as words.
pub(crate) type Frame = [u64; 48];
/// Hosts that its map can hold.
pub(crate) const BARE_HOSTS_MAX: u32 = 1 << 20;
/// The longest request that can be restored.
pub(crate) const REQUEST_MAX: usize = 1024;

/// Where the fields are that differ from client to client, in an untagged frame.
pub(crate) mod at {
    pub(crate) const SOURCE_MAC: usize = 6;
    pub(crate) const CHADDR: usize = 70;
    /// The value of option 50, which is the second one, if it is there.
    pub(crate) const REQUESTED: usize = 287;
}

/// The request that `restore` puts in place before each run.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Restore {
    pub(crate) frame: [u8; REQUEST_MAX],
    pub(crate) length: u32,
    /// Clients to choose from at random; 0: the frame is always the same.
    pub(crate) hosts: u32,
    /// The address of client 0, if the request has option 50.
    pub(crate) first_address: u32,
    /// Whether a relay agent sent it, whose MAC stays.
    pub(crate) relayed: u32,
}

/// The MAC of client `index`: unicast, locally administered.
#[inline(always)]
pub(crate) const fn mac(index: u32) -> [u8; 6] {
    let [a, b, c, d] = index.to_be_bytes();
    [0x02, 0x42, a, b, c, d]
}

/// A host of the bare program: its address, in network order. The key is the MAC and two zeros.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct BareHost {
    pub(crate) yiaddr: [u16; 2],
}

/// A ready reply: all but what differs from client to client, which is zero here and in the sums.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct BareReply {
    pub(crate) frame: Frame,
    /// Sums of the IPv4 header and of the UDP datagram with its pseudo header, in the byte order of the words as loaded.
    pub(crate) ip_sum: u32,
    pub(crate) udp_sum: u32,
}
