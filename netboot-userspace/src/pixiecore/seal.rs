//! Sealed names of files (PX-58): who has one may fetch that file through us until it is over; who has none, nothing; and what is in
//! it, nobody sees. Several servers with one key know each other's.

use std::path::PathBuf;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::{Place, base64};

/// Bytes of a key.
pub const KEY: usize = 32;
/// Bytes of a nonce: so many that random ones never meet.
pub const NONCE: usize = 24;
/// What the seal is for, so that one of another use or version is none.
const USE: &[u8] = b"netboot file 1";
/// Bytes of a name that may be one.
const LONGEST: usize = 16 << 10;

/// Makes names, and reads them.
pub struct Sealer(XChaCha20Poly1305);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

/// Why a name leads to no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the file's name is none that this server, or another with its key, has made")]
    Forged,
    #[error("the file's name was good until {seconds} s ago: boot again for a new one")]
    Over { seconds: u64 },
}

impl Sealer {
    pub fn new(key: &[u8; KEY]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// A name of `place` that is good until `until` (Unix time, seconds). `nonce`: random.
    pub fn seal(&self, place: &Place, until: u64, nonce: [u8; NONCE]) -> String {
        let mut text = until.to_be_bytes().to_vec();
        match place {
            // Those have their names already.
            Place::Named(name) => return name.clone(),
            Place::Local(path) => {
                text.push(b'f');
                text.extend_from_slice(path.as_os_str().as_encoded_bytes());
            }
            Place::Remote(url) => {
                text.push(b'u');
                text.extend_from_slice(url.as_bytes());
            }
        }
        let payload = Payload { msg: &text, aad: USE };
        // It fails only beyond 256 GiB.
        let sealed = self.0.encrypt(XNonce::from_slice(&nonce), payload).unwrap_or_default();
        base64::to_url(&[&nonce[..], &sealed].concat())
    }

    /// The file that it is the name of.
    ///
    /// # Errors
    /// None, or not any more.
    pub fn open(&self, name: &str, now: u64) -> Result<Place, Denied> {
        let sealed =
            Some(name).filter(|name| name.len() <= LONGEST).and_then(base64::read).ok_or(Denied::Forged)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(Denied::Forged)?;
        let payload = Payload { msg: sealed, aad: USE };
        let text = self.0.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| Denied::Forged)?;
        let (until, place) = text.split_first_chunk().ok_or(Denied::Forged)?;
        let until = u64::from_be_bytes(*until);
        if until < now {
            return Err(Denied::Over { seconds: now - until });
        }
        let as_text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Denied::Forged);
        match place {
            [b'f', path @ ..] => as_text(path).map(|path| Place::Local(PathBuf::from(path))),
            [b'u', url @ ..] => as_text(url).map(Place::Remote),
            _ => Err(Denied::Forged),
        }
    }
}

/// A key as it is typed: base64 of 32 bytes.
///
/// # Errors
/// It is none.
pub fn key(text: &str) -> Result<[u8; KEY], String> {
    let bytes = base64::read(text.trim());
    let bytes = bytes.ok_or("a key is base64 of 32 random bytes: openssl rand -base64 32")?;
    let count = bytes.len();
    bytes
        .try_into()
        .map_err(|_| format!("the key has {count} bytes, and takes {KEY}: openssl rand -base64 32"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&[7; KEY])
    }

    #[test]
    fn px_58_what_is_sealed_is_opened_by_the_same_key_until_it_is_over() {
        for place in [Place::Remote("http://h/k?x".into()), Place::Local("a/\u{e4}".into())] {
            let name = sealer().seal(&place, 1000, [1; NONCE]);
            assert_eq!(sealer().open(&name, 1000), Ok(place.clone()));
            assert_eq!(sealer().open(&name, 1007), Err(Denied::Over { seconds: 7 }));
            assert_eq!(Sealer::new(&[8; KEY]).open(&name, 0), Err(Denied::Forged));
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{name}");
            assert_ne!(name, sealer().seal(&place, 1000, [2; NONCE]), "the same file has many names");
        }
        assert_eq!(sealer().seal(&Place::Named("kernel".into()), 1, [0; NONCE]), "kernel");
    }

    #[test]
    fn px_58_no_bit_of_it_can_be_changed() {
        let name = sealer().seal(&Place::Remote("http://h/k".into()), 1000, [1; NONCE]);
        let bytes = base64::read(&name).unwrap();
        assert!(!bytes.windows(4).any(|bytes| bytes == b"http"), "what is in it is not seen");
        for at in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[at / 8] ^= 1 << (at % 8);
            assert_eq!(sealer().open(&base64::to_url(&forged), 0), Err(Denied::Forged), "bit {at}");
        }
        for name in ["", "kernel", "AAAA", &name[1..], &name[..name.len() - 1], &"A".repeat(20_000)] {
            assert_eq!(sealer().open(name, 0), Err(Denied::Forged), "{name:.40}");
        }
    }

    #[test]
    fn a_key_is_32_bytes_of_base64() {
        assert_eq!(key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), Ok([0; KEY]));
        assert!(key("AAAA").unwrap_err().contains("has 3 bytes"));
        assert!(key("not a key!").unwrap_err().contains("openssl"));
    }
}
