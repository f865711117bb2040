//! The server as an operator sees it: through the `netboot` command and its JSON.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;

use super::lab::Lab;
use super::process::Process;
use super::site::Site;
use crate::shell;

/// A `netboot serve`, and the stream of its events. Dropping it is `kill -9`.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    events: Option<Process>,
}

/// `netboot machine list --json`, one entry. Fields that we don't judge by are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    pub(crate) mac: String,
    pub(crate) state: String,
    pub(crate) step: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) bytes: Option<u64>,
    pub(crate) total: Option<u64>,
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) eta_seconds: Option<u64>,
}

/// Talks to the server by its control socket.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    netboot: PathBuf,
    control: PathBuf,
}

impl Server {
    /// Starts it; [`Client::is_ready`] says when it answers.
    pub(crate) fn start(lab: &Lab, site: &Site, netboot: &Path) -> Result<Self> {
        let words = &site.server;
        let log = lab.folder.join("server.log");
        let process = Process::start("netboot serve", Some(&lab.server_namespace()), &log, netboot, words)?;
        Ok(Self { process, events: None })
    }

    /// Appends its events to `events.log`, from now on.
    pub(crate) fn follow_events(&mut self, lab: &Lab, client: &Client) -> Result<()> {
        let words = client.words(&["events", "--follow", "--json"]);
        self.events =
            Some(Process::start("netboot events", None, &events_log(lab), &client.netboot, &words)?);
        Ok(())
    }

    pub(crate) fn must_run(&mut self) -> Result<()> {
        self.process.must_run()
    }
}

/// Where [`Server::follow_events`] writes.
pub(crate) fn events_log(lab: &Lab) -> PathBuf {
    lab.folder.join("events.log")
}

/// The events so far. A line that is still being written is left for the next call.
pub(crate) fn events(lab: &Lab) -> Vec<Value> {
    let text = fs::read_to_string(events_log(lab)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

impl Client {
    pub(crate) fn new(netboot: &Path, site: &Site) -> Self {
        Self { netboot: netboot.to_owned(), control: site.control.clone() }
    }

    /// Whether the server answers.
    pub(crate) fn is_ready(&self) -> bool {
        self.control.exists() && self.status().is_ok()
    }

    /// One command of the operator's; what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String> {
        shell::output(std::process::Command::new(&self.netboot).args(self.words(words)))
    }

    pub(crate) fn status(&self) -> Result<Value> {
        let text = self.run(&["status", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("netboot status --json said {text:?}"))
    }

    /// What the server knows of this machine.
    pub(crate) fn machine(&self, mac: &str) -> Result<Option<Machine>> {
        let text = self.run(&["machine", "list", "--json"])?;
        let machines: Vec<Machine> = serde_json::from_str(&text)
            .with_context(|| format!("netboot machine list --json said {text:?}"))?;
        Ok(machines.into_iter().find(|machine| machine.mac.eq_ignore_ascii_case(mac)))
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let mut all = vec!["--control".to_owned(), self.control.display().to_string()];
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all
    }
}

/// Fails unless replies of `kind` (`offer`, `ack`, …) left from XDP or tcx, and none from userspace.
pub(crate) fn answered_by_kernel(status: &Value, kind: &str) -> Result<String> {
    let name = format!("answered_{kind}");
    let count = |lane: &str| status["counters"][lane][&name].as_u64().unwrap_or(0);
    let (xdp, tcx, userspace) = (count("xdp"), count("tcx"), count("userspace"));
    if xdp + tcx == 0 || userspace > 0 {
        bail!("{name}: xdp {xdp}, tcx {tcx}, userspace {userspace}: it must be the kernel alone");
    }
    Ok(format!("{name}: xdp {xdp}, tcx {tcx}"))
}

/// Fails unless some lane of DHCP has counted `name`.
pub(crate) fn counted(status: &Value, name: &str) -> Result<u64> {
    let lanes = ["xdp", "tcx", "userspace"];
    let sum = lanes.iter().filter_map(|lane| status["counters"][lane][name].as_u64()).sum();
    if sum == 0 { Err(anyhow!("{name}: none was counted")) } else { Ok(sum) }
}

/// The XDP mode of an interface.
pub(crate) fn xdp_mode(status: &Value, interface: &str) -> Result<String> {
    let interfaces =
        status["interfaces"].as_array().ok_or_else(|| anyhow!("status has no list of interfaces"))?;
    let entry = interfaces
        .iter()
        .find(|entry| entry["name"] == interface)
        .ok_or_else(|| anyhow!("status does not list {interface}"))?;
    entry["xdp"]["mode"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("status says no XDP mode for {interface}: {entry}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_kernel_may_have_answered() {
        let status = |xdp, tcx, userspace| {
            json!({ "counters": { "xdp": { "answered_offer": xdp }, "tcx": { "answered_offer": tcx },
                                  "userspace": { "answered_offer": userspace } } })
        };
        assert_eq!(answered_by_kernel(&status(1, 2, 0), "offer").unwrap(), "answered_offer: xdp 1, tcx 2");
        assert!(answered_by_kernel(&status(0, 0, 0), "offer").is_err());
        assert!(answered_by_kernel(&status(1, 0, 1), "offer").is_err());
        assert!(answered_by_kernel(&status(1, 0, 0), "ack").is_err());
    }

    #[test]
    fn all_lanes_are_counted() {
        let status = json!({ "counters": { "xdp": { "x": 1 }, "userspace": { "x": 2, "y": 0 } } });
        assert_eq!(counted(&status, "x").unwrap(), 3);
        assert!(counted(&status, "y").is_err());
        assert!(counted(&status, "z").is_err());
    }

    #[test]
    fn the_xdp_mode_is_that_of_the_interface() {
        let status = json!({ "interfaces": [{ "name": "eth0", "xdp": { "mode": "native" } }, { "name": "a", "xdp": { "mode": "off" } }] });
        assert_eq!(xdp_mode(&status, "eth0").unwrap(), "native");
        assert_eq!(xdp_mode(&status, "a").unwrap(), "off");
        assert!(xdp_mode(&status, "eth1").is_err());
    }
}
