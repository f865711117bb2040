#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use super::*;
use crate::image::testing::{Fault, ScriptedDisk};
use crate::image::write::{CHUNK, Writer};
use crate::uring::aligned::Aligned;

type Outcome = (Result<(), HeadError>, Arc<Mutex<Vec<u8>>>);

/// Writes an image of one chunk; `faults` count from the first transfer after the body's proof.
fn write(image: &[u8], faults: &[(usize, Fault)]) -> Outcome {
    // Two transfers erase the ends.
    let disk =
        faults.iter().fold(ScriptedDisk::new(8 * CHUNK, 512), |disk, (at, fault)| disk.fault(2 + at, *fault));
    let bytes = disk.bytes.clone();
    let mut writer = Writer::begin(disk, None).unwrap();
    let mut buffer = Aligned::zeroed(CHUNK);
    buffer[..image.len()].copy_from_slice(image);
    writer.push(Chunk { buffer, len: image.len() }).unwrap();
    let verified = writer.finish(Digest(Sha256::digest(image).into())).unwrap().verify(|_| ()).unwrap();
    (verified.write_head().map(drop), bytes)
}

/// The transfers, in their order.
const REST: usize = 0;
const REST_BACK: usize = 1;
const FIRST: usize = 2;
const FIRST_BACK: usize = 3;

#[test]
fn a_head_that_the_disk_gives_back_changed_is_found_out_and_does_not_boot() {
    let image = vec![0x5a; 8 * 512];
    for at in [REST, REST_BACK, FIRST, FIRST_BACK] {
        let (result, bytes) = write(&image, &[(at, Fault::FlipBit)]);
        // A bit that changes on the way in is not on the disk.
        let error = result.unwrap_err();
        assert!(matches!(error.cause, WriteError::ReadBack { .. }), "{at}: {error}");
        assert_eq!(error.disk, Progress::Verified, "{at}");
        assert!(bytes.lock().unwrap()[..512].iter().all(|&byte| byte == 0), "{at}");
    }
}

#[test]
fn a_head_that_can_not_be_written_is_taken_back_or_said_to_be_unknown() {
    let image = vec![0x5a; 8 * 512];
    let bad = Fault::Error(libc::ENOSPC);
    for at in [REST, REST_BACK, FIRST, FIRST_BACK] {
        let (result, bytes) = write(&image, &[(at, bad)]);
        assert_eq!(result.unwrap_err().disk, Progress::Verified, "{at}");
        assert!(bytes.lock().unwrap()[..512].iter().all(|&byte| byte == 0), "{at}");
    }
    let (result, _) = write(&image, &[(FIRST, bad), (FIRST + 1, bad)]);
    let error = result.unwrap_err();
    assert_eq!(error.disk, Progress::HeadUnknown);
    assert_eq!(error.disk.to_string(), "the disk's first MiB may be partly written");
}

#[test]
fn the_first_block_comes_when_all_else_is_there() {
    let image = vec![0x5a; 8 * 512];
    // Cut off before the first block: everything but it is there.
    let (_, bytes) = write(&image, &[(FIRST, Fault::Error(libc::ENOSPC))]);
    assert!(bytes.lock().unwrap()[512..image.len()] == image[512..]);
    // An image of less than a block is all first block.
    let (result, bytes) = write(&image[..100], &[]);
    result.unwrap();
    assert!(bytes.lock().unwrap()[..100] == image[..100]);
}
