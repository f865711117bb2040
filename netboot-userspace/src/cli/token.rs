//! `netboot token`: who may use the API over the network.

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use super::client::{Client, segment};
use super::output;
use crate::api::roles::Role;
use crate::api::tokens::NewToken;
use crate::config;

/// Who may use the API over the network: add, list, remove
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token, and print it: this once, for the server keeps only its hash
    #[command(after_help = "\
Roles, each of which may do what those before it may:
  view    read all but tokens, the audit and what may be secret: metadata, command lines, scripts
  boot    change what machines boot next: host set --boot and --reinstall, machine reset, machine rearm, machine allow-installs
  admin   everything

Examples:
  (umask 077; netboot token add ci --role boot --expires 90d >ci.token)
  netboot --server https://boot.example.net:8443 --token-file ci.token --ca ca.crt host set node1 --boot once
  curl --cacert ca.crt -H \"Authorization: Bearer $(cat ci.token)\" https://boot.example.net:8443/api/v1/hosts")]
    Add {
        /// What it is called in the audit
        name: String,
        /// What it may do: view, boot, admin
        #[arg(long)]
        role: Role,
        /// When it ends: 90d, 12h … [default: it does not end by itself]
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<Duration>,
        #[arg(long)]
        json: bool,
    },
    /// List all tokens, without their secrets
    List {
        #[arg(long)]
        json: bool,
    },
    /// Remove a token: whoever has it is turned away from now on
    Remove { name: String },
}

fn lifetime(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(366 * 86_400);
    config::duration(text, Duration::from_secs(60)..=100 * YEAR)
}

pub(super) fn main(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::Add { name, role, expires, json } => {
            let new = NewToken { name, role, expires_in: expires.map(|time| time.as_secs()) };
            let made = client.ask("POST", "/api/v1/tokens", Some(&json!(new)))?;
            if json {
                return output::json(&made);
            }
            output::print(made["secret"].as_str().context("the daemon made no token")?)
        }
        Command::List { json: true } => output::json(&client.get("/api/v1/tokens")?),
        Command::List { json: false } => {
            let mut tokens = client.get("/api/v1/tokens")?;
            for token in tokens.as_array_mut().into_iter().flatten() {
                for key in ["created", "expires"] {
                    token[key] = json!(output::date(&token[key]));
                }
            }
            let columns =
                [("NAME", "name"), ("ROLE", "role"), ("CREATED", "created"), ("EXPIRES", "expires")];
            output::print(&output::table(
                &columns,
                &tokens,
                "no tokens: the API is for the control socket alone",
            ))
        }
        Command::Remove { name } => {
            client.ask("DELETE", &format!("/api/v1/tokens/{}", segment(&name)), None).map(drop)
        }
    }
}
