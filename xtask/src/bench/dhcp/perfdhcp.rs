//! ISC's own generator (package kea-admin), as a witness: it asks as a relay agent, and verifies less.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Bench;
use super::servers::{Kind, Server};
use crate::bench::lab::{End, Lab, PREFIX_LENGTH, RELAY, SERVER, ip};
use crate::bench::report::median;
use crate::bench::table::{Table, figure};
use crate::interrupt;

const PERFDHCP: &str = "/usr/sbin/perfdhcp";
/// New exchanges in each second. Without a rate it floods, and reads too little of what comes back.
const RATES: [u32; 3] = [1_000, 5_000, 20_000];

/// Exchanges per second that it sees, of each server that a relay agent may ask.
pub(super) fn measure(bench: &Bench<'_>, servers: &mut [Server]) -> Result<Value> {
    println!("== the same, as perfdhcp sees it");
    let mut table = Table::new(&["server", "offered", "per second", "lost %"]);
    let mut found = Vec::new();
    for server in servers.iter_mut().filter(|server| !matches!(server.kind, Kind::Kea | Kind::Bare)) {
        for rate in RATES {
            let rounds = |lab: &Lab| (0..bench.rounds).map(|_| run(bench, lab, rate)).collect();
            let samples: Vec<Value> = with_address(&server.lab, rounds)?;
            let figures = ["rate", "loss_percent"].map(|name| figure(median(&samples, name)));
            let words = [server.kind.name().to_owned(), rate.to_string()];
            table.row(words.into_iter().chain(figures));
            found.push(json!({ "server": server.kind.name(), "offered": rate, "samples": samples }));
        }
    }
    table.print();
    Ok(Value::Array(found))
}

/// It wants an address of its own, which our generator must not have.
fn with_address<T>(lab: &Lab, body: impl FnOnce(&Lab) -> Result<T>) -> Result<T> {
    let clients = lab.namespace(End::Clients);
    ip(&clients, &format!("address add {RELAY}/{PREFIX_LENGTH} dev eth0"))?;
    let outcome = body(lab);
    ip(&clients, &format!("address del {RELAY}/{PREFIX_LENGTH} dev eth0"))?;
    outcome
}

fn run(bench: &Bench<'_>, lab: &Lab, rate: u32) -> Result<Value> {
    interrupt::check()?;
    let seconds = if bench.quick { "1" } else { "3" };
    let mut command = lab.command(End::Clients, PERFDHCP.as_ref());
    let rate = rate.to_string();
    command.args([
        "-4",
        "-l",
        RELAY,
        "-b",
        "mac=02:42:00:00:00:00",
        "-R",
        "10000",
        "-r",
        &rate,
        "-p",
        seconds,
        SERVER,
    ]);
    // Its exit code 3 says that some exchanges were not completed.
    let output = command.output().context("running perfdhcp (package kea-admin)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    read(&text).with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// `Rate: 4996.13 4-way exchanges/second`, and `drops ratio: 0.5 %` of both halves.
fn read(text: &str) -> Option<Value> {
    let after = |line: &str, word: &str| -> Option<f64> {
        line.trim().strip_prefix(word)?.trim().split([' ', '%']).next()?.parse().ok()
    };
    let rate = text.lines().find_map(|line| after(line, "Rate:"))?;
    let lost = text.lines().filter_map(|line| after(line, "drops ratio:")).fold(0.0, f64::max);
    Some(json!({ "rate": rate, "loss_percent": lost }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn its_report_is_read() {
        let text = "Running: perfdhcp -4\nRate: 4996.13 4-way exchanges/second\n\n***Statistics for: DISCOVER-OFFER***\n\
                    sent packets: 100\ndrops: 1\ndrops ratio: 1 %\n***Statistics for: REQUEST-ACK***\ndrops ratio: 2.5 %\n";
        let read = read(text).unwrap();
        assert_eq!((read["rate"].as_f64(), read["loss_percent"].as_f64()), (Some(4996.13), Some(2.5)));
        assert_eq!(super::read("nonsense"), None);
    }
}
