//! From a stream of chunks to a disk that either holds the whole image, proved, or does not boot.
//!
//! The order is in the types: [`Writer`] (the disk's first MiB is zero, the body comes in) → [`Written`] (all of the
//! body is on the disk, the digest of what came in holds) → [`Verified`] (what the disk gives back has that digest)
//! → the head. **Invariant:** until [`Verified::write_head`] the first MiB, where the partition table and the boot
//! code are, and the disk's last MiB, where the table's backup is, read as zeros: a power cut or an error at any point
//! before it leaves a disk that no firmware boots.

use std::fmt;
use std::io;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::device::{Device, Geometry};
use super::digest::Digest;
use super::head::{Held, Verified};
use super::transfers::Transfers;
use crate::uring::aligned::Aligned;
use crate::uring::disk::{Direction, Transfer};

/// Bytes of a chunk, and of the head that is held back: 1 MiB.
pub const CHUNK: usize = 1 << 20;
/// Runs of zeros are gathered up to this before the device is asked to zero them.
const ZERO_RUN_MAX: u64 = 16 * CHUNK as u64;

/// The logical blocks that images are made for.
const GPT_BLOCKS: [u32; 2] = [512, 4096];

/// A part of the image: [`CHUNK`] bytes, but for the last one.
#[derive(Debug)]
pub struct Chunk {
    pub buffer: Aligned,
    pub len: usize,
}

/// What the disk holds at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What it held before.
    Untouched,
    /// No head; so many bytes of the image were taken in.
    Body { written: u64 },
    /// No head; the body was read back and is right.
    Verified,
    /// Whatever a write to the first MiB left there that failed.
    HeadUnknown,
    /// The image.
    HeadWritten,
}

/// Why an image did not get onto a disk.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{disk}: there is no such disk")]
    Missing { disk: String },
    #[error("{disk}: in use{}{holders}", if holders.is_empty() { "" } else { ": " })]
    Busy { disk: String, holders: String },
    #[error("{disk}: write-protected ({source})")]
    WriteProtected { disk: String, source: io::Error },
    #[error("opening {disk}: {source}")]
    Open { disk: String, source: io::Error },
    #[error("{disk} is no longer the disk to write: {why}")]
    NoLongerChosen { disk: String, why: String },
    #[error("{disk} has {disk_size} bytes, too few for the image of {image}{image_size} bytes", image = if *.at_least { "at least " } else { "" })]
    TooSmall { disk: String, disk_size: u64, image_size: u64, at_least: bool },
    #[error(
        "{disk} has blocks of {block} bytes, the image's partition table is made for blocks of {image_block}; \
         build the image for {block}, or use a disk of the other kind"
    )]
    SectorSize { disk: String, block: u32, image_block: u32 },
    #[error("{doing} {disk} at byte {offset} (LBA {lba}): {source}")]
    Io { doing: &'static str, disk: String, offset: u64, lba: u64, source: io::Error },
    #[error("the image is empty")]
    Empty,
    #[error("the image ends after {got} bytes, {want} were announced")]
    Short { got: u64, want: u64 },
    #[error("the image goes on after the {want} bytes that were announced")]
    Long { want: u64 },
    #[error("the image has the SHA-256 {got}, expected {want}")]
    Digest { got: Digest, want: Digest },
    #[error("{disk} gives back other bytes than were written: SHA-256 {got}, expected {want}")]
    ReadBack { disk: String, got: Digest, want: Digest },
}

/// Whether the image's GPT, if it has one, can be found on a disk with such blocks: its header is the second block
/// (UEFI 2.10 section 5.3.2). A file has no blocks of its own.
///
/// # Errors
/// [`WriteError::SectorSize`].
pub fn fits_blocks(device: &impl Device, first: &Chunk) -> Result<(), WriteError> {
    let Geometry { size: Some(_), block, .. } = device.geometry() else { return Ok(()) };
    let header = |block: &u32| first.buffer[..first.len].get(*block as usize..).is_some_and(is_gpt_header);
    match GPT_BLOCKS.into_iter().find(header) {
        Some(image_block) if !header(&block) => {
            Err(WriteError::SectorSize { disk: device.name().to_owned(), block, image_block })
        }
        _ => Ok(()),
    }
}

fn is_gpt_header(bytes: &[u8]) -> bool {
    bytes.starts_with(b"EFI PART")
}

/// Takes the body in.
#[derive(Debug)]
pub struct Writer<D> {
    lane: Transfers<D>,
    /// Bytes announced.
    want: Option<u64>,
    /// Bytes taken.
    at: u64,
    hash: Sha256,
    /// The head, and what lies in the disk's last MiB.
    held: Vec<Held>,
    /// Zeros that were taken and are not on the disk yet.
    zeros: Range<u64>,
    zeroed: u64,
    can_zero: bool,
    /// A last part of less than a block, and its place.
    tail: Option<(u64, Vec<u8>)>,
    free: Vec<Aligned>,
}

/// The body is on the disk, and its digest is the one expected.
#[derive(Debug)]
pub struct Written<D> {
    lane: Transfers<D>,
    held: Vec<Held>,
    size: u64,
    zeroed: u64,
    digest: Digest,
    buffers: Vec<Aligned>,
}

impl<D: Device> Writer<D> {
    /// Checks what can be checked, then takes the disk's old identity away: its first and its last MiB are zero and
    /// synced when this returns.
    ///
    /// # Errors
    /// [`WriteError::TooSmall`] before the first write; [`WriteError::WriteProtected`]; [`WriteError::Io`].
    pub fn begin(device: D, want: Option<u64>) -> Result<Self, WriteError> {
        let geometry = device.geometry();
        if let (Some(disk_size), Some(image_size)) = (geometry.size, want)
            && image_size > disk_size
        {
            let disk = device.name().to_owned();
            return Err(WriteError::TooSmall { disk, disk_size, image_size, at_least: false });
        }
        let mut writer = Self {
            lane: Transfers::new(device),
            want,
            at: 0,
            hash: Sha256::new(),
            held: Vec::new(),
            zeros: 0..0,
            zeroed: 0,
            can_zero: true,
            tail: None,
            free: Vec::new(),
        };
        writer.erase_ends(geometry).map_err(write_protection)?;
        Ok(writer)
    }

    /// The backup GPT lies in a disk's last blocks. A file that ends within the first MiB is erased up to its end.
    fn erase_ends(&mut self, Geometry { size, holds, block }: Geometry) -> Result<(), WriteError> {
        let chunk = CHUNK as u64;
        let head = holds.min(chunk);
        let whole = head - head % u64::from(block);
        self.write_zeros(0..whole)?;
        if let Some(size) = size {
            self.write_zeros(size.saturating_sub(chunk).max(whole)..size)?;
        }
        self.drain()?;
        if head > whole {
            self.lane.write_tail(whole, &vec![0; (head - whole) as usize])?;
        }
        self.lane.sync()
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// Any of [`WriteError`]; the writer is of no use after it.
    pub fn push(&mut self, chunk: Chunk) -> Result<(), WriteError> {
        debug_assert!(self.at.is_multiple_of(CHUNK as u64), "only the last chunk may be short");
        let offset = self.at;
        let end = offset + chunk.len as u64;
        self.fits(end)?;
        let bytes = &chunk.buffer[..chunk.len];
        self.hash.update(bytes);
        self.at = end;
        if offset == 0 || end > self.last_mib() {
            self.held.push(Held { offset, chunk });
            return Ok(());
        }
        if self.can_zero && chunk.len == CHUNK && is_zero(bytes) {
            self.free.push(chunk.buffer);
            return self.push_zeros(offset..end);
        }
        self.flush_zeros()?;
        self.write(offset, chunk)
    }

    /// Buffers that the writer no longer needs.
    pub fn take_free(&mut self) -> std::vec::Drain<'_, Aligned> {
        self.free.drain(..)
    }

    pub fn progress(&self) -> Progress {
        Progress::Body { written: self.at }
    }

    /// Steps down since the last call, for a person.
    pub fn steps_down(&mut self) -> Vec<String> {
        self.lane.device.steps_down()
    }

    /// The stream has ended: writes what is left, and compares sizes and digests.
    ///
    /// # Errors
    /// [`WriteError::Short`], [`WriteError::Digest`], [`WriteError::Empty`], [`WriteError::Io`].
    pub fn finish(mut self, want: Digest) -> Result<Written<D>, WriteError> {
        let size = self.at;
        if let Some(announced) = self.want.filter(|&announced| size < announced) {
            return Err(WriteError::Short { got: size, want: announced });
        }
        if self.held.is_empty() {
            return Err(WriteError::Empty);
        }
        let got = Digest(std::mem::take(&mut self.hash).finalize().into());
        if got != want {
            return Err(WriteError::Digest { got, want });
        }
        self.flush_zeros()?;
        self.drain()?;
        if let Some((offset, bytes)) = self.tail.take() {
            self.lane.write_tail(offset, &bytes)?;
        }
        self.lane.end_at_least(size)?;
        self.lane.sync()?;
        let Self { lane, held, zeroed, free, .. } = self;
        Ok(Written { lane, held, size, zeroed, digest: got, buffers: free })
    }

    /// Where it begins. A file has none: it ends where its image does.
    fn last_mib(&self) -> u64 {
        self.lane.device.geometry().size.map_or(u64::MAX, |size| size.saturating_sub(CHUNK as u64))
    }

    fn fits(&self, end: u64) -> Result<(), WriteError> {
        if let Some(want) = self.want.filter(|&want| end > want) {
            return Err(WriteError::Long { want });
        }
        if let Some(disk_size) = self.lane.device.geometry().size.filter(|&size| end > size) {
            let disk = self.lane.device.name().to_owned();
            return Err(WriteError::TooSmall { disk, disk_size, image_size: end, at_least: true });
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, chunk: Chunk) -> Result<(), WriteError> {
        let whole = whole_blocks(chunk.len, self.lane.device.geometry().block);
        if whole < chunk.len {
            self.tail = Some((offset + whole as u64, chunk.buffer[whole..chunk.len].to_vec()));
        }
        if whole == 0 {
            self.free.push(chunk.buffer);
            return Ok(());
        }
        let transfer =
            Transfer { direction: Direction::Write, offset, range: 0..whole, buffer: chunk.buffer };
        let free = &mut self.free;
        self.lane.start(transfer, u64::MAX, |done| free.push(done.buffer))
    }

    fn push_zeros(&mut self, run: Range<u64>) -> Result<(), WriteError> {
        if self.zeros.end != run.start || self.zeros.is_empty() {
            self.flush_zeros()?;
            self.zeros = run.start..run.start;
        }
        self.zeros.end = run.end;
        if self.zeros.end - self.zeros.start >= ZERO_RUN_MAX { self.flush_zeros() } else { Ok(()) }
    }

    fn flush_zeros(&mut self) -> Result<(), WriteError> {
        let run = std::mem::take(&mut self.zeros);
        if run.is_empty() {
            return Ok(());
        }
        self.can_zero = self.lane.zero(run.clone())?;
        if self.can_zero {
            self.zeroed += run.end - run.start;
            return Ok(());
        }
        self.write_zeros(run)
    }

    /// Zeros as ordinary writes. `run` is of whole blocks.
    fn write_zeros(&mut self, run: Range<u64>) -> Result<(), WriteError> {
        let mut offset = run.start;
        while offset < run.end {
            let mut buffer = self.buffer()?;
            buffer.fill(0);
            let len = (run.end - offset).min(CHUNK as u64) as usize;
            self.write(offset, Chunk { buffer, len })?;
            offset += len as u64;
        }
        Ok(())
    }

    /// A buffer of our own: one that is free, or that a write under way gives back, or a new one.
    fn buffer(&mut self) -> Result<Aligned, WriteError> {
        if self.free.is_empty()
            && let Some(done) = self.lane.finish_one(u64::MAX)?
        {
            return Ok(done.buffer);
        }
        Ok(self.free.pop().unwrap_or_else(|| Aligned::zeroed(CHUNK)))
    }

    fn drain(&mut self) -> Result<(), WriteError> {
        while let Some(done) = self.lane.finish_one(u64::MAX)? {
            self.free.push(done.buffer);
        }
        Ok(())
    }
}

impl<D: Device> Written<D> {
    /// Reads the disk back, past the cache, and compares the digest. What is still held back comes from memory.
    /// `each` hears how many bytes are compared.
    ///
    /// # Errors
    /// [`WriteError::ReadBack`], [`WriteError::Io`].
    pub fn verify(mut self, mut each: impl FnMut(u64)) -> Result<Verified<D>, WriteError> {
        let mut hash = Sha256::new();
        let mut held = self.held.iter();
        held.by_ref().take(1).for_each(|head| hash.update(head.bytes()));
        let buffers = std::mem::take(&mut self.buffers);
        self.lane.read_in_order(self.body(), buffers, |bytes, done| {
            hash.update(bytes);
            each(done);
        })?;
        held.for_each(|end| hash.update(end.bytes()));
        let (got, want) = (Digest(hash.finalize().into()), self.digest);
        if got != want {
            return Err(WriteError::ReadBack { disk: self.lane.device.name().to_owned(), got, want });
        }
        let Self { lane, held, size, zeroed, .. } = self;
        Ok(Verified { lane, held, size, zeroed })
    }

    /// What is on the disk: between the head and what is held back of the disk's last MiB.
    fn body(&self) -> Range<u64> {
        let start = self.held.first().map_or(0, |head| head.chunk.len as u64);
        let end = self.held.get(1).map_or(self.size, |held| held.offset);
        start..end
    }
}

pub(super) fn whole_blocks(len: usize, block: u32) -> usize {
    len - len % block as usize
}

fn is_zero(bytes: &[u8]) -> bool {
    // In words: some ten times the speed of byte by byte in builds that are not optimized.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

/// Some disks open for writing, and refuse the first write.
fn write_protection(error: WriteError) -> WriteError {
    match error {
        WriteError::Io { disk, source, .. }
            if matches!(source.raw_os_error(), Some(libc::EROFS | libc::EPERM)) =>
        {
            WriteError::WriteProtected { disk, source }
        }
        other => other,
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untouched => f.write_str("the disk was not touched"),
            Self::Body { .. } | Self::Verified => {
                f.write_str("the disk's first block is zero: it won't boot")
            }
            Self::HeadUnknown => f.write_str("the disk's first MiB may be partly written"),
            Self::HeadWritten => f.write_str("the disk holds the image"),
        }
    }
}

#[cfg(test)]
mod tests;
