//! What is sent, as bytes: the head of every packet, and the OACK.

use crate::datagram::Datagram;
use crate::wire::tftp::{BLOCK_SIZE, data_header};
use crate::wire::{checksum, ipv4, udp};

/// What precedes a block: IPv4, UDP, opcode and block number.
pub const HEAD: usize = ipv4::HEADER + udp::HEADER + FIRST;
/// Bytes of the TFTP packet that are in the head. They also precede what an OACK says.
pub const FIRST: usize = 4;

/// Who sends, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub source: [u8; 4],
    pub destination: [u8; 4],
    pub source_port: u16,
    pub destination_port: u16,
}

impl Ends {
    /// Nobody.
    pub const NONE: Self = Self { source: [0; 4], destination: [0; 4], source_port: 0, destination_port: 0 };

    /// To whom it came from, from this port of whom it was sent to.
    #[inline(always)]
    pub const fn back(datagram: &Datagram, source_port: u16) -> Self {
        Self {
            source: datagram.destination,
            destination: datagram.source,
            source_port,
            destination_port: datagram.source_port,
        }
    }

    /// The head of a packet that begins with `first`, followed by `length` bytes whose unfolded sum is `sum`
    /// ([`checksum::add`]).
    #[inline(always)]
    pub fn head(&self, first: [u8; FIRST], length: u16, sum: u32) -> [u8; HEAD] {
        let datagram = (udp::HEADER + FIRST) as u16 + length;
        let total = ipv4::HEADER as u16 + datagram;
        let addresses = words(self.source) + words(self.destination);
        // A datagram that is never fragmented needs no identification (RFC 6864 section 4.1).
        let constant = (ipv4::VERSION_IHL as u32) << 8;
        let ip = constant
            + total as u32
            + ipv4::DONT_FRAGMENT as u32
            + ((ipv4::TTL as u32) << 8 | ipv4::UDP as u32)
            + addresses;
        let pseudo = addresses + ipv4::UDP as u32 + datagram as u32;
        let udp = pseudo
            + self.source_port as u32
            + self.destination_port as u32
            + datagram as u32
            + words(first)
            + checksum::fold(sum) as u32;
        let [t0, t1] = total.to_be_bytes();
        let [f0, f1] = ipv4::DONT_FRAGMENT.to_be_bytes();
        let [c0, c1] = checksum::finish(ip).to_be_bytes();
        let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (self.source, self.destination);
        let ([p0, p1], [q0, q1]) = (self.source_port.to_be_bytes(), self.destination_port.to_be_bytes());
        let [l0, l1] = datagram.to_be_bytes();
        let [u0, u1] = checksum::finish_udp(udp).to_be_bytes();
        let [o0, o1, b0, b1] = first;
        [
            ipv4::VERSION_IHL,
            0,
            t0,
            t1,
            0,
            0,
            f0,
            f1,
            ipv4::TTL,
            ipv4::UDP,
            c0,
            c1, // to the addresses
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3, // IPv4
            p0,
            p1,
            q0,
            q1,
            l0,
            l1,
            u0,
            u1, // UDP
            o0,
            o1,
            b0,
            b1,
        ]
    }

    /// What stands in place of the checksum of such a packet where a device is to go on from there: the pseudo header's sum (RFC 768).
    #[inline(always)]
    pub fn begun(&self, length: u16) -> [u8; 2] {
        let datagram = (udp::HEADER + FIRST) as u16 + length;
        checksum::fold(words(self.source) + words(self.destination) + ipv4::UDP as u32 + datagram as u32)
            .to_be_bytes()
    }

    /// The head of a DATA of `length` bytes.
    #[inline(always)]
    pub fn data(&self, block: u16, length: u16, sum: u32) -> [u8; HEAD] {
        self.head(data_header(block), length, sum)
    }
}

#[inline(always)]
const fn words([a, b, c, d]: [u8; 4]) -> u32 {
    ((a as u32) << 8 | b as u32) + ((c as u32) << 8 | d as u32)
}

/// What an OACK grants. Of a number, 0: not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Granted {
    pub block_size: u16,
    pub timeout: u8,
    /// The file's size.
    pub transfer_size: Option<u32>,
    pub window_size: u16,
}

/// What is granted, and what it means for the transfer.
// VERIFIER (6.18, 2026-11): worked out once. Wherever it is done anew the verifier walks each way through it: 107,639 instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub granted: Granted,
    /// Bytes of each block but the last.
    pub block_size: u16,
    /// Blocks that are sent at once: not more than [`WINDOW_MOST`](super::maps::WINDOW_MOST) of them.
    pub window: u8,
    /// An OACK says so.
    pub has_options: bool,
}

impl Terms {
    #[inline(always)]
    pub fn of(granted: Granted) -> Self {
        Self {
            granted,
            block_size: if granted.block_size == 0 { BLOCK_SIZE } else { granted.block_size },
            window: if granted.window_size == 0 { 1 } else { granted.window_size as u8 },
            has_options: granted != Granted::default(),
        }
    }
}

/// An OACK, zeros behind it: the same bytes as [`wire::tftp::Granted::emit`](crate::wire::tftp::Granted::emit).
// In the caller's memory, which is a map's, `length` too: on the stack the verifier would know each value.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oack {
    pub bytes: [u8; Self::ROOM],
    length: u16,
}

impl Oack {
    /// A power of two, with room for the largest.
    pub const ROOM: usize = 128;
    /// Nothing yet.
    pub const NEW: Self = Self { bytes: [0; Self::ROOM], length: 0 };

    /// Bytes that count, of which [`FIRST`] are in the head.
    #[inline(always)]
    pub const fn length(&self) -> u16 {
        self.length
    }

    /// Writes it.
    #[inline(always)]
    pub fn fill(&mut self, granted: &Granted) {
        *self = Self::NEW;
        self.text(b"\0\x06");
        self.option(b"blksize\0", granted.block_size as u32, granted.block_size != 0);
        self.option(b"timeout\0", granted.timeout as u32, granted.timeout != 0);
        let size = granted.transfer_size;
        self.option(b"tsize\0", size.unwrap_or(0), size.is_some());
        self.option(b"windowsize\0", granted.window_size as u32, granted.window_size != 0);
    }

    #[inline(always)]
    fn option<const N: usize>(&mut self, name: &[u8; N], value: u32, is_there: bool) {
        if !is_there {
            return;
        }
        self.text(name);
        self.number(value);
        self.push(0);
    }

    #[inline(always)]
    fn text<const N: usize>(&mut self, text: &[u8; N]) {
        let mut i = 0;
        while i < N {
            self.push(text[i]);
            i += 1;
        }
    }

    /// Up to seven digits: the largest file that is served has as many.
    #[inline(always)]
    fn number(&mut self, value: u32) {
        let mut unit = 1_000_000;
        while unit > 0 {
            if value >= unit || unit == 1 {
                self.push(b'0' + (value / unit % 10) as u8);
            }
            unit /= 10;
        }
    }

    #[inline(always)]
    fn push(&mut self, byte: u8) {
        self.bytes[self.length as usize & (Self::ROOM - 1)] = byte;
        self.length += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tftp;

    #[test]
    fn an_oack_is_the_wire_s_oack() {
        let sizes = [0, 8, 512, 1468, 8968];
        let files = [None, Some(0), Some(9), Some(10), Some(999_999), Some(1_000_000), Some(4_194_304)];
        for (block_size, transfer_size) in sizes.into_iter().flat_map(|a| files.map(|b| (a, b))) {
            for (timeout, window_size) in [(0, 0), (1, 1), (16, 16), (0, 64)] {
                let granted = Granted { block_size, timeout, transfer_size, window_size };
                let some = |value: u16| Some(value).filter(|value| *value > 0);
                let wire = tftp::Granted {
                    block_size: some(block_size),
                    timeout: some(timeout.into()).map(|value| value as u8),
                    transfer_size: transfer_size.map(u64::from),
                    window_size: some(window_size),
                };
                let (mut oack, mut bytes) = (Oack::NEW, [0; tftp::Granted::MAX]);
                oack.bytes = [0xa5; Oack::ROOM];
                oack.fill(&granted);
                let length = wire.emit(&mut bytes);
                assert_eq!(oack.bytes[..length], bytes[..length], "{granted:?}");
                assert_eq!(usize::from(oack.length()), length);
                assert!(oack.bytes[length..].iter().all(|byte| *byte == 0));
            }
        }
    }
}
