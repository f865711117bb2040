//! What a block device is asked beyond read and write.
#![allow(unsafe_code)] // rustix leaves the meaning of an opcode to its caller.

use std::fs::File;
use std::io;

use rustix::ioctl::{NoArg, Opcode, ioctl, opcode};

/// `_IO(0x12, 95)`, `linux/fs.h`.
const BLKRRPART: Opcode = opcode::none(0x12, 95);

/// Makes the kernel read the partition table again.
///
/// # Errors
/// `EBUSY` if a partition is in use, `EINVAL` if the device can't be partitioned, `ENOTTY` if it is no block device.
pub fn reread_partitions(device: &File) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument (`block/ioctl.c`), so the null pointer of NoArg is never followed.
    unsafe { ioctl(device, NoArg::<BLKRRPART>::new()) }.map_err(io::Error::from)
}
