//! What measures and what is measured, built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::bench::lab::{End, Lab};
use crate::{build, paths, shell, toolchain};

/// Where the bench's own eBPF programs are.
const PROGRAMS: &str = "tests/bench/programs";

#[derive(Debug)]
pub(super) struct Tools {
    pub(super) netboot: PathBuf,
    /// The bench target `dhcp`.
    pub(super) dhcp: PathBuf,
    /// The object with the bench's programs.
    pub(super) programs: PathBuf,
}

impl Tools {
    pub(super) fn build() -> Result<Self> {
        Ok(Self { netboot: build::netboot()?, dhcp: bench_target()?, programs: programs()? })
    }

    /// Runs the bench target on one end of a wire, and reads what it measured.
    pub(super) fn run(&self, lab: &Lab, end: End, words: &[&str]) -> Result<Value> {
        self.read(lab.command(end, &self.dhcp).args(words))
    }

    /// The same, without a network.
    pub(super) fn run_here(&self, words: &[&str]) -> Result<Value> {
        self.read(Command::new(&self.dhcp).args(words))
    }

    fn read(&self, command: &mut Command) -> Result<Value> {
        // A failure is told in its own words, not by where it came from.
        let text = shell::output(command.env("RUST_BACKTRACE", "0"))?;
        serde_json::from_str(&text).with_context(|| format!("{} said {text:?}", self.dhcp.display()))
    }

    pub(super) fn programs(&self) -> String {
        self.programs.display().to_string()
    }
}

/// Built by `cargo bench`, which says where it put it.
fn bench_target() -> Result<PathBuf> {
    let mut bench = build::cargo();
    bench.args(["bench", "--package", "netboot-userspace", "--bench", "dhcp", "--no-run"]);
    shell::run(&mut bench)?;
    // Again, for machines to read: nothing is left to build.
    bench.args(["--quiet", "--message-format", "json"]);
    let messages = shell::output(&mut bench)?;
    executable(&messages).ok_or_else(|| anyhow!("cargo did not say where the bench target dhcp is"))
}

fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let ours = message["target"]["name"] == "dhcp" && message["target"]["kind"][0] == "bench";
        Some(PathBuf::from(message["executable"].as_str().filter(|_| ours)?))
    })
}

/// Built as the programs that are shipped.
fn programs() -> Result<PathBuf> {
    let Some(toolchain) = toolchain::find() else {
        bail!("the eBPF toolchain is missing: cargo xtask setup")
    };
    let target = paths::target().join("bench-programs");
    let mut build = toolchain.cargo();
    build
        .args(["build", "--quiet", "--release", "--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", toolchain::flags(std::env::consts::ARCH))
        .current_dir(paths::root().join(PROGRAMS));
    shell::run(&mut build)?;
    Ok(target.join(Path::new("bpfel-unknown-none/release/bench-programs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_target_is() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"netboot","kind":["bin"]},"executable":"/t/netboot"}
{"reason":"compiler-artifact","target":{"name":"dhcp","kind":["bench"]},"executable":"/t/dhcp-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some("/t/dhcp-1".into()));
        assert_eq!(executable("{}\nnoise"), None);
    }
}
