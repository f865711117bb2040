//! Detached OpenPGP signatures (BC-36) by the first key of a ring.

use std::fmt;
use std::io::Cursor;
use std::path::Path;

use pgp::composed::{ArmorOptions, DetachedSignature, PublicOrSecret, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::ser::Serialize;
use pgp::types::Password;

/// Whose signatures these are: unlocked once, for that takes its time.
pub struct Signer {
    key: SignedSecretKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

/// Why a ring signs nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its key is locked, and nobody said by what.
    #[error("{0}")]
    Locked(String),
    #[error("{0}")]
    Wrong(String),
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// `.sig`
    Binary,
    /// `.asc`
    Armoured,
}

impl Signer {
    /// Reads a ring of secret keys, binary or armoured, and tries its first one.
    ///
    /// # Errors
    /// The file can't be read, has no secret key, or the passphrase is not that key's.
    pub fn open(ring: &Path, passphrase: Option<&str>) -> Result<Self, Unfit> {
        let named = |what: String| format!("{}: {what}", ring.display());
        let bytes = std::fs::read(ring);
        let bytes = bytes.map_err(|error| Unfit::Wrong(named(format!("can't be read: {error}"))))?;
        let key = Self::first(&bytes).map_err(|fault| Unfit::Wrong(named(fault)))?;
        let is_locked = passphrase.is_none() && key.primary_key.secret_params().is_encrypted();
        let unfit = if is_locked { Unfit::Locked } else { Unfit::Wrong };
        Self::unlocked(key, passphrase).map_err(|fault| unfit(named(fault)))
    }

    /// The first key of a ring.
    fn first(ring: &[u8]) -> Result<SignedSecretKey, String> {
        let no_ring = |error: pgp::errors::Error| format!("is no OpenPGP key ring: {error}");
        let (mut keys, _) = PublicOrSecret::from_reader_many(Cursor::new(ring)).map_err(no_ring)?;
        match keys.next() {
            None => Err("has no key: export one by `gpg --export-secret-keys`".to_owned()),
            Some(Err(error)) => Err(no_ring(error)),
            Some(Ok(PublicOrSecret::Public(_))) => {
                Err("begins with a public key, which can't sign: export by `gpg --export-secret-keys`"
                    .to_owned())
            }
            Some(Ok(PublicOrSecret::Secret(key))) => Ok(key),
        }
    }

    fn unlocked(key: SignedSecretKey, passphrase: Option<&str>) -> Result<Self, String> {
        let mut signer = Self { key };
        let passphrase = passphrase.map_or_else(Password::empty, Password::from);
        let unlocked = signer.key.primary_key.remove_password(&passphrase);
        unlocked.and_then(|()| signer.signature(b"")).map_err(|error| {
            format!("its first key does not sign: {error}; its passphrase is taken from NETBOOT_PASSPHRASE")
        })?;
        Ok(signer)
    }

    /// Over exactly these bytes.
    ///
    /// # Errors
    /// The key refuses.
    pub fn sign(&self, bytes: &[u8], seal: Seal) -> Result<Vec<u8>, String> {
        let signature = self.signature(bytes).map_err(|error| error.to_string())?;
        let written = match seal {
            Seal::Binary => signature.to_bytes(),
            Seal::Armoured => signature.to_armored_bytes(ArmorOptions::default()),
        };
        written.map_err(|error| error.to_string())
    }

    fn signature(&self, bytes: &[u8]) -> Result<DetachedSignature, pgp::errors::Error> {
        let key = &self.key.primary_key;
        DetachedSignature::sign_binary_data(
            rand::thread_rng(),
            key,
            &Password::empty(),
            HashAlgorithm::Sha512,
            bytes,
        )
    }
}
