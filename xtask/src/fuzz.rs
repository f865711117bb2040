//! `cargo xtask fuzz`: the targets of `fuzz/targets` under libFuzzer, from the captures and the inputs that were kept.
//!
//! Coverage is measured with flags that any toolchain has. What a run finds is minimised: inputs that reach new code go to
//! `fuzz/corpus/TARGET`, a few and small ones, findings to `fuzz/crashes/TARGET`; `tests/corpus` replays both.

mod captures;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::packages::FUZZ;
use crate::{build, paths, setup, shell};

/// The command line of `fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to fuzz; all targets, one behind the other, without.
    targets: Vec<String>,
    /// How long, for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only say which targets there are.
    #[arg(long)]
    list: bool,
}

/// The flags of cargo-fuzz, less its sanitizers: there is no `unsafe` in what is fuzzed.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// What is kept of each target's corpus: it is in the repository.
const MOST_FILES: usize = 30;
const MOST_BYTES: u64 = 30_000;
/// Bytes of an input. A head of HTTP has to get beyond its own bounds (`http::head::MAX_HEAD`).
const LONGEST: usize = 2048;
const LONGEST_HEAD: usize = 40_000;
/// Five seconds for one input are a hang, on a machine that has other work besides; 512 MiB, with what the fuzzer itself takes, are a leak.
const BOUNDS: [&str; 2] = ["-timeout=5", "-rss_limit_mb=512"];

/// Builds and runs; an error when something was found.
pub(crate) fn main(options: &Options) -> Result<()> {
    let known = targets()?;
    if options.list {
        known.iter().for_each(|target| println!("{target}"));
        return Ok(());
    }
    if let Some(unknown) = options.targets.iter().find(|target| !known.contains(target)) {
        bail!("{unknown}: no such target; there are: {}", known.join(", "));
    }
    setup::ensure(setup::Need::Build)?;
    setup::packages(FUZZ)?;
    let fuzzer = Fuzzer::build()?;
    let chosen = if options.targets.is_empty() { &known } else { &options.targets };
    let mut findings = Vec::new();
    let mut lines = Vec::new();
    for target in chosen {
        let run = fuzzer.run(target, options.seconds)?;
        lines.push(format!("{target:16} {:>12} executions, {} findings", run.executions, run.findings.len()));
        findings.extend(run.findings);
    }
    println!("{}", lines.join("\n"));
    if findings.is_empty() {
        return Ok(());
    }
    let findings: Vec<String> = findings.iter().map(|path| path.display().to_string()).collect();
    bail!(
        "found:\n{}\nsee each by `cargo test -p netboot-userspace --test corpus`; mend it, and keep the input there",
        findings.join("\n")
    )
}

/// Each has a folder, which `tests/corpus` sees to.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(corpus("")).context("fuzz/corpus")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn corpus(target: &str) -> PathBuf {
    paths::root().join("fuzz/corpus").join(target)
}

/// The instrumented program.
struct Fuzzer {
    program: PathBuf,
    /// What is not kept.
    work: PathBuf,
}

struct Run {
    executions: u64,
    findings: Vec<PathBuf>,
}

impl Fuzzer {
    fn build() -> Result<Self> {
        let work = paths::target().join("fuzz");
        let mut cargo = build::cargo();
        cargo.args([
            "build",
            "--release",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            TRIPLE,
            "--target-dir",
        ]);
        // Not RUSTFLAGS: the eBPF programs, which are built on the way, have flags of their own.
        cargo.arg(&work).env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", FLAGS);
        shell::run(&mut cargo)?;
        Ok(Self { program: work.join(TRIPLE).join("release/fuzz"), work })
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        let longest = if target == "http-head" { LONGEST_HEAD } else { LONGEST };
        command.env("NETBOOT_FUZZ_TARGET", target).current_dir(paths::root());
        command.args(BOUNDS).arg(format!("-max_len={longest}"));
        command
    }

    fn run(&self, target: &str, seconds: u32) -> Result<Run> {
        let [grown, seeds] = ["grown", "seeds"].map(|folder| self.work.join(folder).join(target));
        let crashes = paths::root().join("fuzz/crashes").join(target);
        for folder in [&grown, &seeds, &crashes] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        captures::write_seeds(target, &seeds)?;
        let known = files(&crashes)?;
        let mut command = self.command(target);
        command
            .args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/", crashes.display())]);
        command.arg("-print_final_stats=1").args([&grown, &corpus(target), &seeds]);
        println!("$ {}", shell::line(&command));
        let output = command.stderr(Stdio::piped()).output().context("cannot run the fuzzer")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let found: Vec<PathBuf> = files(&crashes)?.into_iter().filter(|path| !known.contains(path)).collect();
        if !output.status.success() {
            let end: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
            if found.is_empty() {
                bail!("{target}: {}, without a finding", output.status);
            }
        }
        let findings = found.iter().map(|path| self.minimize(target, path)).collect::<Result<_>>()?;
        if known.is_empty() && files(&crashes)?.is_empty() {
            fs::remove_dir(&crashes)?;
        }
        self.keep(target, [&grown, &seeds])?;
        Ok(Run { executions: executions(&said), findings })
    }

    /// The smallest input that still fails, in the place of this one.
    fn minimize(&self, target: &str, finding: &Path) -> Result<PathBuf> {
        let smaller = self.work.join("smaller");
        // Of an earlier finding: one that nothing smaller is found of must not become it.
        if smaller.exists() {
            fs::remove_file(&smaller)?;
        }
        let mut command = self.command(target);
        command.args(["-minimize_crash=1", "-max_total_time=20"]);
        command.arg(format!("-exact_artifact_path={}", smaller.display())).arg(finding);
        // It fails when nothing smaller is found.
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().context("cannot run the fuzzer")?;
        if fs::metadata(&smaller).is_ok_and(|file| file.len() > 0) {
            fs::rename(&smaller, finding).or_else(|_| fs::copy(&smaller, finding).map(drop))?;
        }
        Ok(finding.to_owned())
    }

    /// Makes the corpus anew: of all inputs those that together reach what all reach, and of these a few.
    fn keep(&self, target: &str, from: [&PathBuf; 2]) -> Result<()> {
        let merged = self.work.join("merged").join(target);
        if merged.exists() {
            fs::remove_dir_all(&merged)?;
        }
        fs::create_dir_all(&merged)?;
        let mut command = self.command(target);
        command.args(["-set_cover_merge=1".as_ref(), merged.as_os_str(), corpus(target).as_os_str()]);
        command.args(from.map(|folder| folder.as_os_str() as &OsStr)).stderr(Stdio::null());
        shell::run(&mut command)?;
        let kept = few(files(&merged)?)?;
        for old in files(&corpus(target))? {
            fs::remove_file(old)?;
        }
        for file in kept {
            let name = file.file_name().context("a file without a name")?;
            fs::copy(&file, corpus(target).join(name))?;
        }
        Ok(())
    }
}

/// Evenly over all sizes, within the bounds.
fn few(files: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut sized = Vec::new();
    for file in files {
        sized.push((fs::metadata(&file)?.len(), file));
    }
    sized.sort();
    let step = sized.len().div_ceil(MOST_FILES).max(1);
    let mut bytes = 0;
    let chosen = sized.into_iter().step_by(step).take_while(|(length, _)| {
        bytes += length;
        bytes <= MOST_BYTES
    });
    Ok(chosen.map(|(_, file)| file).collect())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// libFuzzer's own count.
fn executions(said: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_corpus_stays_few_and_small() {
        let folder = tempfile::tempdir().unwrap();
        for size in 0..100_usize {
            fs::write(folder.path().join(size.to_string()), vec![0; size * 40]).unwrap();
        }
        let kept = few(files(folder.path()).unwrap()).unwrap();
        let bytes: u64 = kept.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(
            (5..=MOST_FILES).contains(&kept.len()) && bytes <= MOST_BYTES,
            "{} files, {bytes} bytes",
            kept.len()
        );
    }

    #[test]
    fn what_the_fuzzer_counted_is_read() {
        assert_eq!(
            executions("x\nstat::number_of_executed_units: 1234\nstat::average_exec_per_sec:     5"),
            1234
        );
        assert_eq!(executions("it crashed"), 0);
    }
}
