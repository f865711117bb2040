//! What an HTTPS listener shows its clients: a certificate, and the key that it belongs to.

use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority;
use crate::http::date;
use crate::sys::open::RegularFile;

/// A file of this size is no certificate and no key.
const MOST: u64 = 1 << 20;
/// Others than its owner and group may not read a key, or write to it.
const OTHERS: u32 = 0o007;

/// What is told of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Host names and addresses that it is for (RFC 5280 section 4.2.1.6).
    pub names: Vec<String>,
    /// From when on it is valid. Unix time, seconds.
    pub not_before: i64,
    /// Until when. Unix time, seconds.
    pub not_after: i64,
    /// Whether an authority that we made has signed it.
    pub is_ours: bool,
}

impl Facts {
    /// Of one certificate.
    ///
    /// # Errors
    /// It is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let names = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let (not_before, not_after) = (parsed.validity().not_before, parsed.validity().not_after);
        Ok(Self {
            names: names.filter_map(name).collect(),
            not_before: not_before.timestamp(),
            not_after: not_after.timestamp(),
            is_ours: authority::is_ours(parsed.issuer()),
        })
    }

    /// Why clients with the right time refuse it at `now` (Unix time, seconds).
    pub fn invalid(&self, now: i64) -> Option<String> {
        if now > self.not_after {
            return Some(format!("it has expired on {}", date::format(self.not_after)));
        }
        let is_early = now < self.not_before;
        is_early.then(|| format!("it is not valid before {}", date::format(self.not_before)))
    }
}

/// As a URL has it, but for the brackets of IPv6.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
            let v6 = || <[u8; 16]>::try_from(*bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
            v4.or_else(|_| v6()).ok()
        }
        _ => None,
    }
}

/// A certificate with its chain and key, which belong together.
#[derive(Debug)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    facts: Facts,
}

impl Identity {
    /// Reads both files (PEM): the server's certificate first, and behind it what leads to the root.
    ///
    /// # Errors
    /// What is wrong with which file, and what would be right.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let malformed = |path: &Path| {
            let path = path.to_owned();
            |what: String| IdentityError::Malformed { path, what }
        };
        let chain = CertificateDer::pem_slice_iter(&read(certificate, 0)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| malformed(certificate)(said(&error)))?;
        let first = chain
            .first()
            .ok_or_else(|| IdentityError::Nothing { path: certificate.to_owned(), what: "certificate" })?;
        let mut facts = Facts::of(first).map_err(malformed(certificate))?;
        for behind in chain.iter().skip(1) {
            let Facts { not_before, not_after, .. } = Facts::of(behind).map_err(malformed(certificate))?;
            facts.not_before = facts.not_before.max(not_before);
            facts.not_after = facts.not_after.min(not_after);
        }
        let private = PrivateKeyDer::from_pem_slice(&read(key, OTHERS)?).map_err(|error| match error {
            pem::Error::NoItemsFound => IdentityError::Nothing { path: key.to_owned(), what: "private key" },
            error => malformed(key)(said(&error)),
        })?;
        let certified = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                IdentityError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            error @ rustls::Error::InvalidCertificate(_) => malformed(certificate)(error.to_string()),
            error => malformed(key)(error.to_string()),
        })?;
        Ok(Self { key: Arc::new(certified), facts })
    }

    /// Of the certificate; its time is that in which all behind it are valid, too.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// The same certificates, whose key can't be another then.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

fn said(error: &pem::Error) -> String {
    format!("it is not PEM: {error}")
}

/// `others`: what the file's mode may not have.
fn read(path: &Path, others: u32) -> Result<Vec<u8>, IdentityError> {
    let unreadable = |source| IdentityError::Unreadable { path: path.to_owned(), source };
    // No FIFO is waited for.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & others != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned(), mode });
    }
    let no_such_file = || {
        let what = "it is not a file of at most 1 MiB".to_owned();
        IdentityError::Malformed { path: path.to_owned(), what }
    };
    let file = RegularFile::of(file).map_err(|_| no_such_file())?;
    file.read_at_most(MOST).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => no_such_file(),
        _ => unreadable(error),
    })
}

/// Why a certificate and its key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system does not give it.
    #[error("{} can't be read: {source}; `netboot tls init` makes a certificate and its key", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Everybody may use the key.
    #[error("{} is a key that every user may use (mode {mode:04o}): chmod 0600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is PEM, of other things.
    #[error("{} has no {what} in it (PEM)", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// It does not read as what it is to be.
    #[error("{} can't be used: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// They are of different pairs.
    #[error("{} is the key of another certificate than {}: name the two that were made together", key.display(), certificate.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

impl ResolvesServerCert for Identity {
    /// Whatever name is asked for: firmware that knows us by an address names none (RFC 6066 section 3).
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.clone())
    }
}
