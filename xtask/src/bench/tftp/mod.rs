//! `cargo xtask bench tftp`: files to up to thousands of clients at once, on good networks and on bad ones.
//!
//! Here are the networks, the servers and the arithmetic; the clients are the bench target `tftp` of netboot-userspace
//! (`tests/bench/tftp`). For each setting all servers take turns, each time on a network of its own and freshly started, so that
//! nothing of the setting before is left; the median counts. Everything has a deadline: what was not done by then has failed.

mod files;
mod kernel;
mod measure;
mod servers;
mod settings;
mod verdict;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::json;

use super::peers::Peers;
use super::program::Program;
use super::report::{Found, Report};
use super::{cgroup, facts};
use crate::{build, packages, setup};
use measure::Bench;
use servers::Kind;
use settings::{Filter, Part, Setting};

/// The command line of `bench tftp`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each figure is taken; its median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// As short as it can be: shows that it runs, and little else.
    #[arg(long)]
    quick: bool,
    /// Print the results as JSON, too, as they are in target/bench/tftp.json.
    #[arg(long)]
    json: bool,
    /// Only these parts; `all` is each combination, and takes a night.
    #[arg(long, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
    /// Only these servers.
    #[arg(long, value_delimiter = ',', value_name = "SERVER,…")]
    server: Vec<Kind>,
    #[command(flatten)]
    filter: Filter,
    /// How long clients go on fetching; each fetches once at least.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// After so many seconds, what is under way has failed.
    #[arg(long, default_value_t = 120.0)]
    deadline: f64,
    /// Which datagrams are lost on bad networks: others with another seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Measures, prints, and writes `target/bench/tftp.json`.
pub(crate) fn main(options: &Options) -> Result<()> {
    let plan = settings::plan(&options.only, &options.filter);
    ensure!(
        !plan.is_empty(),
        "no setting of these parts is as you want it; without --only, each combination is measured"
    );
    setup::ensure(setup::Need::Everything)?;
    setup::packages(packages::TFTP_PEERS)?;
    let peers = Peers::fetch(packages::TFTP_UNPACKED)?;
    crate::vm::lab::prepare()?;
    cgroup::clear();
    // Before anything is built: servers may take a file that has just changed for one that still changes.
    let files = files::Files::new()?;
    let clients = Program::build("tftp")?;
    let netboot = build::netboot()?;
    let rounds = if options.quick { 1 } else { options.rounds };
    let bench = Bench {
        clients: &clients,
        netboot: &netboot,
        peers: &peers,
        files: &files,
        rounds,
        seconds: if options.quick { 0.2 } else { options.seconds },
        deadline: options.deadline,
        seed: options.seed,
    };
    let versions = [facts::versions(packages::TFTP_PEERS)?, peers.versions()].concat();
    let mut report = Report::begin("tftp", rounds, &versions)?;
    report.set("quick", json!(options.quick));
    report.set(
        "clients",
        json!("in the generator's own code, without sockets; loss and reordering too, by its seed"),
    );
    let servers = servers(&options.server);
    for (part, settings) in plan {
        let found = measure_part(&bench, part, &settings, &servers)
            .with_context(|| format!("measuring {}", part.name()))?;
        report.part(part.name(), found);
    }
    report.end(options.json)
}

/// Those that were asked for, or all but the fallback.
fn servers(asked: &[Kind]) -> Vec<Kind> {
    let wanted = |kind: &Kind| if asked.is_empty() { kind.is_usual() } else { asked.contains(kind) };
    Kind::value_variants().iter().copied().filter(wanted).collect()
}

fn measure_part(bench: &Bench<'_>, part: Part, settings: &[Setting], servers: &[Kind]) -> Result<Found> {
    println!("== {}", part.title());
    let mut results = Vec::new();
    for setting in settings {
        let result = measure::setting(bench, setting, servers).with_context(|| setting.to_string())?;
        result.print();
        results.push(result);
    }
    Ok(Found {
        targets: verdict::targets(&results),
        json: results.iter().map(measure::Outcome::json).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lanes_are_measured_and_the_fallback_only_if_asked_for() {
        let usual = servers(&[]);
        assert!(usual.contains(&Kind::Uring) && usual.contains(&Kind::Kernel), "{usual:?}");
        assert!(usual.contains(&Kind::Dnsmasq) && !usual.contains(&Kind::Epoll), "{usual:?}");
        assert_eq!(servers(&[Kind::Epoll]), [Kind::Epoll]);
    }
}
