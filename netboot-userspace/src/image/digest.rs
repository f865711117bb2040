//! [`Digest`]: a SHA-256, as typed and as compared.

use std::fmt;

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

/// Why a text is no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 is 64 hex digits")]
pub struct BadDigest;

impl std::str::FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(BadDigest) };
        let mut digest = [0; 32];
        if pairs.len() != digest.len() {
            return Err(BadDigest);
        }
        for (byte, pair) in digest.iter_mut().zip(pairs) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = (high.ok_or(BadDigest)? << 4 | low.ok_or(BadDigest)?) as u8;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest as _;

    #[test]
    fn digests_are_read_and_shown_alike() {
        let digest = Digest(sha2::Sha256::digest(b"abc").into());
        let text = digest.to_string();
        // FIPS 180-2, appendix B.1.
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(text.to_uppercase().parse(), Ok(digest));
        for bad in ["", "zz", &text[1..], &format!("{text}00"), &text.replace('b', "g")] {
            assert_eq!(bad.parse::<Digest>(), Err(BadDigest), "{bad}");
        }
    }
}
