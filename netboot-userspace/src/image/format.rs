//! Which format an image has, by its first bytes.

use std::fmt;

/// Bytes that [`Format::of`] wants to see, where the image has so many.
pub const MAGIC_LEN: usize = 6;

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's own bytes.
    Raw,
    /// RFC 1952, of one member or several.
    Gzip,
    /// RFC 8878, of one frame or several, skippable ones included.
    Zstd,
}

/// A format that is known, and not read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image is {0}, which is not supported: raw, gzip and zstd are")]
pub struct Unsupported(pub &'static str);

impl Format {
    /// The format that begins with these bytes. What has no known magic is raw.
    ///
    /// # Errors
    /// [`Unsupported`] for formats that would only end up as garbage on the disk.
    pub fn of(start: &[u8]) -> Result<Self, Unsupported> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // RFC 8878 section 3.1.2: a skippable frame may come first (pzstd writes one).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Unsupported("xz")),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(Unsupported("bzip2")),
            [0x04, 0x22, 0x4d, 0x18, ..] => Err(Unsupported("lz4")),
            [b'Q', b'F', b'I', 0xfb, ..] => Err(Unsupported("qcow2")),
            _ => Ok(Self::Raw),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_each_format_by_its_magic() {
        for (start, format) in [
            (&b"\x1f\x8b\x08\x00"[..], Ok(Format::Gzip)),
            (b"\x28\xb5\x2f\xfd", Ok(Format::Zstd)),
            (b"\x50\x2a\x4d\x18", Ok(Format::Zstd)),
            (b"\xfd7zXZ\0", Err(Unsupported("xz"))),
            (b"BZh9", Err(Unsupported("bzip2"))),
            (b"\x04\x22\x4d\x18", Err(Unsupported("lz4"))),
            (b"QFI\xfb", Err(Unsupported("qcow2"))),
            (b"\xeb\x63\x90", Ok(Format::Raw)),
            (b"BZhx", Ok(Format::Raw)),
            (b"\x1f", Ok(Format::Raw)),
            (b"", Ok(Format::Raw)),
        ] {
            assert_eq!(Format::of(start), format, "{start:02x?}");
        }
    }
}
