//! What the TFTP program tells userspace: one record for each transfer that ended.

use super::maps::FileRef;
use super::session::Session;
use super::stats::Done;

/// The end of a transfer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    time: [u8; 8],
    /// Of the request.
    began: [u8; 8],
    ifindex: [u8; 4],
    /// The client's.
    pub address: [u8; 4],
    port: [u8; 2],
    /// The error that the client sent.
    code: [u8; 2],
    pub file: FileRef,
    done: u8,
    reserved: u8,
    bytes: [u8; 4],
    resent: [u8; 4],
}

/// Bytes of a record: other than those of [`crate::event::Event`], by which they are told apart.
pub const BYTES: usize = 44;
const _: () = assert!(size_of::<Transfer>() == BYTES && align_of::<Transfer>() == 1);
const _: () = assert!(size_of::<crate::event::Event>() != BYTES);

/// Whose transfer ended, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub ifindex: u32,
    pub address: [u8; 4],
    pub port: u16,
    /// The error that it sent.
    pub code: u16,
}

impl Transfer {
    /// `size`: of the file, if the client has all of it.
    #[inline(always)]
    pub const fn new(time: u64, client: Client, session: &Session, done: Done, size: u32) -> Self {
        let bytes = if session.is_whole() { size } else { session.bytes() };
        Self {
            time: time.to_be_bytes(),
            began: session.began().to_be_bytes(),
            ifindex: client.ifindex.to_be_bytes(),
            address: client.address,
            port: client.port.to_be_bytes(),
            code: client.code.to_be_bytes(),
            file: session.file,
            done: done as u8,
            reserved: 0,
            bytes: bytes.to_be_bytes(),
            resent: session.resent().to_be_bytes(),
        }
    }

    /// From the ring's bytes; `None` when it is not [`BYTES`] long.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (time, rest) = bytes.split_first_chunk()?;
        let (began, rest) = rest.split_first_chunk()?;
        let (ifindex, rest) = rest.split_first_chunk()?;
        let (address, rest) = rest.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (code, rest) = rest.split_first_chunk()?;
        let (slot, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let ([done, reserved], rest) = rest.split_first_chunk()?;
        let (bytes, resent) = rest.split_first_chunk()?;
        Some(Self {
            time: *time,
            began: *began,
            ifindex: *ifindex,
            address: *address,
            port: *port,
            code: *code,
            file: FileRef::new(u16::from_be_bytes(*slot), u32::from_be_bytes(*generation)),
            done: *done,
            reserved: *reserved,
            bytes: *bytes,
            resent: resent.try_into().ok()?,
        })
    }

    /// Nanoseconds from the request to the end.
    pub const fn duration(&self) -> u64 {
        u64::from_be_bytes(self.time).saturating_sub(u64::from_be_bytes(self.began))
    }

    /// When it was asked for: `CLOCK_BOOTTIME`, nanoseconds.
    pub const fn began(&self) -> u64 {
        u64::from_be_bytes(self.began)
    }

    pub const fn ifindex(&self) -> u32 {
        u32::from_be_bytes(self.ifindex)
    }

    /// The client's TID.
    pub const fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    /// The error that the client sent; of one that did not finish.
    pub const fn code(&self) -> u16 {
        u16::from_be_bytes(self.code)
    }

    /// How it ended.
    pub fn done(&self) -> Option<Done> {
        Done::ALL.get(self.done as usize).copied()
    }

    /// Bytes that the client acknowledged.
    pub const fn bytes(&self) -> u32 {
        u32::from_be_bytes(self.bytes)
    }

    /// Blocks that were sent more than once.
    pub const fn resent(&self) -> u32 {
        u32::from_be_bytes(self.resent)
    }
}
