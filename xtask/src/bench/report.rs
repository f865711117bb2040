//! What a bench found: how it begins, how it is told, and where it is written.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::facts;
use super::target::{self, Target};
use crate::paths;

/// What a part found, and what it says of our promises.
pub(crate) struct Found {
    pub(crate) json: Value,
    pub(crate) targets: Vec<Target>,
}

/// A bench under way.
pub(crate) struct Report {
    name: &'static str,
    json: Value,
    targets: Vec<Target>,
}

impl Report {
    /// Says where and with what we measure. `versions`: name and version of each peer.
    pub(crate) fn begin(name: &'static str, rounds: u32, versions: &[(String, String)]) -> Result<Self> {
        let mut json = facts::here()?;
        json["rounds"] = json!(rounds);
        for (package, version) in versions {
            json["versions"][package] = json!(version);
        }
        println!("\n{}\n", heading(&json));
        Ok(Self { name, json, targets: Vec::new() })
    }

    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.json[name] = value;
    }

    pub(crate) fn part(&mut self, name: &str, found: Found) {
        self.json[name] = found.json;
        self.targets.extend(found.targets);
    }

    /// Judges, and writes `target/bench/NAME.json`; prints that, too, if asked.
    pub(crate) fn end(mut self, print: bool) -> Result<()> {
        self.json["targets"] = target::report(&self.targets);
        let path = write(self.name, &self.json)?;
        if print {
            println!("{:#}", self.json);
        }
        println!("{}", path.display());
        Ok(())
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

/// Writes `target/bench/NAME.json`.
fn write(name: &str, report: &Value) -> Result<PathBuf> {
    let folder = paths::target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, format!("{report:#}\n")).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The median of what `figure` says of each.
pub(crate) fn median<'a>(samples: impl IntoIterator<Item = &'a Value>, name: &str) -> f64 {
    let mut values: Vec<f64> = samples.into_iter().filter_map(|sample| sample[name].as_f64()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The sum of what `figure` says of each.
pub(crate) fn sum<'a>(samples: impl IntoIterator<Item = &'a Value>, name: &str) -> f64 {
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
