//! Ethernet II: the two addresses and the type, and [`Mac`], the address itself.

use core::fmt;
use core::str::FromStr;

/// Bytes of an Ethernet II header without tags.
pub const HEADER: usize = 14;
/// IEEE 802: the payload of the shortest frame that a sender may transmit (without its FCS).
pub const FRAME_MIN: usize = 60;

/// EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;

/// Where each field of the header starts.
pub mod field {
    /// Destination address, 6 bytes.
    pub const DESTINATION: usize = 0;
    /// Source address, 6 bytes.
    pub const SOURCE: usize = 6;
    /// EtherType, or the first tag's TPID, 2 bytes.
    pub const ETHERTYPE: usize = 12;
}

/// A 48-bit MAC address, in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// True for group addresses (the I/G bit), the broadcast address among them.
    #[inline(always)]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The address of one machine's port: neither a group nor all zeros.
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }

    /// The interface identifier that it makes: the last eight bytes of a link-local address (RFC 4291 appendix A, modified EUI-64).
    pub const fn interface_id(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.0;
        [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
    }

    /// The address that this interface identifier was made of, if it was made of one.
    pub const fn from_interface_id(id: [u8; 8]) -> Option<Self> {
        match id {
            [a, b, c, 0xff, 0xfe, d, e, f] => Some(Self([a ^ 2, b, c, d, e, f])),
            _ => None,
        }
    }

    /// With dashes in place of colons, as file names and iPXE's `${mac:hexhyp}` write it.
    pub const fn hyphenated(self) -> Hyphenated {
        Hyphenated(self)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_joined(f, self.0, ':')
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A [`Mac`] that prints with dashes.
#[derive(Clone, Copy, Debug)]
pub struct Hyphenated(Mac);

impl fmt::Display for Hyphenated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_joined(f, self.0.0, '-')
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, [a, b, c, d, e, g]: [u8; 6], s: char) -> fmt::Result {
    write!(f, "{a:02x}{s}{b:02x}{s}{c:02x}{s}{d:02x}{s}{e:02x}{s}{g:02x}")
}

/// Why a text is no MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMac;

impl fmt::Display for BadMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: it takes six pairs of hex digits, as in 52:54:00:12:34:56")
    }
}

impl core::error::Error for BadMac {}

impl FromStr for Mac {
    type Err = BadMac;

    /// Six pairs of hex digits of either case, joined by `:` or by `-` (one kind throughout), or not joined at all.
    fn from_str(text: &str) -> Result<Self, BadMac> {
        let text = text.as_bytes();
        let (step, joint) = match text.len() {
            17 if matches!(text[2], b':' | b'-') => (3, Some(text[2])),
            12 => (2, None),
            _ => return Err(BadMac),
        };
        let mut mac = [0; 6];
        for (i, byte) in mac.iter_mut().enumerate() {
            let at = i * step;
            *byte = hex(text[at])? << 4 | hex(text[at + 1])?;
            if i < 5 && joint.is_some_and(|joint| text[at + 2] != joint) {
                return Err(BadMac);
            }
        }
        Ok(Self(mac))
    }
}

fn hex(digit: u8) -> Result<u8, BadMac> {
    (digit as char).to_digit(16).map(|d| d as u8).ok_or(BadMac)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn reads_the_three_ways_of_writing_a_mac() {
        let mac = Mac([0x52, 0x54, 0, 0x12, 0xab, 0xcd]);
        for text in ["52:54:00:12:ab:cd", "52-54-00-12-AB-CD", "52540012abcd"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "52:54:00:12:ab:cd");
        assert_eq!(mac.hyphenated().to_string(), "52-54-00-12-ab-cd");
    }

    #[test]
    fn rfc4291_interface_identifiers_there_and_back() {
        let mac = Mac([0x52, 0x54, 0, 0x77, 0, 1]);
        let id = [0x50, 0x54, 0, 0xff, 0xfe, 0x77, 0, 1];
        assert_eq!(mac.interface_id(), id);
        assert_eq!(Mac::from_interface_id(id), Some(mac));
        assert_eq!(Mac::from_interface_id([1; 8]), None);
    }

    #[test]
    fn refuses_what_is_no_mac() {
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:5g",
            "52:54-00:12:34:56",
            "52:54:00:12:34:56:",
            "525400123é",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(BadMac), "{text}");
        }
    }
}
