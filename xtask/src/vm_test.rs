//! `cargo xtask vm-test`: the scenarios of `tests/vm/`, several at a time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::build::Binaries;
use crate::setup::{self, Need};
use crate::vm::run::{self, Outcome, Watch};
use crate::vm::scenario::{self, Scenario};
use crate::vm::{Parts, kernel_tls, lab};
use crate::{build, guest_kernel, interrupt, paths};

/// The command line of `vm-test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which ones; all without any.
    scenarios: Vec<String>,
    /// Only list them.
    #[arg(long)]
    list: bool,
    /// Keep each lab's folder (logs, disk), also when all went well.
    #[arg(long)]
    keep: bool,
    /// How many at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
    /// Test the `netboot` and `netboot-agent` of this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    bin_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { scenarios: Vec::new(), list: false, keep: false, jobs: 2, bin_dir: None }
    }
}

/// Passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Lists or plays; an error when one failed.
pub(crate) fn main(options: &Options) -> Result<()> {
    if options.list {
        for (name, scenario) in scenario::load(&paths::root().join("tests/vm"))? {
            println!("{name:16} {}", scenario.about);
        }
        println!("{:16} {}", kernel_tls::NAME, kernel_tls::ABOUT);
        return Ok(());
    }
    let count = play(options, build::all)?;
    println!("{count}");
    if count.failed > 0 {
        bail!("vm-test failed");
    }
    Ok(())
}

/// Sets everything up, plays the chosen scenarios, and tells how each ended.
pub(crate) fn play(options: &Options, build: impl FnOnce() -> Result<Binaries>) -> Result<Count> {
    let all = scenario::load(&paths::root().join("tests/vm"))?;
    let names: Vec<String> =
        options.scenarios.iter().filter(|name| *name != kernel_tls::NAME).cloned().collect();
    let has_kernel_tls = options.scenarios.is_empty() || names.len() < options.scenarios.len();
    let is_alone = has_kernel_tls && names.is_empty() && !options.scenarios.is_empty();
    let chosen = if is_alone { Vec::new() } else { scenario::choose(&all, &names)? };
    setup::ensure(Need::Guests)?;
    lab::prepare()?;
    let mut count = Count::default();
    if !is_alone {
        let binaries = match &options.bin_dir {
            Some(folder) => build::from_folder(folder)?,
            None => build()?,
        };
        let parts = Parts::new(binaries)?;
        let queue = Mutex::new(VecDeque::from(chosen));
        let counted = Mutex::new(Count::default());
        std::thread::scope(|scope| {
            for _ in 0..options.jobs {
                scope.spawn(|| worker(&queue, &counted, &parts, options.keep));
            }
        });
        interrupt::check()?;
        count += counted.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    }
    // It has as many processors as we, and tests that look at the clock: alone.
    if has_kernel_tls {
        let outcome = kernel_tls::play(&build::http_tests()?, &guest_kernel::get()?, options.keep);
        interrupt::check()?;
        count += report(kernel_tls::NAME, &outcome);
    }
    Ok(count)
}

fn worker(queue: &Mutex<VecDeque<(String, Scenario)>>, count: &Mutex<Count>, parts: &Parts, keep: bool) {
    let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
    while let Some((name, scenario)) = next() {
        if interrupt::check().is_err() {
            return;
        }
        let outcome = run::play(&scenario, parts, keep, &mut Steps(&name));
        let one = report(&name, &outcome);
        *count.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += one;
    }
}

/// One `println!` per scenario, so that two that end together don't mix.
fn report(name: &str, outcome: &Outcome) -> Count {
    let seconds = outcome.took.as_secs_f32();
    let kept =
        outcome.kept.as_ref().map_or(String::new(), |folder| format!("  kept: {}\n", folder.display()));
    match &outcome.failure {
        None => print!("ok   {name} ({seconds:.1} s)\n{kept}"),
        Some(reason) => print!("FAIL {name} ({seconds:.1} s): {}\n{kept}", reason.trim_end()),
    }
    match outcome.failure {
        None => Count { passed: 1, failed: 0 },
        Some(_) => Count { passed: 0, failed: 1 },
    }
}

/// Prints each step as it begins.
struct Steps<'a>(&'a str);

impl Watch for Steps<'_> {
    fn step(&mut self, elapsed: Duration, step: &str) {
        println!("     [{} {:5.1} s] {step}", self.0, elapsed.as_secs_f32());
    }
}
