//! Debian packages that are unpacked into the cache, never installed: nothing of them starts, and no two of them conflict.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow};

use crate::shell;

/// Downloads the package and unpacks it to `folder/NAME`, after `finish` has had its way. It appears there whole or not at all.
pub(crate) fn fetch(
    package: &str,
    folder: &Path,
    name: &str,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let partial = folder.join(format!(".partial-{}", std::process::id()));
    let (unpacked, whole) = (partial.join("root"), folder.join(name));
    fs::create_dir_all(&unpacked)?;
    let outcome = download_and_unpack(package, &partial, &unpacked)
        .and_then(|()| finish(&unpacked))
        .and_then(|()| Ok(fs::rename(&unpacked, &whole)?));
    // Also what a failed download left.
    fs::remove_dir_all(&partial)?;
    outcome.map(|()| whole)
}

fn download_and_unpack(package: &str, partial: &Path, unpacked: &Path) -> Result<()> {
    // apt's sandbox user can't write here, and says so at length.
    let mut download = Command::new("apt-get");
    download.args(["-q", "-o", "APT::Sandbox::User=root", "download", package]).current_dir(partial);
    shell::run(&mut download)?;
    let archive = fs::read_dir(partial)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| anyhow!("apt-get download left no package"))?;
    shell::run(Command::new("dpkg-deb").arg("-x").arg(archive).arg(unpacked))
}
