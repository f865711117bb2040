//! `netboot group`: machines that boot the same.

use clap::Subcommand;
use serde_json::Value;

use super::client::Client;
use super::{objects, output};

/// Machines that boot the same, selected by what is said of them: list, show, set, remove
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all groups, in the order in which they are tried
    List {
        #[arg(long)]
        json: bool,
    },
    /// Show one group
    Show {
        name: String,
        #[arg(long)]
        json: bool,
    },
    /// Add groups, or put them in the place of those with the same names
    #[command(after_help = "\
Examples:
  netboot group set rack7.yaml
  echo '{name: rack7, selector: {hostname: \"node[01-16]\"}, profile: debian}' | netboot group set

The file has one group, or a list of them, with the keys of groups.d/.")]
    Set {
        #[command(flatten)]
        file: objects::File,
        #[arg(long)]
        json: bool,
    },
    /// Remove a group
    Remove { name: String },
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::List { json } => list(&client.get("/api/v1/groups")?, json),
        Command::Show { name, json } => objects::show("/api/v1/groups", &name, json, client),
        Command::Set { file, json } => list(&objects::set(&file, "/api/v1/groups", client)?, json),
        Command::Remove { name } => objects::remove("/api/v1/groups", &name, client),
    }
}

fn list(groups: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(groups);
    }
    let columns = [("NAME", "name"), ("SELECTOR", "selector"), ("PROFILE", "profile"), ("ORIGIN", "origin")];
    let none = "no groups: add one to netboot.yaml, to a file in groups.d, or by `netboot group set`";
    output::print(&(output::table(&columns, groups, none) + &objects::left_out(groups)))
}
