//! Where a file is: as an API writes it, resolved and checked.

use std::path::{Component, Path, PathBuf};

/// A file of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One that the operator gave, by its name in URLs: `kernel`, `initrd-0`, `other-0`.
    Named(String),
    /// A path below the folder that `file:` URLs may name.
    Local(PathBuf),
    /// `http://…` or `https://…`
    Remote(String),
}

/// What URLs of an API's answer are resolved against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// `http://api.example:8080`: relative URLs begin there.
    root: String,
    /// The folder that `file:` URLs may name, by each name that it has: as it was typed, and where links lead. None: they may not.
    files: Vec<PathBuf>,
}

impl Base {
    /// Of an API at `url`.
    ///
    /// # Errors
    /// It is none of http or https.
    pub fn new(url: &str, files: Vec<PathBuf>) -> Result<Self, String> {
        Ok(Self { root: root(url)?.to_owned(), files })
    }

    /// What a URL means: an absolute one itself, a relative one what the API's host has there, `file:` a file below the folder for those.
    ///
    /// # Errors
    /// Nothing that may be fetched, and why.
    pub fn resolve(&self, url: &str) -> Result<Place, String> {
        if url.is_empty() {
            return Err("it is empty: it takes a URL".to_owned());
        }
        if let Some(c) = url.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("{url:?} has {c:?} in it: write it percent-encoded"));
        }
        match scheme(url).map(str::to_ascii_lowercase).as_deref() {
            Some("http" | "https") => root(url).map(|_| Place::Remote(url.to_owned())),
            Some("file") => self.local(url),
            Some(other) => Err(format!("{url:?}: {other} is not fetched here: write http, https or file")),
            None if url.starts_with("//") => {
                let scheme = self.root.split(':').next().unwrap_or("http");
                let whole = format!("{scheme}:{url}");
                root(&whole)?;
                Ok(Place::Remote(whole))
            }
            None => Ok(Place::Remote(format!("{}/{}", self.root, url.trim_start_matches('/')))),
        }
    }

    fn local(&self, url: &str) -> Result<Place, String> {
        let folder = self.files.first().ok_or_else(|| {
            format!(
                "{url:?}: files of this host are not served unless their folder is named (--files FOLDER)"
            )
        })?;
        let behind = url.split_once(':').map_or("", |(_, behind)| behind);
        let path = match behind.strip_prefix("//") {
            Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
            None => behind,
        };
        let path = unescape(path).ok_or_else(|| format!("{url:?} is not well formed"))?;
        let outside =
            || format!("{url:?} is not in {}, the folder of files that may be served", folder.display());
        let path = Path::new(&path);
        let climbs = path.components().any(|part| matches!(part, Component::ParentDir));
        let below = self.files.iter().find_map(|folder| path.strip_prefix(folder).ok());
        let below = below.filter(|below| !climbs && !below.as_os_str().is_empty());
        Ok(Place::Local(below.ok_or_else(outside)?.to_owned()))
    }
}

/// `http://HOST[:PORT]` of a URL.
fn root(url: &str) -> Result<&str, String> {
    let wrong = |what: &str| Err(format!("{url:?} {what}: write http://HOST/… or https://HOST/…"));
    let Some(scheme) =
        scheme(url).filter(|scheme| ["http", "https"].iter().any(|s| s.eq_ignore_ascii_case(scheme)))
    else {
        return wrong("is no URL of http or https");
    };
    let Some(rest) = url[scheme.len()..].strip_prefix("://") else { return wrong("names no host") };
    let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if host.is_empty() {
        return wrong("names no host");
    }
    if host.contains('@') {
        return wrong("has a user's name in it, which is not sent");
    }
    Ok(&url[..scheme.len() + 3 + host.len()])
}

/// RFC 3986 section 3.1.
fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once(':')?;
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_scheme)).then_some(scheme)
}

/// RFC 3986 section 2.1. `None`: it is not well formed.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok().filter(|byte| *byte != 0)?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn base() -> Base {
        Base::new("http://bar.com/baz", vec!["/srv/boot".into(), "/data/boot".into()]).unwrap()
    }

    #[test]
    fn px_57_three_forms_of_urls() {
        let remote = |url: &str| Place::Remote(url.to_owned());
        for (url, want) in [
            ("/foo", remote("http://bar.com/foo")),
            ("foo/bar?x=1", remote("http://bar.com/foo/bar?x=1")),
            ("http://other:81/x", remote("http://other:81/x")),
            ("HTTPS://other/x", remote("HTTPS://other/x")),
            ("//other/x", remote("http://other/x")),
            ("file:///srv/boot/a/vmlinuz", Place::Local("a/vmlinuz".into())),
            ("file://localhost/srv/boot/a%20b", Place::Local("a b".into())),
            ("file:/srv/boot/x", Place::Local("x".into())),
            ("file:///data/boot/x", Place::Local("x".into())),
        ] {
            assert_eq!(base().resolve(url), Ok(want), "{url}");
        }
        assert_eq!(Base::new("http://bar.com:8080?x", vec![]).unwrap().root, "http://bar.com:8080");
        assert_eq!(
            Base::new("https://[fd00::1]:1/x", vec![]).unwrap().resolve("/y"),
            Ok(remote("https://[fd00::1]:1/y"))
        );
    }

    #[test]
    fn files_of_this_host_are_those_of_one_folder() {
        for url in [
            "file:///etc/passwd",
            "file:///srv/boot",
            "file:///srv/boot/",
            "file:///srv/boot/../../etc/passwd",
            "file:///srv/boot/%2e%2e/x",
            "file:///srv/bootx/y",
            "file://host/srv/boot/x",
            "file:srv/boot/x",
            "file:///srv/boot/%00",
            "file:///srv/boot/%zz",
        ] {
            let cause = base().resolve(url).unwrap_err();
            assert!(
                cause.contains("/srv/boot, the folder") || cause.contains("well formed"),
                "{url}: {cause}"
            );
        }
        let none = Base::new("http://bar.com", vec![]).unwrap();
        assert!(none.resolve("file:///srv/boot/x").unwrap_err().contains("--files"));
    }

    #[test]
    fn what_is_no_url_is_refused_with_its_cause() {
        for (url, words) in [
            ("", "empty"),
            ("ftp://x/y", "ftp is not fetched"),
            ("http:///x", "no host"),
            ("http:x", "no host"),
            ("http://u:p@h/x", "user"),
            ("/a b", "percent-encoded"),
            ("/a\nb", "percent-encoded"),
            ("//", "no host"),
        ] {
            let cause = base().resolve(url).unwrap_err();
            assert!(cause.contains(words), "{url}: {cause}");
        }
        for url in ["bar.com", "ftp://bar.com", "file:///x"] {
            assert!(Base::new(url, vec![]).unwrap_err().contains("write http://HOST"), "{url}");
        }
    }
}
