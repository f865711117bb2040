//! What measures and what is measured, built.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::bench::program::Program;
use crate::{build, paths, shell, toolchain};

/// Where the bench's own eBPF programs are.
const PROGRAMS: &str = "tests/bench/programs";

#[derive(Debug)]
pub(super) struct Tools {
    pub(super) netboot: PathBuf,
    pub(super) dhcp: Program,
    /// The object with the bench's programs.
    pub(super) programs: PathBuf,
}

impl Tools {
    pub(super) fn build() -> Result<Self> {
        Ok(Self { netboot: build::netboot()?, dhcp: Program::build("dhcp")?, programs: programs()? })
    }

    pub(super) fn programs(&self) -> String {
        self.programs.display().to_string()
    }
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
