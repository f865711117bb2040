#![allow(clippy::unwrap_used)]

use super::*;
use crate::image::device::Disk;
use crate::image::testing::{self, ScriptedDisk, Server};
use sha2::{Digest as _, Sha256};
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

fn image(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 7 % 253) as u8).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn expected(image: &[u8], size: Option<u64>) -> Expected {
    Expected { sha256: Digest(Sha256::digest(image).into()), size }
}

fn policy() -> Policy {
    Policy { tries: 2, backoff: Duration::from_millis(1), ..Policy::default() }
}

type Run = (Result<Summary, Failure>, Vec<u8>, Vec<String>);

/// Serves `packed` once and installs it on a disk of 8 MiB.
fn run(packed: &[u8], expected: Expected) -> Run {
    let server = Server::script(vec![testing::answer(200, packed)]);
    let disk = ScriptedDisk::new(8 * CHUNK, 512);
    let bytes = disk.bytes.clone();
    let mut heard = Vec::new();
    let mut observe = |event: Event<'_>| match event {
        Event::Started(step) => heard.push(format!("started {step:?}")),
        Event::Done(step) => heard.push(format!("done {step:?}")),
        Event::Bytes(step, done, total) => heard.push(format!("{step:?} {done} of {total:?}")),
        Event::Note(note) => heard.push(note.to_owned()),
    };
    let result = Source::http(&server.url("/image"), policy())
        .map_err(|error| Failure { step: Step::Write, disk: Progress::Untouched, cause: error.into() })
        .and_then(|source| install(source, expected, || Ok(disk), &mut observe));
    let bytes = bytes.lock().unwrap().clone();
    (result, bytes, heard)
}

#[test]
fn an_image_arrives_whole_in_each_format() {
    let image = image(5 * CHUNK + 300);
    let zstd = zstd::bulk::compress(&image, 1).unwrap();
    for (packed, format) in [(image.clone(), Format::Raw), (gzip(&image), Format::Gzip), (zstd, Format::Zstd)]
    {
        let (result, bytes, heard) = run(&packed, expected(&image, Some(image.len() as u64)));
        let summary = result.unwrap();
        assert_eq!((summary.format, summary.size), (format, image.len() as u64));
        assert!(bytes[..image.len()] == image, "{format}");
        let steps: Vec<&str> = heard
            .iter()
            .map(String::as_str)
            .filter(|l| l.starts_with("started") || l.starts_with("done"))
            .collect();
        let order =
            ["started Write", "done Write", "started Verify", "done Verify", "started Head", "done Head"];
        assert_eq!(steps, order);
        assert!(heard.contains(&format!("Verify {0} of Some({0})", image.len())), "{heard:?}");
    }
}

#[test]
fn what_can_be_known_before_the_disk_is_touched_is_checked_before() {
    let image = image(3 * CHUNK);
    let cases: [(Vec<u8>, Expected, &str); 3] = [
        (b"\xfd7zXZ\0rest".to_vec(), expected(&image, None), "xz, which is not supported"),
        (image.clone(), expected(&image, Some(5)), "5 were announced"),
        (self::image(9 * CHUNK), expected(&image, None), "too few for the image"),
    ];
    for (packed, expected, says) in cases {
        let (result, bytes, _) = run(&packed, expected);
        let failure = result.unwrap_err();
        assert!(failure.to_string().contains(says), "{failure}");
        assert_eq!((failure.step, failure.disk), (Step::Write, Progress::Untouched));
        assert!(bytes.iter().all(|&byte| byte == 0xa5), "{says}");
    }
}

#[test]
fn a_truncated_or_wrong_image_leaves_no_head() {
    let image = image(3 * CHUNK);
    let packed = gzip(&image);
    let cut = &packed[..packed.len() - 5];
    for (packed, expected, says) in [
        (cut, expected(&image, None), "the gzip stream is cut short"),
        (&packed[..], expected(b"another", None), "expected"),
        (&packed[..], expected(&image, Some(4 * CHUNK as u64)), "were announced"),
    ] {
        let (result, bytes, _) = run(packed, expected);
        let failure = result.unwrap_err();
        assert!(failure.to_string().contains(says), "{failure}");
        assert!(matches!(failure.disk, Progress::Body { .. }), "{failure:?}");
        assert!(bytes[..CHUNK].iter().all(|&byte| byte == 0), "{says}");
    }
}

#[test]
fn a_bomb_ends_where_the_disk_does() {
    // 256 MiB of zeros from 260 KB.
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..256 {
        writer.write_all(&[0; CHUNK]).unwrap();
    }
    let (result, ..) = run(&writer.finish().unwrap(), expected(b"", None));
    let failure = result.unwrap_err();
    assert!(
        matches!(failure.cause, Cause::Write(WriteError::TooSmall { image_size, .. }) if image_size == 9 * CHUNK as u64),
        "{failure}"
    );
}

#[test]
fn a_server_that_breaks_off_is_named_with_what_came() {
    let image = image(3 * CHUNK);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", image.len());
    let cut =
        vec![testing::Step::Send([head.as_bytes(), &image[..CHUNK + 5]].concat()), testing::Step::Close];
    let server = Server::script(vec![cut, vec![testing::Step::Close]]);
    let disk = ScriptedDisk::new(8 * CHUNK, 512);
    let source = Source::http(&server.url("/image"), policy()).unwrap();
    let failure = install(source, expected(&image, None), || Ok(disk), &mut |_| ()).unwrap_err();
    let got = CHUNK as u64 + 5;
    assert!(
        matches!(&failure.cause, Cause::Source(SourceError::Fetch(FetchError::Broken { got: g, .. })) if *g == got),
        "{failure}"
    );
}

#[test]
fn an_image_of_many_buffers_arrives_without_io_uring() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap(); // a file system with O_DIRECT
    let (from, to) = (folder.path().join("image"), folder.path().join("disk"));
    let mut image = vec![0; 32 * CHUNK];
    getrandom::fill(&mut image).unwrap();
    std::fs::write(&from, &image).unwrap();
    let (expected, disk) = (expected(&image, None), to.clone());
    let (done, installed) = mpsc::channel();
    std::thread::spawn(move || {
        let source = Source::file(&from).unwrap();
        let open = || Ok(Disk::open(&disk)?.without_ring());
        let _ = done.send(install(source, expected, open, &mut |_| ()));
    });
    let summary = installed.recv_timeout(Duration::from_secs(120)).expect("it hangs").unwrap();
    assert_eq!(summary.size, image.len() as u64);
    assert!(std::fs::read(to).unwrap() == image);
}

#[test]
fn nothing_is_erased_for_a_stream_that_can_not_be_decoded() {
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.long_distance_matching(true).unwrap();
    wide.write_all(&image(3 * CHUNK)).unwrap();
    let gzip = gzip(&image(3 * CHUNK));
    for (packed, says) in [
        (wide.finish().unwrap(), "--long=25"),
        (b"\x1f\x8bgarbage, and more of it".to_vec(), "the gzip stream is damaged"),
        (gzip[..gzip.len() / 5].to_vec(), "cut short"),
        (Vec::new(), "the image is empty"),
    ] {
        let (result, bytes, _) = run(&packed, expected(b"x", None));
        let failure = result.unwrap_err();
        assert!(failure.to_string().contains(says), "{says}: {failure}");
        assert_eq!((failure.step, failure.disk), (Step::Write, Progress::Untouched), "{says}");
        assert!(bytes.iter().all(|&byte| byte == 0xa5), "{says}");
    }
}

#[test]
fn an_image_for_other_blocks_than_the_disks_is_refused_before_it_is_touched() {
    for (disk_block, image_block) in [(512, 4096), (4096, 512), (512, 512), (4096, 4096)] {
        let mut image = image(2 * CHUNK);
        image[image_block..image_block + 8].copy_from_slice(b"EFI PART");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        std::fs::write(&file, &image).unwrap();
        let disk = ScriptedDisk::new(8 * CHUNK, disk_block);
        let bytes = disk.bytes.clone();
        let source = Source::file(&file).unwrap();
        let result = install(source, expected(&image, None), || Ok(disk), &mut |_| ());
        if disk_block as usize == image_block {
            result.unwrap();
            continue;
        }
        let failure = result.unwrap_err();
        assert!(matches!(failure.cause, Cause::Write(WriteError::SectorSize { .. })), "{failure}");
        assert_eq!(failure.disk, Progress::Untouched);
        assert!(bytes.lock().unwrap().iter().all(|&byte| byte == 0xa5));
    }
}
