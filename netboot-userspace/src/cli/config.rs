//! `netboot config`: what the files say, without a daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;

use super::client::Client;
use super::{https, output, rendering};
use crate::config::{self, Checked, DEFAULT_CONTROL, DEFAULT_PATH, Errors, Level};
use crate::dhcp::fit;
use crate::http::tls::Identity;
use crate::http::upstream;

/// The configuration files: check, show, reload
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Report everything that is wrong, each with its file and line
    Check {
        #[command(flatten)]
        file: File,
    },
    /// Show the configuration in force, defaults included
    Show {
        #[command(flatten)]
        file: File,
        #[arg(long)]
        json: bool,
    },
    /// Have the daemon read them again, and put them into force: whole, or not at all
    ///
    /// It does so by itself when a file changes, and on SIGHUP.
    Reload {
        #[command(flatten)]
        file: File,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct File {
    /// The main file; hosts.d, profiles.d, groups.d and templates are beside it
    #[arg(long, env = "NETBOOT_CONFIG", value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

/// What the files say, and those that they name.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Checked,
    /// What HTTPS shows; `None`: there is no HTTPS.
    pub(super) identity: Option<Arc<Identity>>,
}

/// Everything that is wrong, and how much that is.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is wrong{places}\n{0}", places = places(.0))]
pub(super) struct Wrong(pub(super) Errors);

fn places(errors: &Errors) -> String {
    match errors.len() {
        1 => String::new(),
        count => format!(" in {count} places"),
    }
}

impl File {
    pub(super) fn path(&self) -> &Path {
        &self.config
    }

    /// # Errors
    /// [`Wrong`].
    pub(super) fn load(&self) -> anyhow::Result<Loaded> {
        let mut identity = None;
        let misfits = |config: &Checked| {
            let mut misfits = fit::misfits(config);
            misfits.extend(rendering::templates(config));
            match https::identity(config) {
                Ok(there) => identity = there,
                Err(error) => misfits.push((Level::Https, error.to_string())),
            }
            misfits
        };
        let config = config::load_with(&self.config, misfits).map_err(Wrong)?;
        Ok(Loaded { config, identity })
    }

    /// The socket that the file names. Of a file that is wrong, the usual one: what is wrong is for the daemon there to say.
    fn control(&self) -> PathBuf {
        self.load().map_or_else(|_| DEFAULT_CONTROL.into(), |loaded| loaded.config.paths.control)
    }
}

/// `client`: the daemon, given where its socket is if nobody named another.
pub(super) fn main(
    command: Command,
    client: impl FnOnce(&dyn Fn() -> PathBuf) -> anyhow::Result<Client>,
) -> anyhow::Result<()> {
    match command {
        Command::Check { file } => {
            let Loaded { config: checked, identity } = file.load()?;
            let (hosts, profiles, groups) =
                (checked.hosts.len(), checked.profiles.len(), checked.groups.len());
            let path = file.config.display();
            upstream::check(&checked.cache)?;
            let faults: Vec<String> = checked.faults().map(ToString::to_string).collect();
            if !faults.is_empty() {
                let faults = faults.join("\n");
                anyhow::bail!("{path} is right, but machines that boot these images boot nothing\n{faults}");
            }
            if let Some(untried) = rendering::check(&checked)? {
                eprintln!("netboot: {untried}");
            }
            if let Some(warning) = identity.and_then(|identity| https::warning(&identity)) {
                eprintln!("netboot: {warning}");
            }
            output::print(&format!(
                "{path} is right: {} interfaces, {hosts} hosts, {profiles} profiles, {groups} groups",
                checked.interfaces.len()
            ))
        }
        Command::Show { file, json } => {
            let value = config::show(&file.load()?.config);
            if json { output::json(&value) } else { output::print(&output::lines(&value)) }
        }
        Command::Reload { file, json } => {
            let changed = client(&|| file.control())?.ask("POST", "/api/v1/reload", None)?;
            if json { output::json(&changed) } else { output::print(&output::lines(&changed)) }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_no_host_can_fill_is_a_fault_of_its_profile() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(name), text).unwrap();
        };
        let load = |template: &str| {
            let profile =
                "- { name: a, local: true }\n- { name: p, local: true, configs: { generic: '# TEXT' } }\n";
            write("profiles.d/x.yaml", &profile.replace("TEXT", template));
            File { config: dir.path().join("netboot.yaml") }
                .load()
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        write("netboot.yaml", "interfaces: [{ name: eth1, dhcp: proxy }]\n");
        write("hosts.d/x.yaml", "- { name: n1, mac: 52-54-00-00-00-01, profile: p }\n");
        assert_eq!(load("{{.hostname}} {{.request.query.os}}"), Ok(()));
        let fault = load("{{.nope}}").unwrap_err();
        let want = "configs.generic: template:1:5: map has no entry for key \"nope\"";
        assert!(fault.contains("profiles.d/x.yaml:2"), "{fault}");
        assert!(fault.contains(want) && fault.contains("for host n1"), "{fault}");
    }
}
