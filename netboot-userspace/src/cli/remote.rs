//! A server elsewhere, by HTTPS (RFC 9110 section 4.2.2): how it is reached, and how it is known that it is the one.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Where systems keep the authorities that they trust.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A connection whose server has shown the right certificate.
pub(super) type Secured = StreamOwned<ClientConnection, TcpStream>;

/// Where a server is, and what it is shown.
#[derive(Debug)]
pub(super) struct Remote {
    url: String,
    host: String,
    port: u16,
    /// For `Authorization: Bearer`. It is in no error and no log.
    token: Secret,
    tls: Arc<ClientConfig>,
}

struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Remote {
    /// `ca`: whose certificates are right, beside or instead of those that the system trusts.
    pub(super) fn new(url: &str, token: Option<&Path>, ca: Option<&Path>) -> anyhow::Result<Self> {
        let (host, port) = authority(url)?;
        let needed = "--server needs --token-file (NETBOOT_TOKEN_FILE): the file of a token that `netboot token add` made there";
        let token = Secret(read_token(token.context(needed)?)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = Arc::new(tls.with_root_certificates(roots(ca)?).with_no_client_auth());
        Ok(Self { url: url.trim_end_matches('/').to_owned(), host, port, token, tls })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The fields that a request to it has.
    pub(super) fn fields(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("Host: {host}:{}\r\nAuthorization: Bearer {}\r\n", self.port, self.token.0)
    }

    /// A connection on which hands were shaken: nothing is sent to another server than the one that is meant.
    pub(super) fn connect(&self) -> anyhow::Result<Secured> {
        let name = ServerName::try_from(self.host.clone()).context("the server's name")?;
        let mut stream = self.reach().with_context(|| format!("reaching {}", self.url))?;
        let mut connection = ClientConnection::new(self.tls.clone(), name)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|error| self.untrusted(error))?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    fn reach(&self) -> io::Result<TcpStream> {
        use std::net::ToSocketAddrs as _;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn untrusted(&self, error: io::Error) -> anyhow::Error {
        let url = &self.url;
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(_)) => anyhow!(
                "{url} is not known to be the server that is meant ({error}): name its authority's certificate with --ca \
                 (`netboot tls init` made ca.crt there), and the server as its certificate does"
            ),
            _ => anyhow!("shaking hands with {url}: {error}"),
        }
    }
}

/// Host and port of `https://HOST[:PORT]`.
fn authority(url: &str) -> anyhow::Result<(String, u16)> {
    let wrong = || anyhow!("{url:?} is no server: write https://HOST or https://HOST:PORT");
    let authority = url.strip_prefix("https://").ok_or_else(wrong)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(wrong());
    }
    let port = port.map_or(Ok(443), str::parse).map_err(|_| wrong())?;
    Ok((host.to_owned(), port))
}

/// What others may read is no secret.
fn read_token(path: &Path) -> anyhow::Result<String> {
    let failed = || format!("the token's file {}", path.display());
    let mode = fs::metadata(path).with_context(failed)?.permissions().mode();
    if mode & 0o007 != 0 {
        bail!("{} may be read by everybody (mode {:o}): chmod 600 it", failed(), mode & 0o777);
    }
    let text = fs::read_to_string(path).with_context(failed)?;
    let token = text.trim();
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        bail!("{} has no token: it takes one line, as `netboot token add` prints it", failed());
    }
    Ok(token.to_owned())
}

fn roots(ca: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let bundle = || BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file());
    let path = ca.map(Path::to_owned).or_else(bundle);
    let path =
        path.context("this system has no list of authorities that it trusts: name the server's with --ca")?;
    let failed = || format!("the authorities' certificates {}", path.display());
    let mut roots = RootCertStore::empty();
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&path).with_context(failed)?.collect();
    let (added, _) = roots.add_parsable_certificates(certificates.with_context(failed)?);
    if added == 0 {
        bail!("{}: there is no certificate in it", failed());
    }
    Ok(roots)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_url() {
        for (url, host, port) in [
            ("https://boot.example.net", "boot.example.net", 443),
            ("https://10.0.0.1:8443/", "10.0.0.1", 8443),
            ("https://[fd00::1]:8443", "fd00::1", 8443),
            ("https://[fd00::1]", "fd00::1", 443),
        ] {
            assert_eq!(authority(url).unwrap(), (host.to_owned(), port));
        }
        for wrong in ["http://a", "a", "https://", "https://a/b", "https://a:b", "https://a b", "https://u@a"]
        {
            let error = authority(wrong).unwrap_err().to_string();
            assert!(error.contains("write https://HOST"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_token_that_everybody_may_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mode = |mode| fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        fs::write(file.path(), "netboot_00\n").unwrap();
        mode(0o644);
        assert!(read_token(file.path()).unwrap_err().to_string().contains("chmod 600"));
        mode(0o640);
        assert_eq!(read_token(file.path()).unwrap(), "netboot_00");
        fs::write(file.path(), "a\r\nX-Header: b").unwrap();
        assert!(read_token(file.path()).unwrap_err().to_string().contains("has no token"));
    }
}
