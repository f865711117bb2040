//! What is fetched: files of random bytes, the same for each server.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use crate::vm::lab::PREFIX;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Size {
    /// 90 KiB, as a small loader.
    #[value(name = "90KiB")]
    Small,
    /// 1 MiB, as iPXE for UEFI.
    #[value(name = "1MiB")]
    Large,
}

impl Size {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Small => "90 KiB",
            Self::Large => "1 MiB",
        }
    }

    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::Small => 90 << 10,
            Self::Large => 1 << 20,
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Small => "small.efi",
            Self::Large => "large.efi",
        }
    }
}

/// The folder with both. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new() -> Result<Self> {
        // Cleared by the next run if this one is killed.
        let files = Self(std::env::temp_dir().join(format!("{PREFIX}{}-files", std::process::id())));
        fs::create_dir_all(&files.0)?;
        for size in Size::value_variants() {
            let mut bytes = Vec::new();
            fs::File::open("/dev/urandom")?.take(size.bytes()).read_to_end(&mut bytes)?;
            fs::write(files.path(*size), bytes)?;
        }
        Ok(files)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    pub(super) fn path(&self, size: Size) -> PathBuf {
        self.0.join(size.file())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}
