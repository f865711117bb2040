//! The bytes of one transfer, as the blocks that they leave in.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use netboot_common::wire::tftp::{DATA_HEADER, data_header};

use super::cache::Alone;
use super::machine::Transfer;
use crate::sys::open::RegularFile;

/// See the top of this file.
#[derive(Debug)]
pub(super) enum Content {
    Memory(Arc<[u8]>),
    Alone(Box<Alone>),
    /// Shared by the transfers that read it: each has a place of its own in it. It ends them when it is written to.
    File(Arc<RegularFile>),
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Alone(alone) => alone.bytes().len() as u64,
            Self::File(file) => file.identity.size,
        }
    }

    /// Appends DATA packets, one behind the other, to `out`, which is empty.
    pub(super) fn write(
        &self,
        transfer: &Transfer,
        blocks: RangeInclusive<u64>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => copy(bytes, transfer, blocks, out),
            Self::Alone(alone) => copy(alone.bytes(), transfer, blocks, out),
            Self::File(file) => frame(transfer, blocks, out, |bytes, start, is_last| {
                file.read_at_once(bytes, start)?;
                if is_last { file.identity.check_content(&file.file) } else { Ok(()) }
            }),
        }
    }

    /// What the disk has to be waited for, of a file that is read as it goes.
    pub(super) fn part(&self, transfer: &Transfer, blocks: &RangeInclusive<u64>) -> Option<Part> {
        let Self::File(file) = self else { return None };
        let (start, _) = transfer.place(*blocks.start());
        let (last, last_len) = transfer.place(*blocks.end());
        let (length, is_last) = ((last - start) as usize + last_len, transfer.is_last(*blocks.end()));
        Some(Part { file: file.clone(), start, length, is_last })
    }
}

/// A part of a file. `is_last`: after it, the file must be what it was before its first one.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: Arc<RegularFile>,
    pub(super) start: u64,
    pub(super) length: usize,
    pub(super) is_last: bool,
}

/// The same as [`Content::write`], of a part that was read.
pub(super) fn write_part(
    transfer: &Transfer,
    blocks: RangeInclusive<u64>,
    out: &mut Vec<u8>,
    (part_start, part): (u64, &[u8]),
) -> io::Result<()> {
    frame(transfer, blocks, out, |bytes, start, _| {
        let at = start.checked_sub(part_start).and_then(|at| usize::try_from(at).ok());
        let own = at.and_then(|at| part.get(at..at + bytes.len()));
        // It is of another window than is to be sent by now.
        bytes.copy_from_slice(own.ok_or(io::ErrorKind::WouldBlock)?);
        Ok(())
    })
}

fn copy(bytes: &[u8], transfer: &Transfer, blocks: RangeInclusive<u64>, out: &mut Vec<u8>) -> io::Result<()> {
    for block in blocks {
        let (offset, len) = transfer.place(block);
        let start = usize::try_from(offset).ok();
        let part = start.and_then(|start| bytes.get(start..start + len));
        out.extend_from_slice(&data_header(transfer.wire_number(block)));
        out.extend_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
    }
    Ok(())
}

/// All blocks by one read, behind the room for their headers; then each moves forward to its place. A block's place ends before
/// the next one begins, for it has fewer headers before it than there is room for.
///
/// The last block is read only if the file is still what it was before the first one was: none of those between is of another
/// content then.
fn frame(
    transfer: &Transfer,
    blocks: RangeInclusive<u64>,
    out: &mut Vec<u8>,
    read: impl FnOnce(&mut [u8], u64, bool) -> io::Result<()>,
) -> io::Result<()> {
    let (start, _) = transfer.place(*blocks.start());
    let (last, last_len) = transfer.place(*blocks.end());
    let mut from = (blocks.end() - blocks.start() + 1) as usize * DATA_HEADER;
    out.resize(from + (last - start) as usize + last_len, 0);
    read(&mut out[from..], start, transfer.is_last(*blocks.end()))?;
    let mut to = 0;
    for block in blocks {
        let (_, len) = transfer.place(block);
        out.copy_within(from..from + len, to + DATA_HEADER);
        out[to..to + DATA_HEADER].copy_from_slice(&data_header(transfer.wire_number(block)));
        (from, to) = (from + len, to + DATA_HEADER + len);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use netboot_common::wire::tftp::Packet;

    use super::*;
    use crate::tftp::machine::Limits;

    #[test]
    fn a_window_of_a_file_is_the_same_bytes_as_one_of_memory() {
        let bytes: Vec<u8> = (0..5000_u32).map(|at| (at * 7 / 3) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let file = RegularFile::of(file).unwrap();
        let (in_file, in_memory) = (Content::File(file.into()), Content::Memory(bytes.clone().into()));
        for block_size in [8_u64, 100, 512, 1000, 4999, 5000] {
            let asked = format!("\0\u{1}f\0octet\0blksize\0{block_size}\0");
            let Ok(Packet::Read(request)) = Packet::parse(asked.as_bytes()) else { panic!("{asked}") };
            let limits = Limits { block_size: 5000, ..Limits::default() };
            let (transfer, _) = Transfer::new(&request, 5000, limits, Duration::ZERO);
            let count: u64 = 5000 / block_size + 1;
            for (first, last) in [(1, count), (1, 1), (count, count), (count.div_ceil(2), count)] {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                in_file.write(&transfer, first..=last, &mut one).unwrap();
                in_memory.write(&transfer, first..=last, &mut other).unwrap();
                assert!(one == other, "{block_size}: {first} to {last}");
                let end = (last * block_size).min(5000);
                let data = (end - (first - 1) * block_size) as usize;
                assert_eq!(one.len(), data + (last + 1 - first) as usize * 4);
                assert_eq!(one[..4], data_header(first as u16));
            }
        }
    }
}
