//! A site's own certificate authority, and the server certificates that it signs (RFC 5280).
//!
//! Keys are RSA: of firmware and iPXE, some know no other kind.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::DnsName;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate, X509Name};

use super::Facts;

/// Seconds.
const DAY: u64 = 86_400;
/// Whoever trusts an authority must be told of another one, machine by machine.
const AUTHORITY: u64 = 3650 * DAY;
/// A certificate is replaced in a moment (`netboot tls renew`).
const SERVER: u64 = 730 * DAY;

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
    /// They are of different authorities.
    #[error(
        "the authority's key is that of another certificate: put back the two that were made together, or make a new authority (--force)"
    )]
    Mismatch,
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

/// What the names of authorities that we made begin with.
const NAME: &str = "Netboot authority";
/// A common name's length (RFC 5280 appendix A, `ub-common-name`).
const MOST_NAME: usize = 64;

/// Makes an authority for what is called `host`, valid from a day before `now` (Unix time, seconds) on: machines whose clock is a little
/// behind trust it, too. Another one for the same host has another name, so that nobody takes one for the other.
///
/// # Errors
/// The library's.
pub fn authority(host: &str, now: u64) -> Result<Issued, Error> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072)?;
    let id: String =
        Sha256::digest(key.subject_public_key_info())[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{NAME} {id} of {host}").chars().take(MOST_NAME).collect::<String>();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    // It signs servers, and no other authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    valid(&mut params, now, now + AUTHORITY);
    let certificate = params.self_signed(&key)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Has `authority` sign a certificate, with a new key, for a server that is reached by these names and addresses. It lasts no longer than
/// the authority's own.
///
/// # Errors
/// A name is none; the authority can't be used, or has expired.
pub fn server(authority: &Issued, names: &[String], now: u64) -> Result<Issued, Error> {
    names.iter().try_for_each(|name| checked(name))?;
    let first = names.first().ok_or(Error::NoNames)?;
    let unusable = |error: rcgen::Error| Error::Authority(error.to_string());
    let signing = KeyPair::from_pem(&authority.key).map_err(unusable)?;
    let (facts, der, _) = shown(&authority.certificate).map_err(Error::Authority)?;
    if let Some(reason) = facts.invalid(i64::try_from(now).unwrap_or(i64::MAX)) {
        return Err(Error::Authority(reason));
    }
    if parsed(&der).map_err(Error::Authority)?.public_key().raw != signing.subject_public_key_info() {
        return Err(Error::Mismatch);
    }
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signing).map_err(unusable)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    if first.len() <= MOST_NAME {
        params.distinguished_name.push(DnType::CommonName, first.as_str());
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, facts.not_after.unsigned_abs().min(now + SERVER));
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let certificate = params.signed_by(&key, &issuer)?;
    let chain = format!("{}{}", certificate.pem(), authority.certificate);
    Ok(Issued { certificate: chain, key: key.serialize_pem() })
}

/// From a day before `now` on. Unix time, seconds.
fn valid(params: &mut CertificateParams, now: u64, until: u64) {
    let start = date_time_ymd(1970, 1, 1);
    params.not_before = start + Duration::from_secs(now.saturating_sub(DAY));
    params.not_after = start + Duration::from_secs(until);
}

/// Whether the authority is one of ours: by its name.
pub(super) fn is_ours(issuer: &X509Name<'_>) -> bool {
    issuer.iter_common_name().any(|name| name.as_str().is_ok_and(|name| name.starts_with(NAME)))
}

/// Whether the certificate in `server` says that the one in `authority` has signed it: by name and key (RFC 5280 section 4.2.1.1).
///
/// # Errors
/// There is none in one of them.
pub fn is_of(server: &str, authority: &str) -> Result<bool, String> {
    let (server, authority) = (der(server)?, der(authority)?);
    let (server, authority) = (parsed(&server)?, parsed(&authority)?);
    let signed_by = server.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    let own = authority.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    Ok(server.issuer().as_raw() == authority.subject().as_raw() && signed_by == own)
}

fn der(pem: &str) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())
}

fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(der).map(|(_, parsed)| parsed).map_err(|error| error.to_string())
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
    let der = der(pem)?;
    let fingerprint = Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    Ok((Facts::of(&der)?, der.to_vec(), fingerprint.join(":")))
}
