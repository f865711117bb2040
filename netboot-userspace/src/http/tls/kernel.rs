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
    pub(super) fn take(
        &self,
        mut client: TlsStream<Socket>,
        socket: Socket,
    ) -> io::Result<Result<(TcpStream, Vec<u8>), (TlsStream<Socket>, Socket)>> {
        let (_, connection) = client.get_mut();
        let taken = self.takes(connection).filter(|_| is_open(connection) && !connection.wants_write());
        let Some(of) = taken.filter(|_| client.get_ref().0.is_between_records()) else {
            return Ok(Err((client, socket)));
        };
        if let Err(error) = ktls::begin(&socket) {
            tracing::debug!(%error, "HTTPS: the kernel does not take a connection");
            return Ok(Err((client, socket)));
        }
        let (other, mut connection) = client.into_inner();
        drop(other);
        let read = all_of(&mut connection)?;
        let secrets = connection.dangerous_extract_secrets().map_err(io::Error::other)?;
        for (way, (number, secrets)) in [(Way::Out, secrets.tx), (Way::In, secrets.rx)] {
            give(&socket, of, way, number, &secrets)?;
        }
        let stream = socket.into_inner().ok_or_else(|| io::Error::other("somebody else has it, too"))?;
        Ok(Ok((stream.into_std()?, read)))
    }
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
