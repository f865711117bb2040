//! Carries a device's transfers to their end: short ones are completed, failed ones are named.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use super::device::Device;
use super::write::{CHUNK, WriteError, whole_blocks};
use crate::uring::aligned::Aligned;
use crate::uring::disk::{Completion, Direction, Full, Transfer};

/// Buffers for reading back, where fewer are at hand.
const READ_BUFFERS: usize = 4;

/// A device, and what is under way on it.
#[derive(Debug)]
pub(super) struct Transfers<D> {
    pub(super) device: D,
}

impl<D: Device> Transfers<D> {
    pub(super) fn new(device: D) -> Self {
        Self { device }
    }

    /// Starts a transfer; while the queue is full, finishes others, which go to `done`. `end`: as in
    /// [`finish_one`](Self::finish_one).
    pub(super) fn start(
        &mut self,
        mut transfer: Transfer,
        end: u64,
        mut done: impl FnMut(Transfer),
    ) -> Result<(), WriteError> {
        while let Err(Full(back)) = self.device.submit(transfer) {
            transfer = back;
            match self.finish_one(end)? {
                Some(finished) => done(finished),
                None => {
                    return Err(self.error("submitting to", transfer.offset, io::ErrorKind::Other.into()));
                }
            }
        }
        Ok(())
    }

    /// Waits until one transfer is wholly done, as far as it lies before `end`. `None`: none is under way.
    pub(super) fn finish_one(&mut self, end: u64) -> Result<Option<Transfer>, WriteError> {
        loop {
            let completed = self.device.complete().map_err(|e| self.error("waiting for", 0, e))?;
            let Some(Completion { transfer, result }) = completed else { return Ok(None) };
            let (doing, offset) = (doing(transfer.direction), transfer.offset);
            let done = result.map_err(|source| self.error(doing, offset, source))?;
            let block = self.device.geometry().block as usize;
            let rest = match remainder(transfer, done, block, end) {
                Ok(finished) => return Ok(Some(finished)),
                Err(rest) => {
                    rest.ok_or_else(|| self.error(doing, offset, io::ErrorKind::UnexpectedEof.into()))?
                }
            };
            self.device
                .submit(rest)
                .map_err(|Full(t)| self.error("submitting to", t.offset, io::ErrorKind::Other.into()))?;
        }
    }

    /// Reads `range`, several chunks at a time, and hands the bytes over in order, each time with how many bytes of
    /// the device lie behind them.
    pub(super) fn read_in_order(
        &mut self,
        range: Range<u64>,
        mut buffers: Vec<Aligned>,
        mut take: impl FnMut(&[u8], u64),
    ) -> Result<(), WriteError> {
        while buffers.len() < READ_BUFFERS {
            buffers.push(Aligned::zeroed(CHUNK));
        }
        let end = range.end;
        let len = |at: u64| (end - at).min(CHUNK as u64) as usize;
        let (mut asked, mut taken) = (range.start, range.start);
        // Read, but not yet in turn.
        let mut early = BTreeMap::new();
        while taken < end {
            while asked < end
                && let Some(buffer) = buffers.pop()
            {
                let whole = len(asked).next_multiple_of(self.device.geometry().block as usize);
                let read = Transfer { direction: Direction::Read, offset: asked, range: 0..whole, buffer };
                self.start(read, end, |done| drop(early.insert(base(&done), done.buffer)))?;
                asked += len(asked) as u64;
            }
            if let Some(done) = self.finish_one(end)? {
                early.insert(base(&done), done.buffer);
            }
            while let Some(buffer) = early.remove(&taken) {
                let chunk = len(taken);
                taken += chunk as u64;
                take(&buffer[..chunk], taken);
                buffers.push(buffer);
            }
        }
        Ok(())
    }

    /// Writes `bytes` to a place where a block begins, and returns when they are written. Nothing else is under way.
    pub(super) fn write_now(&mut self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let whole = whole_blocks(bytes.len(), self.device.geometry().block);
        if whole > 0 {
            let mut buffer = Aligned::zeroed(whole);
            buffer[..whole].copy_from_slice(&bytes[..whole]);
            let write = Transfer { direction: Direction::Write, offset, range: 0..whole, buffer };
            self.start(write, u64::MAX, drop)?;
            while self.finish_one(u64::MAX)?.is_some() {}
        }
        if whole < bytes.len() {
            self.write_tail(offset + whole as u64, &bytes[whole..])?;
        }
        Ok(())
    }

    pub(super) fn write_tail(&mut self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.device.write_tail(offset, bytes).map_err(|e| self.error("writing to", offset, e))
    }

    pub(super) fn zero(&mut self, run: Range<u64>) -> Result<bool, WriteError> {
        self.device.zero(run.start, run.end - run.start).map_err(|e| self.error("zeroing", run.start, e))
    }

    pub(super) fn end_at_least(&mut self, size: u64) -> Result<(), WriteError> {
        self.device.end_at_least(size).map_err(|e| self.error("extending", size, e))
    }

    pub(super) fn sync(&mut self) -> Result<(), WriteError> {
        self.device.sync().map_err(|e| self.error("syncing", 0, e))
    }

    fn error(&self, doing: &'static str, offset: u64, source: io::Error) -> WriteError {
        let lba = offset / u64::from(self.device.geometry().block);
        WriteError::Io { doing, disk: self.device.name().to_owned(), offset, lba, source }
    }
}

fn doing(direction: Direction) -> &'static str {
    match direction {
        Direction::Read => "reading back",
        Direction::Write => "writing to",
    }
}

/// Where in the file the buffer's first byte belongs.
fn base(transfer: &Transfer) -> u64 {
    transfer.offset - transfer.range.start as u64
}

/// The transfer if it is over, else what is left of it, from a whole block on; `None` if it made no headway.
fn remainder(
    mut transfer: Transfer,
    done: usize,
    block: usize,
    end: u64,
) -> Result<Transfer, Option<Transfer>> {
    let wanted = end.saturating_sub(transfer.offset).min(transfer.range.len() as u64);
    if done as u64 >= wanted {
        return Ok(transfer);
    }
    let whole = done - done % block;
    if whole == 0 {
        return Err(None);
    }
    transfer.offset += whole as u64;
    transfer.range.start += whole;
    Err(Some(transfer))
}
