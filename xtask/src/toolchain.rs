//! Which toolchain builds the eBPF object: Debian's Rust, which carries a `core` for BPF, or a rustup nightly that
//! builds it from `rust-src`. Both link with bpf-linker.
//!
//! `netboot-userspace/build.rs` includes this file, so that `setup` and the build can't disagree. Hence: std only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The bpf-linker that `cargo xtask setup` installs.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

/// A way to build for `bpfel-unknown-none`.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    pub(crate) rust: Rust,
    /// The folder that holds bpf-linker.
    pub(crate) linker: PathBuf,
}

/// The compiler of a [`Toolchain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rust {
    /// Packages rustc-web, cargo-web, libstd-rust-web-dev-bpf.
    Debian,
    /// `rustup toolchain install nightly --component rust-src`.
    Nightly,
}

/// What is on this machine, or `None`: `cargo xtask setup` has work to do.
pub(crate) fn find() -> Option<Toolchain> {
    Some(Toolchain { rust: rust()?, linker: linker()? })
}

/// The compiler alone.
pub(crate) fn rust() -> Option<Rust> {
    let debian = ["/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib/bpfel-unknown-none/lib"];
    if debian.iter().all(|path| Path::new(path).exists()) {
        return Some(Rust::Debian);
    }
    let sysroot =
        Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]).output().ok()?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).ok()?.trim());
    let source = sysroot.join("lib/rustlib/src/rust/library/core");
    (!sysroot.as_os_str().is_empty() && source.exists()).then_some(Rust::Nightly)
}

/// The folder with bpf-linker: our cache first, then `PATH`.
pub(crate) fn linker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(linker_root().join("bin"))
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("bpf-linker").is_file())
}

/// Where `setup` puts bpf-linker.
pub(crate) fn linker_root() -> PathBuf {
    cache().join(format!("bpf-linker-{LINKER_VERSION}"))
}

/// `$NETBOOT_CACHE`, else `$XDG_CACHE_HOME/netboot`, else `~/.cache/netboot`.
pub(crate) fn cache() -> PathBuf {
    let variable =
        |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    variable("NETBOOT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("netboot")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/netboot")))
        .unwrap_or_else(|| std::env::temp_dir().join("netboot-cache"))
}
