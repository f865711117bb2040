//! The files of an authority, and of a server's certificate that it signed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::config::{TLS_CERTIFICATE, TLS_KEY};
use crate::http::tls::Facts;
use crate::http::tls::authority::{self, Issued};

const CA_CERTIFICATE: &str = "ca.crt";
/// The same for firmware, of which some reads no PEM.
const CA_DER: &str = "ca.der";
const CA_KEY: &str = "ca.key";

/// Everybody reads certificates.
const OPEN: u32 = 0o644;
/// Keys are their owner's.
const SECRET: u32 = 0o600;

#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// What is told of a certificate.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) path: PathBuf,
    pub(super) facts: Facts,
    /// SHA-256, as iPXE and browsers show it.
    pub(super) fingerprint: String,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// # Errors
    /// One of the files is there.
    pub(super) fn must_be_free(&self) -> anyhow::Result<()> {
        let names = [CA_CERTIFICATE, CA_DER, CA_KEY, TLS_CERTIFICATE, TLS_KEY];
        match names.map(|name| self.0.join(name)).iter().find(|path| path.symlink_metadata().is_ok()) {
            None => Ok(()),
            Some(path) => bail!(
                "{} is there already: `netboot tls renew` makes a new certificate of the same authority; with --force all are replaced, and every client has to be told of the new authority",
                path.display()
            ),
        }
    }

    /// Keys first: a key without its certificate is used by nobody.
    pub(super) fn put_authority(&self, authority: &Issued) -> anyhow::Result<()> {
        let (_, der, _) = authority::shown(&authority.certificate).map_err(anyhow::Error::msg)?;
        self.put(CA_KEY, authority.key.as_bytes(), SECRET)?;
        self.put(CA_CERTIFICATE, authority.certificate.as_bytes(), OPEN)?;
        self.put(CA_DER, &der, OPEN)
    }

    pub(super) fn put_server(&self, server: &Issued) -> anyhow::Result<()> {
        self.put(TLS_KEY, server.key.as_bytes(), SECRET)?;
        self.put(TLS_CERTIFICATE, server.certificate.as_bytes(), OPEN)
    }

    /// What signs.
    pub(super) fn signing(&self) -> anyhow::Result<Issued> {
        Ok(Issued { certificate: self.text(CA_CERTIFICATE)?, key: self.text(CA_KEY)? })
    }

    pub(super) fn authority(&self) -> anyhow::Result<Shown> {
        self.shown(CA_CERTIFICATE)
    }

    pub(super) fn server(&self) -> anyhow::Result<Shown> {
        self.shown(TLS_CERTIFICATE)
    }

    pub(super) fn key(&self) -> PathBuf {
        self.0.join(TLS_KEY)
    }

    pub(super) fn authority_certificate(&self) -> PathBuf {
        self.0.join(CA_CERTIFICATE)
    }

    pub(super) fn authority_der(&self) -> PathBuf {
        self.0.join(CA_DER)
    }

    fn shown(&self, name: &str) -> anyhow::Result<Shown> {
        let path = self.0.join(name);
        let shown = authority::shown(&self.text(name)?);
        let (facts, _, fingerprint) =
            shown.map_err(|what| anyhow::anyhow!("{} is no certificate: {what}", path.display()))?;
        Ok(Shown { path, facts, fingerprint })
    }

    fn text(&self, name: &str) -> anyhow::Result<String> {
        let path = self.0.join(name);
        fs::read_to_string(&path)
            .with_context(|| format!("{} can't be read; `netboot tls init` makes it", path.display()))
    }

    /// Whole or not at all, and never readable by more than `mode` says.
    fn put(&self, name: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        let path = self.0.join(name);
        self.write(name, bytes, mode).with_context(|| format!("{} can't be written", path.display()))
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let new = self.0.join(format!(".{name}.new"));
        // What was left of an attempt before may have other permissions.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, self.0.join(name))
    }
}
