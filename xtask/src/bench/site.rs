//! Our own server in a lab: its configuration, and its start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::lab::{End, Lab, NETWORK, PREFIX_LENGTH, RELAY, SERVER};
use crate::shell;

/// What differs from bench to bench.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) xdp: &'static str,
    /// First and last address. With it, every machine is served; without it, those with a host entry.
    pub(crate) pool: Option<[&'static str; 2]>,
    /// The keys of `tftp`; without them, it serves an empty folder of the lab.
    pub(crate) tftp: Option<String>,
    /// The folder that HTTP serves; without it, an empty one of the lab.
    pub(crate) assets: Option<PathBuf>,
}

/// What the server may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    All,
    /// It may load nothing into the kernel.
    NoPrograms,
}

impl Site {
    /// Writes `netboot.yaml`, and makes the folders that it names.
    pub(crate) fn write(&self, lab: &Lab) -> Result<()> {
        for name in ["assets", "tftp", "ipxe"] {
            fs::create_dir_all(lab.folder.join(name))?;
        }
        Ok(fs::write(lab.folder.join("netboot.yaml"), self.yaml(lab))?)
    }

    /// Without budgets and probes, which the peers don't have either: a run's clients ask as fast as they can, all by one relay
    /// agent, and nobody has an address that nobody gave.
    fn yaml(&self, lab: &Lab) -> String {
        let (folder, pins) = (lab.folder.display(), lab.pins());
        let Self { xdp, pool, tftp, assets } = self;
        let range = pool.map(|[first, last]| format!("    range: {first}-{last}\n")).unwrap_or_default();
        let tftp = tftp.clone().unwrap_or_else(|| format!("root: {folder}/tftp"));
        let assets = assets.clone().unwrap_or_else(|| lab.folder.join("assets"));
        let unknown = if pool.is_some() { "boot" } else { "ignore" };
        format!(
            "interfaces:
  - name: eth0
    dhcp: server
    xdp: {xdp}
    subnet: {NETWORK}/{PREFIX_LENGTH}
{range}    router: {SERVER}
    dns: [{SERVER}]
    lease: 1h
    relays: [{RELAY}]
unknown: {unknown}
limits: {{ client: off, relay: off }}
probe: off
http: {{ listen: \":8080\" }}
tftp: {{ {tftp} }}
assets: {}
ipxe: {folder}/ipxe
paths: {{ state: {folder}/state, control: {folder}/control.sock, pins: {} }}
",
            assets.display(),
            pins.display()
        )
    }
}

/// Starts `netboot serve` on what is in the lab's folder.
pub(crate) fn serve(lab: &mut Lab, netboot: &Path, rights: Rights) -> Result<()> {
    let config = lab.folder.join("netboot.yaml").display().to_string();
    let serve = ["serve", "--config", &config].map(str::to_owned);
    match rights {
        Rights::All => lab.start(End::Server, "netboot", netboot, &serve),
        Rights::NoPrograms => {
            // Root without these may load no program at all.
            let without =
                ["--bounding-set", "-bpf,-perfmon,-sys_admin", "--", &netboot.display().to_string()];
            let words = [without.map(str::to_owned).as_slice(), &serve].concat();
            lab.start(End::Server, "netboot", Path::new("setpriv"), &words)
        }
    }
}

/// `netboot status --json` of a lab's server.
pub(crate) fn status(lab: &Lab, netboot: &Path) -> Result<Value> {
    let control = lab.folder.join("control.sock").display().to_string();
    let text = shell::output(Command::new(netboot).args(["--control", &control, "status", "--json"]))?;
    serde_json::from_str(&text).context(text)
}
