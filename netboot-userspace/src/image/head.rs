//! The last act: what was held back goes onto the disk, its first block last of all.
//!
//! **Invariant:** the first block is written when all other bytes of the image were read back and are right. Without it
//! there is no boot code, and no GPT either: the firmware looks for the protective MBR first (UEFI 2.10 section 5.2.3).
//! A disk writes one block whole or not at all, so the disk is the image or does not boot.

use std::io;

use sha2::{Digest as _, Sha256};

use super::device::Device;
use super::digest::Digest;
use super::transfers::Transfers;
use super::write::{Chunk, Progress, WriteError};

/// A part of the image that waits for the rest to be proved.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) offset: u64,
    pub(super) chunk: Chunk,
}

impl Held {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.chunk.buffer[..self.chunk.len]
    }
}

/// The disk gave back the image's bytes, but for those that are held back.
#[derive(Debug)]
pub struct Verified<D> {
    pub(super) lane: Transfers<D>,
    /// The head, and what lies in the disk's last MiB.
    pub(super) held: Vec<Held>,
    pub(super) size: u64,
    pub(super) zeroed: u64,
}

/// What [`Verified::write_head`] leaves.
#[derive(Debug)]
pub struct Complete<D> {
    pub device: D,
    /// Bytes of the image.
    pub size: u64,
    /// How many of them the device zeroed by itself.
    pub zeroed: u64,
    /// Why the kernel did not read the new partition table, if it did not. It will at the next boot.
    pub reread: io::Result<()>,
}

/// Why the head is not on the disk, and what is.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct HeadError {
    pub cause: WriteError,
    pub disk: Progress,
}

impl<D: Device> Verified<D> {
    /// Writes what was held back and reads it back, then the first block, and has the partition table read again: the
    /// disk is the image.
    ///
    /// # Errors
    /// [`WriteError::Io`], [`WriteError::ReadBack`]: the first block is zero again, or else
    /// [`Progress::HeadUnknown`].
    pub fn write_head(mut self) -> Result<Complete<D>, HeadError> {
        let written = self.write_all_but_the_first_block().and_then(|()| self.write_the_first_block());
        if let Err(cause) = written {
            let erased = self.erase_the_first_block();
            let disk = if erased.is_ok() { Progress::Verified } else { Progress::HeadUnknown };
            return Err(HeadError { cause, disk });
        }
        let Self { mut lane, size, zeroed, .. } = self;
        let reread = lane.device.reread();
        Ok(Complete { device: lane.device, size, zeroed, reread })
    }

    fn write_all_but_the_first_block(&mut self) -> Result<(), WriteError> {
        let first = self.first_block().len();
        let rest = |held: &Held| if held.offset == 0 { first } else { 0 };
        for held in &self.held {
            let from = rest(held);
            self.lane.write_now(held.offset + from as u64, &held.bytes()[from..])?;
        }
        self.lane.sync()?;
        for held in &self.held {
            let from = rest(held);
            read_back(&mut self.lane, held.offset + from as u64, &held.bytes()[from..])?;
        }
        Ok(())
    }

    fn write_the_first_block(&mut self) -> Result<(), WriteError> {
        let block = self.first_block().to_vec();
        self.put(&block)
    }

    fn erase_the_first_block(&mut self) -> Result<(), WriteError> {
        let zeros = vec![0; self.first_block().len()];
        self.put(&zeros)
    }

    fn put(&mut self, block: &[u8]) -> Result<(), WriteError> {
        self.lane.write_now(0, block)?;
        self.lane.sync()?;
        read_back(&mut self.lane, 0, block)
    }

    /// Less than a block, if that is all that the image has.
    fn first_block(&self) -> &[u8] {
        let head = self.held.first().map(Held::bytes).unwrap_or_default();
        &head[..head.len().min(self.lane.device.geometry().block as usize)]
    }
}

fn read_back<D: Device>(lane: &mut Transfers<D>, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
    let mut hash = Sha256::new();
    lane.read_in_order(offset..offset + bytes.len() as u64, Vec::new(), |read, _| hash.update(read))?;
    let got = Digest(hash.finalize().into());
    let want = Digest(Sha256::digest(bytes).into());
    if got == want {
        return Ok(());
    }
    Err(WriteError::ReadBack { disk: lane.device.name().to_owned(), got, want })
}

#[cfg(test)]
mod tests;
