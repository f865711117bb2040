//! Hosts by name, or by lists of names.

use std::collections::HashMap;

use anyhow::bail;
use serde_json::Value;

use super::super::client::Client;
use super::path;
use crate::inventory::hostlist;

/// What the help of each command that takes them says.
pub(super) const HELP: &str = "\
Names may be lists: node[001-200], rack[1-4]n[01-16], a,b[1-3],-b2 (all of these but b2).
Put them in quotes: brackets are the shell's, too.";

/// The names of a command.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Names {
    /// Their names, or lists of them
    #[arg(required = true, value_name = "NAMES", value_parser = list)]
    names: Vec<String>,
}

/// The same, where none is all.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct AnyNames {
    /// Their names, or lists of them [default: all hosts]
    #[arg(value_name = "NAMES", value_parser = list)]
    names: Vec<String>,
}

/// A list that can be read, as typed.
fn list(text: &str) -> Result<String, String> {
    hostlist::expand(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl Names {
    /// The one name, where it is one and no list.
    pub(super) fn single(&self) -> Option<&str> {
        match self.names.as_slice() {
            [name] if !name.contains(['[', ',']) => Some(name),
            _ => None,
        }
    }

    pub(super) fn expand(&self) -> anyhow::Result<Vec<String>> {
        Ok(hostlist::expand(&self.names.join(","))?)
    }

    /// The hosts as the daemon shows them, in the order of their names here.
    pub(super) fn hosts(&self, client: &Client) -> anyhow::Result<Vec<Value>> {
        match self.single() {
            Some(name) => Ok(vec![client.get(&path(name))?]),
            None => select(all(client)?, &self.expand()?),
        }
    }
}

impl AnyNames {
    /// The same; without names, all hosts.
    pub(super) fn hosts(&self, client: &Client) -> anyhow::Result<Vec<Value>> {
        let hosts = all(client)?;
        if self.names.is_empty() {
            return Ok(hosts);
        }
        select(hosts, &hostlist::expand(&self.names.join(","))?)
    }
}

fn all(client: &Client) -> anyhow::Result<Vec<Value>> {
    match client.get("/api/v1/hosts")? {
        Value::Array(hosts) => Ok(hosts),
        _ => bail!("the daemon's answer is no list of hosts"),
    }
}

fn select(hosts: Vec<Value>, names: &[String]) -> anyhow::Result<Vec<Value>> {
    let by_name = |host: Value| Some((host["name"].as_str()?.to_owned(), host));
    // Those in force come first: where the name of one that is left out is theirs, they are meant, so they go in last.
    let mut by_name: HashMap<String, Value> = hosts.into_iter().rev().filter_map(by_name).collect();
    let found: Vec<Option<Value>> = names.iter().map(|name| by_name.remove(name)).collect();
    let missing = names.iter().zip(&found).filter(|(_, host)| host.is_none());
    let missing: Vec<&str> = missing.map(|(name, _)| name.as_str()).collect();
    if missing.is_empty() {
        return Ok(found.into_iter().flatten().collect());
    }
    bail!("there is no host {}", hostlist::fold_to(missing, 200))
}
