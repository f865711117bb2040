//! The files of an authority, and of a server's certificate that it signed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::config::{TLS_CERTIFICATE, TLS_KEY};
use crate::http::tls::Facts;
use crate::http::tls::authority::{self, Issued};
use crate::sys::place::{self, New};

const CA_CERTIFICATE: &str = "ca.crt";
/// The same for firmware, of which some reads no PEM.
const CA_DER: &str = "ca.der";
const CA_KEY: &str = "ca.key";

/// Everybody reads certificates.
const OPEN: u32 = 0o644;
/// Keys are their owner's.
const SECRET: u32 = 0o600;

/// Where the authority's files are, and those of the server.
#[derive(Debug)]
pub(super) struct Folder {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// What is told of a certificate.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) path: PathBuf,
    pub(super) facts: Facts,
    /// SHA-256, as iPXE and browsers show it.
    pub(super) fingerprint: String,
}

impl Folder {
    /// All of them.
    pub(super) fn new(path: PathBuf) -> Self {
        let (certificate, key) = (path.join(TLS_CERTIFICATE), path.join(TLS_KEY));
        Self { authority: path, certificate, key }
    }

    /// Of a server that shows these.
    pub(super) fn serving(self, certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, ..self }
    }

    /// # Errors
    /// One of the files is there.
    pub(super) fn must_be_free(&self) -> anyhow::Result<()> {
        let of_authority = [CA_CERTIFICATE, CA_DER, CA_KEY].map(|name| self.authority.join(name));
        let mut all = of_authority.iter().chain([&self.certificate, &self.key]);
        match all.find(|path| path.symlink_metadata().is_ok()) {
            None => Ok(()),
            Some(path) => bail!(
                "{} is there already: `netboot tls renew` makes a new certificate of the same authority; with --force all are replaced, and every client has to be told of the new authority",
                path.display()
            ),
        }
    }

    /// # Errors
    /// What is served is another authority's: it is not replaced unasked.
    pub(super) fn must_be_ours(&self) -> anyhow::Result<()> {
        if !self.certificate.exists() {
            return Ok(());
        }
        let (server, authority) = (self.text(&self.certificate)?, self.text(&self.authority_certificate())?);
        if authority::is_of(&server, &authority).map_err(anyhow::Error::msg)? {
            return Ok(());
        }
        bail!(
            "{} is not of the authority {}: have the one that has signed it make the next one, too",
            self.certificate.display(),
            self.authority_certificate().display()
        )
    }

    /// Both; `replace`: though there are some.
    pub(super) fn put(&self, authority: &Issued, server: &Issued, replace: bool) -> anyhow::Result<()> {
        let (_, der, _) = authority::shown(&authority.certificate).map_err(anyhow::Error::msg)?;
        let of_authority = [
            (self.authority.join(CA_KEY), authority.key.as_bytes(), SECRET),
            (self.authority_certificate(), authority.certificate.as_bytes(), OPEN),
            (self.authority_der(), &der, OPEN),
        ];
        put(&[&of_authority[..], &self.of_server(server)].concat(), replace)
    }

    pub(super) fn put_server(&self, server: &Issued) -> anyhow::Result<()> {
        put(&self.of_server(server), true)
    }

    fn of_server<'a>(&self, server: &'a Issued) -> [New<'a>; 2] {
        [
            (self.key.clone(), server.key.as_bytes(), SECRET),
            (self.certificate.clone(), server.certificate.as_bytes(), OPEN),
        ]
    }

    /// What signs.
    pub(super) fn signing(&self) -> anyhow::Result<Issued> {
        let key = self.text(&self.authority.join(CA_KEY))?;
        Ok(Issued { certificate: self.text(&self.authority_certificate())?, key })
    }

    /// `None`: the server's is of another one, which is not here.
    pub(super) fn authority(&self) -> anyhow::Result<Option<Shown>> {
        let path = self.authority_certificate();
        path.exists().then(|| self.shown(path)).transpose()
    }

    pub(super) fn server(&self) -> anyhow::Result<Shown> {
        self.shown(self.certificate.clone())
    }

    pub(super) fn key(&self) -> &Path {
        &self.key
    }

    pub(super) fn authority_certificate(&self) -> PathBuf {
        self.authority.join(CA_CERTIFICATE)
    }

    pub(super) fn authority_der(&self) -> PathBuf {
        self.authority.join(CA_DER)
    }

    fn shown(&self, path: PathBuf) -> anyhow::Result<Shown> {
        let shown = authority::shown(&self.text(&path)?);
        let (facts, _, fingerprint) =
            shown.map_err(|what| anyhow::anyhow!("{} is no certificate: {what}", path.display()))?;
        Ok(Shown { path, facts, fingerprint })
    }

    fn text(&self, path: &Path) -> anyhow::Result<String> {
        fs::read_to_string(path)
            .with_context(|| format!("{} can't be read; `netboot tls init` makes it", path.display()))
    }
}

/// See [`place::put`]; folders that are not there are made.
fn put(files: &[New<'_>], replace: bool) -> anyhow::Result<()> {
    let can_not = |path: &Path| format!("{} can't be written", path.display());
    for (path, ..) in files {
        path.parent().map_or(Ok(()), fs::create_dir_all).with_context(|| can_not(path))?;
    }
    place::put(files, replace).map_err(|(path, error)| anyhow::Error::new(error).context(can_not(&path)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_can_not_be_written_is_named_with_the_cause() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls/server.key");
        put(&[(path.clone(), b"first", SECRET)], false).unwrap();
        let said = format!("{:#}", put(&[(path, b"second", SECRET)], false).unwrap_err());
        assert!(said.ends_with("tls/server.key can't be written: File exists (os error 17)"), "{said}");
    }
}
