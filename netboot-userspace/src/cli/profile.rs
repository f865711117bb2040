//! `netboot profile`: what machines can boot.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::{objects, output};

/// What machines can boot: list, show, set, remove
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
    /// Add profiles, or put them in the place of those with the same names
    #[command(after_help = "\
Examples:
  netboot profile set debian.yaml
  echo '{name: rescue, kernel: rescue/vmlinuz, initrd: rescue/initrd.img}' | netboot profile set

The file has one profile, or a list of them, with the keys of profiles.d/. DHCP options, boot files and menus of a profile
are for profiles.d/ alone.")]
    Set {
        #[command(flatten)]
        file: objects::File,
        #[arg(long)]
        json: bool,
    },
    /// Remove a profile that no host and no group names
    Remove { name: String },
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::List { json } => list(client.get("/api/v1/profiles")?, json),
        Command::Set { file, json } => list(objects::set(&file, "/api/v1/profiles", client)?, json),
        Command::Remove { name } => objects::remove("/api/v1/profiles", &name, client),
        Command::Show { name, json } => objects::show("/api/v1/profiles", &name, json, client),
    }
}

fn list(mut profiles: Value, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&profiles);
    }
    for profile in profiles.as_array_mut().into_iter().flatten() {
        profile["boots"] = boots(profile);
        profile["installs"] = profile["install"]["image"].clone();
    }
    let columns = [("NAME", "name"), ("BOOTS", "boots"), ("INSTALLS", "installs"), ("ORIGIN", "origin")];
    let none = "no profiles: add one to netboot.yaml, to a file in profiles.d, or by `netboot profile set`";
    output::print(&(output::table(&columns, &profiles, none) + &objects::left_out(&profiles)))
}

fn boots(profile: &Value) -> Value {
    match &profile["kernel"] {
        Value::String(kernel) => json!(kernel),
        _ if profile["ipxe"].is_string() => json!("an iPXE script"),
        _ if profile["efi"].is_string() => profile["efi"].clone(),
        _ if profile["left_out"].is_string() => json!("nothing"),
        _ => json!("its own disk"),
    }
}
