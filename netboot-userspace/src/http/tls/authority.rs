//! A site's own certificate authority, and the server certificates that it signs (RFC 5280).
//!
//! Keys are RSA: of firmware and iPXE, some know no other kind.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::DnsName;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::Facts;

const DAY: Duration = Duration::from_secs(86_400);
/// Whoever trusts an authority must be told of another one, machine by machine.
const AUTHORITY_DAYS: u32 = 3650;
/// A certificate is replaced in a moment (`netboot tls renew`).
const SERVER_DAYS: u32 = 730;

/// What went wrong when one was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is neither a host name nor an address.
    #[error(
        "{0:?} is no name of a server: it takes a host name or an address, as in boot.example.net or 10.10.0.1"
    )]
    Name(String),
    /// There is nothing to certify.
    #[error("a certificate needs at least one name or address")]
    NoNames,
    /// The authority's own files.
    #[error("the authority's certificate or key can't be used: {0}")]
    Authority(String),
    /// The library.
    #[error("making a certificate: {0}")]
    Making(#[from] rcgen::Error),
}

/// A certificate and its key, as their files have them (PEM).
#[derive(Clone)]
pub struct Issued {
    /// The certificate; of a server, with the authority's behind it, which iPXE wants to see.
    pub certificate: String,
    /// Secret.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Makes an authority of this name, valid from a day before `now` (Unix time, seconds) on: machines whose clock is a little behind
/// trust it, too.
///
/// # Errors
/// The library's.
pub fn authority(name: &str, now: u64) -> Result<Issued, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    // It signs servers, and no other authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, now, AUTHORITY_DAYS);
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072)?;
    let certificate = params.self_signed(&key)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Has `authority` sign a certificate, with a new key, for a server that is reached by these names and addresses.
///
/// # Errors
/// A name is none; the authority can't be used.
pub fn server(authority: &Issued, names: &[String], now: u64) -> Result<Issued, Error> {
    names.iter().try_for_each(|name| checked(name))?;
    let first = names.first().ok_or(Error::NoNames)?;
    let unusable = |error: rcgen::Error| Error::Authority(error.to_string());
    let signing = KeyPair::from_pem(&authority.key).map_err(unusable)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signing).map_err(unusable)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, first.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, SERVER_DAYS);
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let certificate = params.signed_by(&key, &issuer)?;
    let chain = format!("{}{}", certificate.pem(), authority.certificate);
    Ok(Issued { certificate: chain, key: key.serialize_pem() })
}

fn valid(params: &mut CertificateParams, now: u64, days: u32) {
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    (params.not_before, params.not_after) = (now - DAY, now + DAY * days);
}

/// RFC 6125 section 6.4.3: a wildcard is the whole of the first label.
fn checked(name: &str) -> Result<(), Error> {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    let is_name = name.parse::<IpAddr>().is_ok() || DnsName::try_from(plain).is_ok();
    if is_name { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

/// What is told of the first certificate of a file (PEM), its bytes (DER), and the SHA-256 of them, as iPXE's `trust` takes it.
///
/// # Errors
/// There is none in it.
pub fn shown(pem: &str) -> Result<(Facts, Vec<u8>, String), String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    let fingerprint = Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    Ok((Facts::of(&der)?, der.to_vec(), fingerprint.join(":")))
}
