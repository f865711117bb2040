//! Connections whose TLS becomes the kernel's when hands were shaken: a worker then serves them as it serves those without TLS, by
//! sendfile, and there is no relay.
//!
//! Which ciphers the kernel takes is asked once, of connections to ourselves: the keys of a real one can't be given back.

use std::io::{self, BufRead as _, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use rustls::{CipherSuite, ConnectionTrafficSecrets, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use crate::sys::ktls::{self, Cipher, Keys, Version, Way};

const VERSIONS: [Version; 2] = [Version::V12, Version::V13];
const CIPHERS: [Cipher; 3] = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

/// What the kernel takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kernel {
    known: Vec<(Version, Cipher)>,
    /// Why there is nothing.
    refused: Option<String>,
}

impl Kernel {
    /// Asks it.
    pub(super) fn probe() -> Self {
        Self::of(|version, cipher| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let stream = TcpStream::connect(listener.local_addr()?)?;
            ktls::begin(&stream)?;
            let (key, nonce) = ([0; 32], [0; 12]);
            let keys = Keys { version, cipher, key: &key[..cipher.key_length()], nonce, number: 0 };
            [Way::Out, Way::In].into_iter().try_for_each(|way| ktls::set_keys(&stream, way, keys))
        })
    }

    /// It is not to be asked.
    pub(super) fn off() -> Self {
        Self { known: Vec::new(), refused: Some("switched off".to_owned()) }
    }

    fn of(takes: impl Fn(Version, Cipher) -> io::Result<()>) -> Self {
        let mut this = Self::default();
        for version in VERSIONS {
            for cipher in CIPHERS {
                match takes(version, cipher) {
                    Ok(()) => this.known.push((version, cipher)),
                    Err(error) => this.refused = this.refused.or(Some(error.to_string())),
                }
            }
        }
        this
    }

    /// Whether it takes anything.
    pub(super) fn is_there(&self) -> bool {
        !self.known.is_empty()
    }

    /// Why it does not take all, or anything.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    fn takes(&self, connection: &ServerConnection) -> Option<(Version, Cipher)> {
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Version::V12,
            ProtocolVersion::TLSv1_3 => Version::V13,
            _ => return None,
        };
        let cipher = cipher(connection.negotiated_cipher_suite()?.suite())?;
        self.known.contains(&(version, cipher)).then_some((version, cipher))
    }

    /// Has the kernel go on with a connection, and gives it with what was read of it already. Where it does not, the connection is as it
    /// was.
    ///
    /// # Errors
    /// It refused so late that the connection is lost.
    pub(super) fn take(&self, mut client: TlsStream<Socket>, socket: Socket) -> io::Result<Taken> {
        let (_, connection) = client.get_mut();
        let taken = self.takes(connection).filter(|_| is_open(connection) && !connection.wants_write());
        let Some(of) = taken.filter(|_| client.get_ref().0.is_between_records()) else {
            return Ok(Taken::Not(Box::new(client), socket));
        };
        if let Err(error) = ktls::begin(&socket) {
            tracing::debug!(%error, "HTTPS: the kernel does not take a connection");
            return Ok(Taken::Not(Box::new(client), socket));
        }
        let (other, mut connection) = client.into_inner();
        drop(other);
        let read = all_of(&mut connection)?;
        let secrets = connection.dangerous_extract_secrets().map_err(io::Error::other)?;
        for (way, (number, secrets)) in [(Way::Out, secrets.tx), (Way::In, secrets.rx)] {
            give(&socket, of, way, number, &secrets)?;
        }
        let stream = socket.into_inner().ok_or_else(|| io::Error::other("somebody else has it, too"))?;
        Ok(Taken::On(stream.into_std()?, read))
    }
}

/// What became of a connection.
#[derive(Debug)]
pub(super) enum Taken {
    /// The kernel goes on with it; so much was read of it already.
    On(TcpStream, Vec<u8>),
    /// It is as it was.
    Not(Box<TlsStream<Socket>>, Socket),
}

/// Reads on to the end of a record, of which something was read when hands were shaken, and sends what is to be sent.
pub(super) async fn settle(client: &mut TlsStream<Socket>) -> io::Result<()> {
    while !client.get_ref().0.is_between_records() {
        if client.fill_buf().await?.is_empty() {
            break;
        }
    }
    client.flush().await
}

/// Of each suite that there is here, the cipher.
fn cipher(suite: CipherSuite) -> Option<Cipher> {
    use CipherSuite::*;
    match suite {
        TLS13_AES_128_GCM_SHA256
        | TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | TLS_DHE_RSA_WITH_AES_128_GCM_SHA256 => Some(Cipher::Aes128Gcm),
        TLS13_AES_256_GCM_SHA384
        | TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        | TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | TLS_DHE_RSA_WITH_AES_256_GCM_SHA384 => Some(Cipher::Aes256Gcm),
        TLS13_CHACHA20_POLY1305_SHA256
        | TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        | TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => Some(Cipher::ChaCha20Poly1305),
        _ => None,
    }
}

/// Whether the client may say more: what it has said in the end can't be said to the worker by the kernel.
fn is_open(connection: &mut ServerConnection) -> bool {
    match connection.reader().fill_buf() {
        Ok(read) => !read.is_empty(),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// What was deciphered and not read.
fn all_of(connection: &mut ServerConnection) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    match connection.reader().read_to_end(&mut read) {
        Ok(_) => Ok(read),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(read),
        Err(error) => Err(error),
    }
}

fn give(
    socket: &impl AsRawFd,
    (version, cipher): (Version, Cipher),
    way: Way,
    number: u64,
    secrets: &ConnectionTrafficSecrets,
) -> io::Result<()> {
    let (key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let nonce = iv.as_ref().try_into().map_err(io::Error::other)?;
    let key = key.as_ref().get(..cipher.key_length()).ok_or(io::ErrorKind::InvalidData)?;
    ktls::set_keys(socket, way, Keys { version, cipher, key, nonce, number })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::http::tls::authority;

    const NOBODY: libc::c_int = libc::ENOENT;

    fn refused() -> io::Error {
        io::Error::from_raw_os_error(NOBODY)
    }

    #[test]
    fn what_the_kernel_refuses_is_remembered_with_its_reason() {
        let all = Kernel::of(|_, _| Ok(()));
        assert!(all.is_there() && all.known.len() == 6 && all.refused().is_none());
        let none = Kernel::of(|_, _| Err(refused()));
        assert!(!none.is_there() && none.refused().unwrap().contains("No such file"), "{none:?}");
        let some =
            Kernel::of(|_, cipher| if cipher == Cipher::ChaCha20Poly1305 { Err(refused()) } else { Ok(()) });
        assert!(some.is_there() && some.known.len() == 4 && some.refused().is_some());
        assert_eq!(Kernel::off().refused(), Some("switched off"));
    }

    /// A connection on which hands were shaken and one request was sent, read by records.
    async fn shaken() -> (TlsStream<Socket>, Socket, tokio_rustls::client::TlsStream<tokio::net::TcpStream>) {
        let now = 1_800_000_000;
        let issuer = authority::authority("a test's", now).unwrap();
        let issued = authority::server(&issuer, &["a.test".to_owned()], now).unwrap();
        let chain =
            CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.enable_secret_extraction = true;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(issuer.certificate.as_bytes()).unwrap()).unwrap();
        let time = Arc::new(Then(now));
        let client = ClientConfig::builder_with_details(provider, time).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let connected = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (connected, accepted) = tokio::join!(connected, listener.accept());
        let socket = Socket::new(accepted.unwrap().0).by_records();
        let accept = TlsAcceptor::from(Arc::new(config)).accept(socket.clone());
        let name = ServerName::try_from("a.test").unwrap();
        let asks = async {
            let connect = TlsConnector::from(Arc::new(client)).connect(name, connected.unwrap());
            let mut stream = connect.await.unwrap();
            stream.write_all(b"GET").await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let (ours, theirs) = tokio::join!(accept, asks);
        let mut ours = ours.unwrap();
        settle(&mut ours).await.unwrap();
        (ours, socket, theirs)
    }

    #[derive(Debug)]
    struct Then(u64);

    impl rustls::time_provider::TimeProvider for Then {
        fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
            Some(rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0)))
        }
    }

    #[tokio::test]
    async fn a_connection_that_the_kernel_does_not_take_goes_on_as_it_was() {
        // Of the second it is thought that it takes all: some kernels do.
        for kernel in [Kernel::of(|_, _| Err(refused())), Kernel::of(|_, _| Ok(()))] {
            let (ours, socket, mut theirs) = shaken().await;
            let mut answer = [0; 3];
            match kernel.take(ours, socket).unwrap() {
                Taken::On(stream, mut read) => {
                    assert!(ktls::is_on(&stream));
                    let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
                    while read.len() < 3 {
                        stream.read_buf(&mut read).await.unwrap();
                    }
                    assert_eq!(read, b"GET");
                    stream.write_all(b"yes").await.unwrap();
                    theirs.read_exact(&mut answer).await.unwrap();
                }
                Taken::Not(mut ours, _) => {
                    let mut asked = [0; 3];
                    ours.read_exact(&mut asked).await.unwrap();
                    assert_eq!(&asked, b"GET");
                    ours.write_all(b"yes").await.unwrap();
                    ours.flush().await.unwrap();
                    theirs.read_exact(&mut answer).await.unwrap();
                }
            }
            assert_eq!(&answer, b"yes");
        }
    }
}
