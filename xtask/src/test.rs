//! `cargo xtask test`: every test there is. The last line is `N passed, N failed`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::interrupt::{self, Group};
use crate::setup::{self, Need};
use crate::vm::lab;
use crate::vm_test::{self, Count};
use crate::{build, features, paths, published, rooms, shell, toolchain};

/// The command line of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out the QEMU machines.
    #[arg(long)]
    no_vm: bool,
}

/// Runs all of it, also after a failure; an error when anything failed.
pub(crate) fn main(options: &Options) -> Result<()> {
    let mut count = Count::default();
    let outcome = setup::ensure(Need::Everything).and_then(|()| everything(options, &mut count));
    if let Err(error) = &outcome {
        // Not a test that failed, but tests that could not be run.
        eprintln!("xtask: {error:#}");
        count.failed += 1;
    }
    println!("{count}");
    if count.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn everything(options: &Options, count: &mut Count) -> Result<()> {
    // Tests of the kernel lane pin programs, too; without root they say themselves what they miss.
    if shell::is_root()? {
        lab::prepare()?;
    }
    *count += check("formatting", || {
        shell::run(build::cargo().args(["fmt", "--all", "--check"]))?;
        for apart in APART.iter().chain(&["fuzz"]) {
            let manifest = format!("{apart}/Cargo.toml");
            shell::run(build::cargo().args(["fmt", "--manifest-path", &manifest, "--check"]))?;
        }
        Ok(())
    })?;
    *count += check("clippy", || clippy(&["--workspace", "--all-targets"]))?;
    *count += check("clippy, the agent alone", || clippy(AGENT))?;
    *count += check("clippy, the server alone", || clippy(SERVER))?;
    for folder in APART {
        *count += check(&format!("clippy, {folder}"), || clippy_apart(folder))?;
    }
    *count += check("rooms", || {
        let faults = rooms::check(paths::root())?;
        if !faults.is_empty() {
            bail!("imports and unsafe that DESIGN section 2 forbids:\n{}", faults.join("\n"));
        }
        Ok(())
    })?;
    *count += check("features", || {
        let faults = features::check(paths::root())?;
        if !faults.is_empty() {
            bail!("promises without a test:\n{}", faults.join("\n"));
        }
        Ok(())
    })?;
    *count += check("published", || {
        let faults = published::check(paths::root())?;
        if !faults.is_empty() {
            bail!("rows of other systems without a test or a reason:\n{}", faults.join("\n"));
        }
        Ok(())
    })?;
    *count += cargo_tests()?;
    *count += check("static agent", || build::agent().map(drop))?;
    if !options.no_vm {
        println!("== machines");
        *count += vm_test::play(&vm_test::Options::default(), build::as_tested)?;
    }
    Ok(())
}

/// As the static binary is built: code that only the server uses would be dead here.
const AGENT: &[&str] = &["--package", "netboot-userspace", "--no-default-features", "--features", "agent"];

/// As `fuzz/` takes it.
const SERVER: &[&str] = &["--package", "netboot-userspace", "--no-default-features", "--features", "server"];

/// What the kernel runs: outside the workspace, with a compiler of its own.
const APART: &[&str] = &["netboot-ebpf", "tests/bench/programs"];

/// Clippy of that compiler: here it matters most that each `unsafe` block has its reason.
fn clippy_apart(folder: &str) -> Result<()> {
    let toolchain = toolchain::find().context("the eBPF toolchain is missing: run \"cargo xtask setup\"")?;
    let mut clippy = toolchain.program("cargo-clippy");
    clippy
        .arg("clippy")
        .args(toolchain.build_std())
        .args(["--release", "--all-features", "--target", "bpfel-unknown-none", "--target-dir"])
        .arg(paths::target().join("ebpf-clippy"))
        .args(["--", "-D", "warnings"])
        .env("RUSTFLAGS", toolchain::flags(std::env::consts::ARCH))
        .current_dir(paths::root().join(folder));
    shell::run(&mut clippy)
}

fn clippy(what: &[&str]) -> Result<()> {
    shell::run(build::cargo().arg("clippy").args(what).args(["--", "-D", "warnings"]))
}

/// One check that passes or fails as a whole. An error when it was interrupted: nothing is known of it then.
fn check(name: &str, body: impl FnOnce() -> Result<()>) -> Result<Count> {
    println!("== {name}");
    let begin = Instant::now();
    let outcome = body();
    interrupt::check()?;
    Ok(match outcome {
        Ok(()) => {
            println!("ok   {name} ({:.0} s)", begin.elapsed().as_secs_f32());
            Count { passed: 1, failed: 0 }
        }
        Err(error) => {
            println!("FAIL {name}: {error:#}");
            Count { passed: 0, failed: 1 }
        }
    })
}

/// Unit, integration and doc tests, shown as they run and counted.
fn cargo_tests() -> Result<Count> {
    println!("== unit, integration and doc tests");
    let mut tests = build::cargo();
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    if std::env::var_os(THREADS).is_none() {
        tests.env(THREADS, threads().to_string());
    }
    println!("$ {}", shell::line(&tests));
    let begin = Instant::now();
    let count = stream(&mut tests)?;
    println!("{count} ({:.0} s)", begin.elapsed().as_secs_f32());
    Ok(count)
}

/// How many tests run at once; who sets it has their way.
const THREADS: &str = "RUST_TEST_THREADS";

/// Twice as many as there are cores: most of the long ones wait, for a client's clock or for a server that starts.
fn threads() -> usize {
    2 * std::thread::available_parallelism().map_or(1, usize::from)
}

fn stream(tests: &mut Command) -> Result<Count> {
    let mut tests =
        Group::spawn(tests.stdin(Stdio::null()).stdout(Stdio::piped())).context("cannot run cargo test")?;
    let output = tests.0.stdout.take().context("cargo test has no output")?;
    let mut count = Count::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(some) = result_line(&line) {
            count += some;
        }
    }
    let status = tests.0.wait()?;
    interrupt::check()?;
    Ok(judged(count, status.success()))
}

/// A run that failed without a failed test (it did not compile, a test binary crashed) is a failure, too.
fn judged(mut count: Count, success: bool) -> Count {
    if !success && count.failed == 0 {
        count.failed = 1;
    }
    count
}

/// `test result: ok. 3 passed; 1 failed; 0 ignored; …`
fn result_line(line: &str) -> Option<Count> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number =
        |word: &str| counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_and_nothing_else() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(result_line(line), Some(Count { passed: 12, failed: 3 }));
        assert_eq!(result_line("test a::b ... ok"), None);
        assert_eq!(result_line("test result: nonsense"), None);
    }

    #[test]
    fn several_binaries_are_summed() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out'; \
                      echo noise; echo 'test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out'";
        let count = stream(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(count, Count { passed: 7, failed: 0 });
    }

    #[test]
    fn tests_that_could_not_run_are_a_failure() {
        let count = stream(Command::new("sh").args(["-c", "exit 101"])).unwrap();
        assert_eq!(count, Count { passed: 0, failed: 1 });
        assert_eq!(judged(Count { passed: 9, failed: 2 }, false), Count { passed: 9, failed: 2 });
    }
}
