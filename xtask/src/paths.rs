//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// What outlives a checkout: bpf-linker, the guest kernel, the test disks.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = crate::toolchain::cache();
    std::fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// What is built, and goes with `cargo clean`.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
