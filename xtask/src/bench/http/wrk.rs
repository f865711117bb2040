//! What wrk says: a second opinion about small files on connections that are kept alive.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use super::measure::Bench;
use super::servers::{Server, address, workers};
use super::settings::Setting;
use crate::bench::lab::End;
use crate::bench::program;

/// It counts in whole seconds.
pub(super) fn run(bench: &Bench<'_>, server: &Server, setting: &Setting) -> Result<Value> {
    let connections = setting.connections.to_string();
    let threads = workers().min(setting.connections as usize).to_string();
    let seconds = bench.seconds.ceil().max(1.0).to_string();
    let url = format!("http://{}{}", address(), setting.file.url_path());
    let mut wrk = server.lab.command(End::Clients, Path::new("wrk"));
    wrk.args(["--latency", "--connections", &connections, "--threads", &threads]);
    wrk.args(["--duration", &seconds, &url]);
    let said = program::said(&mut wrk)?;
    read(&said, setting.file.bytes()).with_context(|| format!("wrk said {said}"))
}

fn read(said: &str, bytes_each: u64) -> Result<Value> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let line = |start: &str| said.lines().map(str::trim).find_map(|line| line.strip_prefix(start));
    let summary = said.lines().find(|line| line.contains(" requests in ")).map(words);
    let requests: f64 =
        summary.and_then(|words| words.first()?.parse().ok()).context("no number of requests")?;
    let rate: f64 = line("Requests/sec:").and_then(|rate| rate.trim().parse().ok()).context("no rate")?;
    let latency = |share: &str| {
        let text = line(share).ok_or_else(|| anyhow!("no latency of {share}"))?;
        microseconds(text.trim()).ok_or_else(|| anyhow!("{text:?} is no time"))
    };
    let errors: f64 = line("Socket errors:").map_or(0.0, |counts| {
        counts.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<f64>().ok()).sum()
    });
    let other: f64 =
        line("Non-2xx or 3xx responses:").and_then(|count| count.trim().parse().ok()).unwrap_or(0.0);
    Ok(json!({
        "requests": requests,
        "all_requests": requests,
        "all_bytes": requests * bytes_each as f64,
        "requests_per_second": rate,
        "mb_per_second": rate * bytes_each as f64 / 1e6,
        "p50_us": latency("50%")?,
        "p99_us": latency("99%")?,
        "failed": errors + other,
        "failures": { "wrk": errors + other },
    }))
}

fn microseconds(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let unit = match &text[at..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(text[..at].parse::<f64>().ok()? * unit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SAID: &str = "Running 2s test @ http://10.64.0.1:8080/assets/script.ipxe
  2 threads and 100 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.40ms    2.10ms  40.11ms   92.33%
    Req/Sec    45.10k     3.20k   50.00k    70.00%
  Latency Distribution
     50%  900.00us
     75%    1.50ms
     90%    2.50ms
     99%    9.87ms
  180000 requests in 2.00s, 0.72GB read
";

    #[test]
    fn what_wrk_says_is_read() {
        let found =
            read(&format!("{SAID}Requests/sec:  90000.50\nTransfer/sec:    367.2MB\n"), 4096).unwrap();
        assert_eq!(
            (&found["requests"], &found["requests_per_second"]),
            (&180_000.0.into(), &90_000.5.into())
        );
        assert_eq!((&found["p50_us"], &found["p99_us"]), (&900.0.into(), &9_870.0.into()));
        assert_eq!(found["failed"], 0.0);
    }

    #[test]
    fn what_wrk_says_of_errors_is_counted() {
        let more = "  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 10\nRequests/sec: 1.0\n";
        assert_eq!(read(&format!("{SAID}{more}"), 4096).unwrap()["failed"], 17.0);
        assert!(read("unable to connect", 4096).is_err());
    }
}
