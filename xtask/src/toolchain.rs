//! Which toolchain builds the eBPF object: Debian's Rust, which carries a `core` for BPF, or a rustup nightly that
//! builds it from `rust-src`. Both link with bpf-linker.
//!
//! `netboot-userspace/build.rs` includes this file, so that `setup` and the builds can't disagree. Hence: std only.

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

impl Toolchain {
    /// Its cargo, in an environment without an outer build's choices.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = self.program("cargo");
        cargo.args(self.build_std());
        cargo
    }

    /// What cargo must be told to have a `core` for the target.
    pub(crate) fn build_std(&self) -> &'static [&'static str] {
        match self.rust {
            Rust::Debian => &[],
            Rust::Nightly => &["-Zbuild-std=core"],
        }
    }

    /// Any program of it, in that environment.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = match self.rust {
            Rust::Debian => Command::new(Path::new("/usr/bin").join(name)),
            Rust::Nightly => Command::new("rustup"),
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_outer(&name.to_string_lossy())) {
            command.env_remove(&name);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.linker.clone()).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
        match self.rust {
            Rust::Debian => command
                .env("CARGO", "/usr/bin/cargo")
                .env("RUSTC", "/usr/bin/rustc")
                // Debian's is a stable compiler; aya-ebpf needs two unstable features (inline asm for BPF is one).
                .env("RUSTC_BOOTSTRAP", "1"),
            Rust::Nightly => command.args(["run", "nightly", name]),
        };
        command
    }
}

/// Whether a variable of the environment is an outer build's choice.
fn is_outer(name: &str) -> bool {
    let kept = ["CARGO_HOME", "RUSTUP_HOME"].contains(&name)
        || ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"].iter().any(|prefix| name.starts_with(prefix));
    let outer = name.starts_with("CARGO") || name.starts_with("RUST") || name == "LD_LIBRARY_PATH";
    outer && !kept
}

/// BTF needs debug information; `bpf_target_arch` chooses the kernel's register layout.
///
/// Packets and map values are bytes without alignment: the kernels of x86-64 and AArch64 take words at any address there (not on
/// the stack), LLVM 22 makes them, and copies and comparisons of a known length too, instead of calls that go byte by byte.
pub(crate) fn flags(arch: &str) -> String {
    let words = "-Ctarget-feature=+allows-misaligned-mem-access -Clink-arg=--disable-expand-memcpy-in-order";
    format!("--cfg=bpf_target_arch=\"{arch}\" -Cdebuginfo=2 -Clink-arg=--btf {words}")
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
