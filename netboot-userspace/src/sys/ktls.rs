//! TLS of a connection by the kernel (Documentation/networking/tls.rst, linux/tls.h): what is written to its socket is enciphered there,
//! sendfile(2) included, and what is read was deciphered. Hands are shaken before, by somebody else.
//!
//! What holds true: a record that is no data (an alert, a change of keys) ends what is received, with EIO ([`is_end`]): nobody asks here
//! of which kind it is. What the kernel has taken and not enciphered yet is lost when the socket is closed, or its sending half: who has
//! said the end ([`say_end`]) waits until nothing is left ([`super::net::unacknowledged`]). Behind a reset Linux 6.1 may go on taking what
//! is written, without an error: who writes much asks whether the client is there ([`super::net::peer_address`]).
#![allow(unsafe_code)] // sendmsg(2) and getsockopt(2) with what no safe crate knows.

use std::fmt;
use std::hint::black_box;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;

use super::packet::set_option;

/// The name of the kernel's module, as a socket is told it.
const NAME: &[u8; 3] = b"tls";
/// ContentType alert, and a close_notify (RFC 8446 sections 5.1 and 6.1).
const ALERT: u8 = 21;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// The versions that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}

/// Ciphers that the kernel may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AEAD_AES_128_GCM.
    Aes128Gcm,
    /// AEAD_AES_256_GCM.
    Aes256Gcm,
    /// AEAD_CHACHA20_POLY1305.
    ChaCha20Poly1305,
}

impl Cipher {
    /// Bytes of its key.
    pub fn key_length(self) -> usize {
        if self == Self::Aes128Gcm { 16 } else { 32 }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From us.
    Out,
    /// To us.
    In,
}

/// What one way's records are sealed with.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Of the protocol.
    pub version: Version,
    /// With which.
    pub cipher: Cipher,
    /// As long as the cipher's.
    pub key: &'a [u8],
    /// What a record's number is combined with.
    pub nonce: [u8; 12],
    /// The next record's number.
    pub number: u64,
}

/// Without the key.
impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, cipher, number, .. } = self;
        f.debug_tuple("Keys").field(version).field(cipher).field(number).finish()
    }
}

const SHORT: usize = size_of::<libc::tls12_crypto_info_aes_gcm_128>();
const LONG: usize = size_of::<libc::tls12_crypto_info_aes_gcm_256>();
// They are made of bytes, but for the two numbers that they begin with.
const _: () = assert!(SHORT == 40 && LONG == 56);
const _: () = assert!(size_of::<libc::tls12_crypto_info_chacha20_poly1305>() == LONG);

/// `struct tls12_crypto_info_…`, and how long it is.
fn info(keys: Keys<'_>, way: Way) -> ([u8; LONG], usize) {
    let Keys { version, cipher, key, nonce, number } = keys;
    let version = match version {
        Version::V12 => libc::TLS_1_2_VERSION,
        Version::V13 => libc::TLS_1_3_VERSION,
    };
    let kind = match cipher {
        Cipher::Aes128Gcm => libc::TLS_CIPHER_AES_GCM_128,
        Cipher::Aes256Gcm => libc::TLS_CIPHER_AES_GCM_256,
        Cipher::ChaCha20Poly1305 => libc::TLS_CIPHER_CHACHA20_POLY1305,
    };
    let (salt, mut iv) = nonce.split_at(4);
    let (mut explicit, mut salt) = ([0; 8], salt);
    if cipher == Cipher::ChaCha20Poly1305 {
        (iv, salt) = (&nonce, &[]);
    } else if keys.version == Version::V12 && way == Way::Out {
        // RFC 5288 section 3: no nonce may come twice. The kernel counts up from what it is given, whoever has sealed the records before
        // has combined it with their numbers: of those none has this bit.
        explicit.copy_from_slice(iv);
        explicit[0] ^= 0x80;
        iv = &explicit;
    }
    let (mut bytes, mut at) = ([0; LONG], 0);
    for part in [&version.to_ne_bytes(), &kind.to_ne_bytes(), iv, key, salt, &number.to_be_bytes()] {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    (bytes, at)
}

/// Has a connection ready for keys; until it has them, it is as it was.
///
/// # Errors
/// The kernel has no TLS, or the connection is not established.
pub fn begin(socket: &impl AsRawFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_ULP, NAME)
}

/// From the next record on, the kernel sees to this way of a connection on which [`begin`] was called.
///
/// # Errors
/// The kernel does not have that cipher.
pub fn set_keys(socket: &impl AsRawFd, way: Way, keys: Keys<'_>) -> io::Result<()> {
    if keys.key.len() != keys.cipher.key_length() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let option = if way == Way::Out { libc::TLS_TX } else { libc::TLS_RX };
    let (mut bytes, length) = info(keys, way);
    let set = match bytes.first_chunk::<SHORT>() {
        Some(short) if length == SHORT => set_option(socket, libc::SOL_TLS, option, short),
        _ => set_option(socket, libc::SOL_TLS, option, &bytes),
    };
    bytes.fill(0);
    black_box(&bytes);
    set
}

/// Whether [`begin`] was called on this socket.
pub fn is_on(socket: &impl AsRawFd) -> bool {
    let (mut name, mut length) = ([0_u8; 16], 16);
    let value = (&raw mut name).cast();
    // SAFETY: the kernel writes at most `length` bytes, to a local array of as many.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_ULP, value, &raw mut length)
    };
    result == 0 && length > 0 && name.starts_with(NAME)
}

/// Whether an error of receiving says that what came is no data: nothing that is comes after it.
pub fn is_end(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// Whether an error says that a connection is broken, which some kernels tell so where they tell it else by its cause, or that its client
/// has sent what was not sealed with its key.
pub fn is_of_client(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADMSG)
}

/// Control data of one byte.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    record: u8,
    _padding: [u8; size_of::<usize>() - 1],
}

/// Says that nothing more comes, without waiting, behind all that was sent.
///
/// # Errors
/// `WouldBlock`: there is no room for it; or the connection is gone.
pub fn say_end(socket: &impl AsRawFd) -> io::Result<()> {
    let mut alert = CLOSE_NOTIFY;
    let mut part = libc::iovec { iov_base: alert.as_mut_ptr().cast(), iov_len: alert.len() };
    // SAFETY: all zeros are a cmsghdr without data.
    let mut header: libc::cmsghdr = unsafe { zeroed() };
    header.cmsg_level = libc::SOL_TLS;
    header.cmsg_type = libc::TLS_SET_RECORD_TYPE;
    header.cmsg_len = (size_of::<libc::cmsghdr>() + 1) as _;
    let mut control = Control { header, record: ALERT, _padding: [0; _] };
    // SAFETY: all zeros are a msghdr that names nothing.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `message` points to `part`, which points to `alert`, and to `control`, which have the lengths given and outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const NONCE: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    /// The structure's bytes, without the two numbers of this machine's order that they begin with.
    fn bytes(version: Version, cipher: Cipher, way: Way) -> (u16, u16, Vec<u8>) {
        let key = vec![0xcc; cipher.key_length()];
        let keys = Keys { version, cipher, key: &key, nonce: NONCE, number: 0x0102 };
        let (bytes, length) = info(keys, way);
        let number = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        (number(0), number(2), bytes[4..length].to_vec())
    }

    /// As linux/tls.h has them.
    #[test]
    fn each_cipher_has_the_kernels_bytes() {
        let number = [0, 0, 0, 0, 0, 0, 1, 2];
        let gcm = |iv: [u8; 8], key: usize| [&iv, &vec![0xcc; key][..], &NONCE[..4], &number].concat();
        let (iv, other) = ([5, 6, 7, 8, 9, 10, 11, 12], [0x85, 6, 7, 8, 9, 10, 11, 12]);
        let chacha = [&NONCE, &[0xcc; 32][..], &number].concat();
        for (version, cipher, way, want) in [
            (Version::V13, Cipher::Aes128Gcm, Way::Out, (0x304, 51, gcm(iv, 16))),
            (Version::V13, Cipher::Aes128Gcm, Way::In, (0x304, 51, gcm(iv, 16))),
            (Version::V13, Cipher::Aes256Gcm, Way::Out, (0x304, 52, gcm(iv, 32))),
            (Version::V12, Cipher::Aes256Gcm, Way::In, (0x303, 52, gcm(iv, 32))),
            // The nonces of the handshake's own records do not come again.
            (Version::V12, Cipher::Aes128Gcm, Way::Out, (0x303, 51, gcm(other, 16))),
            (Version::V12, Cipher::Aes256Gcm, Way::Out, (0x303, 52, gcm(other, 32))),
            (Version::V13, Cipher::ChaCha20Poly1305, Way::Out, (0x304, 54, chacha.clone())),
            (Version::V12, Cipher::ChaCha20Poly1305, Way::Out, (0x303, 54, chacha)),
        ] {
            assert_eq!(bytes(version, cipher, way), want, "{version:?} {cipher:?} {way:?}");
        }
    }

    #[test]
    fn a_plain_connection_is_none_of_the_kernels_and_says_no_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!is_on(&stream));
        assert!(!is_on(&std::os::unix::net::UnixStream::pair().unwrap().0));
        assert!(begin(&listener).is_err(), "nobody is connected");
        let keys =
            Keys { version: Version::V13, cipher: Cipher::Aes128Gcm, key: &[0; 15], nonce: NONCE, number: 0 };
        assert_eq!(set_keys(&stream, Way::Out, keys).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
