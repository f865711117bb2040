//! Profiles and groups from files, and back out of the store.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::Value;

use super::client::{Client, segment};
use super::output;
use crate::config::yaml;

#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// YAML or JSON; `-`: standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

impl File {
    /// One object, or each of a list.
    fn read(&self) -> anyhow::Result<Vec<Value>> {
        let name = self.file.display();
        let mut text = String::new();
        if self.file.as_os_str() == "-" {
            io::stdin().read_to_string(&mut text).context("reading standard input")?;
        } else {
            text = fs::read_to_string(&self.file).with_context(|| name.to_string())?;
        }
        let node = yaml::parse(&text).map_err(|(at, fault)| {
            anyhow::anyhow!("{name}:{}:{}: is not YAML: {fault}", at.line, at.column)
        })?;
        match node.to_typed_json() {
            Value::Array(all) if !all.is_empty() => Ok(all),
            one @ Value::Object(_) => Ok(vec![one]),
            _ => bail!("{name}: takes one mapping with a `name`, or a list of them"),
        }
    }
}

/// Puts each of them under `path`, in their order; what was set.
///
/// # Errors
/// The first that could not be set; those before it are.
pub(super) fn set(file: &File, path: &str, client: &Client) -> anyhow::Result<Value> {
    let all = file.read()?;
    let name = |object: &Value| match &object["name"] {
        Value::String(name) => Ok(name.clone()),
        Value::Number(name) => Ok(name.to_string()),
        _ => bail!("`name` is missing: add it, as in `name: rack7`"),
    };
    let names = all.iter().map(name).collect::<anyhow::Result<Vec<String>>>()?;
    let mut set = Vec::new();
    for (name, mut object) in names.into_iter().zip(all) {
        object["name"] = name.as_str().into();
        let done = client.ask("PUT", &format!("{path}/{}", segment(&name)), Some(&object));
        set.push(done.with_context(|| name.clone())?);
    }
    Ok(Value::Array(set))
}

pub(super) fn show(path: &str, name: &str, json: bool, client: &Client) -> anyhow::Result<()> {
    let object = client.get(&format!("{path}/{}", segment(name)))?;
    if json { output::json(&object) } else { output::print(&output::lines(&object)) }
}

pub(super) fn remove(path: &str, name: &str, client: &Client) -> anyhow::Result<()> {
    client.ask("DELETE", &format!("{path}/{}", segment(name)), None).map(drop)
}

/// Why some are not in force, a line each.
pub(super) fn left_out(objects: &Value) -> String {
    let odd = objects.as_array().into_iter().flatten().filter(|object| !object["left_out"].is_null());
    odd.map(|object| {
        format!("{} is left out: {}\n", output::word(&object["name"]), output::word(&object["left_out"]))
    })
    .collect()
}
