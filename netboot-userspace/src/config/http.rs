//! `http`: the data plane, and the same by HTTPS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::any;
use super::check::{listen, truth};
use super::check6;
use super::entries;
use super::errors::Errors;
use super::reader::{Field, Place, Section};
use crate::inventory::entry;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `":8080"` is every IPv4 address of this machine, `"[::]:8080"` every address. Unless it was typed, the second where DHCPv6
    /// is served.
    pub listen: SocketAddr,
    /// Data plane threads; `None`: one per core.
    pub workers: Option<usize>,
    /// Whether folders of the assets are answered with the list of what they have.
    pub index: bool,
    /// Bytes per second that one connection is sent at most.
    pub pace: Option<u64>,
    /// The same site by TLS.
    pub https: Option<Https>,
}

/// Where HTTPS listens, and what it shows there. Whether the files are what they should be, is the listener's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Https {
    pub listen: SocketAddr,
    /// PEM: the server's certificate, then what leads to its root.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// Whether firmware without elliptic curves is served, too.
    pub dhe: bool,
    /// Whether the kernel enciphers, where it can.
    pub kernel: bool,
}

/// Where `netboot tls init` puts what it makes: beside the main file.
pub const TLS_FOLDER: &str = "tls";
/// In that folder.
pub const TLS_CERTIFICATE: &str = "server.crt";
/// In that folder.
pub const TLS_KEY: &str = "server.key";

impl Http {
    /// The usual settings, for who listens there.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, workers: None, index: false, pace: None, https: None }
    }

    /// All of it that is fixed while a server runs: certificates are not.
    pub fn fixed(&self) -> Self {
        let bare = |https: &Https| {
            let &Https { listen, dhe, kernel, .. } = https;
            Https { listen, certificate: PathBuf::new(), key: PathBuf::new(), dhe, kernel }
        };
        Self { https: self.https.as_ref().map(bare), ..self.clone() }
    }
}

/// What was typed, and where `https` was. Relative paths start from `base`.
pub(super) fn read(
    top: &mut Section<'_>,
    base: &Path,
    is_v6: bool,
    errors: &mut Errors,
) -> (Http, Option<Place>) {
    let mut http = Http::new(any(8080));
    let (mut typed, mut place) = (None, None);
    if let Some(mut section) = top.take("http").and_then(|field| field.section(errors)) {
        typed = section.take("listen");
        if let Some(listen) = typed.as_ref().and_then(|field| field.parse(errors, listen)) {
            http.listen = listen;
        }
        http.workers = section.take("workers").and_then(|field| field.parse(errors, workers));
        http.index = section.take("index").and_then(|field| truth(&field, errors)).unwrap_or(false);
        http.pace = section.take("pace").and_then(|field| field.parse(errors, pace));
        let typed = section.take("https");
        place = typed.as_ref().map(|field| field.place.clone());
        http.https = typed.and_then(|field| https(&field, base, is_v6, errors));
        section.finish(errors);
    }
    check6::listen(&mut http.listen, typed, is_v6, errors);
    if let (Some(https), Some(place)) = (&http.https, &place)
        && https.listen == http.listen
        && https.listen.port() != 0
    {
        place.fault(errors, format!("HTTP listens on {} already: give HTTPS another port", https.listen));
    }
    if let (Some(https), Some(place)) = (&http.https, &place)
        && !is_reached(http.listen, https.listen)
    {
        let message = format!(
            "our agent has no TLS, and whom HTTPS on {} serves can't reach HTTP on {}: have both listen on addresses that the same \
             machines reach",
            https.listen, http.listen
        );
        place.fault(errors, message);
    }
    (http, place)
}

/// Whether the clients of an address reach what listens on another, as far as that can be seen.
fn is_reached(listen: SocketAddr, from: SocketAddr) -> bool {
    let is_both = listen.is_ipv6() && listen.ip().is_unspecified();
    (is_both || listen.is_ipv6() == from.is_ipv6()) && (!listen.ip().is_loopback() || from.ip().is_loopback())
}

fn https(field: &Field<'_>, base: &Path, is_v6: bool, errors: &mut Errors) -> Option<Https> {
    let mut section = field.section(errors)?;
    let typed = section.take("listen");
    let mut address = typed.as_ref().and_then(|field| field.parse(errors, listen)).unwrap_or(any(8443));
    check6::listen(&mut address, typed, is_v6, errors);
    let folder = base.join(TLS_FOLDER);
    let mut file = |key, usual| {
        let typed = section.take(key).and_then(|f| f.parse(errors, |text| entries::folder(text, base)));
        typed.unwrap_or_else(|| folder.join(usual))
    };
    let (certificate, key) = (file("certificate", TLS_CERTIFICATE), file("key", TLS_KEY));
    let dhe = section.take("dhe").and_then(|field| truth(&field, errors)).unwrap_or(false);
    let kernel = section.take("kernel").and_then(|field| field.word(errors, KERNEL)).unwrap_or(true);
    section.finish(errors);
    errors.look_for(&[certificate.clone(), key.clone()]);
    Some(Https { listen: address, certificate, key, dhe, kernel })
}

/// Whether the kernel enciphers, as it is typed.
const KERNEL: &[(&str, bool)] = &[("auto", true), ("off", false)];

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=256) => Ok(count),
        _ => Err(format!("{text:?} is not a number of threads: it takes 1 to 256")),
    }
}

/// Slower than this, a client would run into the deadline of a stalled body.
const LEAST_PACE: u64 = 64 << 10;

fn pace(text: &str) -> Result<u64, String> {
    match entry::size(text) {
        Ok(pace) if pace >= LEAST_PACE => Ok(pace),
        _ => Err(format!("{text:?} is no pace: write 100M (bytes in a second, from 64K on)")),
    }
}
