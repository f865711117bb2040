//! `cargo xtask bench http`: files of 4 KiB to 1 GiB to one and to ten thousand connections.
//!
//! Here are the networks, the servers and the arithmetic; the clients and the bare server are the bench target `http` of
//! netboot-userspace (`tests/bench/http`). First each server's answers are compared with the files, byte by byte. Then, for each
//! setting, all servers take turns, each time on a network of its own and freshly started; the median counts. While it is
//! measured, the head of each answer is read, and bodies are counted, but not looked at, so that the generator is not what limits.

mod files;
mod measure;
mod servers;
mod settings;
mod verdict;
mod wrk;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::peers::Peers;
use super::program::Program;
use super::report::{Found, Report};
use super::table::figure;
use super::{cgroup, facts};
use crate::{build, packages, setup};
use measure::Bench;
use servers::Kind;
use settings::{Filter, Mode, Part, Setting};

/// The command line of `bench http`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each figure is taken; its median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// As short as it can be: shows that it runs, and little else.
    #[arg(long)]
    quick: bool,
    /// Print the results as JSON, too, as they are in target/bench/http.json.
    #[arg(long)]
    json: bool,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
    /// Only these servers.
    #[arg(long, value_delimiter = ',', value_name = "SERVER,…")]
    server: Vec<Kind>,
    #[command(flatten)]
    filter: Filter,
    /// How long clients go on asking.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// After so many seconds, who is not connected has failed.
    #[arg(long, default_value_t = 120.0)]
    deadline: f64,
}

/// Measures, prints, and writes `target/bench/http.json`.
pub(crate) fn main(options: &Options) -> Result<()> {
    let plan = settings::plan(&options.only, &options.filter);
    ensure!(
        !plan.is_empty(),
        "no setting of these parts is as you want it; without --only, each combination is measured"
    );
    setup::ensure(setup::Need::Everything)?;
    setup::packages(packages::HTTP_PEERS)?;
    let peers = Peers::fetch(packages::HTTP_UNPACKED)?;
    let open_files = servers::raise_open_files()?;
    crate::vm::lab::prepare()?;
    cgroup::clear();
    let all: Vec<Setting> = plan.iter().flat_map(|(_, _, settings)| settings.clone()).collect();
    // Before anything is built: servers may take a file that has just changed for one that still changes.
    let files = files::Files::new(all.iter().map(|setting| setting.file))?;
    let clients = Program::build("http")?;
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
    };
    let versions = [facts::versions(packages::HTTP_PEERS)?, peers.versions()].concat();
    let mut report = Report::begin("http", rounds, &versions)?;
    report.set("quick", json!(options.quick));
    report.set("open_files", json!(open_files));
    report.set("workers", json!(servers::workers()));
    let servers = if options.server.is_empty() { Kind::value_variants() } else { &options.server };
    report.set("compared", compare(&bench, &all, servers)?);
    for (name, title, settings) in plan {
        println!("== {title}");
        report.part(
            name,
            measure_part(&bench, &settings, servers).with_context(|| format!("measuring {title}"))?,
        );
    }
    report.end(options.json)
}

/// Whether each server sends what the files have; how much of it was compared.
fn compare(bench: &Bench<'_>, settings: &[Setting], servers: &[Kind]) -> Result<Value> {
    println!("== what arrives is what the files have");
    let mut compared = Vec::new();
    for setting in distinct(settings) {
        for kind in servers.iter().filter(|kind| kind.does(setting.mode)) {
            let bytes = measure::verify(bench, &setting, *kind)
                .with_context(|| format!("{}, {setting}", kind.name()))?;
            println!("{}, {}: {} KiB compared", kind.name(), about(&setting), figure((bytes >> 10) as f64));
            compared.push(json!({ "server": kind.name(), "what": about(&setting), "bytes": bytes }));
        }
    }
    println!();
    Ok(compared.into())
}

/// One of each file and way to ask.
fn distinct(settings: &[Setting]) -> Vec<Setting> {
    let mut distinct: Vec<Setting> = Vec::new();
    for setting in settings {
        let mode = if matches!(setting.mode, Mode::Fresh | Mode::Range) { setting.mode } else { Mode::Keep };
        let setting = Setting { connections: 1, mode, ..*setting };
        if !distinct.contains(&setting) {
            distinct.push(setting);
        }
    }
    distinct
}

fn about(setting: &Setting) -> String {
    match setting.range() {
        Some(length) => format!("{} in ranges of {} KiB", setting.file.name(), length >> 10),
        None if setting.mode == Mode::Fresh => format!("{} on new connections", setting.file.name()),
        None => setting.file.name().to_owned(),
    }
}

fn measure_part(bench: &Bench<'_>, settings: &[Setting], servers: &[Kind]) -> Result<Found> {
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
    fn each_file_is_compared_once_for_each_way_to_ask() {
        let plan = settings::plan(&[], &Filter::default());
        let all: Vec<Setting> = plan.into_iter().flat_map(|(_, _, settings)| settings).collect();
        let what: Vec<_> = distinct(&all).iter().map(about).collect();
        let want = [
            "4 KiB",
            "64 KiB",
            "64 MiB",
            "1 GiB",
            "4 KiB on new connections",
            "64 KiB on new connections",
            "64 MiB in ranges of 1024 KiB",
            "1 GiB in ranges of 1024 KiB",
        ];
        assert_eq!(what, want);
    }
}
