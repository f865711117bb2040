//! `netboot profile`: what machines can boot.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, segment};
use super::output;

/// What machines can boot: list, show
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all profiles
    List {
        #[arg(long)]
        json: bool,
    },
    /// Show one profile
    Show {
        name: String,
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::List { json: true } => output::json(&client.get("/api/v1/profiles")?),
        Command::List { json: false } => {
            let mut profiles = client.get("/api/v1/profiles")?;
            for profile in profiles.as_array_mut().into_iter().flatten() {
                profile["boots"] = boots(profile);
                profile["installs"] = profile["install"]["image"].clone();
            }
            let columns =
                [("NAME", "name"), ("BOOTS", "boots"), ("INSTALLS", "installs"), ("ORIGIN", "origin")];
            let none = "no profiles: add one to netboot.yaml, or to a file in profiles.d";
            output::print(&output::table(&columns, &profiles, none))
        }
        Command::Show { name, json } => {
            let profile = client.get(&format!("/api/v1/profiles/{}", segment(&name)))?;
            if json { output::json(&profile) } else { output::print(&output::lines(&profile)) }
        }
    }
}

fn boots(profile: &Value) -> Value {
    match &profile["kernel"] {
        Value::String(kernel) => json!(kernel),
        _ if profile["ipxe"].is_string() => json!("an iPXE script"),
        _ => json!("its own disk"),
    }
}
