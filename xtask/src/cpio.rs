//! A writer of `newc` cpio archives, the kernel's initramfs format (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Reproducible: the same entries give the same bytes. No times, no owners, inode numbers by position; the caller
//! adds entries in a fixed order, folders before what is in them.

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive in the making. Paths have no leading slash.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER | 0o755, 2, (0, 0), b"");
    }

    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, FILE | permissions, 1, (0, 0), content);
    }

    pub(crate) fn character_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | permissions, 1, (major, minor), b"");
    }

    /// The archive, closed. Archives may be concatenated: the kernel reads on after the trailer.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.header(TRAILER, 0, 0, 1, (0, 0), 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, links: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        // The format's size field has 32 bits; an initramfs entry is far below.
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        self.header(path, self.entries, mode, links, device, size);
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn header(
        &mut self,
        path: &str,
        inode: u32,
        mode: u32,
        links: u32,
        (major, minor): (u32, u32),
        size: u32,
    ) {
        let name_size = path.len() as u32 + 1;
        let (owner, group, time, on_major, on_minor, check) = (0, 0, 0, 0, 0, 0);
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        let fields = [
            inode, mode, owner, group, links, time, size, on_major, on_minor, major, minor, name_size, check,
        ];
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    /// Header with name, and content, each end at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.folder("dev");
        archive.character_device("dev/console", 0o600, 5, 1);
        archive.file("init", 0o755, b"hello");
        archive.finish()
    }

    #[test]
    fn everything_is_padded_to_four_bytes() {
        for length in 0..9 {
            let mut archive = Archive::default();
            archive.file(&"n".repeat(length + 1), 0o644, &vec![b'x'; length]);
            assert_eq!(archive.finish().len() % 4, 0, "length {length}");
        }
        let bytes = sample();
        assert_eq!(bytes.len() % 4, 0);
        for (at, _) in bytes.windows(6).enumerate().filter(|(_, window)| *window == MAGIC.as_bytes()) {
            assert_eq!(at % 4, 0, "header at {at}");
        }
    }

    #[test]
    fn the_same_entries_give_the_same_bytes() {
        assert_eq!(sample(), sample());
    }

    #[test]
    fn the_first_header_is_as_the_format_says() {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"hello");
        let bytes = archive.finish();
        let header =
            "070701000000010000 81ed 00000000 00000000 00000001 00000000 00000005 00000000 00000000 \
                      00000000 00000000 00000005 00000000"
                .replace(' ', "");
        assert_eq!(String::from_utf8_lossy(&bytes[..110]), header);
        assert_eq!(&bytes[110..124], b"init\0\0hello\0\0\0");
    }

    #[test]
    fn a_device_has_its_numbers() {
        let mut archive = Archive::default();
        archive.character_device("dev/console", 0o600, 5, 1);
        let bytes = archive.finish();
        assert_eq!(&bytes[14..22], b"00002180", "a character device, rw for its owner");
        assert_eq!(&bytes[78..94], b"0000000500000001", "major, minor");
    }

    /// A reader that is not ours: busybox, which setup installs for the test disk.
    #[test]
    fn another_cpio_reads_it() {
        let Ok(mut cpio) = Command::new("busybox")
            .args(["cpio", "-t", "-v"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            panic!("busybox is missing: run \"cargo xtask setup\"");
        };
        cpio.stdin.take().unwrap().write_all(&sample()).unwrap();
        let listing = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        assert!(listing.contains("crw-------") && listing.contains("dev/console"), "{listing}");
        assert!(listing.contains("-rwxr-xr-x") && listing.contains("init"), "{listing}");
    }
}
