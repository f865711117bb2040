//! One setting, all servers in turns.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::files::Files;
use super::kernel::{self, Counts};
use super::servers::{Kind, Server};
use super::settings::Setting;
use crate::bench::peers::Peers;
use crate::bench::program::Program;
use crate::bench::report::{median, sum};
use crate::bench::table::{Table, figure};
use crate::interrupt;

/// What all measurements share.
pub(super) struct Bench<'a> {
    pub(super) clients: &'a Program,
    pub(super) netboot: &'a Path,
    pub(super) peers: &'a Peers,
    pub(super) files: &'a Files,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) deadline: f64,
    pub(super) seed: u64,
}

/// What a setting came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) setting: Setting,
    pub(super) samples: Vec<(Kind, Vec<Value>)>,
}

/// What is taken of each sample: the median counts.
const FIGURES: [&str; 9] = [
    "mb_per_second",
    "transfers_per_second",
    "surplus_percent",
    "p50_ms",
    "p99_ms",
    "server_seconds_per_gb",
    "generator_busy_percent",
    "generator_seconds_per_gb",
    "server_bytes_per_transfer",
];

pub(super) fn setting(bench: &Bench<'_>, setting: &Setting, servers: &[Kind]) -> Result<Outcome> {
    let mut samples: Vec<(Kind, Vec<Value>)> = servers.iter().map(|kind| (*kind, Vec::new())).collect();
    for round in 0..bench.rounds {
        for (kind, samples) in &mut samples {
            interrupt::check()?;
            samples.push(sample(bench, *kind, setting, round).with_context(|| kind.name())?);
        }
    }
    Ok(Outcome { setting: *setting, samples })
}

/// A fresh server, one client that warms it up, and then all of them. A peer that fails altogether is a figure, too; we are not
/// allowed to.
fn sample(bench: &Bench<'_>, kind: Kind, setting: &Setting, round: u32) -> Result<Value> {
    let mut server = match Server::start(bench, kind, setting) {
        Err(error) if !kind.is_ours() => return Ok(json!({ "ended": format!("{error:#}") })),
        started => started.context("starting it")?,
    };
    let clients = setting.clients.to_string();
    let seed = (bench.seed + u64::from(round)).to_string();
    let share = (setting.loss / 100.0).to_string();
    let [seconds, deadline] = [bench.seconds, bench.deadline].map(|number| number.to_string());
    let words = ["--clients", &clients, "--seconds", &seconds, "--deadline", &deadline];
    let network = ["--loss", &share, "--reorder", &share, "--seed", &seed];
    let by_kernel = Counts::read(&server.lab, bench, kind)?;
    let (idle, before) = (server.group.settled_memory()?.all, server.seconds()?);
    let (fetched, most) =
        server.group.most_memory(|| bench.fetch(&server.lab, setting, &[words, network].concat()))?;
    let took = server.seconds()? - before;
    let mut sample = fetched?;
    if let Err(ended) = server.lab.must_run() {
        ensure!(!kind.is_ours(), "{ended:#}");
        sample["ended"] = json!(format!("{ended:#}"));
    }
    let wrong = sample["failures"]["Content"].as_u64().unwrap_or(0) + sample["unsound"].as_u64().unwrap_or(0);
    ensure!(wrong == 0 || !kind.is_ours(), "we sent other bytes than the file's: {sample}");
    if let Some((before, after)) = by_kernel.zip(Counts::read(&server.lab, bench, kind)?) {
        sample["kernel"] = after.since(&before).must_be_all_of(&sample)?;
    }
    let gigabytes = sample["bytes"].as_f64().unwrap_or(f64::NAN) / 1e9;
    sample["server_seconds"] = json!(took);
    sample["server_seconds_per_gb"] = json!(took / gigabytes);
    sample["server_bytes_idle"] = json!(idle);
    // Who was turned away took none.
    let served = sample["completed"].as_f64().map(|completed| completed.min(f64::from(setting.clients)));
    sample["server_bytes_per_transfer"] = json!((most.all - idle).max(0.0) / served.unwrap_or(f64::NAN));
    let own = sample["generator"]["seconds"].as_f64().unwrap_or(f64::NAN);
    sample["generator_seconds_per_gb"] = json!(own / gigabytes);
    sample["generator_busy_percent"] = sample["generator"]["busy_percent"].clone();
    Ok(sample)
}

impl Outcome {
    /// The median of a server's figure.
    pub(super) fn median(&self, kind: Kind, name: &str) -> f64 {
        self.of(kind).map_or(f64::NAN, |samples| median(samples, name))
    }

    /// The sum of a server's figure over all rounds.
    pub(super) fn sum(&self, kind: Kind, name: &str) -> f64 {
        self.of(kind).map_or(f64::NAN, |samples| sum(samples, name))
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.of(kind).is_some()
    }

    fn of(&self, kind: Kind) -> Option<&Vec<Value>> {
        self.samples.iter().find(|(other, _)| *other == kind).map(|(_, samples)| samples)
    }

    pub(super) fn print(&self) {
        println!("-- {}", self.setting);
        let mut table = Table::new(&[
            "server",
            "MB/s",
            "of dnsmasq",
            "transfers/s",
            "failed",
            "resent %",
            "p50 ms",
            "p99 ms",
            "CPU s/GB",
            "generator %",
            "kB each",
            "granted",
        ]);
        for (kind, samples) in &self.samples {
            let of = |name| self.median(*kind, name);
            let ratio = of("mb_per_second") / self.median(Kind::Dnsmasq, "mb_per_second");
            let cells = [
                figure(of("mb_per_second")),
                figure(ratio),
                figure(of("transfers_per_second")),
                failed(samples),
                figure(of("surplus_percent")),
                figure(of("p50_ms")),
                figure(of("p99_ms")),
                figure(of("server_seconds_per_gb")),
                figure(of("generator_busy_percent")),
                figure(of("server_bytes_per_transfer") / 1000.0),
                granted(samples),
            ];
            table.row(std::iter::once(kind.name().to_owned()).chain(cells));
        }
        table.print();
        if self.has(Kind::Bare) {
            // One thread, and what the kernel receives for the server on its time.
            let limit = 1000.0 / self.median(Kind::Bare, "generator_seconds_per_gb");
            println!("the generator's own limit: {} MB/s", figure(limit));
        }
        if let Some(samples) = self.of(Kind::Kernel) {
            println!("{}", kernel::told(samples));
        }
        for (kind, samples) in &self.samples {
            let why = reasons(samples);
            if !why.is_empty() {
                println!("{} failed: {}", kind.name(), why.join(", "));
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        let servers = self.samples.iter().map(|(kind, samples)| {
            let medians: BTreeMap<_, _> =
                FIGURES.map(|name| (name, median(samples, name))).into_iter().collect();
            json!({ "server": kind.name(), "median": medians, "samples": samples })
        });
        let Setting { clients, file, blksize, window, loss } = self.setting;
        json!({
            "clients": clients,
            "file": file.name(),
            "blksize": blksize,
            "windowsize": window,
            "loss_percent": loss,
            "servers": servers.collect::<Vec<_>>(),
        })
    }
}

/// Of so many transfers in all rounds; and whether the server did not live to see the end.
fn failed(samples: &[Value]) -> String {
    let [failed, begun] = ["failed", "begun"].map(|name| sum(samples, name));
    let died = if samples.iter().any(|sample| sample["ended"].is_string()) { " died" } else { "" };
    if failed == 0.0 { format!("0{died}") } else { format!("{failed} of {begun}{died}") }
}

/// Why transfers failed, and how many of them.
fn reasons(samples: &[Value]) -> Vec<String> {
    let mut sums = BTreeMap::<&String, u64>::new();
    for (failure, count) in samples.iter().filter_map(|sample| sample["failures"].as_object()).flatten() {
        *sums.entry(failure).or_default() += count.as_u64().unwrap_or(0);
    }
    sums.into_iter().map(|(failure, count)| format!("{failure} {count}")).collect()
}

/// The block size and the window that the first client was granted.
fn granted(samples: &[Value]) -> String {
    let granted = samples.iter().map(|sample| &sample["granted"]).find(|granted| granted.is_object());
    granted.map(|granted| format!("{}×{}", granted["blksize"], granted["windowsize"])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_with_their_reasons() {
        let samples = [
            json!({ "begun": 100, "failed": 3, "failures": { "Silence": 2, "Deadline": 1 } }),
            json!({ "ended": "aborted" }),
            json!({ "begun": 100, "failed": 1, "failures": { "Silence": 1 }, "granted": { "blksize": 512, "windowsize": 1 } }),
        ];
        assert_eq!(failed(&samples), "4 of 200 died");
        assert_eq!(reasons(&samples), ["Deadline 1", "Silence 3"]);
        assert_eq!(granted(&samples), "512×1");
        assert_eq!(failed(&[json!({ "begun": 7, "failed": 0 })]), "0");
    }

    #[test]
    fn medians_and_sums_are_of_the_server_that_was_asked_for() {
        let setting = crate::bench::tftp::settings::plan(&[], &Default::default())[0].1[0];
        let samples = [1.0, 9.0, 5.0].map(|rate| json!({ "mb_per_second": rate, "failed": 1 })).to_vec();
        let outcome = Outcome { setting, samples: vec![(Kind::Uring, samples)] };
        assert_eq!(outcome.median(Kind::Uring, "mb_per_second"), 5.0);
        assert_eq!(outcome.sum(Kind::Uring, "failed"), 3.0);
        assert!(outcome.median(Kind::Dnsmasq, "mb_per_second").is_nan() && !outcome.has(Kind::Dnsmasq));
    }
}
