//! `netboot assets`: what was fetched from upstreams, and is kept.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::output;

/// Files of upstreams that are kept: list, prefetch, purge
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what is kept, and what is on its way
    List {
        #[arg(long)]
        json: bool,
    },
    /// Fetch a file before anybody asks for it, or make sure that it is what its upstream has now: an error where that can't say
    Prefetch {
        /// As clients ask for it: /assets/debian/linux, or debian/linux
        path: String,
        #[arg(long)]
        json: bool,
    },
    /// Take a file out of the cache, all below a folder, or all of them: the next client has it fetched again
    Purge {
        /// As of `prefetch`, or a folder: /assets/debian
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        path: Option<String>,
        #[arg(long)]
        all: bool,
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::List { json: true } => output::json(&client.get("/api/v1/assets")?),
        Command::List { json: false } => {
            let mut files = client.get("/api/v1/assets")?;
            files.as_array_mut().into_iter().flatten().for_each(for_people);
            let columns = [
                ("PATH", "path"),
                ("SIZE", "size"),
                ("STATE", "state"),
                ("AGE", "age"),
                ("FROM", "url"),
                ("SHA256", "sha256"),
            ];
            output::print(&output::table(&columns, &files, "nothing is kept"))
        }
        Command::Prefetch { path, json } => {
            let file = client.ask("POST", "/api/v1/assets/prefetch", Some(&json!({ "path": path })))?;
            if json { output::json(&file) } else { output::print(&output::lines(&file)) }
        }
        Command::Purge { path, all, json } => {
            let which = json!({ "path": path, "all": all });
            let purged = client.ask("POST", "/api/v1/assets/purge", Some(&which))?;
            if json { output::json(&purged) } else { output::print(&output::lines(&purged)) }
        }
    }
}

fn for_people(file: &mut Value) {
    let there = file["there"].as_u64().map(output::bytes);
    let size = file["size"].as_u64().map(output::bytes);
    file["size"] = match (there, size) {
        (Some(there), Some(size)) => json!(format!("{there} of {size}")),
        (there, size) => json!(size.or(there)),
    };
    file["age"] = json!(file["age"].as_u64().map(output::seconds));
}
