//! On what, with what, and when something was measured.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{paths, shell};

/// The machine, its kernel, our commit, the date.
pub(crate) fn here() -> Result<Value> {
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        shell::output(git.arg("-C").arg(paths::root()).args(arguments)).map(|text| text.trim().to_owned())
    };
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    Ok(json!({
        "date": shell::sh("date", &["--utc", "+%Y-%m-%dT%H:%M:%SZ"])?.trim(),
        // A tree without its history is an archive of some release.
        "commit": git(&["rev-parse", "--short=12", "HEAD"]).ok(),
        "changed": git(&["status", "--porcelain"]).map(|text| !text.is_empty()).unwrap_or(false),
        "kernel": shell::sh("uname", &["-r"])?.trim(),
        "machine": {
            "cpu": field(&cpus, "model name"),
            "cpus": cpus.lines().filter(|line| line.starts_with("processor")).count(),
            "memory": field(&memory, "MemTotal"),
            "hypervisor": cpus.contains(" hypervisor"),
        },
    }))
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Debian packages that are installed, and their versions.
pub(crate) fn versions(packages: &[&str]) -> Result<Vec<(String, String)>> {
    let version = |package: &&str| {
        let said = shell::sh("dpkg-query", &["--show", "--showformat", "${Version}", package])?;
        Ok(((*package).to_owned(), said.trim().to_owned()))
    };
    packages.iter().map(version).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_says_where_it_was_made() {
        let facts = here().unwrap();
        assert!(facts["machine"]["cpus"].as_u64().unwrap() > 0, "{facts}");
        assert!(facts["date"].as_str().unwrap().ends_with('Z'), "{facts}");
        assert_eq!(field("MemTotal:   7 kB\n", "MemTotal").as_deref(), Some("7 kB"));
    }
}
