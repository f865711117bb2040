//! `cargo xtask build`: release builds of the two binaries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{paths, shell};

/// The only target whose static glibc every Debian has.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// What guests and servers run.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) netboot: PathBuf,
    pub(crate) agent: PathBuf,
}

/// Both, as they are shipped.
pub(crate) fn all() -> Result<Binaries> {
    Ok(Binaries { netboot: netboot()?, agent: agent()? })
}

/// The server as the tests of `cargo test` have built it already, checks of the debug profile and all; the agent as it is shipped.
pub(crate) fn as_tested() -> Result<Binaries> {
    // Their own command: what tests depend on has other features than the server alone, and all of it would be built once more.
    shell::run(cargo().args(["test", "--workspace", "--no-run", "--quiet"]))?;
    Ok(Binaries { netboot: paths::target().join("debug/netboot"), agent: agent()? })
}

/// The tests of `netboot-userspace/tests/http`, as `cargo test` builds and runs them.
pub(crate) fn http_tests() -> Result<PathBuf> {
    let mut build = cargo();
    build.args([
        "test",
        "--workspace",
        "--test",
        "http",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]);
    println!("$ {}", shell::line(&build));
    let built = shell::output(&mut build)?;
    let executable = |line: &str| -> Option<PathBuf> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message["executable"].as_str()?.into()).filter(|_| message["target"]["name"] == "http")
    };
    built.lines().find_map(executable).context("cargo does not say where the tests are")
}

/// The two from a folder, as an installed package or another checkout has them.
pub(crate) fn from_folder(folder: &Path) -> Result<Binaries> {
    let binaries = Binaries { netboot: folder.join("netboot"), agent: folder.join("netboot-agent") };
    for path in [&binaries.netboot, &binaries.agent] {
        if !path.is_file() {
            bail!("{} is not there", path.display());
        }
    }
    Ok(binaries)
}

/// The site server and its command line.
pub(crate) fn netboot() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "netboot-userspace", "--bin", "netboot"]);
    shell::run(&mut build)?;
    Ok(paths::target().join("release/netboot"))
}

/// The static agent, in a target folder of its own: its flags would otherwise rebuild everything both ways.
pub(crate) fn agent() -> Result<PathBuf> {
    let target = paths::target().join("agent");
    let mut build = cargo();
    build
        .args(["build", "--release", "--package", "netboot-userspace", "--bin", "netboot-agent"])
        .args(["--no-default-features", "--features", "agent", "--target", AGENT_TARGET, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    shell::run(&mut build)?;
    let agent = target.join(AGENT_TARGET).join("release/netboot-agent");
    let bytes = std::fs::read(&agent)?;
    if let Some(interpreter) = interpreter(&bytes) {
        bail!("{} is not static: it wants {interpreter}", agent.display());
    }
    Ok(agent)
}

/// Cargo as our caller chose it, at the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::root());
    cargo
}

/// The `PT_INTERP` of a 64-bit little-endian ELF: a static binary has none.
fn interpreter(elf: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte)))
    };
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, entry, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    let header = (0..count).map(|i| table + i * entry).find(|&at| number(at, 4) == Some(PT_INTERP))?;
    let (offset, size) = (number(header + 8, 8)? as usize, number(header + 32, 8)? as usize);
    let name = elf.get(offset..offset.checked_add(size)?)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_binary_names_its_interpreter() {
        let ourselves = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(interpreter(&ourselves).is_some_and(|name| name.contains("ld-linux")));
        assert_eq!(interpreter(&std::fs::read("/bin/busybox").unwrap_or_default()), None);
        assert_eq!(interpreter(b"#!/bin/sh\n"), None);
    }
}
