//! Base64 (RFC 4648): read in both alphabets, with or without padding; written for URLs without, and as it is elsewhere with it.

const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648 section 5, without padding.
pub fn to_url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(URL_SAFE[(word >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

/// RFC 4648 section 4, with padding.
pub fn to_text(bytes: &[u8]) -> String {
    let mut text = to_url(bytes).replace('-', "+").replace('_', "/");
    text.extend(std::iter::repeat_n('=', text.len().next_multiple_of(4) - text.len()));
    text
}

/// `None`: it is none, or one that nobody writes (RFC 4648 section 3.5: bits that say nothing are zero).
pub fn read(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.chunks(4) {
        let mut word = 0;
        for letter in chunk {
            word = word << 6 | value(*letter)?;
        }
        word <<= 6 * (4 - chunk.len());
        let [_, all @ ..] = u32::to_be_bytes(word);
        let (said, rest) = all.split_at(chunk.len() * 6 / 8);
        if chunk.len() == 1 || rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(said);
    }
    Some(bytes)
}

fn value(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4648_10_vectors() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(to_url(bytes.as_bytes()), text);
            let padding = text.len().next_multiple_of(4);
            assert_eq!(to_text(bytes.as_bytes()), format!("{text:=<padding$}"));
            assert_eq!(read(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!((to_url(&[0xfb, 0xff]), to_text(&[0xfb, 0xff])), ("-_8".into(), "+/8=".into()));
        for text in ["-_8", "+/8", "+/8="] {
            assert_eq!(read(text).as_deref(), Some(&[0xfb, 0xff][..]), "{text}");
        }
        for text in ["Z", "Zm9vY", "Zh", "Zm9", "Zm 9v", "Zm9v\n", "Zg==Zg"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
