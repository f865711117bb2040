//! `cargo xtask bench dhcp`: nanoseconds per packet, whole exchanges, leases, and how soon a change is answered.
//!
//! Here are the networks, the servers and the arithmetic; the programs that measure are the bench target `dhcp` of
//! netboot-userspace (`tests/bench`), which may use our own code.

mod exchanges;
mod hosts;
mod kernel;
mod perfdhcp;
mod servers;
mod slow;
mod tools;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::facts;
use super::target::{self, Target};
use crate::{paths, setup};
use tools::Tools;

/// The command line of `bench dhcp`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each figure is taken; its median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// As short as it can be: shows that it runs, and little else.
    #[arg(long)]
    quick: bool,
    /// Print the results as JSON, too, as they are in target/bench/dhcp.json.
    #[arg(long)]
    json: bool,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
    /// Attach XDP on skbs instead of in the driver.
    #[arg(long)]
    generic: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Nanoseconds per packet, under BPF_PROG_TEST_RUN.
    Kernel,
    /// Exchanges per second over a veth, beside dnsmasq and Kea.
    Exchanges,
    /// Leases from a pool, without the kernel's lanes, beside Kea.
    Slow,
    /// Many hosts: start, addition, change.
    Hosts,
}

/// What the parts share.
struct Bench<'a> {
    tools: &'a Tools,
    rounds: u32,
    quick: bool,
    generic: bool,
}

/// What a part found, and what it says of our promises.
struct Found {
    json: Value,
    targets: Vec<Target>,
}

/// Measures, prints, and writes `target/bench/dhcp.json`.
pub(crate) fn main(options: &Options) -> Result<()> {
    setup::ensure(setup::Need::Everything)?;
    setup::packages(crate::packages::PEERS)?;
    crate::vm::lab::prepare()?;
    let tools = Tools::build()?;
    let rounds = if options.quick { options.rounds.min(2) } else { options.rounds };
    let bench = Bench { tools: &tools, rounds, quick: options.quick, generic: options.generic };
    let mut report = facts::here()?;
    report["rounds"] = json!(rounds);
    report["quick"] = json!(options.quick);
    report["xdp"] = json!(if options.generic { "generic" } else { "native" });
    for package in crate::packages::PEERS {
        report["versions"][package] = json!(facts::version(package)?);
    }
    println!("\n{}\n", heading(&report));
    let mut targets = Vec::new();
    for part in Part::value_variants() {
        if options.only.is_empty() || options.only.contains(part) {
            let found = part.run(&bench).with_context(|| format!("measuring {}", part.name()))?;
            report[part.name()] = found.json;
            targets.extend(found.targets);
        }
    }
    report["targets"] = target::report(&targets);
    let path = write(&report)?;
    if options.json {
        println!("{report:#}");
    }
    println!("{}", path.display());
    Ok(())
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Exchanges => "exchanges",
            Self::Slow => "slow",
            Self::Hosts => "hosts",
        }
    }

    fn run(self, bench: &Bench<'_>) -> Result<Found> {
        match self {
            Self::Kernel => kernel::measure(bench),
            Self::Exchanges => exchanges::measure(bench),
            Self::Slow => slow::measure(bench),
            Self::Hosts => hosts::measure(bench),
        }
    }
}

fn heading(report: &Value) -> String {
    let machine = &report["machine"];
    let versions: Vec<String> = report["versions"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or_default()))
        .collect();
    let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    format!(
        "{}, {} CPUs ({}{}), Linux {}, commit {}{}; {}; medians of {} rounds",
        word(&report["date"]),
        machine["cpus"],
        word(&machine["cpu"]),
        if machine["hypervisor"] == true { ", virtual" } else { "" },
        word(&report["kernel"]),
        word(&report["commit"]),
        if report["changed"] == true { " with changes" } else { "" },
        versions.join(", "),
        report["rounds"],
    )
}

fn write(report: &Value) -> Result<PathBuf> {
    let folder = paths::target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("dhcp.json");
    fs::write(&path, format!("{report:#}\n")).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The median of what `figure` says of each.
fn median<'a>(samples: impl IntoIterator<Item = &'a Value>, name: &str) -> f64 {
    let mut values: Vec<f64> = samples.into_iter().filter_map(|sample| sample[name].as_f64()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The sum of what `figure` says of each.
fn sum<'a>(samples: impl IntoIterator<Item = &'a Value>, name: &str) -> f64 {
    samples.into_iter().filter_map(|sample| sample[name].as_f64()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_what_was_measured() {
        let samples = [json!({ "rate": 3 }), json!({ "rate": 1.5 }), json!({ "rate": 2 })];
        assert_eq!((median(&samples, "rate"), sum(&samples, "rate")), (2.0, 6.5));
        assert!(median(&samples, "loss").is_nan());
    }
}
