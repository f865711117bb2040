//! The guests' kernel: Debian's cloud kernel, unpacked into the cache, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::packages::KERNEL_METAPACKAGE;
use crate::{deb, paths, shell};

/// An unpacked kernel package.
#[derive(Clone, Debug)]
pub(crate) struct GuestKernel {
    /// As in `6.1.0-56-cloud-amd64`.
    pub(crate) release: String,
    root: PathBuf,
}

impl GuestKernel {
    /// The bootable image.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// The folder of `modules.dep`.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join(format!("lib/modules/{}", self.release))
    }
}

/// The kernel that `setup` fetched: whichever is there, so that a point release changes nothing until it is fetched.
pub(crate) fn cached() -> Result<Option<GuestKernel>> {
    let folder = folder()?;
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(None) };
    let mut releases: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    releases.retain(|release| release.ends_with("-cloud-amd64"));
    releases.sort();
    Ok(releases.pop().map(|release| GuestKernel { root: folder.join(&release), release }))
}

/// [`cached`], or what to do.
pub(crate) fn get() -> Result<GuestKernel> {
    cached()?.ok_or_else(|| anyhow!("the guest kernel is missing: run \"cargo xtask setup\""))
}

/// What to do when it can't be fetched.
pub(crate) fn by_hand() -> String {
    let folder = folder().unwrap_or_default();
    format!(
        "the guests' kernel, of Debian's package {KERNEL_METAPACKAGE}. Is there a network, and does /etc/apt/sources.list name a \
         Debian 12 mirror with updates and security? Then, as root: apt-get update; and again: cargo xtask setup. Or by hand: \
         dpkg-deb -x linux-image-RELEASE-cloud-amd64_….deb {0}/RELEASE-cloud-amd64 && depmod -b {0}/RELEASE-cloud-amd64 RELEASE-cloud-amd64",
        folder.display()
    )
}

/// Downloads and unpacks the metapackage's current kernel. It appears in the cache whole or not at all.
pub(crate) fn fetch() -> Result<GuestKernel> {
    let depends = shell::sh("apt-cache", &["depends", KERNEL_METAPACKAGE]).with_context(by_hand)?;
    let package = kernel_package(&depends)
        .ok_or_else(|| anyhow!("apt does not know {KERNEL_METAPACKAGE}"))
        .with_context(by_hand)?;
    let release = package.trim_start_matches("linux-image-").to_owned();
    let depmod = |unpacked: &Path| shell::run(Command::new("depmod").arg("-b").arg(unpacked).arg(&release));
    deb::fetch(package, &folder()?, &release, depmod)
        .with_context(|| format!("fetching {package}"))
        .with_context(by_hand)?;
    get()
}

fn kernel_package(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-") && package.ends_with("-cloud-amd64"))
}

fn folder() -> Result<PathBuf> {
    Ok(paths::cache()?.join("guest-kernel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metapackage_names_the_kernel() {
        let depends =
            "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: foo\n";
        assert_eq!(kernel_package(depends), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(kernel_package("linux-image-cloud-amd64\n"), None);
    }
}
