//! A connection to an upstream: name, address, TCP, TLS. The address that is connected to is the one that was looked at.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address;
use super::failure::Failure;
use crate::config::Origin;

/// What systems trust.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A connection that goes when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) sender: SendRequest<Body>,
    _moving: JoinSet<()>,
}

/// Who may have signed an upstream's certificate; `None`: whom the system trusts.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn trust(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let path = ca.unwrap_or(Path::new(SYSTEM));
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    match CertificateDer::pem_file_iter(path) {
        Ok(certificates) => {
            let certificates: Result<Vec<_>, _> = certificates.collect();
            roots.add_parsable_certificates(certificates.map_err(|error| wrong(&error))?);
        }
        // Then nobody is trusted, and whoever needs it is told which package is missing.
        Err(error) if ca.is_some() => return Err(wrong(&error)),
        Err(_) => {}
    }
    if roots.is_empty() && ca.is_some() {
        return Err(format!("{}: has no certificate", path.display()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        config.map_err(|error| wrong(&error))?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Where connections may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// To whom the operator has named by itself, wherever that is.
    Named,
    /// To public addresses, and with `private` to those of a site's own network, but by no name to this host.
    Guarded { private: bool },
}

/// Connects to an upstream, within so long.
pub(super) async fn connect(
    origin: &Origin,
    trust: &Arc<ClientConfig>,
    leads: Where,
    within: Duration,
) -> Result<Link, Failure> {
    let connected = timeout(within, async {
        let addresses = match leads {
            Where::Named => addresses(origin).await?,
            Where::Guarded { private } => allowed(origin, private).await?,
        };
        let stream = reach(origin, &addresses, leads, within).await?;
        let stream: Box<dyn Stream> = match origin.is_https {
            false => Box::new(stream),
            true => Box::new(secure(origin, trust, stream).await?),
        };
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::bad(format!("{origin}: {error}")))?;
        let mut moving = JoinSet::new();
        moving.spawn(async move { drop(connection.await) });
        Ok(Link { sender, _moving: moving })
    });
    let late = |_| Failure::late(format!("{origin}: no connection within {} s", within.as_secs())).silent();
    connected.await.map_err(late)?
}

async fn addresses(Origin { host, port, .. }: &Origin) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, *port).into()]);
    }
    let found = tokio::net::lookup_host((host.as_str(), *port)).await;
    // Whom nobody knows by this name does not answer either.
    let unknown = |error| Failure::bad(format!("looking up {host}: {error}")).silent();
    Ok(found.map_err(unknown)?.collect())
}

/// The addresses that it has and may be connected to.
async fn allowed(origin: &Origin, allow_private: bool) -> Result<Vec<SocketAddr>, Failure> {
    let host = &origin.host;
    let is_literal = host.parse::<IpAddr>().is_ok();
    let all = addresses(origin).await?;
    let refused = all.iter().find_map(|address| Some((address.ip(), address::kind(address.ip())?)));
    // A name may lead to a site's own network, but to this host, a metadata service or the like only who writes the address.
    let may = |address: &SocketAddr| match address::kind(address.ip()) {
        None => true,
        Some("private" | "shared") => allow_private,
        Some(_) => allow_private && is_literal,
    };
    let allowed: Vec<SocketAddr> = all.into_iter().filter(may).collect();
    match refused {
        Some((address, kind)) if allowed.is_empty() => Err(Failure::bad(format!(
            "{host} is at {address}, a {kind} address: nothing is fetched from there unless its upstream says `allow_private: true`{}",
            if allow_private { ", and its `url` the address itself" } else { "" }
        ))),
        _ if allowed.is_empty() => Err(Failure::bad(format!("{host} has no address"))),
        _ => Ok(allowed),
    }
}

/// One after the other, each with its share of the time: one that is silent keeps nobody from the next.
async fn reach(
    origin: &Origin,
    addresses: &[SocketAddr],
    leads: Where,
    within: Duration,
) -> Result<TcpStream, Failure> {
    let share = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut last = None;
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) if leads != Where::Named && is_own(origin, &stream) => {
                last = Some(format!(
                    "{address} is this server itself: nothing is fetched from there unless the upstream's `url` has the address"
                ));
            }
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(format!("{address}: {error}")),
            Err(_) => last = Some(format!("{address}: no answer")),
        }
    }
    Err(Failure::bad(format!("connecting to {origin}: {}", last.unwrap_or_default())).silent())
}

/// Whether a name has led to this host, where something may listen that is not for everybody.
fn is_own(origin: &Origin, stream: &TcpStream) -> bool {
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return false };
    local.ip() == peer.ip() && origin.host.parse::<IpAddr>().is_err()
}

async fn secure(
    origin: &Origin,
    trust: &Arc<ClientConfig>,
    stream: TcpStream,
) -> Result<impl Stream + use<>, Failure> {
    let name = ServerName::try_from(origin.host.clone());
    let name = name.map_err(|error| Failure::bad(format!("{origin}: {error}")))?;
    let secured = TlsConnector::from(trust.clone()).connect(name, stream).await;
    secured.map_err(|error| Failure::bad(format!("TLS with {origin}: {error}")))
}

/// What HTTP is spoken over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_to_this_host_itself_is_not_connected_to() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let origin = |host: &str| Origin { is_https: false, host: host.to_owned(), port: address.port() };
            let within = Duration::from_secs(10);
            let guarded = Where::Guarded { private: true };
            let failure = reach(&origin("mirror.lan"), &[address], guarded, within).await.unwrap_err();
            assert!(failure.to_string().contains("is this server itself"), "{failure}");
            reach(&origin("127.0.0.1"), &[address], guarded, within).await.unwrap();
            reach(&origin("mirror.lan"), &[address], Where::Named, within).await.unwrap();
        });
    }
}
