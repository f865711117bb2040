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
        let is_done = packet.walk(self, LENGTH_MOST as u32 + 1);
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
            Name::BlockSize if self.block_size == 0 => {
                if value as u64 >= *BLOCK_SIZES.start() && value as u64 <= *BLOCK_SIZES.end() {
                    self.block_size = value as u16;
                }
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
