#![allow(clippy::unwrap_used)]

use super::*;
use crate::image::device::Disk;
use crate::image::head::Complete;
use crate::image::testing::{Event, Fault, ScriptedDisk};
use proptest::prelude::*;

const MIB: usize = CHUNK;

/// Noise, with runs of zeros in it.
fn image(len: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(len)
    .collect();
    if len > 4 * MIB {
        bytes[2 * MIB..4 * MIB].fill(0);
    }
    bytes
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn push_all<D: Device>(writer: &mut Writer<D>, image: &[u8]) -> Result<(), WriteError> {
    for part in image.chunks(CHUNK) {
        let mut buffer = writer.take_free().next().unwrap_or_else(|| Aligned::zeroed(CHUNK));
        buffer[..part.len()].copy_from_slice(part);
        writer.push(Chunk { buffer, len: part.len() })?;
    }
    Ok(())
}

fn write<D: Device>(device: D, image: &[u8], want: Digest) -> Result<Complete<D>, WriteError> {
    let mut writer = Writer::begin(device, Some(image.len() as u64))?;
    push_all(&mut writer, image)?;
    writer.finish(want)?.verify(|_| ())?.write_head().map_err(|error| error.cause)
}

fn disk(size: usize) -> ScriptedDisk {
    ScriptedDisk::new(size, 512)
}

#[test]
fn the_head_is_zeroed_and_synced_first_and_written_and_synced_last() {
    let image = image(3 * MIB);
    let disk = disk(8 * MIB);
    let events = disk.events.clone();
    let complete = write(disk, &image, digest(&image)).unwrap();
    let events = events.lock().unwrap();
    let [erased, first] = at(&events, 0)[..] else { panic!("{events:?}") };
    let [rest] = at(&events, 512)[..] else { panic!("{events:?}") };
    let body = at(&events, MIB as u64)[0];
    let last_body =
        events.iter().rposition(|e| matches!(e, Event::Write(at, _) if *at >= MIB as u64)).unwrap();
    assert!(events[erased..body].contains(&Event::Sync), "{events:?}");
    assert!(events[last_body..rest].contains(&Event::Sync), "{events:?}");
    let order = [Event::Write(512, MIB - 512), Event::Sync, Event::Write(0, 512), Event::Sync, Event::Reread];
    assert_eq!((&events[rest..], first), (&order[..], rest + 2));
    assert!(complete.device.bytes.lock().unwrap()[..image.len()] == image);
}

/// The writes that begin at `offset`.
fn at(events: &[Event], offset: u64) -> Vec<usize> {
    (0..events.len()).filter(|&i| matches!(events[i], Event::Write(at, _) if at == offset)).collect()
}

#[test]
fn an_image_that_fills_the_disk_writes_its_backup_gpt_after_the_proof() {
    // Of a length at which the last MiB lies in two chunks.
    for len in [4 * MIB, 4 * MIB + 512] {
        let image = image(len);
        let disk = self::disk(len);
        let bytes = disk.bytes.clone();
        let error = write(disk, &image, Digest([7; 32])).unwrap_err();
        assert!(matches!(error, WriteError::Digest { .. }), "{error}");
        assert!(bytes.lock().unwrap()[len - MIB..].iter().all(|&byte| byte == 0), "{len}");
        let complete = write(self::disk(len), &image, digest(&image)).unwrap();
        assert!(*complete.device.bytes.lock().unwrap() == image, "{len}");
    }
}

#[test]
fn the_backup_gpt_is_gone_and_the_rest_is_left_alone() {
    let image = image(2 * MIB);
    let complete = write(disk(8 * MIB), &image, digest(&image)).unwrap();
    let bytes = complete.device.bytes.lock().unwrap();
    assert!(bytes[7 * MIB..].iter().all(|&byte| byte == 0));
    assert!(bytes[2 * MIB..7 * MIB].iter().all(|&byte| byte == 0xa5));
}

#[test]
fn a_wrong_digest_leaves_the_first_mib_zero() {
    let image = image(3 * MIB);
    let disk = disk(4 * MIB);
    let bytes = disk.bytes.clone();
    let error = write(disk, &image, Digest([7; 32])).unwrap_err();
    assert!(
        matches!(error, WriteError::Digest { got, want: Digest([7, ..]) } if got == digest(&image)),
        "{error}"
    );
    assert!(bytes.lock().unwrap()[..MIB].iter().all(|&byte| byte == 0));
}

#[test]
fn a_disk_that_gives_back_other_bytes_is_found_out() {
    let image = image(5 * MIB);
    // Transfers 0 and 1 erase the ends; 2 to 5 are the body.
    for at in 2..6 {
        let disk = disk(8 * MIB).fault(at, Fault::FlipBit);
        let bytes = disk.bytes.clone();
        let error = write(disk, &image, digest(&image)).unwrap_err();
        assert!(matches!(error, WriteError::ReadBack { .. }), "{at}: {error}");
        assert!(bytes.lock().unwrap()[..MIB].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn short_writes_and_reads_are_completed() {
    let image = image(5 * MIB + 700);
    for at in 0..16 {
        for short in [512, 1000, MIB - 1] {
            let complete = write(disk(8 * MIB).fault(at, Fault::Short(short)), &image, digest(&image))
                .unwrap_or_else(|error| panic!("transfer {at} of {short} bytes: {error}"));
            assert!(
                complete.device.bytes.lock().unwrap()[..image.len()] == image,
                "transfer {at} of {short} bytes"
            );
        }
    }
}

#[test]
fn an_error_names_disk_offset_and_lba() {
    let image = image(3 * MIB);
    let error = write(disk(4 * MIB).fault(2, Fault::Error(libc::EIO)), &image, digest(&image)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("writing to scripted disk at byte "), "{text}");
    assert!(text.contains("(LBA ") && text.contains("os error 5"), "{text}");
    let error = write(disk(4 * MIB).fault(2, Fault::Short(0)), &image, digest(&image)).unwrap_err();
    assert!(matches!(error, WriteError::Io { .. }), "no headway is an error, not a loop: {error}");
    let error = write(disk(4 * MIB).fault(0, Fault::Error(libc::EPERM)), &image, digest(&image)).unwrap_err();
    assert!(matches!(error, WriteError::WriteProtected { .. }), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_before_the_first_write_where_known() {
    let untouched = disk(2 * MIB);
    let (bytes, events) = (untouched.bytes.clone(), untouched.events.clone());
    let error = Writer::begin(untouched, Some(2 * MIB as u64 + 1)).err().unwrap();
    assert!(matches!(error, WriteError::TooSmall { at_least: false, .. }), "{error}");
    assert!(events.lock().unwrap().is_empty() && bytes.lock().unwrap().iter().all(|&byte| byte == 0xa5));

    let mut writer = Writer::begin(disk(2 * MIB), None).unwrap();
    let error = push_all(&mut writer, &image(2 * MIB + 1)).unwrap_err();
    assert!(matches!(error, WriteError::TooSmall { at_least: true, .. }), "{error}");
}

#[test]
fn a_stream_of_another_length_than_announced_is_refused() {
    let image = image(2 * MIB);
    let want = digest(&image);
    let mut writer = Writer::begin(disk(4 * MIB), Some(2 * MIB as u64 + 5)).unwrap();
    push_all(&mut writer, &image).unwrap();
    let error = writer.finish(want).err().unwrap();
    assert!(matches!(error, WriteError::Short { .. }), "{error}");
    let mut writer = Writer::begin(disk(4 * MIB), Some(MIB as u64 + 5)).unwrap();
    let error = push_all(&mut writer, &image).unwrap_err();
    assert!(matches!(error, WriteError::Long { .. }), "{error}");
    let error = Writer::begin(disk(4 * MIB), None).unwrap().finish(want).err().unwrap();
    assert!(matches!(error, WriteError::Empty), "{error}");
}

#[test]
fn zeros_never_leave_old_data_whether_the_device_can_zero_or_not() {
    let image = image(6 * MIB);
    for can_zero in [true, false] {
        let mut disk = disk(8 * MIB);
        disk.can_zero = can_zero;
        let complete = write(disk, &image, digest(&image)).unwrap();
        assert_eq!(complete.zeroed, if can_zero { 2 * MIB as u64 } else { 0 });
        assert!(complete.device.bytes.lock().unwrap()[..image.len()] == image);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Around the borders of blocks, pages, and chunks, on disks of both block sizes.
    #[test]
    fn any_size_arrives_whole_and_leaves_what_follows_alone(
        border in prop::sample::select(vec![0usize, 512, 4096, MIB, 2 * MIB, 5 * MIB]),
        around in -513i64..514,
        block in prop::sample::select(vec![512u32, 4096]),
    ) {
        let len = (border as i64 + around).max(1) as usize;
        let image = image(len);
        let complete = write(ScriptedDisk::new(8 * MIB, block), &image, digest(&image)).unwrap();
        let bytes = complete.device.bytes.lock().unwrap();
        prop_assert!(bytes[..len] == image);
        prop_assert!(bytes[len.max(MIB)..7 * MIB].iter().all(|&byte| byte == 0xa5));
    }

    #[test]
    fn a_real_file_is_the_image_with_and_without_io_uring(
        border in prop::sample::select(vec![0usize, 4096, MIB, 5 * MIB]),
        around in -2i64..3,
        ring in any::<bool>(),
        before in prop::sample::select(vec![0usize, 100, 3 * MIB + 1]),
    ) {
        let len = (border as i64 + around).max(1) as usize;
        let image = image(len);
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap(); // a file system with O_DIRECT
        let path = folder.path().join("disk");
        std::fs::write(&path, vec![0xa5; before]).unwrap();
        let disk = Disk::open(&path).unwrap();
        write(if ring { disk } else { disk.without_ring() }, &image, digest(&image)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        prop_assert_eq!(bytes.len(), len.max(before));
        prop_assert!(bytes[..len] == image);
    }
}

#[test]
fn a_disk_that_is_not_there_is_missing_and_never_made() {
    let error = Disk::open("/dev/no-such-disk".as_ref()).unwrap_err();
    assert!(matches!(error, WriteError::Missing { .. }), "{error}");
    assert!(!std::path::Path::new("/dev/no-such-disk").exists());
}
