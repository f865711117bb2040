//! `cargo xtask setup`: what building and testing need, installed when it is missing. When all is there it runs one
//! `dpkg-query` and returns.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::packages::{COMMON, EBPF_RUST, LLVM};
use crate::toolchain::{self, LINKER_VERSION, Rust};
use crate::{guest_kernel, shell};

/// The command line of `setup`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only tell what is missing; exit 1 if anything is.
    #[arg(long)]
    check: bool,
}

/// What is not there yet, in the order in which it is installed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    packages: Vec<&'static str>,
    linker: bool,
    kernel: bool,
}

impl Missing {
    fn find() -> Result<Self> {
        let nightly = toolchain::rust() == Some(Rust::Nightly);
        let linker = toolchain::linker().is_none();
        let mut wanted = Vec::new();
        if !nightly {
            wanted.extend(EBPF_RUST);
        }
        wanted.extend(LLVM);
        wanted.extend(COMMON);
        Ok(Self { packages: not_installed(&wanted)?, linker, kernel: guest_kernel::cached()?.is_none() })
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn print(&self) {
        if !self.packages.is_empty() {
            println!("missing: Debian packages {}", self.packages.join(" "));
        }
        if self.linker {
            println!("missing: bpf-linker {LINKER_VERSION} in {}", toolchain::linker_root().display());
        }
        if self.kernel {
            println!("missing: the guest kernel ({})", crate::packages::KERNEL_METAPACKAGE);
        }
    }
}

/// Installs, or with `--check` tells.
pub(crate) fn main(options: &Options) -> Result<()> {
    let missing = Missing::find()?;
    if missing.is_empty() {
        if options.check {
            println!("all there; {}", toolchain_found()?);
        }
        return Ok(());
    }
    missing.print();
    if options.check {
        bail!("not everything is there: run \"cargo xtask setup\"");
    }
    if !missing.packages.is_empty() {
        install_packages(&missing.packages)?;
    }
    if missing.linker {
        install_linker()?;
    }
    if missing.kernel {
        guest_kernel::fetch()?;
    }
    println!("{}", toolchain_found()?);
    Ok(())
}

/// Installs those of `wanted` that are missing, each command printed.
pub(crate) fn packages(wanted: &[&'static str]) -> Result<()> {
    match not_installed(wanted)?.as_slice() {
        [] => Ok(()),
        missing => install_packages(missing),
    }
}

/// What builds the eBPF object, for the reader.
fn toolchain_found() -> Result<String> {
    let found = toolchain::find().ok_or_else(|| {
        anyhow!(
            "the eBPF toolchain is not complete: neither Debian's ({}) nor a rustup nightly with rust-src is there",
            EBPF_RUST.join(" ")
        )
    })?;
    let rust = match found.rust {
        Rust::Debian => "Debian's Rust",
        Rust::Nightly => "the rustup nightly",
    };
    Ok(format!("the eBPF object is built by {rust} and the bpf-linker in {}", found.linker.display()))
}

/// Those of `wanted` that dpkg does not have.
fn not_installed(wanted: &[&'static str]) -> Result<Vec<&'static str>> {
    if !Path::new("/usr/bin/dpkg-query").exists() {
        bail!(
            "this is not Debian (no dpkg-query). Install by hand: the programs of these Debian packages: {}; \
             a rustup nightly with rust-src (rustup toolchain install nightly --component rust-src); and \
             bpf-linker {LINKER_VERSION} (cargo install bpf-linker --version {LINKER_VERSION}) on PATH. \
             Then `cargo build` works; `cargo xtask vm-test` needs Debian's guest kernel package",
            COMMON.join(" ")
        );
    }
    // Exit code 1 only says that some package is unknown to dpkg: those are the missing ones.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output()
        .context("dpkg-query")?;
    Ok(missing_of(wanted, &String::from_utf8_lossy(&output.stdout)))
}

fn missing_of(wanted: &[&'static str], listing: &str) -> Vec<&'static str> {
    let installed: HashSet<_> = listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    wanted.iter().copied().filter(|package| !installed.contains(package)).collect()
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !shell::is_root()? {
        bail!("installing packages needs root. Run as root: apt-get update && {install}");
    }
    let by_hand = || {
        format!(
            "apt-get could not install what is missing. Is there a network, and does /etc/apt/sources.list name a Debian 12 mirror with updates and security? Then: apt-get update && {install}"
        )
    };
    shell::run(apt().arg("update")).with_context(by_hand)?;
    shell::run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages)).with_context(by_hand)
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// bpf-linker must speak the LLVM of the compiler whose bitcode it links: 22, for Debian's Rust.
fn install_linker() -> Result<()> {
    if toolchain::rust() == Some(Rust::Nightly) {
        let about = shell::sh("rustup", &["run", "nightly", "rustc", "-vV"])?;
        let version = about.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or("unknown");
        if !version.starts_with("22.") {
            bail!(
                "the rustup nightly writes LLVM {version} bitcode, Debian has LLVM 22. Either install Debian's Rust \
                 (apt-get install {}), or bpf-linker {LINKER_VERSION} for that LLVM on PATH",
                EBPF_RUST.join(" ")
            );
        }
    }
    let mut install = Command::new("cargo");
    install
        .args(["install", "bpf-linker", "--locked", "--version", LINKER_VERSION])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(toolchain::linker_root())
        .env("LLVM_PREFIX", "/usr/lib/llvm-22")
        // A workspace's own flags and target folder are not bpf-linker's.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .current_dir("/");
    shell::run(&mut install)
        .context("bpf-linker could not be built: is crates.io reachable? Run the command above by hand")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count_as_there() {
        let listing = "gcc installed\ng++ config-files\nzstd not-installed\n";
        assert_eq!(missing_of(&["gcc", "g++", "zstd", "curl"], listing), ["g++", "zstd", "curl"]);
    }

    #[test]
    fn nothing_is_wanted_twice() {
        let all: Vec<_> = EBPF_RUST.iter().chain(LLVM).chain(COMMON).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }
}
