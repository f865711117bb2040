//! What crosses a BPF map of the TFTP program: bytes in network order, no padding, sizes asserted.
//!
//! | map | key | value | written by | read by |
//! |---|---|---|---|---|
//! | `TFTP` | 0 | [`Serving`] | userspace | the program |
//! | `FILES` | [`FileKey`] | [`FileRef`] | userspace | the program |
//! | `FILE_TABLE` | [`FileRef::slot`] | [`File`] | userspace | the program |
//! | `FILE_DATA` | [`File::chunk`] | [`Chunk`] | userspace | the program |
//! | `TFTP_SESSIONS` | [`SessionKey`] | [`Session`](super::session::Session) | the program; userspace takes out who fell silent | the program, userspace |
//! | `TFTP_COUNTERS` | [`Outcome::index`](super::stats::Outcome::index) | `u64` per CPU | the program | userspace |
//!
//! `INTERFACES` says who we are, `RATE` remembers who asked, and `EVENTS` carries [`Transfer`](super::event::Transfer), as for DHCP.

use crate::datagram::Datagram;
use crate::limit::Budget;

/// Names that the map can hold: each file has one with and one without a leading `/`.
pub const NAMES_MAX: u32 = 1 << 10;
/// Files, of which some may be old ones that transfers still read.
pub const SLOTS: u32 = 1 << 8;
/// Chunks of all files together: 16 MiB of loaders, and a quarter of that for files that take the place of others.
pub const CHUNKS: u32 = 320;
/// Transfers that are remembered, those that were heard last.
pub const SESSIONS_MAX: u32 = 1 << 14;

/// Bytes of a file that a chunk adds to those before it.
pub const CHUNK: usize = 1 << 16;
/// The largest block: that of a jumbo frame (9,000 bytes) less its headers.
pub const BLOCK_MOST: u16 = 9000 - 32;
/// Bytes of a file that the kernel serves at most; also the room in [`File`].
pub const FILE_MOST: usize = FILE_CHUNKS * CHUNK;
const FILE_CHUNKS: usize = 64;

/// A part of a file: from a multiple of [`CHUNK`] on, and so far into the next part that every block is whole in one of them.
pub const CHUNK_BYTES: usize = CHUNK + 9216;
/// See [`CHUNK_BYTES`]; zeros behind the file's end.
pub type Chunk = [u8; CHUNK_BYTES];

/// Bytes of the longest name.
pub const NAME_MOST: usize = 63;

/// A name as clients ask for it, followed by zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    pub name: [u8; NAME_MOST + 1],
}

impl FileKey {
    /// `None`: empty, or longer than [`NAME_MOST`].
    pub fn new(name: &str) -> Option<Self> {
        let mut key = Self { name: [0; NAME_MOST + 1] };
        if name.is_empty() || name.len() > NAME_MOST {
            return None;
        }
        key.name[..name.len()].copy_from_slice(name.as_bytes());
        Some(key)
    }
}

/// One version of a file. No two versions have the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FileRef {
    slot: [u8; 2],
    generation: [u8; 4],
}

impl FileRef {
    /// `generation`: not 0.
    pub const fn new(slot: u16, generation: u32) -> Self {
        Self { slot: slot.to_be_bytes(), generation: generation.to_be_bytes() }
    }

    /// Where it is in the table.
    #[inline(always)]
    pub const fn slot(&self) -> u16 {
        u16::from_be_bytes(self.slot)
    }

    /// Which one of those that the slot had.
    #[inline(always)]
    pub const fn generation(&self) -> u32 {
        u32::from_be_bytes(self.generation)
    }
}

/// A file's content.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    generation: [u8; 4],
    size: [u8; 4],
    chunks: [[u8; 2]; FILE_CHUNKS],
}

impl File {
    /// A slot without a file.
    pub const NONE: Self = Self { generation: [0; 4], size: [0; 4], chunks: [[0; 2]; FILE_CHUNKS] };

    /// `None`: too large, or not as many chunks as it needs.
    pub fn new(generation: u32, size: usize, chunks: &[u16]) -> Option<Self> {
        if size > FILE_MOST || chunks.len() != Self::chunks_of(size) {
            return None;
        }
        let mut file =
            Self { generation: generation.to_be_bytes(), size: (size as u32).to_be_bytes(), ..Self::NONE };
        for (to, chunk) in file.chunks.iter_mut().zip(chunks) {
            *to = chunk.to_be_bytes();
        }
        Some(file)
    }

    /// How many chunks a file of this size has.
    pub const fn chunks_of(size: usize) -> usize {
        size.div_ceil(CHUNK)
    }

    #[inline(always)]
    pub const fn generation(&self) -> u32 {
        u32::from_be_bytes(self.generation)
    }

    #[inline(always)]
    pub const fn size(&self) -> u32 {
        u32::from_be_bytes(self.size)
    }

    /// The number of the chunk that has the block at `offset`.
    #[inline(always)]
    pub const fn chunk(&self, offset: u32) -> u16 {
        self.chunk_at(offset as usize / CHUNK)
    }

    /// The number of the chunk that is the file's n-th, from 0.
    #[inline(always)]
    pub const fn chunk_at(&self, n: usize) -> u16 {
        // A mask, for the verifier; beyond it is no file.
        u16::from_be_bytes(self.chunks[n & (FILE_CHUNKS - 1)])
    }
}

/// A client's end of a transfer: its TID, and where it is. Not its MAC: what another machine sends in its name is seen to be that
/// ([`Session::is_with`](super::session::Session::is_with)), and not taken for a stray, whose ERROR the client would get.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SessionKey {
    ifindex: [u8; 4],
    vlan: [[u8; 2]; 2],
    address: [u8; 4],
    port: [u8; 2],
}

impl SessionKey {
    #[inline(always)]
    pub const fn new(ifindex: u32, datagram: &Datagram) -> Self {
        let [outer, inner] = datagram.vlan;
        Self {
            ifindex: ifindex.to_be_bytes(),
            vlan: [outer.to_be_bytes(), inner.to_be_bytes()],
            address: datagram.source,
            port: datagram.source_port.to_be_bytes(),
        }
    }

    /// Where the client is, and its TID.
    pub const fn client(&self) -> ([u8; 4], u16) {
        (self.address, u16::from_be_bytes(self.port))
    }
}

/// The largest window that is granted here; where userspace would grant more, it does.
pub const WINDOW_MOST: u16 = 64;

/// Ports of ours that transfers have: as many, from a multiple of it on. Whoever forges a client's requests must guess which one it got.
pub const TIDS: u16 = 256;
/// The same, where descriptors are few.
pub const TIDS_FEW: u16 = 32;

/// What is served, and how.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Serving {
    /// Our address that is listened on; 0.0.0.0: each.
    pub address: [u8; 4],
    /// 0: nothing is.
    listen: [u8; 2],
    tids: [u8; 2],
    /// One less than there are of them.
    mask: [u8; 2],
    block_size: [u8; 2],
    window_size: [u8; 2],
    /// Of each client's requests, until it answers.
    pub requests: Budget,
    /// Of all clients' requests together, until they answer.
    pub all_requests: Budget,
}

impl Serving {
    /// Nothing: all goes to userspace.
    pub const NOTHING: Self = Self {
        address: [0; 4],
        listen: [0; 2],
        tids: [0; 2],
        mask: [0; 2],
        block_size: [0; 2],
        window_size: [0; 2],
        requests: Budget::new(0, 0),
        all_requests: Budget::new(0, 0),
    };

    /// `listen`: the port for requests. `tids`: the first of [`TIDS`] ports, which a socket holds. The others: at most granted.
    pub const fn new(listen: u16, tids: u16, block_size: u16, window_size: u16, requests: Budget) -> Self {
        Self {
            address: [0; 4],
            listen: listen.to_be_bytes(),
            tids: (tids & !(TIDS - 1)).to_be_bytes(),
            mask: (TIDS - 1).to_be_bytes(),
            block_size: block_size.to_be_bytes(),
            window_size: window_size.to_be_bytes(),
            requests,
            all_requests: Budget::new(0, 0),
        }
    }

    /// With `count` ports from `tids` on, a power of two.
    pub const fn with_tids(mut self, tids: u16, count: u16) -> Self {
        self.tids = (tids & !(count - 1)).to_be_bytes();
        self.mask = (count - 1).to_be_bytes();
        self
    }

    /// With a budget of all clients together.
    pub const fn with_all(mut self, all_requests: Budget) -> Self {
        self.all_requests = all_requests;
        self
    }

    /// Only where requests come to this address of ours.
    pub const fn on(mut self, address: [u8; 4]) -> Self {
        self.address = address;
        self
    }

    /// The port for requests; 0: nothing is served.
    #[inline(always)]
    pub const fn listen(&self) -> u16 {
        u16::from_be_bytes(self.listen)
    }

    /// The first port of transfers.
    #[inline(always)]
    pub const fn tids(&self) -> u16 {
        u16::from_be_bytes(self.tids)
    }

    /// Whether it is a port of transfers.
    #[inline(always)]
    pub const fn is_tid(&self, port: u16) -> bool {
        port & !u16::from_be_bytes(self.mask) == self.tids()
    }

    /// The port of transfers that a number says.
    #[inline(always)]
    pub const fn tid(&self, random: u32) -> u16 {
        self.tids() | random as u16 & u16::from_be_bytes(self.mask)
    }

    #[inline(always)]
    pub const fn block_size(&self) -> u16 {
        u16::from_be_bytes(self.block_size)
    }

    #[inline(always)]
    pub const fn window_size(&self) -> u16 {
        u16::from_be_bytes(self.window_size)
    }
}

const _: () = assert!(size_of::<FileKey>() == 64 && align_of::<FileKey>() == 1);
const _: () = assert!(size_of::<FileRef>() == 6 && align_of::<FileRef>() == 1);
const _: () = assert!(size_of::<File>() == 136 && align_of::<File>() == 1);
const _: () = assert!(size_of::<SessionKey>() == 14 && align_of::<SessionKey>() == 1);
const _: () = assert!(size_of::<Serving>() == 46 && align_of::<Serving>() == 1);
const _: () = assert!(CHUNK + BLOCK_MOST as usize <= CHUNK_BYTES && CHUNK_BYTES.is_multiple_of(8));
const _: () = assert!(FILE_MOST == 4 << 20 && CHUNKS as usize * CHUNK == 20 << 20);

#[cfg(feature = "user")]
#[allow(unsafe_code, reason = "aya asks for a mark that the compiler cannot check")]
mod pod {
    use super::super::session::Session;
    use super::*;
    use aya::Pod;

    // SAFETY: `repr(C)` structs of bytes without padding (sizes asserted above): any bit pattern is a value.
    unsafe impl Pod for FileKey {}
    // SAFETY: as above.
    unsafe impl Pod for FileRef {}
    // SAFETY: as above.
    unsafe impl Pod for File {}
    // SAFETY: as above.
    unsafe impl Pod for SessionKey {}
    // SAFETY: as above.
    unsafe impl Pod for Serving {}
    // SAFETY: as above.
    unsafe impl Pod for Session {}
}
