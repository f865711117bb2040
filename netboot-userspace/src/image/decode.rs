//! From an image's bytes as served to the disk's bytes, as a stream with bounded memory.
//!
//! A stream is whole only if each member or frame ends in its own trailer (checksum included) and nothing follows
//! the last one: both decoders make an error of anything else.

use std::io::{self, BufRead, Read};

use super::format::Format;

/// The largest zstd window taken: 2^25, 32 MiB, half of what the agent may use in all. `zstd -1` to `-19` and
/// `--long=25` stay below it.
pub const ZSTD_WINDOW_LOG: u32 = 25;

/// A stream of `input`'s decoded bytes.
///
/// # Errors
/// If the decoder can't be set up; faults of the stream itself come from reading.
pub fn decoder<'a, R: BufRead + 'a>(format: Format, input: R) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match format {
        Format::Raw => Box::new(input),
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// What a decoder's error means to the person who made the image.
pub fn explain(format: Format, error: &io::Error) -> String {
    let text = error.to_string();
    if error.kind() == io::ErrorKind::UnexpectedEof || text.contains("incomplete frame") {
        return format!("the {format} stream is cut short");
    }
    if text.contains("too much memory") {
        return format!(
            "the zstd window is over 2^{ZSTD_WINDOW_LOG} bytes (32 MiB); pack it with --long=25 or less"
        );
    }
    format!("the {format} stream is damaged: {text}")
}

/// Reads until `buffer` is full or the stream has ended; the number of bytes read.
///
/// # Errors
/// The reader's.
pub fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let mut writer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        writer.include_checksum(true).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn decode(format: Format, packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decoder(format, packed)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn several_members_and_frames_are_one_image() {
        let (a, b) = (noise(70_000), vec![0; 300_000]);
        let whole = [&a[..], &b].concat();
        assert!(decode(Format::Gzip, &[gzip(&a), gzip(&b)].concat()).unwrap() == whole);
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert!(
            decode(Format::Zstd, &[&skippable[..], &zstd(&a), &skippable, &zstd(&b)].concat()).unwrap()
                == whole
        );
    }

    #[test]
    fn a_stream_cut_at_any_sixteenth_is_an_error() {
        let plain = noise(200_000);
        for (format, packed) in [(Format::Gzip, gzip(&plain)), (Format::Zstd, zstd(&plain))] {
            let cuts = (1..16).map(|i| packed.len() * i / 16);
            for cut in cuts.chain([packed.len() - 1, packed.len() - 4, packed.len() - 8]) {
                let error = decode(format, &packed[..cut]).unwrap_err();
                assert_eq!(explain(format, &error), format!("the {format} stream is cut short"), "{cut}");
            }
        }
    }

    #[test]
    fn what_follows_the_last_member_or_frame_is_an_error() {
        for (format, packed) in [(Format::Gzip, gzip(b"x")), (Format::Zstd, zstd(b"x"))] {
            let error = decode(format, &[&packed[..], b"trailing garbage"].concat()).unwrap_err();
            assert!(explain(format, &error).contains("damaged"), "{error}");
        }
    }

    #[test]
    fn a_flipped_bit_never_passes() {
        let plain = noise(50_000);
        for (format, packed) in [(Format::Gzip, gzip(&plain)), (Format::Zstd, zstd(&plain))] {
            // Past the header, whose time stamp and flags carry no data.
            for at in (20..packed.len()).step_by(997) {
                let mut bad = packed.clone();
                bad[at] ^= 0x10;
                assert!(decode(format, &bad).is_err(), "{format}, byte {at}");
            }
        }
    }

    #[test]
    fn a_window_beyond_the_cap_is_refused_with_the_remedy() {
        let mut writer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        writer.window_log(27).unwrap();
        writer.long_distance_matching(true).unwrap();
        writer.write_all(&noise(4096)).unwrap();
        let packed = writer.finish().unwrap();
        let error = decode(Format::Zstd, &packed).unwrap_err();
        assert!(explain(Format::Zstd, &error).contains("--long=25"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            for magic in [&b"\x1f\x8b\x08"[..], b"\x28\xb5\x2f\xfd"] {
                let format = Format::of(magic).unwrap();
                let _ = decode(format, &[magic, &bytes].concat());
            }
        }
    }
}
