//! What a record says, as numbers.

use super::{Session, flag};

impl Session {
    /// Whether this ACK was the client's first.
    #[inline(always)]
    pub const fn answered(&self) -> bool {
        self.is(flag::ANSWERED)
    }

    /// Whether nothing more will be sent.
    #[inline(always)]
    pub const fn ended(&self) -> bool {
        self.is(flag::ENDED)
    }

    /// Our address.
    #[inline(always)]
    pub const fn own(&self) -> [u8; 4] {
        self.own
    }

    /// Our TID.
    #[inline(always)]
    pub const fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    #[inline(always)]
    pub const fn block_size(&self) -> u16 {
        u16::from_be_bytes(self.block_size)
    }

    #[inline(always)]
    pub const fn blocks(&self) -> u16 {
        u16::from_be_bytes(self.blocks)
    }

    /// Whether the client has all of it.
    #[inline(always)]
    pub const fn is_whole(&self) -> bool {
        self.acked() == self.blocks()
    }

    /// The last block that the client has.
    #[inline(always)]
    pub const fn acked(&self) -> u16 {
        u16::from_be_bytes(self.acked)
    }

    /// The last block that was sent.
    #[inline(always)]
    pub const fn sent(&self) -> u16 {
        u16::from_be_bytes(self.sent)
    }

    /// Bytes of all blocks that the client has; of a whole file, the last one may be shorter.
    #[inline(always)]
    pub const fn bytes(&self) -> u32 {
        self.acked() as u32 * self.block_size() as u32
    }

    /// Blocks that were sent more than once.
    #[inline(always)]
    pub const fn resent(&self) -> u32 {
        u32::from_be_bytes(self.resent)
    }

    /// When what was sent last was sent first, which tells it from all before it: `CLOCK_BOOTTIME`, nanoseconds.
    #[inline(always)]
    pub const fn first(&self) -> u64 {
        u64::from_be_bytes(self.first)
    }

    /// When something was sent last: `CLOCK_BOOTTIME`, nanoseconds.
    #[inline(always)]
    pub const fn time(&self) -> u64 {
        self.first() + self.again() as u64 * 1000
    }

    /// When it was asked for.
    #[inline(always)]
    pub const fn began(&self) -> u64 {
        u64::from_be_bytes(self.began)
    }

    /// Microseconds.
    #[inline(always)]
    pub(super) const fn round_trip(&self) -> u32 {
        u32::from_be_bytes(self.round_trip)
    }

    /// Microseconds.
    #[inline(always)]
    pub(super) const fn again(&self) -> u32 {
        u32::from_be_bytes(self.again)
    }
}
