//! `netboot-agent write` against real block devices: loop devices over files that this test makes. They need root, and the
//! kernel's loop driver; without them these tests fail, for nothing would be shown.
#![cfg(feature = "agent")]
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

const MIB: usize = 1 << 20;

/// A loop device, detached when it goes.
struct Loop {
    device: PathBuf,
    backing: PathBuf,
    _folder: tempfile::TempDir,
}

impl Loop {
    /// Of `size` bytes, all 0xa5.
    fn new(size: usize, options: &[&str]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let backing = folder.path().join("disk");
        std::fs::write(&backing, vec![0xa5; size]).unwrap();
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show"]).args(options).arg(&backing);
        let output = losetup.output().expect("losetup is in Debian's package mount");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "no loop device (they need root): {said}");
        let device = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Self { device, backing, _folder: folder }
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(&self.backing).unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

fn image(len: usize) -> Vec<u8> {
    let mut image: Vec<u8> = (0..len).map(|i| (i / 3 % 249) as u8 + 1).collect();
    if len > 4 * MIB {
        image[2 * MIB..3 * MIB].fill(0);
    }
    image
}

fn write(image: &[u8], to: &Path, sha256: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    std::fs::write(&file, image).unwrap();
    Command::new(env!("CARGO_BIN_EXE_netboot-agent"))
        .args(["write", "--sha256", sha256])
        .arg("--image")
        .arg(file)
        .arg("--to")
        .arg(to)
        .output()
        .unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn says(output: &Output, text: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(text), "{stderr}");
}

#[test]
fn an_image_of_any_length_lands_on_disks_of_both_block_sizes() {
    for block in ["512", "4096"] {
        for len in [1, 511, 4096, MIB - 1, MIB + 513, 5 * MIB, 5 * MIB + 1537] {
            let disk = Loop::new(8 * MIB, &["--sector-size", block]);
            let image = image(len);
            let output = write(&image, &disk.device, &sha256(&image));
            assert!(output.status.success(), "{len} on {block}: {}", String::from_utf8_lossy(&output.stderr));
            let content = disk.content();
            assert!(content[..len] == image, "{len} on {block}");
            assert!(content[len.max(MIB)..7 * MIB].iter().all(|&byte| byte == 0xa5), "{len} on {block}");
            assert!(content[7 * MIB..].iter().all(|&byte| byte == 0), "{len} on {block}: the backup GPT");
        }
    }
}

#[test]
fn a_wrong_digest_leaves_a_disk_without_a_head() {
    let disk = Loop::new(8 * MIB, &[]);
    says(&write(&image(3 * MIB), &disk.device, &"0".repeat(64)), "expected 0000");
    assert!(disk.content()[..MIB].iter().all(|&byte| byte == 0));
}

#[test]
fn what_can_not_be_written_is_named_and_left_alone() {
    let image = image(3 * MIB);
    let untouched = |disk: &Loop| disk.content().iter().all(|&byte| byte == 0xa5);
    let small = Loop::new(2 * MIB, &[]);
    says(&write(&image, &small.device, &sha256(&image)), "too few for the image of 3145728 bytes");
    assert!(untouched(&small));
    let protected = Loop::new(8 * MIB, &["--read-only"]);
    says(&write(&image, &protected.device, &sha256(&image)), "write-protected");
    assert!(untouched(&protected));
    let busy = Loop::new(8 * MIB, &[]);
    let _held = {
        use std::os::unix::fs::OpenOptionsExt;
        let exclusive = libc::O_EXCL;
        std::fs::OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(&busy.device).unwrap()
    };
    says(&write(&image, &busy.device, &sha256(&image)), "in use");
    assert!(untouched(&busy));
}
