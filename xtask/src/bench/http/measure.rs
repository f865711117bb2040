//! One setting, all servers in turns.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::files::Files;
use super::servers::{self, Kind, Server};
use super::settings::{CROWD, Mode, Setting};
use super::wrk;
use crate::bench::cgroup::Memory;
use crate::bench::lab::End;
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
}

/// What a setting came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) setting: Setting,
    pub(super) samples: Vec<(Kind, Vec<Value>)>,
}

/// What is taken of each sample: the median counts.
const FIGURES: [&str; 10] = [
    "requests_per_second",
    "mb_per_second",
    "p50_us",
    "p99_us",
    "server_us_per_request",
    "server_seconds_per_gb",
    "server_own_bytes_each",
    "server_bytes_each",
    "generator_busy_percent",
    "of_alone",
];

/// So many bytes are compared at once, if the file is not longer.
const COMPARED: u64 = 256 << 20;

/// Each server's answers, byte by byte, apart from what is measured; how many bytes.
pub(super) fn verify(bench: &Bench<'_>, setting: &Setting, kind: Kind) -> Result<u64> {
    interrupt::check()?;
    let length = setting.range().unwrap_or(setting.file.bytes());
    let connections = (COMPARED / length).clamp(1, 100);
    let once = Setting { connections: connections as u32, ..*setting };
    let server = Server::start(bench, kind, setting)?;
    let report = load(bench, &server, &once, &["--compare", "--seconds", "0", "--each", "2"])?;
    let sound = report["failed"] == 0 && report["failed_before"] == 0;
    ensure!(sound && report["compared"] == connections * 2 * length, "not what the file has: {report}");
    Ok(connections * 2 * length)
}

pub(super) fn setting(bench: &Bench<'_>, setting: &Setting, servers: &[Kind]) -> Result<Outcome> {
    let able = servers.iter().filter(|kind| kind.does(setting.mode));
    let mut samples: Vec<(Kind, Vec<Value>)> = able.map(|kind| (*kind, Vec::new())).collect();
    for _ in 0..bench.rounds {
        for (kind, samples) in &mut samples {
            interrupt::check()?;
            samples.push(sample(bench, *kind, setting).with_context(|| kind.name())?);
        }
    }
    Ok(Outcome { setting: *setting, samples })
}

/// A fresh server, and then all clients.
fn sample(bench: &Bench<'_>, kind: Kind, setting: &Setting) -> Result<Value> {
    let mut server = Server::start(bench, kind, setting).context("starting it")?;
    let idle = server.group.settled_memory()?;
    if setting.mode == Mode::Idle {
        return held(bench, &mut server, setting, idle);
    }
    let seconds = bench.seconds.to_string();
    let alone = match setting.mode {
        Mode::Beside => Some(load(bench, &server, setting, &["--seconds", &seconds])?),
        _ => None,
    };
    let held = match &alone {
        Some(_) => crowd(bench, &mut server, setting)?,
        None => 0.0,
    };
    let before = server.group.seconds()?;
    let (said, most) = server.group.most_memory(|| match setting.mode {
        Mode::Wrk => wrk::run(bench, &server, setting),
        _ => load(bench, &server, setting, &["--seconds", &seconds]),
    })?;
    let took = server.group.seconds()? - before;
    server.lab.must_run()?;
    let mut sample = said?;
    let all = |name: &str| sample[name].as_f64().unwrap_or(f64::NAN);
    let (requests, gigabytes) = (all("all_requests"), all("all_bytes") / 1e9);
    let failed = all("failed") + sample["failed_before"].as_f64().unwrap_or(0.0);
    sample["failed"] = json!(failed);
    sample["server_seconds"] = json!(took);
    sample["server_us_per_request"] = json!(took * 1e6 / requests);
    sample["server_seconds_per_gb"] = json!(took / gigabytes);
    sample["generator_busy_percent"] = sample["generator"]["busy_percent"].clone();
    if let Some(alone) = alone {
        let rate = |report: &Value| report["requests_per_second"].as_f64().unwrap_or(f64::NAN);
        sample["of_alone"] = json!(rate(&sample) / rate(&alone));
        (sample["alone"], sample["held"]) = (alone, json!(held));
    }
    remember(&mut sample, idle, most, f64::from(setting.connections));
    Ok(sample)
}

/// Has others connected, some of them slow, for as long as the server runs; how many.
fn crowd(bench: &Bench<'_>, server: &mut Server, setting: &Setting) -> Result<f64> {
    let [all, slow] = CROWD;
    let crowd = Setting { connections: all, ..*setting };
    let mut words = load_words(bench, &crowd);
    words.extend(["--hold".to_owned(), "--slow".to_owned(), slow.to_string()]);
    server.lab.start(End::Clients, "crowd", bench.clients.path(), &words)?;
    server.lab.wait_for_lines("crowd", "holding ", threads(&crowd))?;
    Ok(tally(&std::fs::read_to_string(server.lab.log("crowd"))?).0)
}

/// Clients that have asked once and stay: what the server has for each of them.
fn held(bench: &Bench<'_>, server: &mut Server, setting: &Setting, idle: Memory) -> Result<Value> {
    let words = [load_words(bench, setting), vec!["--hold".to_owned()]].concat();
    server.lab.start(End::Clients, "hold", bench.clients.path(), &words)?;
    server.lab.wait_for_lines("hold", "holding ", threads(setting))?;
    let holding = server.group.settled_memory()?;
    server.lab.must_run()?;
    let (held, failed) = tally(&std::fs::read_to_string(server.lab.log("hold"))?);
    let mut sample = json!({ "held": held, "failed": failed });
    remember(&mut sample, idle, holding, held);
    Ok(sample)
}

/// How many connections the generator's threads hold, and how often they failed to have one.
fn tally(log: &str) -> (f64, f64) {
    let lines = log.lines().filter_map(|line| line.strip_prefix("holding ")?.split_once(" failed "));
    let number = |word: &str| word.parse::<f64>().unwrap_or(f64::NAN);
    lines.fold((0.0, 0.0), |(held, failed), (some, none)| (held + number(some), failed + number(none)))
}

fn remember(sample: &mut Value, idle: Memory, then: Memory, connections: f64) {
    let each = then.each_since(idle, connections);
    sample["server_own_bytes_idle"] = json!(idle.own);
    sample["server_bytes_idle"] = json!(idle.all);
    sample["server_own_bytes_each"] = json!(each.own);
    sample["server_bytes_each"] = json!(each.all);
}

/// Runs the generator; what it reports.
fn load(bench: &Bench<'_>, server: &Server, setting: &Setting, more: &[&str]) -> Result<Value> {
    let words = load_words(bench, setting);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    bench.clients.run(&server.lab, End::Clients, &words)
}

fn load_words(bench: &Bench<'_>, setting: &Setting) -> Vec<String> {
    let mut words = vec!["load".to_owned()];
    words.extend(servers::asking(bench, setting));
    words.extend(["--connections".to_owned(), setting.connections.to_string()]);
    words.extend(["--threads".to_owned(), threads(setting).to_string()]);
    words.extend(["--deadline".to_owned(), bench.deadline.to_string()]);
    if let Some(range) = setting.range() {
        words.extend(["--range".to_owned(), range.to_string()]);
    }
    if setting.mode == Mode::Fresh {
        words.push("--fresh".to_owned());
    }
    words
}

/// Of the generator: as many as the server has, but for few clients.
fn threads(setting: &Setting) -> usize {
    servers::workers().min(setting.connections as usize)
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

    /// How much better ours is than the better nginx: a rate is to be high, a cost low.
    pub(super) fn best_nginx(&self, name: &str, high: bool) -> f64 {
        let both = [Kind::Nginx, Kind::NginxCopy].map(|kind| self.median(kind, name));
        // One that was not measured counts for nothing.
        both.into_iter().fold(f64::NAN, if high { f64::max } else { f64::min })
    }

    fn of(&self, kind: Kind) -> Option<&Vec<Value>> {
        self.samples.iter().find(|(other, _)| *other == kind).map(|(_, samples)| samples)
    }

    pub(super) fn print(&self) {
        println!("-- {}", self.setting);
        let mut table = Table::new(&[
            "server",
            "requests/s",
            "MB/s",
            "of nginx",
            "of bare",
            "failed",
            "p50 ms",
            "p99 ms",
            "CPU µs/request",
            "CPU s/GB",
            "own kB each",
            "all kB each",
            "generator %",
        ]);
        for (kind, samples) in &self.samples {
            table.row(std::iter::once(kind.name().to_owned()).chain(self.cells(*kind, samples)));
        }
        table.print();
        for (kind, samples) in &self.samples {
            let why = reasons(samples);
            if !why.is_empty() {
                println!("{} failed: {}", kind.name(), why.join(", "));
            }
        }
    }

    fn cells(&self, kind: Kind, samples: &[Value]) -> [String; 12] {
        let of = |name| self.median(kind, name);
        let rate = of("mb_per_second");
        [
            known(of("requests_per_second")),
            known(rate),
            known(rate / self.best_nginx("mb_per_second", true)),
            known(rate / self.median(Kind::Bare, "mb_per_second")),
            figure(sum(samples, "failed")),
            known(of("p50_us") / 1000.0),
            known(of("p99_us") / 1000.0),
            known(of("server_us_per_request")),
            known(of("server_seconds_per_gb")),
            known(of("server_own_bytes_each") / 1000.0),
            known(of("server_bytes_each") / 1000.0),
            known(of("generator_busy_percent")),
        ]
    }

    pub(super) fn json(&self) -> Value {
        let servers = self.samples.iter().map(|(kind, samples)| {
            let medians: BTreeMap<_, _> =
                FIGURES.map(|name| (name, median(samples, name))).into_iter().collect();
            json!({ "server": kind.name(), "median": medians, "samples": samples })
        });
        let Setting { file, connections, mode } = self.setting;
        json!({
            "file": file.name(),
            "connections": connections,
            "mode": format!("{mode:?}").to_lowercase(),
            "range": self.setting.range(),
            "servers": servers.collect::<Vec<_>>(),
        })
    }
}

/// Long requests may have no end within the time, and idle clients have no rate.
fn known(value: f64) -> String {
    if value.is_finite() { figure(value) } else { "–".to_owned() }
}

/// Why requests failed, and how many of them.
fn reasons(samples: &[Value]) -> Vec<String> {
    let mut sums = BTreeMap::<&String, u64>::new();
    for when in ["failures", "failures_before"] {
        for (failure, count) in samples.iter().filter_map(|sample| sample[when].as_object()).flatten() {
            *sums.entry(failure).or_default() += count.as_f64().unwrap_or(0.0) as u64;
        }
    }
    let some = sums.into_iter().filter(|(_, count)| *count > 0);
    some.map(|(failure, count)| format!("{failure} {count}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::http::files::Size;

    #[test]
    fn failures_are_told_with_their_reasons_whenever_they_happened() {
        let samples = [
            json!({ "failures": { "Closed": 2, "Length": 1 }, "failures_before": { "Closed": 1 } }),
            json!({ "failures": { "wrk": 0.0 } }),
        ];
        assert_eq!(reasons(&samples), ["Closed 3", "Length 1"]);
    }

    #[test]
    fn what_is_held_and_what_failed_is_of_all_threads() {
        assert_eq!(tally("holding 5000 failed 0\nnoise\nholding 692 failed 12924\n"), (5692.0, 12924.0));
    }

    #[test]
    fn the_better_nginx_is_what_counts() {
        let setting = Setting { file: Size::Tiny, connections: 1, mode: Mode::Keep };
        let one = |rate: f64, cost: f64| vec![json!({ "rate": rate, "cost": cost })];
        let both = vec![(Kind::Nginx, one(5.0, 2.0)), (Kind::NginxCopy, one(7.0, 3.0))];
        let outcome = Outcome { setting, samples: both };
        assert_eq!((outcome.best_nginx("rate", true), outcome.best_nginx("cost", false)), (7.0, 2.0));
        let outcome = Outcome { setting, samples: vec![(Kind::Nginx, one(5.0, 2.0))] };
        assert_eq!((outcome.best_nginx("rate", true), outcome.best_nginx("cost", false)), (5.0, 2.0));
        assert!(Outcome { setting, samples: Vec::new() }.best_nginx("rate", true).is_nan());
        assert_eq!(known(f64::NAN), "–");
    }
}
