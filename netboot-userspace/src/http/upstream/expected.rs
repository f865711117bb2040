//! What is known of a file before it is fetched: the configuration's digest, or that of a list.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use super::body::{blocking, disk};
use super::failure::Failure;
use super::fetch::Wanted;
use super::{Mirror, digests};
use crate::config::Upstream;

/// Bytes of a list of digests.
const LIST: u64 = 4 << 20;

/// What a file has to be.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) sha256: String,
    /// Who says so; a list that was fetched, by its path.
    pub(super) by: String,
}

impl Mirror {
    /// What is known of a file before it is fetched. A list that can't be had is no reason to take anything; one for each file need not
    /// be there.
    pub(super) async fn expected(
        self: &Arc<Self>,
        Wanted { name, index, via, .. }: Wanted<'_>,
    ) -> Result<Option<Expected>, Failure> {
        let upstream = &self.sources[index].upstream;
        let rest = name.strip_prefix(&upstream.prefix).unwrap_or_default();
        if let Some(sha256) = self.pinned(name) {
            return Ok(Some(Expected { sha256: sha256.clone(), by: "the configuration".to_owned() }));
        }
        if is_list(upstream, name) {
            return Ok(None);
        }
        for list in &upstream.digest_files {
            let Some((list, named, only)) = list_of(list, rest) else { continue };
            let by = format!("{}{list}", upstream.prefix);
            let text = match self.list(&by, via).await {
                Ok(text) => text,
                // Some have no such file beside them; one that is named is there.
                Err(failure) if failure.is_missing() && only => continue,
                Err(failure) => return Err(failure.of(&format!("{name}: its digest can't be had"))),
            };
            if let Some(sha256) = digests::find(&text, named, only) {
                return Ok(Some(Expected { sha256, by }));
            }
        }
        match upstream.digest_required {
            true => Err(Failure::missing(format!("{name}: no digest of it is known (digest_required)"))),
            false => Ok(None),
        }
    }

    /// The text of a list of digests.
    async fn list(self: &Arc<Self>, name: &str, via: &str) -> Result<String, Failure> {
        self.whole(name, via).await?;
        let body = self.shelf.body(name);
        let read = move || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(body)?.take(LIST + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = blocking(move || read().map_err(disk)).await?;
        if bytes.len() as u64 > LIST {
            return Err(Failure::wrong(format!(
                "{name}: has more than {LIST} bytes: it is no list of digests"
            )));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Whether this is one of an upstream's lists.
pub(super) fn is_list(upstream: &Upstream, name: &str) -> bool {
    let rest = name.strip_prefix(&upstream.prefix).unwrap_or_default();
    upstream.digest_files.iter().any(|list| is_of(list, rest))
}

/// Whether this file is such a list.
fn is_of(list: &str, file: &str) -> bool {
    match list.split_once('*') {
        Some((before, after)) => {
            file.len() > before.len() + after.len() && file.starts_with(before) && file.ends_with(after)
        }
        None => file == list,
    }
}

/// The list that a file may be in, what the file is called there, and whether it is about that file alone.
fn list_of<'a>(list: &str, file: &'a str) -> Option<(String, &'a str, bool)> {
    if list.contains('*') {
        let name = file.rsplit('/').next().unwrap_or(file);
        return Some((list.replace('*', file), name, true));
    }
    let folder = list.rsplit_once('/').map_or("", |(folder, _)| folder);
    let named = if folder.is_empty() { file } else { file.strip_prefix(folder)?.strip_prefix('/')? };
    Some((list.to_owned(), named, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_list_is_beside_it_or_in_a_folder_above() {
        assert_eq!(list_of("*.sha256", "a/b.img"), Some(("a/b.img.sha256".to_owned(), "b.img", true)));
        assert_eq!(list_of("a/SHA256SUMS", "a/c/d"), Some(("a/SHA256SUMS".to_owned(), "c/d", false)));
        assert_eq!(list_of("SHA256SUMS", "a/c"), Some(("SHA256SUMS".to_owned(), "a/c", false)));
        assert_eq!(list_of("a/SHA256SUMS", "ab/c"), None);
        for (list, file, is) in [
            ("*.sha256", "a/b.sha256", true),
            ("*.sha256", ".sha256", false),
            ("*.sha256", "a/b", false),
            ("a/SUMS", "a/SUMS", true),
            ("a/SUMS", "SUMS", false),
        ] {
            assert_eq!(is_of(list, file), is, "{list} {file}");
        }
    }
}
