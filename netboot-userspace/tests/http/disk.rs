//! A disk that fails while its files are served: a loop device whose file was cut short under it. It needs root, and the kernel's loop
//! driver; without them this test fails, for nothing would be shown.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use netboot_userspace::http::{Mount, Stage};

use super::site::*;

const NAME: &str = "disk::what_the_disk_does_not_give_is_an_error_with_its_cause_and_no_other_file";
const BLOCK: usize = 4096;
/// Found in the disk by these bytes.
const MARK: &[u8] = b"here the disk fails";
/// Sent in several turns.
const SIZE: usize = 8 << 20;

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.unwrap().success(), "{program} {arguments:?} (it needs root)");
}

/// A file system with what `fill` puts into it, mounted at the folder that is given back; it has lost all from the block with `mark` on.
fn disk(below: &Path, name: &str, mark: &[u8], fill: impl Fn(&Path)) -> PathBuf {
    let (image, folder) = (below.join(format!("{name}.img")), below.join(name));
    fs::create_dir(&folder).unwrap();
    fs::File::create(&image).unwrap().set_len(24 << 20).unwrap();
    let (device, at) = (image.to_str().unwrap(), folder.to_str().unwrap());
    run("mkfs.ext4", &["-q", "-b", "4096", "-O", "^has_journal", device]);
    run("mount", &["-o", "loop", device, at]);
    fill(&folder);
    run("umount", &[at]);
    let bytes = fs::read(&image).unwrap();
    let lost = bytes.windows(mark.len()).position(|bytes| bytes == mark).unwrap() / BLOCK * BLOCK;
    run("mount", &["-o", "loop,ro", device, at]);
    // Its root is known; nothing else was read.
    assert!(fs::read_dir(&folder).unwrap().count() > 1);
    fs::File::options().write(true).open(&image).unwrap().set_len(lost as u64).unwrap();
    folder
}

/// In a mount namespace of its own, which takes the mounts with it.
fn inside(below: &Path) {
    let large = disk(below, "large", MARK, |folder| {
        let mut bytes = content(SIZE);
        bytes[SIZE / 2..][..MARK.len()].copy_from_slice(MARK);
        fs::write(folder.join("file"), bytes).unwrap();
    });
    let small = disk(below, "small", MARK, |folder| fs::write(folder.join("file"), MARK).unwrap());
    let deep = disk(below, "deep", b"name-that-is-in-deep", |folder| {
        fs::create_dir(folder.join("deep")).unwrap();
        fs::write(folder.join("deep/name-that-is-in-deep"), "there").unwrap();
    });
    // What would be served in its place.
    let other = below.join("other");
    fs::create_dir_all(other.join("deep")).unwrap();
    for name in ["file", "another", "deep/name-that-is-in-deep"] {
        fs::write(other.join(name), "other").unwrap();
    }
    for engine in ENGINES {
        let site = site_with(engine, |config| {
            let mount = |prefix: &str, folder: &Path| Mount::Folder {
                prefix: prefix.into(),
                roots: vec![folder.to_owned(), other.clone()],
                index: true,
            };
            config.mounts = vec![mount("/large/", &large), mount("/small/", &small), mount("/deep/", &deep)];
        });
        let mut stream = site.connect();
        let mut ask = |path: &str| {
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
            let (head, body) = read_answer(&mut stream);
            (status(&head), String::from_utf8(body).unwrap())
        };
        for path in ["/small/file", "/deep/deep/name-that-is-in-deep"] {
            assert_eq!(ask(path), (500, "500 Internal Server Error\n".to_owned()), "{engine:?}, {path}");
            assert_eq!(
                ask("/small/another"),
                (200, "other".to_owned()),
                "{engine:?}: the connection goes on"
            );
        }
        let mut stream = site.connect();
        stream.write_all(b"GET /large/file HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let got = &answer[end..];
        assert!(
            got.len() <= SIZE / 2 && *got == content(SIZE)[..got.len()],
            "{engine:?}: {} bytes",
            got.len()
        );

        site.wait_for("told", |site| site.events.lock().unwrap().iter().any(|e| e.stage == Stage::Broken));
        let events = site.events.lock().unwrap();
        for event in events.iter().filter(|event| event.stage != Stage::Progress) {
            let has_failed = event.status == 500 || event.stage == Stage::Broken;
            let cause = event.cause.as_deref().unwrap_or_default();
            assert_eq!(cause.contains("Input/output error"), has_failed, "{engine:?}: {event:?}");
        }
        let broken = events.iter().find(|event| event.stage == Stage::Broken).unwrap();
        assert!(broken.bytes < broken.total, "{broken:?}");
        assert_eq!(events.iter().filter(|event| event.status == 500).count(), 2);
        assert_eq!(site.server.paces(), [], "it is not its client that stalls");
    }
}

#[test]
fn what_the_disk_does_not_give_is_an_error_with_its_cause_and_no_other_file() {
    if let Some(below) = std::env::var_os(NAME) {
        return inside(Path::new(&below));
    }
    let below = tempfile::tempdir().unwrap();
    let mut alone = Command::new("unshare");
    alone.arg("--mount").arg(std::env::current_exe().unwrap()).args(["--exact", NAME, "--nocapture"]);
    assert!(alone.env(NAME, below.path()).status().unwrap().success());
}
