//! TFTP packets (RFC 1350) and options (RFC 2347, 2348, 2349, 7440).
//!
//! Reading borrows from the datagram; writing fills a slice and says how much of it was used.

/// The bytes before the data in a DATA packet: opcode and block number (RFC 1350 section 5).
pub const DATA_HEADER: usize = 4;
/// Block size when none was agreed on (RFC 1350 section 2).
pub const BLOCK_SIZE: u16 = 512;
/// The range of the `blksize` option (RFC 2348).
pub const BLOCK_SIZES: core::ops::RangeInclusive<u64> = 8..=65464;

/// What kind of packet it is (RFC 1350 section 5; 6 is RFC 2347's).
pub mod opcode {
    pub const RRQ: u16 = 1;
    pub const WRQ: u16 = 2;
    pub const DATA: u16 = 3;
    pub const ACK: u16 = 4;
    pub const ERROR: u16 = 5;
    pub const OACK: u16 = 6;
}

/// Error codes (RFC 1350 section 5; 8 is RFC 2347's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum ErrorCode {
    /// See the message.
    Undefined = 0,
    /// File not found.
    NotFound = 1,
    /// Access violation.
    AccessViolation = 2,
    /// Disk full or allocation exceeded.
    DiskFull = 3,
    /// Illegal TFTP operation.
    IllegalOperation = 4,
    /// Unknown transfer ID.
    UnknownTransfer = 5,
    /// The options were not acceptable (RFC 2347).
    Options = 8,
}

/// A packet as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Read request.
    Read(Request<'a>),
    /// Write request, and the size that `tsize` announces (RFC 2349).
    Write(Request<'a>, Option<u64>),
    /// Block number, and its bytes.
    Data(u16, &'a [u8]),
    /// Block number that the client has got.
    Ack(u16),
    /// Error code and message, without its NUL.
    Error(u16, &'a [u8]),
    /// OACK: a server never asks for it.
    NotForServers,
}

/// Why a datagram isn't a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its opcode needs.
    Short,
    /// An opcode that no RFC defines.
    Opcode(u16),
    /// A request whose name or mode has no terminating NUL.
    Unterminated,
}

/// Transfer mode (RFC 1350 section 1), whatever its case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Bytes as they are.
    Octet,
    /// Text with CR LF line ends (RFC 764).
    Netascii,
    /// `mail`, which is obsolete, or anything else.
    Other,
}

/// A request. Options are what the client asked for and what is in range; the rest was left out (RFC 2347).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The file's name: any bytes but NUL.
    pub filename: &'a [u8],
    /// How to send it.
    pub mode: Mode,
    /// `blksize` (RFC 2348).
    pub block_size: Option<u16>,
    /// `timeout` in seconds (RFC 2349).
    pub timeout: Option<u8>,
    /// Whether `tsize` was asked for (RFC 2349).
    pub transfer_size: bool,
    /// `windowsize` (RFC 7440).
    pub window_size: Option<u16>,
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (code, rest) = datagram.split_first_chunk().ok_or(Malformed::Short)?;
        match u16::from_be_bytes(*code) {
            opcode::RRQ => Request::parse(rest).map(|(request, _)| Self::Read(request)),
            opcode::WRQ => Request::parse(rest).map(|(request, size)| Self::Write(request, size)),
            opcode::DATA => Ok(Self::Data(first_u16(rest)?, rest.get(2..).unwrap_or_default())),
            opcode::ACK => Ok(Self::Ack(first_u16(rest)?)),
            opcode::ERROR => {
                let text = rest.get(2..).unwrap_or_default();
                let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
                Ok(Self::Error(first_u16(rest)?, &text[..end]))
            }
            opcode::OACK => Ok(Self::NotForServers),
            other => Err(Malformed::Opcode(other)),
        }
    }
}

fn first_u16(bytes: &[u8]) -> Result<u16, Malformed> {
    bytes.first_chunk().map(|b| u16::from_be_bytes(*b)).ok_or(Malformed::Short)
}

impl<'a> Request<'a> {
    /// With the first value of `tsize`, which only means something in a write request.
    fn parse(mut rest: &'a [u8]) -> Result<(Self, Option<u64>), Malformed> {
        let filename = string(&mut rest).ok_or(Malformed::Unterminated)?;
        let mode = Mode::parse(string(&mut rest).ok_or(Malformed::Unterminated)?);
        let mut this =
            Self { filename, mode, block_size: None, timeout: None, transfer_size: false, window_size: None };
        let mut size = None;
        // An odd string at the end is no option; firmware also pads with NULs.
        while let (Some(name), Some(value)) = (string(&mut rest), string(&mut rest)) {
            let Some(value) = decimal(value) else { continue };
            this.option(name, value);
            size = size.or(Some(value).filter(|_| name.eq_ignore_ascii_case(b"tsize")));
        }
        Ok((this, size))
    }

    /// The first of two equal names wins; a value out of range is as if it had not been sent.
    fn option(&mut self, name: &[u8], value: u64) {
        if name.eq_ignore_ascii_case(b"blksize") {
            let size = Some(value).filter(|v| BLOCK_SIZES.contains(v)).map(|v| v as u16);
            self.block_size = self.block_size.or(size);
        } else if name.eq_ignore_ascii_case(b"timeout") {
            self.timeout = self.timeout.or(u8::try_from(value).ok().filter(|&v| v > 0));
        } else if name.eq_ignore_ascii_case(b"tsize") {
            self.transfer_size = true;
        } else if name.eq_ignore_ascii_case(b"windowsize") {
            self.window_size = self.window_size.or(u16::try_from(value).ok().filter(|&v| v > 0));
        }
    }
}

impl Mode {
    fn parse(name: &[u8]) -> Self {
        if name.eq_ignore_ascii_case(b"octet") {
            Self::Octet
        } else if name.eq_ignore_ascii_case(b"netascii") {
            Self::Netascii
        } else {
            Self::Other
        }
    }
}

/// Takes a string and its NUL off the front.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|&b| b == 0)?;
    let (text, tail) = rest.split_at(end);
    *rest = &tail[1..];
    Some(text)
}

/// A plain decimal number: no sign, no space, no exponent.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter().try_fold(0u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0')))
}

/// The header of a DATA packet.
pub fn data_header(block: u16) -> [u8; DATA_HEADER] {
    let [a, b] = opcode::DATA.to_be_bytes();
    let [c, d] = block.to_be_bytes();
    [a, b, c, d]
}

/// An ACK packet.
pub fn ack(block: u16) -> [u8; 4] {
    let [a, b] = opcode::ACK.to_be_bytes();
    let [c, d] = block.to_be_bytes();
    [a, b, c, d]
}

/// The options of an OACK: those that were asked for and granted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Granted {
    /// `blksize`: at most what was asked.
    pub block_size: Option<u16>,
    /// `timeout`: what was asked.
    pub timeout: Option<u8>,
    /// `tsize`: the file's size, in a write request what the client announced.
    pub transfer_size: Option<u64>,
    /// `windowsize`: at most what was asked.
    pub window_size: Option<u16>,
}

impl Granted {
    /// Room for the largest OACK.
    pub const MAX: usize = 2 + 8 + 6 + 8 + 4 + 6 + 21 + 11 + 6;

    /// Whether there is nothing to grant, so that DATA answers the request (RFC 2347).
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Writes the OACK; returns its length.
    pub fn emit(&self, out: &mut [u8; Self::MAX]) -> usize {
        let mut writer = Writer { out, at: 0 };
        writer.bytes(&opcode::OACK.to_be_bytes());
        writer.option(b"blksize", self.block_size.map(u64::from));
        writer.option(b"timeout", self.timeout.map(u64::from));
        writer.option(b"tsize", self.transfer_size);
        writer.option(b"windowsize", self.window_size.map(u64::from));
        writer.at
    }
}

/// Writes an ERROR packet; a message that doesn't fit is cut. Returns its length.
pub fn emit_error(code: ErrorCode, message: &str, out: &mut [u8]) -> usize {
    let message = message.as_bytes();
    let mut writer = Writer { at: 0, out };
    writer.bytes(&opcode::ERROR.to_be_bytes());
    writer.bytes(&(code as u16).to_be_bytes());
    let room = writer.out.len().saturating_sub(writer.at + 1);
    writer.bytes(&message[..message.len().min(room)]);
    writer.bytes(&[0]);
    writer.at
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(space) = self.out.get_mut(self.at..self.at + bytes.len()) {
            space.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    fn option(&mut self, name: &[u8], value: Option<u64>) {
        let Some(mut value) = value else { return };
        self.bytes(name);
        let mut digits = [0u8; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.bytes(&[0]);
        self.bytes(&digits[start..]);
        self.bytes(&[0]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(datagram: &[u8]) -> Request<'_> {
        match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rfc1350_7_mode_is_case_blind() {
        for (text, mode) in [
            ("octet", Mode::Octet),
            ("OcTeT", Mode::Octet),
            ("NETASCII", Mode::Netascii),
            ("mail", Mode::Other),
        ] {
            let mut datagram = [0u8; 64];
            datagram[..4].copy_from_slice(b"\0\x01f\0");
            datagram[4..4 + text.len()].copy_from_slice(text.as_bytes());
            assert_eq!(read(&datagram[..5 + text.len()]).mode, mode, "{text}");
        }
    }

    #[test]
    fn rfc2347_1_option_names_are_case_blind_and_unknown_ones_skipped() {
        let request = read(
            b"\0\x01f\0octet\0BlkSize\x001468\0nonsense\0x\0TSIZE\x000\0WindowSize\x008\0timeout\x003\0odd\0",
        );
        assert_eq!(request.block_size, Some(1468));
        assert_eq!(request.window_size, Some(8));
        assert_eq!(request.timeout, Some(3));
        assert!(request.transfer_size);
    }

    #[test]
    fn rfc2348_1_values_out_of_range_are_left_out() {
        for value in ["0", "7", "65465", "-1", "1e3", "99999999999", "512 ", ""] {
            let mut datagram = [0u8; 64];
            let head = b"\0\x01f\0octet\0blksize\0";
            datagram[..head.len()].copy_from_slice(head);
            datagram[head.len()..head.len() + value.len()].copy_from_slice(value.as_bytes());
            assert_eq!(read(&datagram[..head.len() + value.len() + 1]).block_size, None, "{value:?}");
        }
        assert_eq!(
            read(b"\0\x01f\0octet\0blksize\x008\0blksize\x00512\0").block_size,
            Some(8),
            "the first wins"
        );
        assert_eq!(read(b"\0\x01f\0octet\0windowsize\x000\0").window_size, None);
        assert_eq!(read(b"\0\x01f\0octet\0windowsize\x0065536\0").window_size, None);
        assert_eq!(read(b"\0\x01f\0octet\0timeout\x00256\0").timeout, None);
    }

    #[test]
    fn rfc2347_6_a_request_of_more_than_512_bytes_is_read_whole() {
        let mut datagram = [b'n'; 1400];
        datagram[..2].copy_from_slice(&[0, 1]);
        let tail = b"\0octet\0blksize\x001024\0";
        let end = datagram.len() - tail.len();
        datagram[end..].copy_from_slice(tail);
        let request = read(&datagram);
        assert_eq!((request.filename.len(), request.block_size), (end - 2, Some(1024)));
    }

    #[test]
    fn a_write_request_announces_its_size_and_data_has_a_number() {
        let Ok(Packet::Write(request, size)) = Packet::parse(b"\0\x02f\0octet\0TSIZE\x00700\0tsize\x009\0")
        else {
            panic!("no write request")
        };
        assert_eq!((request.filename, request.transfer_size, size), (&b"f"[..], true, Some(700)));
        assert_eq!(Packet::parse(b"\0\x02f\0octet"), Err(Malformed::Unterminated));
        assert_eq!(Packet::parse(b"\0\x03\x01\x02xy"), Ok(Packet::Data(0x102, b"xy")));
        assert_eq!(Packet::parse(b"\0\x03\0\x01"), Ok(Packet::Data(1, b"")));
        assert_eq!(Packet::parse(b"\0\x03\0"), Err(Malformed::Short));
        assert_eq!(Packet::parse(b"\0\x06"), Ok(Packet::NotForServers));
        assert_eq!(ack(0x102), [0, 4, 1, 2]);
    }

    #[test]
    fn malformed_datagrams_have_a_reason() {
        assert_eq!(Packet::parse(b""), Err(Malformed::Short));
        assert_eq!(Packet::parse(b"\0"), Err(Malformed::Short));
        assert_eq!(Packet::parse(b"\0\x04\0"), Err(Malformed::Short));
        assert_eq!(Packet::parse(b"\0\x01name"), Err(Malformed::Unterminated));
        assert_eq!(Packet::parse(b"\0\x01name\0octet"), Err(Malformed::Unterminated));
        for code in [0u16, 7, 65535] {
            assert_eq!(Packet::parse(&code.to_be_bytes()), Err(Malformed::Opcode(code)));
        }
        assert_eq!(Packet::parse(b"\0\x05\0\x08no"), Ok(Packet::Error(8, b"no")));
    }

    #[test]
    fn rfc2347_2_oack_lists_what_was_granted() {
        let granted = Granted { block_size: Some(1468), transfer_size: Some(0), ..Granted::default() };
        let mut out = [0xa5; Granted::MAX];
        let len = granted.emit(&mut out);
        assert_eq!(&out[..len], b"\0\x06blksize\x001468\0tsize\x000\0");
        let all = Granted {
            block_size: Some(65464),
            timeout: Some(255),
            transfer_size: Some(u64::MAX),
            window_size: Some(65535),
        };
        let len = all.emit(&mut out);
        assert!(out[..len].ends_with(b"windowsize\x0065535\0"), "the largest OACK fits");
    }

    #[test]
    fn error_message_is_cut_to_fit() {
        let mut out = [0xa5; 8];
        assert_eq!(emit_error(ErrorCode::NotFound, "not found", &mut out), 8);
        assert_eq!(&out, b"\0\x05\0\x01not\0");
    }
}
