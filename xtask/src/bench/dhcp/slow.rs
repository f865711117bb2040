//! Leases from a pool, durable before they are acknowledged: userspace alone, beside Kea with its lease file.
//!
//! Kea writes its file without waiting for the disk, so its leases survive its own end, but no power cut; ours survive both.

use anyhow::Result;
use serde_json::{Value, json};

use super::Bench;
use super::servers::{Clients, Kind, POOL, Server, Via};
use crate::bench::lab::End;
use crate::bench::report::{Found, median, sum};
use crate::bench::table::{Table, figure};
use crate::bench::target::Target;
use crate::interrupt;

const KINDS: [Kind; 3] = [Kind::Userspace, Kind::Kea, Kind::KeaRelayed];
/// Clients of one run: each of them new to the server.
const CLIENTS: u32 = 100_000;

pub(super) fn measure(bench: &Bench<'_>) -> Result<Found> {
    println!("== leases from a pool, without the kernel's lanes");
    let mut servers = KINDS
        .into_iter()
        .map(|kind| Ok((Server::start(bench, kind, Clients::Pool)?, Vec::new())))
        .collect::<Result<Vec<(Server, Vec<Value>)>>>()?;
    for round in 0..bench.rounds {
        for (server, samples) in &mut servers {
            interrupt::check()?;
            samples.push(lease(bench, server, round)?);
        }
        println!("round {} of {}", round + 1, bench.rounds);
    }
    print(&servers);
    let rate = |kind: Kind| {
        servers
            .iter()
            .find(|(server, _)| server.kind == kind)
            .map_or(f64::NAN, |(_, samples)| median(samples, "rate"))
    };
    let kea = rate(Kind::Kea).max(rate(Kind::KeaRelayed));
    let wrong: f64 = servers.iter().take(1).map(|(_, samples)| sum(samples, "invalid")).sum();
    let results = servers.iter().map(|(server, samples)| {
        json!({ "server": server.kind.name(), "median": { "rate": median(samples, "rate") }, "samples": samples })
    });
    Ok(Found {
        json: results.collect(),
        targets: vec![
            Target::high("leases, userspace, of Kea's best", rate(Kind::Userspace) / kea, 2.0, 4.0),
            Target::low("leases that were wrong", wrong, 0.0, 0.0),
        ],
    })
}

fn lease(bench: &Bench<'_>, server: &mut Server, round: u32) -> Result<Value> {
    let seconds = if bench.quick { "0.5" } else { "3" };
    let pool = POOL.join("-");
    // The first number is the one that asked whether the server is there.
    let (from, clients) = ((1 + round * CLIENTS).to_string(), CLIENTS.to_string());
    let via = if server.kind.answers(Via::Direct) { Via::Direct } else { Via::Relay };
    let words = ["load", "--pool", &pool, "--clients", &clients, "--from", &from, "--seconds", seconds];
    let sample = bench.tools.dhcp.run(&server.lab, End::Clients, &[&words, via.words()].concat());
    server.lab.must_run()?;
    sample
}

fn print(servers: &[(Server, Vec<Value>)]) {
    let mut table = Table::new(&["server", "per second", "lost %", "invalid", "p50 µs", "p99 µs"]);
    for (server, samples) in servers {
        let figures = ["rate", "loss_percent"].map(|name| figure(median(samples, name)));
        let times = ["p50_us", "p99_us"].map(|name| figure(median(samples, name)));
        let invalid = figure(sum(samples, "invalid"));
        table
            .row(std::iter::once(server.kind.name().to_owned()).chain(figures).chain([invalid]).chain(times));
    }
    table.print();
}
