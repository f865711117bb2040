//! What real clients sent, as inputs to begin with.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::paths;

/// Writes those packets of the captures that this target reads.
pub(super) fn write_seeds(target: &str, folder: &Path) -> Result<()> {
    let captures = paths::root().join("tests/golden/captures");
    let mut count = 0;
    for entry in fs::read_dir(&captures).with_context(|| captures.display().to_string())? {
        let bytes = fs::read(entry?.path())?;
        for frame in frames(&bytes) {
            let Some(seed) = seed(target, frame) else { continue };
            fs::write(folder.join(count.to_string()), seed)?;
            count += 1;
        }
    }
    Ok(())
}

/// The frames of a little-endian pcap file.
fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    let mut rest = file.get(24..).unwrap_or_default();
    while let Some((header, tail)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let Some((frame, tail)) = tail.split_at_checked(length as usize) else { break };
        frames.push(frame);
        rest = tail;
    }
    frames
}

/// The part of a frame that a target reads, as it reads it.
fn seed(target: &str, frame: &[u8]) -> Option<Vec<u8>> {
    let (port, payload) = payload(frame)?;
    match (target, port) {
        ("dhcp4-reader", 67 | 4011) => Some([&[1], payload].concat()),
        ("dhcp6-reader", 547) => Some(payload.to_vec()),
        ("dhcp6-machine", 547) => Some([&[200, u8::try_from(payload.len()).ok()?], payload].concat()),
        ("tftp-request", 69) => Some(payload.to_vec()),
        _ => None,
    }
}

const UDP: u8 = 17;

/// Destination port and payload of an untagged frame of UDP.
fn payload(frame: &[u8]) -> Option<(u16, &[u8])> {
    let (protocol, datagram) = match frame.get(12..14)? {
        [8, 0] => (*frame.get(23)?, frame.get(14 + usize::from(frame.get(14)? & 15) * 4..)?),
        [0x86, 0xdd] => (*frame.get(20)?, frame.get(54..)?),
        _ => return None,
    };
    let port = u16::from_be_bytes([*datagram.get(2)?, *datagram.get(3)?]);
    (protocol == UDP).then_some((port, datagram.get(8..)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_captures_have_something_for_each_reader() {
        for target in ["dhcp4-reader", "dhcp6-reader", "dhcp6-machine", "tftp-request"] {
            let folder = tempfile::tempdir().unwrap();
            write_seeds(target, folder.path()).unwrap();
            assert!(fs::read_dir(folder.path()).unwrap().count() > 1, "{target}");
        }
    }
}
