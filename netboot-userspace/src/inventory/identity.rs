//! By what else than a MAC a host is known: client identifier, UUID, the port of a relay agent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes that a client or a relay agent sends to name itself: option 61, or sub-option 1 of option 82.
///
/// Typed as pairs of hex digits (`01:52:54:00:12:34:56`, `0x015254…`), or as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(pub Vec<u8>);

impl FromStr for Identifier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = hex(text).unwrap_or_else(|| text.as_bytes().to_vec());
        match bytes.len() {
            // RFC 2132 section 9.14: at least two bytes.
            2..=255 => Ok(Self(bytes)),
            length => Err(format!(
                "{text:?} has {length} bytes: an identifier takes 2 to 255, as pairs of hex digits (01:52:54:00:12:34:56) or as text"
            )),
        }
    }
}

impl fmt::Display for Identifier {
    /// As it would be typed: text where that can't be taken for hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if text.bytes().all(|b| b.is_ascii_graphic()) && hex(text).is_none() => {
                f.write_str(text)
            }
            _ => {
                let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
                f.write_str(&pairs.join(":"))
            }
        }
    }
}

/// `0x0102`, or two or more pairs joined by colons.
fn hex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        let digits = digits.as_bytes();
        return if digits.len().is_multiple_of(2) { digits.chunks(2).map(pair).collect() } else { None };
    }
    let pairs: Vec<&str> = text.split(':').collect();
    let whole = pairs.len() > 1 && pairs.iter().all(|pair| pair.len() == 2);
    if whole { pairs.iter().map(|text| pair(text.as_bytes())).collect() } else { None }
}

/// A DHCPv6 client's identifier (RFC 8415 section 11): a type, and 1 to 128 bytes. Typed as pairs of hex digits
/// (`00:03:00:01:52:54:00:12:34:56`, `0x0003…`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duid(pub Vec<u8>);

impl FromStr for Duid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match hex(text) {
            Some(bytes) if (3..=130).contains(&bytes.len()) => Ok(Self(bytes)),
            _ => Err(format!(
                "{text:?} is not a DUID: it takes 3 to 130 pairs of hex digits, as in 00:03:00:01:52:54:00:12:34:56"
            )),
        }
    }
}

impl fmt::Display for Duid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.write_str(&pairs.join(":"))
    }
}

/// A machine's UUID (SMBIOS type 1), in the order in which it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Uuid(pub [u8; 16]);

/// `03000200-0400-0500-0006-000700080009`, which is on every board whose maker left AMI's sample as it was.
const SAMPLE: Uuid = Uuid([3, 0, 2, 0, 4, 0, 5, 0, 0, 6, 0, 7, 0, 8, 0, 9]);

impl Uuid {
    /// Whether it can tell machines apart: not where it was left blank (SMBIOS section 7.2.1: all zeros, all ones), nor a sample.
    pub fn is_unique(self) -> bool {
        self.0 != [0; 16] && self.0 != [0xff; 16] && self != SAMPLE
    }

    /// As option 97 has it.
    pub fn to_wire(self) -> [u8; 16] {
        // The exchange of bytes is its own inverse.
        Self::from_wire(self.0).0
    }

    /// From option 97, whose first three fields are little-endian as in SMBIOS (RFC 4578 section 2.3 leaves it open; OVMF,
    /// iPXE and most firmware do so).
    pub fn from_wire(mut bytes: [u8; 16]) -> Self {
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        Self(bytes)
    }
}

impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is not a UUID: write it as in 77000000-0000-4000-8000-000000000001");
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        if lengths != [8, 4, 4, 4, 12] {
            return Err(shape());
        }
        let bytes = hex(&format!("0x{}", text.replace('-', ""))).ok_or_else(shape)?;
        bytes.try_into().map(Self).map_err(|_| shape())
    }
}

impl From<Uuid> for String {
    fn from(uuid: Uuid) -> Self {
        uuid.to_string()
    }
}

impl TryFrom<String> for Uuid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_read_back_as_they_are_shown() {
        let cases: [(&str, &[u8]); 5] = [
            ("01:52:54:00:12:34:56", &[1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            ("0x6162", b"ab"),
            ("port-7", b"port-7"),
            ("Ethernet1/0/7", b"Ethernet1/0/7"),
            ("ab:cd", &[0xab, 0xcd]),
        ];
        for (text, bytes) in cases {
            let identifier: Identifier = text.parse().unwrap();
            assert_eq!(identifier.0, bytes, "{text}");
            assert_eq!(identifier.to_string().parse(), Ok(identifier), "{text}");
        }
        // Text that looks like hex digits must not become them.
        assert_eq!(Identifier(b"ab:cd".to_vec()).to_string(), "61:62:3a:63:64");
        assert!("a".parse::<Identifier>().unwrap_err().contains("1 bytes"));
    }

    #[test]
    fn duids_are_read_back_as_they_are_shown() {
        let text = "00:03:00:01:52:54:00:12:34:56";
        let duid: Duid = text.parse().unwrap();
        assert_eq!(duid.to_string(), text);
        assert_eq!("0x00030001525400123456".parse(), Ok(duid));
        for wrong in ["", "00:03", "node-1", "00:03:00:01:52:54:00:12:34:5", &"00:".repeat(131)] {
            assert!(wrong.parse::<Duid>().unwrap_err().contains("is not a DUID"), "{wrong}");
        }
    }

    #[test]
    fn uuids_are_read_written_and_taken_from_the_wire() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        let wire =
            [0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        assert_eq!(Uuid::from_wire(wire), uuid);
        assert!(uuid.is_unique() && SAMPLE.to_string() == "03000200-0400-0500-0006-000700080009");
        assert!(![Uuid([0; 16]), Uuid([0xff; 16]), SAMPLE].into_iter().any(Uuid::is_unique));
        for wrong in
            ["", "00112233", "0011223-44455-6677-8899-aabbccddeeff", "g0112233-4455-6677-8899-aabbccddeeff"]
        {
            assert!(wrong.parse::<Uuid>().is_err(), "{wrong}");
        }
    }
}
