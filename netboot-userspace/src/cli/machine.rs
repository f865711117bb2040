//! `netboot machine`: what was observed, and how far each has come.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, segment};
use super::output;

/// What was observed of each machine: list, show, reset, rearm; whether machines are installed
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all machines that were seen
    List {
        #[arg(long)]
        json: bool,
    },
    /// Show one machine, by its MAC or its host's name
    Show {
        machine: String,
        #[arg(long)]
        json: bool,
    },
    /// Forget that a machine was installed: it boots its profile again, and one that installs writes the disk anew
    Reset {
        /// Its MAC, or its host's name
        machine: String,
    },
    /// Start machines again that the breaker stops; what is installed stays so
    Rearm {
        /// Its MAC, or its host's name
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        machine: Option<String>,
        /// All that are stopped
        #[arg(long)]
        all: bool,
    },
    /// Install machines again, after the store was lost and began anew
    ///
    /// A store that can't be read is moved aside, and with it the knowledge which machines are installed: nothing is installed
    /// then but what `machine reset` or `host set --reinstall` asks for, until this command.
    AllowInstalls,
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::List { json: true } => output::json(&client.get("/api/v1/machines")?),
        Command::List { json: false } => {
            let mut machines = client.get("/api/v1/machines")?;
            for machine in machines.as_array_mut().into_iter().flatten() {
                machine["progress"] = json!(progress(machine));
                // Where another server gave it one.
                if machine["address"].is_null() {
                    machine["address"] = machine["asked_from"].take();
                }
            }
            let columns = [
                ("MAC", "mac"),
                ("NAME", "name"),
                ("ADDRESS", "address"),
                ("CLASS", "class"),
                ("STATE", "state"),
                ("STEP", "step"),
                ("PROGRESS", "progress"),
                ("MESSAGE", "message"),
            ];
            output::print(&output::table(&columns, &machines, "no machine was seen yet"))
        }
        Command::Show { machine, json } => {
            let machine = client.get(&path(&machine))?;
            if json { output::json(&machine) } else { output::print(&output::lines(&machine)) }
        }
        Command::Reset { machine } => client.ask("DELETE", &path(&machine), None).map(drop),
        Command::Rearm { machine, .. } => {
            let of = machine.map(|machine| format!("/{}", segment(&machine))).unwrap_or_default();
            client.ask("DELETE", &format!("/api/v1/holds/boots{of}"), None).map(drop)
        }
        Command::AllowInstalls => client.ask("DELETE", "/api/v1/holds/installs", None).map(drop),
    }
}

/// `1.0 GiB of 2.0 GiB, 80.1 MiB/s, 12s left`
fn progress(machine: &Value) -> String {
    let number = |key: &str| machine[key].as_u64().filter(|number| *number > 0);
    let Some(done) = number("bytes") else { return String::new() };
    let total = number("total").map(|total| format!(" of {}", output::bytes(total)));
    let rate = number("bytes_per_second").map(|rate| format!(", {}/s", output::bytes(rate)));
    let left = number("eta_seconds").map(|left| format!(", {} left", output::seconds(left)));
    [Some(output::bytes(done)), total, rate, left].into_iter().flatten().collect()
}

fn path(machine: &str) -> String {
    format!("/api/v1/machines/{}", segment(machine))
}
