//! Builds the eBPF object that the server embeds: `NETBOOT_EBPF_OBJECT` is its path, for `include_bytes_aligned!`.
//!
//! The object has a toolchain, a target folder and a lock file of its own, so nothing of the outer build may leak
//! into the inner one.

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    // Beside the folders of this script's variants: whichever features are chosen, the object is the same.
    let out = PathBuf::from(variable("OUT_DIR"));
    let folder = out.ancestors().nth(2).unwrap_or(&out).join("netboot-ebpf");
    let mut build = toolchain.cargo();
    build
        .current_dir(&source)
        .args(["build", "--release", "--target", target, "--target-dir"])
        .arg(&folder)
        .args(if variable("NETBOOT_EBPF_LOG").is_empty() { &[][..] } else { &["--features", "log"] })
        .env("RUSTFLAGS", toolchain::flags(&variable("CARGO_CFG_TARGET_ARCH")));
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
