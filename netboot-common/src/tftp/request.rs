//! A read request -> a name and what is asked for. Reads a byte at a step, for the verifier walks each step once.
//!
//! It takes what [`wire::tftp`](crate::wire::tftp) takes, with the same meaning, or leaves it to that.

use super::maps::{FileKey, NAME_MOST};
use super::stats::Leave;
use crate::packet::{Packet, Step, Walker};
use crate::wire::tftp::BLOCK_SIZES;

/// Bytes of a request after its opcode that are read; longer ones are userspace's. RFC 1350 and 2347 allow 510.
pub const LENGTH_MOST: u16 = 510;

/// One read request. Of a number, 0: not asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub file: FileKey,
    /// `blksize` (RFC 2348).
    pub block_size: u16,
    /// `windowsize` (RFC 7440).
    pub window_size: u16,
    /// `timeout` in seconds (RFC 2349).
    pub timeout: u8,
    /// `tsize` (RFC 2349).
    pub transfer_size: bool,
    walk: Walk,
}

/// Where the walk stands. In the caller's memory, which is a map's: on the stack the verifier would know each value, and never
/// see two equal states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walk {
    at: u16,
    end: u16,
    /// Bytes of this string so far.
    length: u16,
    part: Part,
    option: Name,
    problem: Problem,
    /// Of a value: decimal digits so far.
    is_number: bool,
    value: u32,
    /// The word's last sixteen bytes, in lower case.
    word: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    File = 0,
    Mode = 1,
    Option = 2,
    Value = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Problem {
    None = 0,
    Odd = 1,
    Mode = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Name {
    Other = 0,
    BlockSize = 1,
    Timeout = 2,
    TransferSize = 3,
    WindowSize = 4,
}

/// A word as [`Walk::word`] has it.
const fn word(text: &[u8]) -> [u64; 2] {
    let mut word = [0; 2];
    let mut i = 0;
    while i < text.len() {
        word = shifted(word, text[i]);
        i += 1;
    }
    word
}

#[inline(always)]
const fn shifted(word: [u64; 2], byte: u8) -> [u64; 2] {
    [word[0] << 8 | word[1] >> 56, word[1] << 8 | byte as u64]
}

/// No word of interest is longer.
const WORD_MOST: u16 = 16;
/// More digits than any number of interest has.
const DIGITS_MOST: u16 = 9;

impl Walk {
    const START: Self = Self {
        at: 0,
        end: 0,
        length: 0,
        part: Part::File,
        option: Name::Other,
        problem: Problem::None,
        is_number: true,
        value: 0,
        word: [0; 2],
    };
}

impl Request {
    /// Nothing is asked for yet.
    pub const NEW: Self = Self {
        file: FileKey { name: [0; NAME_MOST + 1] },
        block_size: 0,
        window_size: 0,
        timeout: 0,
        transfer_size: false,
        walk: Walk::START,
    };

    /// Reads a request whose name begins at `at`, of `length` bytes.
    #[inline(always)]
    pub fn fill<P: Packet>(&mut self, packet: &P, at: usize, length: u16) -> Result<(), Leave> {
        *self = Self::NEW;
        if length > LENGTH_MOST {
            return Err(Leave::Odd);
        }
        (self.walk.at, self.walk.end) = (at as u16, at as u16 + length);
        let is_done = packet.walk_apart(self, LENGTH_MOST as u32 + 1);
        match (self.walk.problem, self.walk.part) {
            (Problem::Mode, _) => Err(Leave::Mode),
            // A name or a mode without its end, too.
            (Problem::Odd, _) | (_, Part::File | Part::Mode) => Err(Leave::Odd),
            // An odd string at the end is no option; firmware also pads with NULs.
            (Problem::None, Part::Option | Part::Value) if is_done => Ok(()),
            _ => Err(Leave::Odd),
        }
    }

    #[inline(always)]
    fn byte(&mut self, byte: u8) -> Step {
        let walk = &mut self.walk;
        match walk.part {
            Part::File if walk.length >= NAME_MOST as u16 => return walk.stop(Problem::Odd),
            Part::File => self.file.name[walk.length as usize & NAME_MOST] = byte,
            Part::Mode | Part::Option if walk.length >= WORD_MOST => {}
            Part::Mode | Part::Option => walk.word = shifted(walk.word, byte.to_ascii_lowercase()),
            Part::Value if walk.length >= DIGITS_MOST => return walk.stop(Problem::Odd),
            Part::Value => {
                let digit = byte.wrapping_sub(b'0');
                walk.is_number &= digit < 10;
                walk.value = walk.value * 10 + (digit & 15) as u32;
            }
        }
        walk.length += 1;
        Step::Next
    }

    /// A string ends.
    #[inline(always)]
    fn end(&mut self) -> Step {
        let walk = &mut self.walk;
        let length = walk.length;
        walk.length = 0;
        match walk.part {
            Part::File if length == 0 => return walk.stop(Problem::Odd),
            Part::File => walk.part = Part::Mode,
            Part::Mode => {
                if walk.word != const { word(b"octet") } || length != 5 {
                    return walk.stop(Problem::Mode);
                }
                walk.part = Part::Option;
            }
            Part::Option => {
                walk.option = name(walk.word, length);
                walk.part = Part::Value;
            }
            Part::Value => {
                if walk.is_number && length > 0 {
                    self.option();
                }
                self.walk.part = Part::Option;
            }
        }
        let walk = &mut self.walk;
        (walk.word, walk.value, walk.is_number) = ([0; 2], 0, true);
        Step::Next
    }

    /// The first of two equal names wins; a value out of range is as if it had not been sent.
    #[inline(always)]
    fn option(&mut self) {
        let value = self.walk.value;
        match self.walk.option {
            Name::BlockSize if self.block_size == 0 && BLOCK_SIZES.contains(&(value as u64)) => {
                self.block_size = value as u16;
            }
            Name::Timeout if self.timeout == 0 && value <= 255 => self.timeout = value as u8,
            Name::WindowSize if self.window_size == 0 && value <= 65535 => self.window_size = value as u16,
            Name::TransferSize => self.transfer_size = true,
            _ => {}
        }
    }
}

#[inline(always)]
fn name(found: [u64; 2], length: u16) -> Name {
    match length {
        7 if found == const { word(b"blksize") } => Name::BlockSize,
        7 if found == const { word(b"timeout") } => Name::Timeout,
        5 if found == const { word(b"tsize") } => Name::TransferSize,
        10 if found == const { word(b"windowsize") } => Name::WindowSize,
        _ => Name::Other,
    }
}

impl Walk {
    #[inline(always)]
    fn stop(&mut self, problem: Problem) -> Step {
        self.problem = problem;
        Step::Done
    }
}

impl<P: Packet> Walker<P> for Request {
    #[inline(always)]
    fn step(&mut self, packet: &P) -> Step {
        if self.walk.at >= self.walk.end {
            return Step::Done;
        }
        let Some([byte]) = packet.read(self.walk.at as usize) else { return self.walk.stop(Problem::Odd) };
        self.walk.at += 1;
        if byte == 0 { self.end() } else { self.byte(byte) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    extern crate std;
    use super::*;
    use crate::packet::Slice;
    use crate::wire::tftp::{Mode, Packet as Wire};
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    fn fill(after_opcode: &[u8]) -> Result<Request, Leave> {
        let packet = Slice { bytes: after_opcode, offloaded_vlan: 0, ifindex: 1 };
        let mut request = Request::NEW;
        request.fill(&packet, 0, after_opcode.len() as u16).map(|()| request)
    }

    /// What it takes, the wire's reader takes, with the same meaning.
    fn agrees(after_opcode: &[u8]) -> Result<Request, Leave> {
        let datagram: Vec<u8> = [&[0, 1], after_opcode].concat();
        let (found, wire) = (fill(after_opcode), Wire::parse(&datagram));
        match (&found, wire) {
            (Ok(found), Ok(Wire::Read(wire))) => {
                let name = found.file.name.split(|byte| *byte == 0).next().unwrap();
                assert_eq!((name, Mode::Octet), (wire.filename, wire.mode));
                assert_eq!(found.block_size, wire.block_size.unwrap_or(0));
                assert_eq!(found.window_size, wire.window_size.unwrap_or(0));
                assert_eq!(found.timeout, wire.timeout.unwrap_or(0));
                assert_eq!(found.transfer_size, wire.transfer_size);
            }
            (Err(Leave::Mode), wire) => {
                assert!(!matches!(wire, Ok(Wire::Read(wire)) if wire.mode == Mode::Octet));
            }
            (Err(Leave::Odd), _) => {}
            other => panic!("{other:?}"),
        }
        found
    }

    #[test]
    fn what_firmware_and_clients_send_is_read_here() {
        let sent: [&[u8]; 6] = [
            b"undionly.kpxe\0octet\0tsize\x000\0",
            b"/snponly.efi\0octet\0blksize\x001432\0tsize\x000\0",
            b"loader\0OCTET\0tsize\x000\0blksize\x001468\0windowsize\x004\0",
            b"loader\0octet\0blksize\x008\0BLKSIZE\x00512\0nonsense\0x\0timeout\x005\0odd\0",
            b"loader\0octet\0\0\0\0\0\0",
            b"loader\0octet\0blksize\0",
        ];
        for request in sent {
            agrees(request).unwrap_or_else(|leave| panic!("{leave:?}: {}", request.escape_ascii()));
        }
        let read = agrees(sent[2]).unwrap();
        assert_eq!((read.block_size, read.window_size, read.transfer_size), (1468, 4, true));
        assert_eq!(agrees(sent[3]).unwrap().block_size, 8, "the first of two wins");
    }

    #[test]
    fn what_is_odd_is_left_to_userspace() {
        let long = [&[b'n'; 64][..], b"\0octet\0"].concat();
        let many = [&b"n\0octet\0"[..], &[0; 510]].concat();
        let odd: [&[u8]; 8] = [
            b"",
            b"\0octet\0",
            b"loader",
            b"loader\0octet",
            b"loader\0octet\0blksize\x000000000512\0",
            b"loader\0octet\0tsize\x0099999999999\0",
            &long,
            &many,
        ];
        for request in odd {
            assert_eq!(agrees(request), Err(Leave::Odd), "{}", request.escape_ascii());
        }
        for mode in [&b"loader\0netascii\0"[..], b"loader\0mail\0", b"loader\0\0", b"loader\0octets\0"] {
            assert_eq!(agrees(mode), Err(Leave::Mode), "{}", mode.escape_ascii());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn any_bytes_are_read_as_the_wire_s_reader_reads_them(bytes in strings()) {
            let _ = agrees(&bytes);
        }
    }

    /// Strings that a request may have, some of them cut, joined by NULs.
    fn strings() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just(b"octet".to_vec()),
            Just(b"OcTet".to_vec()),
            Just(b"blksize".to_vec()),
            Just(b"windowSize".to_vec()),
            Just(b"tsize".to_vec()),
            Just(b"timeout".to_vec()),
            "[0-9]{0,11}".prop_map(String::into_bytes),
            "[ -~]{0,70}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        let some = proptest::collection::vec(word, 0..9);
        (some, any::<bool>(), any::<bool>()).prop_map(|(words, ends, begins)| {
            let mut bytes = if begins { b"loader\0octet\0".to_vec() } else { Vec::new() };
            bytes.extend(words.join(&0));
            if ends {
                bytes.push(0);
            }
            bytes
        })
    }
}
