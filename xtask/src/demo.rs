//! `cargo xtask demo`: one machine with an empty disk installs itself over the network, watched live.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use crate::setup::{self, Need};
use crate::vm::client::Machine;
use crate::vm::run::{self, Watch, printable};
use crate::vm::{Parts, lab, scenario};
use crate::{build, image, interrupt, paths};

/// What is shown is also what is tested.
const SCENARIO: &str = "bios-rom";
const BAR: usize = 30;

/// The command line of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Show the `netboot` and `netboot-agent` of this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    bin_dir: Option<PathBuf>,
}

/// Sets everything up, then shows.
pub(crate) fn main(options: &Options) -> Result<()> {
    setup::ensure(Need::Guests)?;
    lab::prepare()?;
    let binaries = match &options.bin_dir {
        Some(folder) => build::from_folder(folder)?,
        None => build::all()?,
    };
    let parts = Parts::new(binaries)?;
    let scenarios = scenario::load(&paths::root().join("tests/vm"))?;
    let scenario = scenarios.get(SCENARIO).ok_or_else(|| anyhow!("tests/vm/{SCENARIO}.yaml is missing"))?;
    println!("\nA QEMU machine with an empty disk, and a real `netboot serve`, in network namespaces.\n");
    let mut view = View::new();
    let outcome = run::play(scenario, &parts, false, &mut view);
    view.end_bar();
    interrupt::check()?;
    if let Some(reason) = outcome.failure {
        bail!("the machine did not install: {reason}");
    }
    let marker = view.marker.as_deref().unwrap_or(image::MARKER);
    println!("\nInstalled, and started from its own disk, in {:.1} s:\n{marker}", outcome.took.as_secs_f32());
    Ok(())
}

/// One line for each thing that happens; the write is a bar that stays on its line.
struct View {
    begin: Instant,
    terminal: bool,
    bar: bool,
    /// The last whole tenth that was shown, where there is no terminal to repaint.
    tenth: Option<u64>,
    last: Option<(String, Option<String>)>,
    marker: Option<String>,
}

impl View {
    fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { begin: Instant::now(), terminal, bar: false, tenth: None, last: None, marker: None }
    }

    fn line(&mut self, layer: &str, text: &str) {
        self.end_bar();
        println!("{:6.1} s  {layer:<9}  {text}", self.begin.elapsed().as_secs_f32());
    }

    fn end_bar(&mut self) {
        if std::mem::take(&mut self.bar) {
            println!();
        }
    }

    fn progress(&mut self, machine: &Machine, bytes: u64, total: u64) {
        let text = bar(bytes, total, machine.bytes_per_second, machine.eta_seconds);
        if self.terminal {
            print!("\r{:6.1} s  {:<9}  {text}\x1b[K", self.begin.elapsed().as_secs_f32(), "agent");
            _ = std::io::stdout().flush();
            self.bar = true;
        } else if self.tenth != Some(bytes * 10 / total) {
            self.tenth = Some(bytes * 10 / total);
            self.line("agent", &text);
        }
    }
}

impl Watch for View {
    fn step(&mut self, _elapsed: Duration, step: &str) {
        match step {
            "power-on" => self.line("machine", "power on"),
            "disk-equals-image" => self.line("test", "comparing the disk with the image, byte for byte"),
            _ => (),
        }
    }

    fn event(&mut self, event: &Value) {
        let (lane, kind) =
            (event["lane"].as_str().unwrap_or("server"), event["kind"].as_str().unwrap_or("event"));
        self.line(lane, &format!("{kind}: {}", event["text"].as_str().unwrap_or_default()));
    }

    fn machine(&mut self, machine: &Machine) {
        if let (Some(bytes), Some(total)) = (machine.bytes, machine.total.filter(|total| *total > 0))
            && machine.state == "installing"
        {
            self.progress(machine, bytes.min(total), total);
        }
        let now = (machine.state.clone(), machine.step.clone());
        if self.last.as_ref() != Some(&now) {
            let step = machine.step.as_deref().map_or(String::new(), |step| format!(": {step}"));
            let message = machine.message.as_deref().filter(|message| !message.is_empty());
            let message = message.map_or(String::new(), |message| format!(" ({message})"));
            self.line("state", &format!("{}{step}{message}", machine.state));
            self.last = Some(now);
        }
    }

    fn console(&mut self, line: &str) {
        let line = printable(line);
        if line.contains(image::MARKER) {
            self.line("disk", &line);
            self.marker = Some(line);
        } else if line.contains("NETBOOT-AGENT") {
            self.line("agent", &line);
        }
    }
}

fn bar(bytes: u64, total: u64, rate: Option<u64>, eta: Option<u64>) -> String {
    let filled = usize::try_from(bytes * BAR as u64 / total).unwrap_or(BAR).min(BAR);
    let rate = rate.map_or(String::new(), |rate| format!("  {} MiB/s", rate >> 20));
    let eta = eta.map_or(String::new(), |eta| format!("  {eta} s left"));
    let (full, empty) = ("#".repeat(filled), ".".repeat(BAR - filled));
    format!("[{full}{empty}] {:3} %  {} of {} MiB{rate}{eta}", bytes * 100 / total, bytes >> 20, total >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_at_the_end_and_never_longer() {
        assert!(bar(0, 64 << 20, None, None).starts_with(&format!("[{}]   0 %", ".".repeat(BAR))));
        let full = bar(64 << 20, 64 << 20, Some(9 << 20), Some(0));
        assert_eq!(full, format!("[{}] 100 %  64 of 64 MiB  9 MiB/s  0 s left", "#".repeat(BAR)));
    }
}
