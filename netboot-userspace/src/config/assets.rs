//! `assets`: a folder, and the upstreams whose files are shown beside those in it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::{folder, truth};
use super::entries;
use super::errors::Errors;
use super::net::duration;
use super::reader::{Field, Section};
use crate::inventory::entry;

/// What is fetched from elsewhere, and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Bytes on the disk.
    pub size: u64,
    /// Bytes that the disk keeps free for others.
    pub keep_free: u64,
    pub upstreams: Vec<Upstream>,
}

/// Where files below a prefix come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Below `/assets/`: parts that end with `/` each, at least one.
    pub prefix: String,
    pub origin: Origin,
    /// What takes the place of the prefix there; begins and ends with `/`.
    pub path: String,
    /// Somebody names its files by whole URLs: names are targets as they stand, escaped already and with their query, and a body
    /// may end with its connection, for whoever names it takes it as it comes.
    pub by_url: bool,
    /// The certificates (PEM) that its certificate may be signed by; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Whether it may have an address that is nobody's on the Internet.
    pub allow_private: bool,
    /// The operator named this very server on the command line: it may be anywhere, by whatever name.
    pub is_named: bool,
    /// SHA-256 in hex, by path below the prefix.
    pub digests: BTreeMap<String, String>,
    /// Files below the prefix that name the digests of others; of one for each file, with `*` in the file's place.
    pub digest_files: Vec<String>,
    /// Whether nothing is taken of which no digest is known, but those lists.
    pub digest_required: bool,
    /// How long what was fetched counts as what it has.
    pub check_after: Duration,
    /// Bytes of one file.
    pub most: u64,
    /// At once.
    pub connections: usize,
    pub deadlines: Deadlines,
}

impl Upstream {
    /// Its folder's.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }
}

/// What an upstream may take of our time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Until a connection is there, name and TLS included.
    pub connect: Duration,
    /// Until its answer's head is there; and each such time brings [`Deadlines::least`] bytes a second.
    pub read: Duration,
    /// Of one file.
    pub total: Duration,
    /// Bytes in a second.
    pub least: u64,
}

/// Who serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub is_https: bool,
    /// A name in lower case, or an address without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Origin {
    /// As the `Host` field has it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_https { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Splits `http://HOST[:PORT]/path`; what is behind the host as it is.
    pub fn split(url: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = url.split_once("://")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (address, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
        if host.is_empty() || !host.chars().all(is_name) {
            return None;
        }
        let port = match port {
            Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) => return None,
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None if is_https => 443,
            None => 80,
        };
        Some((Self { is_https, host: host.to_ascii_lowercase(), port }, path))
    }
}

impl Cache {
    /// Nothing is fetched.
    pub fn none() -> Self {
        Self { size: 20 << 30, keep_free: 1 << 30, upstreams: Vec::new() }
    }

    /// Whose a path below `/assets/` is: that of the longest prefix.
    pub fn upstream(&self, name: &str) -> Option<(usize, &Upstream)> {
        let of = self.upstreams.iter().enumerate().filter(|(_, upstream)| {
            name.strip_prefix(upstream.prefix.as_str()).is_some_and(|rest| !rest.is_empty())
        });
        of.max_by_key(|(_, upstream)| upstream.prefix.len()).filter(|_| !name.ends_with('/'))
    }
}

/// `assets: FOLDER`, or `assets: { folder: FOLDER, cache: 20G, upstreams: […] }`.
pub(super) fn read(field: Option<Field<'_>>, base: &Path, errors: &mut Errors) -> (PathBuf, Cache) {
    const DEFAULT: &str = "/var/lib/netboot/assets";
    let mut cache = Cache::none();
    let section = field.as_ref().filter(|field| field.is_section());
    let Some(mut section) = section.and_then(|field| field.section(errors)) else {
        return (folder(field, base, DEFAULT, errors), cache);
    };
    let assets = folder(section.take("folder"), base, DEFAULT, errors);
    if let Some(size) = section.take("cache").and_then(|field| field.parse(errors, entry::size)) {
        cache.size = size;
    }
    if let Some(size) = section.take("keep_free").and_then(|field| field.parse(errors, entry::size)) {
        cache.keep_free = size;
    }
    for field in section.take("upstreams").map(|field| field.list(errors)).unwrap_or_default() {
        let place = field.place.clone();
        let Some(upstream) = upstream(&field, base, largest(cache.size), errors) else { continue };
        if cache.upstreams.iter().any(|other| other.prefix == upstream.prefix) {
            place.fault(
                errors,
                format!("{} has an upstream already: name one for each prefix", upstream.prefix),
            );
        }
        cache.upstreams.push(upstream);
    }
    section.finish(errors);
    (assets, cache)
}

/// Bytes of a file that can be replaced by one that is as large, which takes both at once: as blocks, and one for the note of each.
fn largest(cache: u64) -> u64 {
    (cache / 2 / 4096).saturating_sub(1) * 4096
}

/// `largest`: bytes of a file that has room.
fn upstream(field: &Field<'_>, base: &Path, largest: u64, errors: &mut Errors) -> Option<Upstream> {
    let mut section = field.section(errors)?;
    let at = section.required("prefix", "/assets/debian/", errors).and_then(|f| f.parse(errors, prefix));
    let from =
        section.required("url", "https://deb.debian.org/debian/", errors).and_then(|f| f.parse(errors, url));
    let ca = section.take("ca").and_then(|f| f.parse(errors, |text| readable(text, base)));
    let allow_private = section.take("allow_private").and_then(|f| truth(&f, errors)).unwrap_or(false);
    let digests = digests(&mut section, errors);
    let files = section.take("digest_files").map(|field| field.one_or_more(errors)).unwrap_or_default();
    let digest_files: Vec<_> = files.iter().filter_map(|file| file.parse(errors, digest_file)).collect();
    let digest_required = digest_required(&mut section, &digests, &digest_files, errors);
    let times = |most: u64| Duration::from_secs(1)..=Duration::from_secs(most);
    let mut time = |key, most, default| time(&mut section, key, times(most), default, errors);
    let check_after = time("check_after", 365 * 86_400, 3600);
    let (connect, read, total) =
        (time("connect", 300, 10), time("read", 300, 30), time("total", 86_400, 4 * 3600));
    let most = section.take("most").and_then(|field| field.parse(errors, |text| most(text, largest)));
    let most = most.unwrap_or(largest.min(8 << 30));
    let least = section.take("least").and_then(|field| field.parse(errors, entry::size)).unwrap_or(1 << 10);
    let connections =
        section.take("connections").and_then(|field| field.parse(errors, connections)).unwrap_or(8);
    section.finish(errors);
    let (prefix, (origin, path)) = (at?, from?);
    let deadlines = Deadlines { connect, read, total, least };
    Some(Upstream {
        prefix,
        origin,
        path,
        by_url: false,
        ca,
        allow_private,
        is_named: false,
        digests,
        digest_files,
        digest_required,
        check_after,
        most,
        connections,
        deadlines,
    })
}

fn time(
    section: &mut Section<'_>,
    key: &'static str,
    limits: RangeInclusive<Duration>,
    default: u64,
    errors: &mut Errors,
) -> Duration {
    let typed = section.take(key).and_then(|field| field.parse(errors, |text| duration(text, limits)));
    typed.unwrap_or(Duration::from_secs(default))
}

/// `/assets/debian/`, `debian/` or `debian`.
fn prefix(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("/assets/").unwrap_or(text).trim_matches('/');
    if is_below(name) {
        return Ok(format!("{name}/"));
    }
    Err(format!("{text:?} is no prefix: write a folder below /assets/, as /assets/debian/"))
}

fn url(text: &str) -> Result<(Origin, String), String> {
    let wrong = || {
        format!("{text:?} is no upstream: write http:// or https://, a host and a folder, without a query")
    };
    let (origin, path) = Origin::split(text).ok_or_else(wrong)?;
    let is_plain = |c: char| c.is_ascii_graphic() && !"?#\\\"<>".contains(c);
    if !path.chars().all(is_plain) || path.split('/').any(|part| part == "." || part == "..") {
        return Err(wrong());
    }
    let path = path.trim_end_matches('/');
    Ok((origin, format!("{path}/")))
}

fn readable(text: &str, base: &Path) -> Result<PathBuf, String> {
    let path = entries::folder(text, base)?;
    entries::readable(&path)?;
    Ok(path)
}

fn digests(section: &mut Section<'_>, errors: &mut Errors) -> BTreeMap<String, String> {
    let pairs = section.take("digests").map(|field| field.pairs(errors)).unwrap_or_default();
    let mut digests = BTreeMap::new();
    for (name, field) in pairs {
        if !is_below(name) {
            field.place.fault(errors, format!("{name:?} is no file below the prefix, as dists/linux"));
        } else if let Some(digest) = field.parse(errors, entry::sha256) {
            digests.insert(name.to_owned(), digest);
        }
    }
    digests
}

fn digest_required(
    section: &mut Section<'_>,
    digests: &BTreeMap<String, String>,
    files: &[String],
    errors: &mut Errors,
) -> bool {
    let Some(field) = section.take("digest_required") else { return false };
    let is_required = truth(&field, errors).unwrap_or(false);
    if is_required && digests.is_empty() && files.is_empty() {
        field
            .place
            .fault(errors, "nothing can be had: no digest is named (`digests`, `digest_files`)".to_owned());
    }
    is_required
}

fn digest_file(text: &str) -> Result<String, String> {
    if is_below(text) && text.matches('*').count() < 2 && text != "*" {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} names no digests: write SHA256SUMS, dists/SHA256SUMS, or *.sha256 for a file beside each"
    ))
}

fn most(text: &str, largest: u64) -> Result<u64, String> {
    entry::size(text).and_then(|most| match most {
        _ if most <= largest => Ok(most),
        _ => Err(format!("{text:?} is more than half of the cache ({largest} bytes): a newer one has to fit beside the older (`cache`)")),
    })
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=256) => Ok(count),
        _ => Err(format!("{text:?} is not a number of connections: it takes 1 to 256")),
    }
}

/// Relative, and without what would climb.
fn is_below(name: &str) -> bool {
    let is_part = |part: &str| !["", ".", ".."].contains(&part);
    name.split('/').all(is_part) && !name.contains('\\') && !name.chars().any(char::is_control)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
