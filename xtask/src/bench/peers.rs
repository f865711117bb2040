//! Servers whose packages are unpacked into the cache, not installed: they would start to serve this machine, and some conflict.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::{deb, paths, shell};

/// Where each is, and which version.
#[derive(Debug)]
pub(crate) struct Peers(Vec<Peer>);

#[derive(Debug)]
struct Peer {
    package: &'static str,
    version: String,
    root: PathBuf,
}

impl Peers {
    /// Those of the cache; what is missing there is fetched.
    pub(crate) fn fetch(packages: &[&'static str]) -> Result<Self> {
        let folder = paths::cache()?.join("peers");
        packages.iter().map(|package| Peer::fetch(package, &folder)).collect::<Result<_>>().map(Self)
    }

    /// A program of a package.
    pub(crate) fn program(&self, package: &str, path: &str) -> Result<PathBuf> {
        let peer = self.0.iter().find(|peer| peer.package == package);
        peer.map(|peer| peer.root.join(path)).ok_or_else(|| anyhow!("{package} was not fetched"))
    }

    pub(crate) fn versions(&self) -> Vec<(String, String)> {
        self.0.iter().map(|peer| (peer.package.to_owned(), peer.version.clone())).collect()
    }
}

impl Peer {
    fn fetch(package: &'static str, folder: &Path) -> Result<Self> {
        let by_hand = || {
            format!(
                "{package} of Debian, which is unpacked into {}. Is there a network? Then, as root: apt-get update",
                folder.display()
            )
        };
        if let Some(peer) = Self::cached(package, folder) {
            return Ok(peer);
        }
        let version = candidate(&shell::sh("apt-cache", &["policy", package])?)
            .ok_or_else(|| anyhow!("apt does not know {package}"))
            .with_context(by_hand)?;
        deb::fetch(package, folder, &format!("{package}_{version}"), |_| Ok(())).with_context(by_hand)?;
        Self::cached(package, folder).with_context(by_hand)
    }

    fn cached(package: &'static str, folder: &Path) -> Option<Self> {
        let names =
            fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let version = |name: String| Some(name.strip_prefix(package)?.strip_prefix('_')?.to_owned());
        let version = names.filter_map(version).max()?;
        Some(Self { package, root: folder.join(format!("{package}_{version}")), version })
    }
}

/// The version that apt would install.
fn candidate(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cached_is_known_by_its_folder() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let version = || Peer::cached("atftpd", folder.path()).map(|peer| peer.version);
        assert_eq!(version(), None);
        for name in ["atftpd_0.8.0-3", "atftpd-doc_9", ".partial-7"] {
            fs::create_dir(folder.path().join(name))?;
        }
        assert_eq!(version().as_deref(), Some("0.8.0-3"));
        Ok(())
    }

    #[test]
    fn apt_says_what_it_would_install() {
        assert_eq!(
            candidate("atftpd:\n  Installed: (none)\n  Candidate: 0.8.0-3\n").as_deref(),
            Some("0.8.0-3")
        );
        assert_eq!(candidate("atftpd:\n  Candidate: (none)\n"), None);
    }
}
