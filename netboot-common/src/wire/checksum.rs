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
}
