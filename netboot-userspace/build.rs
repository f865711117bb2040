//! Builds the eBPF object that the server embeds: `NETBOOT_EBPF_OBJECT` is its path, for `include_bytes_aligned!`.
//!
//! The object has a toolchain, a target folder and a lock file of its own, so nothing of the outer build may leak
//! into the inner one.

#[path = "../xtask/src/toolchain.rs"]
#[allow(dead_code)] // xtask uses the rest
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use toolchain::{Rust, Toolchain};

fn main() -> ExitCode {
    let variable = |name| std::env::var(name).unwrap_or_default();
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../xtask/src/toolchain.rs");
    // The agent is built without the toolchain.
    if std::env::var_os("CARGO_FEATURE_SERVER").is_none() {
        return ExitCode::SUCCESS;
    }
    let source = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../netboot-ebpf");
    let Some(toolchain) = toolchain::find() else {
        println!("cargo::error=netboot: the eBPF toolchain is missing: run \"cargo xtask setup\"");
        return ExitCode::SUCCESS; // cargo fails on the line above, and shows nothing but it
    };
    rerun_if_changed(&source, &toolchain);
    let big_endian = variable("CARGO_CFG_TARGET_ENDIAN") == "big";
    let target = if big_endian { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let folder = PathBuf::from(variable("OUT_DIR")).join("ebpf");
    let mut build = command(&toolchain);
    build
        .current_dir(&source)
        .args(["build", "--release", "--target", target, "--target-dir"])
        .arg(&folder)
        .args(if variable("NETBOOT_EBPF_LOG").is_empty() { &[][..] } else { &["--features", "log"] })
        .env("RUSTFLAGS", flags(&variable("CARGO_CFG_TARGET_ARCH")));
    let output = match build.output() {
        Ok(output) => output,
        Err(error) => {
            println!("cargo::error=netboot: cannot run {:?}: {error}", build.get_program());
            return ExitCode::SUCCESS;
        }
    };
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        println!("cargo::error=netboot: the eBPF program does not build ({}), see below", output.status);
        return ExitCode::FAILURE;
    }
    let object = folder.join(target).join("release/netboot-ebpf");
    println!("cargo::rustc-env=NETBOOT_EBPF_OBJECT={}", object.display());
    ExitCode::SUCCESS
}

/// The programs' own sources, what they share with us, and the toolchain that was chosen.
fn rerun_if_changed(source: &Path, toolchain: &Toolchain) {
    for path in ["src", "Cargo.toml", "Cargo.lock", "../netboot-common/src", "../netboot-common/Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", source.join(path).display());
    }
    println!("cargo::rerun-if-changed={}", toolchain.linker.join("bpf-linker").display());
    if toolchain.rust == Rust::Debian {
        println!("cargo::rerun-if-changed=/usr/bin/rustc");
    }
    for name in ["NETBOOT_CACHE", "NETBOOT_EBPF_LOG", "XDG_CACHE_HOME"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
}

/// Cargo of that toolchain, in an environment without the outer build's choices.
fn command(toolchain: &Toolchain) -> Command {
    let mut command = match toolchain.rust {
        Rust::Debian => {
            let mut command = Command::new("/usr/bin/cargo");
            // Debian's is a stable compiler; aya-ebpf needs two unstable features (inline asm for BPF is one).
            command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
            command
        }
        Rust::Nightly => Command::new("rustup"),
    };
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let kept = ["CARGO_HOME", "RUSTUP_HOME", "RUSTC", "RUSTC_BOOTSTRAP"].contains(&&*text)
            || ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"].iter().any(|prefix| text.starts_with(prefix));
        let outer = text.starts_with("CARGO") || text.starts_with("RUST") || text == "LD_LIBRARY_PATH";
        if outer && !kept {
            command.env_remove(&name);
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(toolchain.linker.clone()).chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
    if toolchain.rust == Rust::Nightly {
        command.env_remove("RUSTC").env_remove("RUSTC_BOOTSTRAP");
        command.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
    }
    command
}

/// BTF needs debug information; `bpf_target_arch` chooses the kernel's register layout.
fn flags(arch: &str) -> String {
    format!("--cfg=bpf_target_arch=\"{arch}\" -Cdebuginfo=2 -Clink-arg=--btf")
}
