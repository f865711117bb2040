//! Messages whose options are in several places or parts, made into such as every lane reads: RFC 3396 (an option in parts) and
//! RFC 2132 section 9.3 (options in `sname` and `file`).

use std::collections::BTreeMap;

use netboot_common::packet::Slice;
use netboot_common::request::Headers;
use netboot_common::wire::dhcp::{self, field, option};
use netboot_common::wire::{ipv4, udp};

/// The largest datagram that is still ours to read.
const FRAME_MAX: usize = 4096;

/// The same request with each option once, in one part, behind the cookie. `None`: it can't be written so, because an option is
/// longer than 255 bytes in all, or cut.
pub(super) fn normalize(packet: &Slice<'_>) -> Option<Vec<u8>> {
    let headers = Headers::read(packet).ok()?;
    let message = packet.bytes.get(headers.message()..usize::from(headers.end))?;
    let mut options = Options::default();
    options.read(message.get(dhcp::FIXED..)?)?;
    let overload = options.overload();
    // RFC 3396 section 5: options, then file, then sname. What they hold is theirs alone: option 52 in there means nothing.
    if overload & 1 != 0 {
        options.read(message.get(field::FILE..field::FILE + dhcp::FILE)?)?;
    }
    if overload & 2 != 0 {
        options.read(message.get(field::SNAME..field::SNAME + dhcp::SNAME)?)?;
    }
    let mut frame = packet.bytes[..headers.message() + dhcp::FIXED].to_vec();
    options.write(&mut frame)?;
    if frame.len() > FRAME_MAX {
        return None;
    }
    set_lengths(&mut frame, usize::from(headers.l3));
    Some(frame)
}

/// Joined, in the order in which their first parts came.
#[derive(Default)]
struct Options {
    order: Vec<u8>,
    values: BTreeMap<u8, Vec<u8>>,
}

impl Options {
    /// Adds what an area holds. `None` where it is cut.
    fn read(&mut self, mut area: &[u8]) -> Option<()> {
        loop {
            match area {
                [] | [option::END, ..] => return Some(()),
                [option::PAD, rest @ ..] => area = rest,
                [code, length, rest @ ..] => {
                    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                    let known = self.values.entry(*code).or_insert_with(|| {
                        self.order.push(*code);
                        Vec::new()
                    });
                    known.extend(value);
                    area = rest;
                }
                [_] => return None,
            }
        }
    }

    fn overload(&self) -> u8 {
        self.values.get(&option::OVERLOAD).and_then(|value| value.first()).copied().unwrap_or(0)
    }

    fn write(&self, frame: &mut Vec<u8>) -> Option<()> {
        for code in self.order.iter().filter(|code| **code != option::OVERLOAD) {
            let value = &self.values[code];
            frame.extend([*code, u8::try_from(value.len()).ok()?]);
            frame.extend(value);
        }
        frame.push(option::END);
        Some(())
    }
}

/// The IPv4 and UDP lengths of a frame that ends with its datagram. Checksums are not looked at again.
fn set_lengths(frame: &mut [u8], l3: usize) {
    let total = (frame.len() - l3) as u16;
    let at = l3 + ipv4::field::TOTAL_LENGTH;
    frame[at..at + 2].copy_from_slice(&total.to_be_bytes());
    let at = l3 + ipv4::HEADER + udp::field::LENGTH;
    frame[at..at + 2].copy_from_slice(&(total - ipv4::HEADER as u16).to_be_bytes());
}
