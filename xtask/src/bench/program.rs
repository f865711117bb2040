//! The bench targets of netboot-userspace (`tests/bench`): they may use our own code, and print what they measured.

use std::io::{Read, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::lab::{End, Lab};
use crate::interrupt::{self, Group};
use crate::{build, shell};

/// One of them, built.
#[derive(Debug)]
pub(crate) struct Program(PathBuf);

impl Program {
    /// Built by `cargo bench`, which says where it put it.
    pub(crate) fn build(name: &str) -> Result<Self> {
        let mut bench = build::cargo();
        bench.args(["bench", "--package", "netboot-userspace", "--bench", name, "--no-run"]);
        shell::run(&mut bench)?;
        // Again, for machines to read: nothing is left to build.
        bench.args(["--quiet", "--message-format", "json"]);
        let messages = shell::output(&mut bench)?;
        executable(&messages, name)
            .map(Self)
            .ok_or_else(|| anyhow!("cargo did not say where the bench target {name} is"))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it on one end of a wire, and reads what it measured.
    pub(crate) fn run(&self, lab: &Lab, end: End, words: &[&str]) -> Result<Value> {
        self.read(lab.command(end, &self.0).args(words))
    }

    /// The same, without a network.
    pub(crate) fn run_here(&self, words: &[&str]) -> Result<Value> {
        self.read(Command::new(&self.0).args(words))
    }

    fn read(&self, command: &mut Command) -> Result<Value> {
        let text = said(command)?;
        serde_json::from_str(&text).with_context(|| format!("{} said {text:?}", self.0.display()))
    }
}

/// Runs a program that measures; its output. It ends with all its children when the user asks us to stop.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    // A failure is told in its own words, not by where it came from.
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command).with_context(|| format!("cannot run {}", shell::line(command)))?;
    let text = all(group.0.stdout.take())?;
    let complaint = all(group.0.stderr.take())?;
    let status = group.0.wait()?;
    // Who stops it knows why it ended.
    interrupt::check()?;
    ensure!(status.success(), "{status}: {}: {}", shell::line(command), complaint.trim());
    Ok(text)
}

fn all(from: Option<impl Read>) -> Result<String> {
    Ok(from.map(read_to_string).transpose()?.unwrap_or_default())
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let ours = message["target"]["name"] == name && message["target"]["kind"][0] == "bench";
        Some(PathBuf::from(message["executable"].as_str().filter(|_| ours)?))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_measured_is_read_and_its_failure_told_in_its_own_words() {
        let run = |script| Program("/bin/sh".into()).run_here(&["-c", script]);
        assert_eq!(run("echo '{\"rate\": 7}'").unwrap()["rate"], 7);
        assert!(run("echo nonsense").unwrap_err().to_string().contains("nonsense"));
        let failure = run("echo no such interface >&2; exit 3").unwrap_err().to_string();
        assert!(failure.contains("no such interface") && failure.contains("exit status: 3"), "{failure}");
    }

    #[test]
    fn cargo_says_where_the_target_is() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"netboot","kind":["bin"]},"executable":"/t/netboot"}
{"reason":"compiler-artifact","target":{"name":"dhcp","kind":["bench"]},"executable":"/t/dhcp-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "dhcp"), Some("/t/dhcp-1".into()));
        assert_eq!(executable(messages, "tftp"), None);
        assert_eq!(executable("{}\nnoise", "dhcp"), None);
    }
}
