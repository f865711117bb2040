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

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::json;

use super::facts;
use super::report::{Found, Report};
use crate::setup;
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

/// Measures, prints, and writes `target/bench/dhcp.json`.
pub(crate) fn main(options: &Options) -> Result<()> {
    setup::ensure(setup::Need::Everything)?;
    setup::packages(crate::packages::DHCP_PEERS)?;
    crate::vm::lab::prepare()?;
    let tools = Tools::build()?;
    let rounds = if options.quick { options.rounds.min(2) } else { options.rounds };
    let bench = Bench { tools: &tools, rounds, quick: options.quick, generic: options.generic };
    let mut report = Report::begin("dhcp", rounds, &facts::versions(crate::packages::DHCP_PEERS)?)?;
    report.set("quick", json!(options.quick));
    report.set("xdp", json!(if options.generic { "generic" } else { "native" }));
    for part in Part::value_variants() {
        if options.only.is_empty() || options.only.contains(part) {
            let found = part.run(&bench).with_context(|| format!("measuring {}", part.name()))?;
            report.part(part.name(), found);
        }
    }
    report.end(options.json)
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
