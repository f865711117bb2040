//! `cargo xtask differential`: the programs in the kernel against the pure builder, by the million.

use anyhow::{Result, bail};

use crate::vm::lab;
use crate::{build, setup, shell};

/// The command line of `differential`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Generated frames for each of the two programs.
    #[arg(long, default_value_t = 5_000_000)]
    frames: u64,
}

/// Runs the tests of `tests/kernel/differential.rs`, one for each program, at the same time.
pub(crate) fn main(options: &Options) -> Result<()> {
    setup::ensure(setup::Need::Build)?;
    if !shell::is_root()? {
        bail!("BPF_PROG_TEST_RUN needs root");
    }
    lab::prepare()?;
    let mut tests = build::cargo();
    tests
        .args(["test", "--package", "netboot-userspace", "--test", "kernel"])
        .args(["equals_the_pure_builder", "--", "--nocapture"])
        .env("NETBOOT_DIFFERENTIAL_FRAMES", options.frames.to_string());
    shell::run(&mut tests)
}
