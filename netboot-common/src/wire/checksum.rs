//! The Internet checksum (RFC 1071): a one's complement sum of 16-bit words.
//!
//! A sum is kept unfolded in a `u32` while its parts are added: [`add`] any number of ranges that start at an even
//! offset of the message, then [`finish`]. The order of the parts does not matter, so what never changes (a template)
//! is summed once, and each reply adds its own few bytes.

/// `sum` plus the big-endian words of `bytes`; an odd last byte counts as the high half of a word.
#[inline(always)]
pub const fn add(mut sum: u32, bytes: &[u8]) -> u32 {
    let mut i = 0;
    while i + 1 < bytes.len() {
        sum += (bytes[i] as u32) << 8 | bytes[i + 1] as u32;
        i += 2;
    }
    if i < bytes.len() {
        sum += (bytes[i] as u32) << 8;
    }
    sum
}

/// The 16-bit one's complement value of an unfolded sum.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum to put into a header.
#[inline(always)]
pub const fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The checksum to put into a UDP header, where 0 means "none" and is sent as its complement (RFC 768).
#[inline(always)]
pub const fn finish_udp(sum: u32) -> u16 {
    match finish(sum) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// A sum that is made of whole words, in the order of bytes that this machine has: a sum of words with their bytes swapped is the sum
/// with its bytes swapped (RFC 1071 section 2(B)), so that nothing is swapped but what is a number here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    pub const ZERO: Self = Self(0);

    /// Plus another sum.
    #[inline(always)]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Plus two bytes of the message.
    #[inline(always)]
    pub const fn half(self, bytes: [u8; 2]) -> Self {
        Self(self.0 + u16::from_ne_bytes(bytes) as u64)
    }

    /// Plus four bytes of the message.
    #[inline(always)]
    pub const fn word(self, bytes: [u8; 4]) -> Self {
        Self(self.0 + u32::from_ne_bytes(bytes) as u64)
    }

    /// Plus eight bytes of the message.
    #[inline(always)]
    pub const fn pair(self, bytes: [u8; 8]) -> Self {
        let words = u64::from_ne_bytes(bytes);
        Self(self.0 + (words & 0xffff_ffff) + (words >> 32))
    }

    /// Plus a number, which the message has in network order.
    #[inline(always)]
    pub const fn number(self, number: u16) -> Self {
        self.half(number.to_be_bytes())
    }

    /// The folded sum, as it lies in the message. Of fewer than 2^31 words.
    #[inline(always)]
    pub const fn folded(self) -> [u8; 2] {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        (sum as u16).to_ne_bytes()
    }

    /// The checksum of a header, as it lies in the message.
    #[inline(always)]
    pub const fn checksum(self) -> [u8; 2] {
        (!u16::from_ne_bytes(self.folded())).to_ne_bytes()
    }

    /// That of a UDP header, where 0 means "none" and is sent as its complement (RFC 768).
    #[inline(always)]
    pub const fn udp_checksum(self) -> [u8; 2] {
        match u16::from_ne_bytes(self.checksum()) {
            0 => [0xff; 2],
            checksum => checksum.to_ne_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_example_of_rfc_1071_section_3() {
        let sum = add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum, 0x2ddf0);
        assert_eq!(fold(sum), 0xddf2);
        assert_eq!(finish(sum), !0xddf2);
    }

    #[test]
    fn adds_parts_in_any_order_and_pads_an_odd_end() {
        let whole = add(0, &[1, 2, 3, 4, 5]);
        assert_eq!(fold(add(add(0, &[3, 4, 5]), &[1, 2])), fold(whole));
        assert_eq!(add(0, &[5]), add(0, &[5, 0]));
    }

    #[test]
    fn udp_never_sends_a_checksum_of_zero() {
        assert_eq!(finish_udp(0xffff), 0xffff);
        assert_eq!(finish(0xffff), 0);
    }

    #[test]
    fn words_of_this_machine_give_the_same_sum() {
        let bytes: [u8; 24] = core::array::from_fn(|i| (i * 97 + 200) as u8);
        let expected = add(0, &bytes);
        let by_pairs = bytes.as_chunks().0.iter().fold(Sum::ZERO, |sum, pair| sum.pair(*pair));
        let by_words = bytes.as_chunks().0.iter().fold(Sum::ZERO, |sum, word| sum.word(*word));
        let by_halves = bytes.as_chunks().0.iter().fold(Sum::ZERO, |sum, half| sum.half(*half));
        for sum in [by_pairs, by_words, by_halves] {
            assert_eq!(sum.folded(), fold(expected).to_be_bytes());
            assert_eq!(sum.checksum(), finish(expected).to_be_bytes());
        }
        assert_eq!(Sum::ZERO.number(0x1234).folded(), [0x12, 0x34]);
        assert_eq!(Sum::ZERO.number(0xffff).udp_checksum(), [0xff, 0xff]);
        assert_eq!(Sum(u64::from(u32::MAX) << 31).folded(), [0xff, 0xff], "folds what is left of each step");
    }
}
