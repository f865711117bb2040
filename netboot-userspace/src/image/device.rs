//! [`Device`]: what the writer asks of a disk, and [`Disk`], the real one.
//!
//! [`Disk`] prefers `O_DIRECT` and io_uring. Where the kernel refuses one it steps down once, remembers that, and
//! says it ([`Device::steps_down`]): the refusal is the probe.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, OFlags};

use super::write::WriteError;
use crate::sys::block;
use crate::uring::disk::{Completion, Direction, DiskRing, Full, Transfer};

/// Transfers under way at once.
pub const DEPTH: u8 = 8;
/// For regular files: what any file system takes for `O_DIRECT`.
const FILE_BLOCK: u32 = 4096;

/// A disk's measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes. `None`: a regular file, which grows.
    pub size: Option<u64>,
    /// Bytes that are there to be read.
    pub holds: u64,
    /// Bytes of a logical block: a power of two; transfers start and end at its multiples.
    pub block: u32,
}

/// A disk. Its transfers may complete in any order.
pub trait Device {
    /// For messages, as in `/dev/vda`.
    fn name(&self) -> &str;

    fn geometry(&self) -> Geometry;

    /// Starts a transfer, aligned to the logical block.
    ///
    /// # Errors
    /// [`Full`]: complete one first.
    fn submit(&mut self, transfer: Transfer) -> Result<(), Full>;

    /// Waits for one transfer. `None`: none is under way.
    ///
    /// # Errors
    /// If waiting itself failed.
    fn complete(&mut self) -> io::Result<Option<Completion>>;

    /// Writes a last part of less than a block, leaving the block's other bytes as they are. Nothing else may be
    /// under way: this goes through the page cache.
    ///
    /// # Errors
    /// The kernel's.
    fn write_tail(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes whole blocks read as zeros without writing them. `false`: the device can't promise that; write them.
    ///
    /// # Errors
    /// The kernel's, other than for want of support.
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<bool>;

    /// Makes a file that ends before `size` end there (it reads as zeros in between). Disks have their size.
    ///
    /// # Errors
    /// The kernel's.
    fn end_at_least(&mut self, size: u64) -> io::Result<()>;

    /// Returns when all that was written would survive a power cut.
    ///
    /// # Errors
    /// The kernel's: what was written may be lost.
    fn sync(&mut self) -> io::Result<()>;

    /// Makes the kernel read the partition table again.
    ///
    /// # Errors
    /// The kernel's; no harm to what was written.
    fn reread(&mut self) -> io::Result<()>;

    /// Each step down since the last call, in a line for a person.
    fn steps_down(&mut self) -> Vec<String>;
}

/// A block device or a regular file.
#[derive(Debug)]
pub struct Disk {
    name: String,
    /// Of the transfers; opened for this process alone if it is a block device.
    file: File,
    /// Of the tail: without `O_DIRECT`.
    buffered: File,
    geometry: Geometry,
    engine: Engine,
    direct: bool,
    /// Transfers that may still come back refused, having started before `direct` went.
    refusals: u8,
    can_zero: bool,
    steps_down: Vec<String>,
}

/// Two engines, the same methods.
#[derive(Debug)]
enum Engine {
    Ring(Box<DiskRing>),
    /// A transfer is done when it is submitted; there is room for the next one when it was taken.
    Calls(Option<Completion>),
}

impl Disk {
    /// Opens a block device, for this process alone; or a regular file, which is made if it isn't there (anywhere but under `/dev`).
    ///
    /// # Errors
    /// [`WriteError::Missing`], [`WriteError::Busy`], [`WriteError::WriteProtected`], or what else the kernel says.
    pub fn open(path: &Path) -> Result<Self, WriteError> {
        let name = path.display().to_string();
        let is_device = match path.metadata() {
            Ok(metadata) => metadata.file_type().is_block_device(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.starts_with("/dev") => false,
            Err(source) => return Err(open_error(&name, source)),
        };
        let mut steps_down = Vec::new();
        let (file, direct) =
            open_direct(path, is_device, &mut steps_down).map_err(|e| open_error(&name, e))?;
        let buffered =
            OpenOptions::new().read(true).write(true).open(path).map_err(|e| open_error(&name, e))?;
        let geometry = geometry(&file, is_device).map_err(|e| open_error(&name, e))?;
        let engine = match DiskRing::new(&file, DEPTH) {
            Ok(ring) => Engine::Ring(Box::new(ring)),
            Err(error) => {
                steps_down.push(format!("io_uring refused ({error}): one write at a time"));
                Engine::Calls(None)
            }
        };
        Ok(Self { name, file, buffered, geometry, engine, direct, refusals: 0, can_zero: true, steps_down })
    }

    /// Without io_uring, whatever the kernel offers.
    #[must_use]
    pub fn without_ring(mut self) -> Self {
        self.engine = Engine::Calls(None);
        self
    }

    /// Some file systems take `O_DIRECT` when opening and refuse it when writing.
    fn go_on_buffered(&mut self) -> io::Result<()> {
        self.direct = false;
        self.refusals = DEPTH;
        self.steps_down.push("O_DIRECT refused by a transfer: buffered".to_owned());
        let flags = rustix::fs::fcntl_getfl(&self.file)?;
        Ok(rustix::fs::fcntl_setfl(&self.file, flags.difference(OFlags::DIRECT))?)
    }
}

fn open_direct(path: &Path, is_device: bool, steps_down: &mut Vec<String>) -> io::Result<(File, bool)> {
    let exclusive = if is_device { OFlags::EXCL } else { OFlags::empty() };
    let open = |flags: OFlags| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(!is_device).truncate(false);
        options.custom_flags(flags.bits().cast_signed()).open(path)
    };
    match open(exclusive | OFlags::DIRECT) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            steps_down.push("O_DIRECT refused: buffered".to_owned());
            Ok((open(exclusive)?, false))
        }
        other => Ok((other?, true)),
    }
}

fn geometry(file: &File, is_device: bool) -> io::Result<Geometry> {
    if !is_device {
        return Ok(Geometry { size: None, holds: file.metadata()?.len(), block: FILE_BLOCK });
    }
    let size = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?;
    Ok(Geometry { size: Some(size), holds: size, block: rustix::fs::ioctl_blksszget(file)? })
}

fn open_error(name: &str, source: io::Error) -> WriteError {
    let disk = name.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENOMEDIUM) => WriteError::Missing { disk },
        Some(libc::EBUSY) => WriteError::Busy { disk, holders: holders(name).join(", ") },
        Some(libc::EROFS | libc::EACCES | libc::EPERM) => WriteError::WriteProtected { disk, source },
        _ => WriteError::Open { disk, source },
    }
}

/// Who has the device: what is mounted from it, and the devices built on it.
fn holders(name: &str) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (from, at) = (words.next()?, words.next()?);
        is_of(from, name).then(|| format!("{from} mounted at {at}"))
    });
    let base = PathBuf::from(name).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let built = std::fs::read_dir(format!("/sys/class/block/{base}/holders"));
    let built = built.into_iter().flatten().flatten().map(|e| format!("held by {}", e.file_name().display()));
    mounted.chain(built).collect()
}

/// `/dev/sda` and `/dev/sda1`, `/dev/nvme0n1p2`; but `/dev/sdaa` is another disk.
fn is_of(device: &str, disk: &str) -> bool {
    let partition = device.strip_prefix(disk);
    partition.is_some_and(|rest| rest.strip_prefix('p').unwrap_or(rest).bytes().all(|b| b.is_ascii_digit()))
}

impl Device for Disk {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&mut self, mut transfer: Transfer) -> Result<(), Full> {
        match &mut self.engine {
            Engine::Ring(ring) => ring.submit(transfer),
            Engine::Calls(Some(_)) => Err(Full(transfer)),
            Engine::Calls(done) => {
                let range = transfer.range.clone();
                let result = match transfer.direction {
                    Direction::Write => self.file.write_at(&transfer.buffer[range], transfer.offset),
                    Direction::Read => self.file.read_at(&mut transfer.buffer[range], transfer.offset),
                };
                *done = Some(Completion { transfer, result });
                Ok(())
            }
        }
    }

    fn complete(&mut self) -> io::Result<Option<Completion>> {
        loop {
            let completion = match &mut self.engine {
                Engine::Ring(ring) => ring.complete()?,
                Engine::Calls(done) => done.take(),
            };
            let Some(completion) = completion else { return Ok(None) };
            let error = completion.result.as_ref().err().and_then(io::Error::raw_os_error);
            if error == Some(libc::EINVAL) && self.direct {
                self.go_on_buffered()?;
            } else if error == Some(libc::EINVAL) && self.refusals > 0 {
                self.refusals -= 1;
            } else if error != Some(libc::EINTR) {
                return Ok(Some(completion));
            }
            if let Err(Full(transfer)) = self.submit(completion.transfer) {
                return Ok(Some(Completion { transfer, result: completion.result }));
            }
        }
    }

    fn write_tail(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.buffered.write_all_at(bytes, offset)
    }

    fn zero(&mut self, offset: u64, len: u64) -> io::Result<bool> {
        if !self.can_zero {
            return Ok(false);
        }
        // On a block device this is "write zeroes, without falling back to writing them" (blkdev_fallocate).
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.buffered, flags, offset, len) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
                self.can_zero = false;
                self.steps_down.push("the device can't zero ranges: zeros are written".to_owned());
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn end_at_least(&mut self, size: u64) -> io::Result<()> {
        if self.geometry.size.is_none() && self.buffered.metadata()?.len() < size {
            self.buffered.set_len(size)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.buffered.sync_all()?;
        if !self.direct {
            // So that reading back reads the disk, not the cache that was written from.
            let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
        }
        Ok(())
    }

    fn reread(&mut self) -> io::Result<()> {
        match self.geometry.size {
            Some(_) => block::reread_partitions(&self.file),
            None => Ok(()),
        }
    }

    fn steps_down(&mut self) -> Vec<String> {
        std::mem::take(&mut self.steps_down)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::uring::aligned::Aligned;

    #[test]
    fn another_disks_name_may_begin_alike() {
        for (device, is) in
            [("/dev/sda", true), ("/dev/sda12", true), ("/dev/sdap1", true), ("/dev/sdaa", false)]
        {
            assert_eq!(is_of(device, "/dev/sda"), is, "{device}");
        }
    }

    #[test]
    fn transfers_that_o_direct_refuses_arrive_buffered_and_it_is_said_once() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap(); // a file system with O_DIRECT
        let path = folder.path().join("disk");
        for ring in [true, false] {
            let disk = Disk::open(&path).unwrap();
            let mut disk = if ring { disk } else { disk.without_ring() };
            assert!(disk.direct, "no O_DIRECT here: this test shows nothing");
            // No file system takes such offsets directly.
            for i in 0..u64::from(DEPTH) {
                let mut buffer = Aligned::zeroed(4096);
                buffer.fill(i as u8 + 1);
                let (direction, offset, range) = (Direction::Write, 100 + i * 4096, 0..4096);
                let mut transfer = Transfer { direction, offset, range, buffer };
                while let Err(Full(back)) = disk.submit(transfer) {
                    assert_eq!(disk.complete().unwrap().unwrap().result.unwrap(), 4096);
                    transfer = back;
                }
            }
            while let Some(done) = disk.complete().unwrap() {
                assert_eq!(done.result.unwrap(), 4096);
            }
            assert_eq!(disk.steps_down(), ["O_DIRECT refused by a transfer: buffered"]);
            assert_eq!(std::fs::read(&path).unwrap()[100 + 7 * 4096..], [8; 4096]);
        }
    }
}
