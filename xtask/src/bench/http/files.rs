//! What is fetched: files of random bytes, the same for each server.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::interrupt;
use crate::vm::lab::PREFIX;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Size {
    /// 4 KiB, as a script or a configuration.
    #[value(name = "4KiB")]
    Tiny,
    /// 64 KiB, as a small loader.
    #[value(name = "64KiB")]
    Small,
    /// 64 MiB, as a kernel and its initramfs.
    #[value(name = "64MiB")]
    Large,
    /// 1 GiB, as an image.
    #[value(name = "1GiB")]
    Huge,
}

impl Size {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tiny => "4 KiB",
            Self::Small => "64 KiB",
            Self::Large => "64 MiB",
            Self::Huge => "1 GiB",
        }
    }

    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::Tiny => 4 << 10,
            Self::Small => 64 << 10,
            Self::Large => 64 << 20,
            Self::Huge => 1 << 30,
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Tiny => "script.ipxe",
            Self::Small => "loader.efi",
            Self::Large => "initramfs",
            Self::Huge => "disk.img",
        }
    }

    /// On each server.
    pub(super) fn url_path(self) -> String {
        format!("/{FOLDER}/{}", self.file())
    }
}

/// Where they are, under a server's root.
const FOLDER: &str = "assets";

/// The folder with those that are measured. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new(sizes: impl IntoIterator<Item = Size>) -> Result<Self> {
        // Cleared by the next run if this one is killed.
        let files = Self(std::env::temp_dir().join(format!("{PREFIX}{}-files", std::process::id())));
        fs::create_dir_all(files.folder())?;
        for size in sizes {
            let path = files.path(size);
            fill(&path, size.bytes()).with_context(|| path.display().to_string())?;
        }
        Ok(files)
    }

    /// What holds the folder of the files.
    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.0.join(FOLDER)
    }

    pub(super) fn path(&self, size: Size) -> PathBuf {
        self.folder().join(size.file())
    }
}

/// Unless it is there.
fn fill(path: &Path, bytes: u64) -> Result<()> {
    const STEP: u64 = 16 << 20;
    if path.exists() {
        return Ok(());
    }
    let (mut random, mut file) = (fs::File::open("/dev/urandom")?, fs::File::create(path)?);
    for at in (0..bytes).step_by(STEP as usize) {
        interrupt::check()?;
        io::copy(&mut (&mut random).take(STEP.min(bytes - at)), &mut file)?;
    }
    Ok(())
}

impl Drop for Files {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}
