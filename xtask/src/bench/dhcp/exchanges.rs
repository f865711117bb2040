//! Whole exchanges over a veth: as many as a server takes, and at a rate.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::servers::{Clients, Kind, Server, Via};
use super::{Bench, perfdhcp};
use crate::bench::lab::End;
use crate::bench::report::{Found, median, sum};
use crate::bench::site;
use crate::bench::table::{Table, figure};
use crate::bench::target::Target;
use crate::interrupt;

/// Each server's reservations.
const HOSTS: u32 = 10_000;
const KINDS: [Kind; 5] = [Kind::Netboot, Kind::Bare, Kind::Dnsmasq, Kind::Kea, Kind::KeaRelayed];
/// New exchanges in each second.
const RATES: [u32; 2] = [20_000, 100_000];

/// Samples by what was measured.
type Samples = BTreeMap<(String, &'static str, &'static str), Vec<Value>>;

pub(super) fn measure(bench: &Bench<'_>) -> Result<Found> {
    println!("== exchanges over a veth, {HOSTS} reservations");
    let mut servers = KINDS
        .into_iter()
        .map(|kind| Server::start(bench, kind, Clients::Reserved(HOSTS)))
        .collect::<Result<Vec<_>>>()?;
    let mut samples = Samples::new();
    for round in 0..bench.rounds {
        for server in &mut servers {
            exchange(bench, server, &mut samples)?;
        }
        println!("round {} of {}", round + 1, bench.rounds);
    }
    let netboot = servers.iter().find(|server| server.kind == Kind::Netboot);
    let lanes = netboot.map(|server| site::status(&server.lab, &bench.tools.netboot)).transpose()?;
    let lanes = lanes.map(|status| status["counters"].clone());
    print(&samples);
    let perfdhcp = perfdhcp::measure(bench, &mut servers)?;
    Ok(Found {
        targets: targets(&samples),
        json: json!({ "hosts": HOSTS, "results": results(&samples), "netboot_lanes": lanes, "perfdhcp": perfdhcp }),
    })
}

/// All that is measured of one server, once.
fn exchange(bench: &Bench<'_>, server: &mut Server, samples: &mut Samples) -> Result<()> {
    let seconds = if bench.quick { "0.3" } else { "3" };
    let clients = HOSTS.to_string();
    for via in [Via::Direct, Via::Relay].into_iter().filter(|via| server.kind.answers(*via)) {
        let mut load = |name: String, more: &[&str]| {
            interrupt::check()?;
            let words = [&["load", "--clients", &clients, "--seconds", seconds], via.words(), more].concat();
            let sample = bench.tools.dhcp.run(&server.lab, End::Clients, &words);
            server.lab.must_run()?;
            let sample = sample?;
            let invalid = sample["invalid"].as_u64();
            ensure!(
                invalid == Some(0) || server.kind != Kind::Netboot,
                "our own replies are wrong: {sample}"
            );
            samples.entry((name, via.name(), server.kind.name())).or_default().push(sample);
            anyhow::Ok(())
        };
        load("64 in flight".to_owned(), &["--flight", "64"])?;
        if via == Via::Direct || server.kind == Kind::KeaRelayed {
            for rate in RATES {
                load(format!("{rate}/s offered"), &["--rate", &rate.to_string()])?;
            }
        }
    }
    Ok(())
}

fn print(samples: &Samples) {
    let mut table = Table::new(&[
        "exchanges",
        "server",
        "via",
        "per second",
        "lost %",
        "invalid",
        "p50 µs",
        "p99 µs",
        "late ms",
    ]);
    for ((what, via, server), samples) in samples {
        let figures = ["rate", "loss_percent"].map(|name| figure(median(samples, name)));
        let times = ["p50_us", "p99_us", "generator_late_ms"].map(|name| figure(median(samples, name)));
        let invalid = figure(sum(samples, "invalid"));
        let words = [what.clone(), (*server).to_owned(), (*via).to_owned()];
        table.row(words.into_iter().chain(figures).chain([invalid]).chain(times));
    }
    table.print();
}

fn results(samples: &Samples) -> Vec<Value> {
    let names = ["rate", "loss_percent", "p50_us", "p99_us"];
    let of = |((what, via, server), samples): (&(String, &str, &str), &Vec<Value>)| {
        let medians: BTreeMap<_, _> = names.into_iter().map(|name| (name, median(samples, name))).collect();
        json!({ "what": what, "via": via, "server": server, "median": medians, "samples": samples })
    };
    samples.iter().map(of).collect()
}

fn targets(samples: &Samples) -> Vec<Target> {
    let of = |what: &str, server: Kind| {
        let found = samples.iter().filter(|((w, _, s), _)| w == what && *s == server.name());
        found.map(|(_, samples)| samples).collect::<Vec<_>>()
    };
    // Where a server was asked in two ways, the better one counts.
    let best = |server: Kind| {
        of("64 in flight", server).into_iter().map(|samples| median(samples, "rate")).fold(f64::NAN, f64::max)
    };
    let netboot = best(Kind::Netboot);
    let kea = best(Kind::Kea).max(best(Kind::KeaRelayed));
    let flight = of("64 in flight", Kind::Netboot);
    let total = |name: &str| flight.iter().map(|samples| sum(*samples, name)).sum::<f64>();
    let mut targets = vec![
        Target::high("exchanges, of Kea's best", netboot / kea, 15.0, 15.0),
        Target::high("exchanges, of dnsmasq's", netboot / best(Kind::Dnsmasq), 100.0, 100.0),
        Target::high("exchanges, of the bare program's", netboot / best(Kind::Bare), 0.85, 0.95),
        Target::low("exchanges lost", total("lost"), 0.0, 0.0),
        Target::low("replies that were wrong", total("invalid"), 0.0, 0.0),
    ];
    for rate in RATES {
        let offered = of(&format!("{rate}/s offered"), Kind::Netboot);
        let Some(samples) = offered.first() else { continue };
        targets.push(Target::low(format!("lost of {rate}/s"), sum(*samples, "lost"), 0.0, 0.0));
        targets.push(Target::low(format!("p99 at {rate}/s, µs"), median(*samples, "p99_us"), 1000.0, 1000.0));
    }
    targets
}
