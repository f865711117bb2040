//! `cargo xtask setup`: what building and testing need, installed when it is missing. When all is there it runs one
//! `dpkg-query` and returns. Where there is no dpkg it looks for the programs themselves, and names those that it misses.

use std::collections::HashSet;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::packages::{
    BUILD, CLIENTS, EBPF_CLIPPY, EBPF_RUST, GUESTS, INITRAMFS, KERNEL_METAPACKAGE, LINKER, sign,
};
use crate::toolchain::{self, LINKER_VERSION, Rust};
use crate::{guest_kernel, shell};

/// The command line of `setup`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only tell what is missing; exit 1 if anything is.
    #[arg(long)]
    check: bool,
}

/// What a command is about to do; a later one needs all that the ones before it need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Both binaries.
    Build,
    /// The agent's initramfs around its kernel.
    Initramfs,
    /// Machines in QEMU.
    Guests,
    /// Every test.
    Everything,
}

impl Need {
    /// The packages for it, given what else is there.
    fn packages(self, rust: Option<Rust>, linker: bool) -> Vec<&'static str> {
        let debian = rust != Some(Rust::Nightly);
        let parts = [
            (true, BUILD),
            (debian, EBPF_RUST),
            (!linker, LINKER),
            (self >= Self::Initramfs, INITRAMFS),
            (self >= Self::Guests, GUESTS),
            (self >= Self::Everything, CLIENTS),
            (self >= Self::Everything && debian, EBPF_CLIPPY),
        ];
        parts.iter().filter(|(needed, _)| *needed).flat_map(|(_, packages)| *packages).copied().collect()
    }
}

/// What is not there yet, in the order in which it is installed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    packages: Vec<&'static str>,
    linker: bool,
    kernel: bool,
}

impl Missing {
    fn find(need: Need) -> Result<Self> {
        let linker = toolchain::linker().is_none();
        let packages = not_installed(&need.packages(toolchain::rust(), !linker))?;
        Ok(Self { packages, linker, kernel: need >= Need::Initramfs && guest_kernel::cached()?.is_none() })
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
            println!("missing: the guest kernel ({KERNEL_METAPACKAGE})");
        }
    }

    fn install(&self) -> Result<()> {
        if !is_debian() {
            bail!(self.by_hand());
        }
        if !self.packages.is_empty() {
            install_packages(&self.packages)?;
        }
        if self.linker {
            install_linker()?;
        }
        if self.kernel {
            // Installing packages has brought the lists up to date.
            if self.packages.is_empty() && shell::is_root()? {
                update().with_context(guest_kernel::by_hand)?;
            }
            guest_kernel::fetch()?;
        }
        println!("{}", toolchain_found()?);
        Ok(())
    }

    /// What to do where nothing can be installed for the user.
    fn by_hand(&self) -> String {
        let mut text = "this is not Debian (no dpkg-query): nothing is installed here. What is missing, to install by hand:".to_owned();
        if self.packages.iter().any(|package| EBPF_RUST.contains(package)) {
            text += "\n  a rustup nightly with rust-src, and with the LLVM of bpf-linker, 22 (rustup run nightly rustc -vV): \
                     rustup toolchain install nightly --component rust-src";
        }
        if self.linker {
            text += &format!(
                "\n  bpf-linker {LINKER_VERSION} on PATH: cargo install bpf-linker --version {LINKER_VERSION}"
            );
        }
        // LLVM is the linker's own affair.
        let named = |package: &&&str| !EBPF_RUST.contains(package) && !LINKER.contains(package);
        for package in self.packages.iter().filter(named) {
            text += &format!("\n  {} (Debian has it in {package})", sign(package));
        }
        if self.kernel {
            text += &format!("\n  {}", guest_kernel::by_hand());
        }
        text
    }
}

/// Installs, or with `--check` tells.
pub(crate) fn main(options: &Options) -> Result<()> {
    let missing = Missing::find(Need::Everything)?;
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
    missing.install()
}

/// Installs what is missing for this, and nothing else.
pub(crate) fn ensure(need: Need) -> Result<()> {
    let missing = Missing::find(need)?;
    if missing.is_empty() {
        return Ok(());
    }
    missing.print();
    missing.install()
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

/// Whether dpkg knows what is installed, and apt-get can install more.
fn is_debian() -> bool {
    is_there("dpkg-query")
}

/// Whether there is such a file, or a program of that name: in `PATH`, or where programs for root are.
fn is_there(sign: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into);
    // An absolute path stays what it is.
    std::env::split_paths(&path).chain(sbin).any(|folder| folder.join(sign).exists())
}

/// Those of `wanted` that are not there.
fn not_installed(wanted: &[&'static str]) -> Result<Vec<&'static str>> {
    if !is_debian() {
        return Ok(wanted.iter().copied().filter(|package| !is_there(sign(package))).collect());
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
    if !is_debian() {
        bail!(
            "this is not Debian (no dpkg-query): install the contents of these packages by hand: {}",
            packages.join(" ")
        );
    }
    if !shell::is_root()? {
        bail!("installing packages needs root. Run as root: apt-get update && {install}");
    }
    let by_hand = || {
        format!(
            "apt-get could not install what is missing. Is there a network, and does /etc/apt/sources.list name a Debian 12 mirror with updates and security? Then: apt-get update && {install}"
        )
    };
    update().with_context(by_hand)?;
    shell::run_whole(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
        .with_context(by_hand)
}

/// The lists of packages, as the mirror has them now.
fn update() -> Result<()> {
    shell::run_whole(apt().arg("update"))
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
    shell::run(&mut install).context(
        "bpf-linker could not be built: is the registry of crates reachable? Run the command above by hand",
    )
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
        let all = Need::Everything.packages(None, false);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn each_command_asks_for_what_it_needs() {
        let build = Need::Build.packages(Some(Rust::Nightly), true);
        assert_eq!(build, BUILD);
        assert!(Need::Build.packages(None, false).contains(&"rustc-web"));
        let guests = Need::Guests.packages(Some(Rust::Debian), true);
        assert!(
            guests.contains(&"qemu-system-x86") && !guests.contains(&"atftp") && !guests.contains(&"g++")
        );
        let everything = Need::Everything.packages(Some(Rust::Debian), false);
        assert!(["atftp", "rust-web-clippy", "g++", "kmod"].iter().all(|name| everything.contains(name)));
    }

    /// Where dpkg says that a package is there, its sign is: so a name that is added here has one, too.
    #[test]
    fn each_package_has_its_sign() {
        if !is_debian() {
            return;
        }
        let all = Need::Everything.packages(None, false);
        let missing = not_installed(&all).unwrap_or_default();
        for package in all.iter().filter(|package| !missing.contains(package)) {
            assert!(is_there(sign(package)), "{package} is installed, and {} is not there", sign(package));
        }
    }
}
