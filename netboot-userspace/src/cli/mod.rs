//! `netboot`'s command line: a file per subcommand. The only code that reads arguments, wires rooms together, and exits.

mod api;
mod assets;
mod audit;
mod boot;
mod boots;
mod client;
mod config;
mod duration;
mod events;
mod explain;
mod group;
mod host;
mod https;
mod lease;
mod machine;
mod objects;
mod observe;
mod output;
mod pixiecore_v1;
mod profile;
mod quick;
mod remote;
mod render;
mod rendering;
mod rooms;
pub mod serve;
mod status;
mod tls;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use client::Client;
use remote::Remote;

use crate::config::DEFAULT_CONTROL;

/// Boots and installs machines over the network.
#[derive(Debug, Parser)]
#[command(
    name = "netboot",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  netboot boot vmlinuz initrd.img --cmdline 'console=ttyS0'   any machine boots this
  netboot api http://localhost:4242                           each machine boots what an API says
  netboot quick debian                                        … what everybody knows
  netboot serve                                               the site of /etc/netboot/netboot.yaml
  netboot host add node1 --mac 52:54:00:12:34:56 --ip 10.10.0.21 --profile debian
  netboot events --follow                                     what happens, as it happens
  netboot --server https://boot:8443 --token-file T status    of another machine's server

Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    /// The daemon's control socket [default: /run/netboot/control.sock; of `serve` and `config reload`, the configuration's]
    #[arg(long, global = true, env = "NETBOOT_CONTROL", value_name = "PATH")]
    control: Option<PathBuf>,
    #[command(flatten)]
    elsewhere: Elsewhere,
    #[command(subcommand)]
    command: Command,
}

/// A server of another machine.
#[derive(Debug, clap::Args)]
struct Elsewhere {
    /// Ask this server by HTTPS, instead of a control socket: https://HOST[:PORT]
    #[arg(long, global = true, env = "NETBOOT_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The file with the token for --server (`netboot token add`)
    #[arg(long, global = true, env = "NETBOOT_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificate of the authority that --server's is of [default: those that this system trusts]
    #[arg(long, global = true, env = "NETBOOT_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Elsewhere {
    /// `local`: the socket of a server here, for who names no other.
    fn client(&self, local: impl FnOnce() -> PathBuf) -> anyhow::Result<Client> {
        let Some(url) = &self.server else { return Ok(Client::Local(local())) };
        let remote = Remote::new(url, self.token_file.as_deref(), self.ca.as_deref())?;
        Ok(Client::Remote(remote))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Boot(Box<boot::Args>),
    Api(Box<api::Args>),
    Quick(Box<quick::Args>),
    Serve(serve::Args),
    #[command(subcommand)]
    Host(Box<host::Command>),
    #[command(subcommand)]
    Profile(profile::Command),
    #[command(subcommand)]
    Group(group::Command),
    #[command(subcommand)]
    Lease(lease::Command),
    #[command(subcommand)]
    Machine(machine::Command),
    Boots(boots::Args),
    #[command(subcommand)]
    Observe(observe::Command),
    #[command(subcommand)]
    Assets(assets::Command),
    Render(render::Args),
    Events(events::Args),
    Status(status::Args),
    #[command(subcommand)]
    Config(config::Command),
    #[command(subcommand)]
    Tls(tls::Command),
    #[command(subcommand)]
    Token(token::Command),
    Audit(audit::Args),
}

/// Does what the arguments say; the process's exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::sys::panic::abort_on_panic();
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    match pixiecore_v1::read(&arguments) {
        pixiecore_v1::Read::Other => {}
        pixiecore_v1::Read::Ours(ours) => {
            eprintln!(
                "netboot: this is the command line of Pixiecore's first version; ours is: {}",
                shown(&ours)
            );
            arguments = ours;
        }
        pixiecore_v1::Read::Wrong(cause) => {
            eprintln!("netboot: as the command line of Pixiecore's first version: {cause}");
            return ExitCode::from(2);
        }
    }
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(usage) => {
            // A closed pipe is all that can go wrong here, and there is nobody left to tell.
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<output::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netboot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Flags over environment: a socket that is named by flag is not asked elsewhere, whatever the environment says.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let is_typed = |flag| matches.value_source(flag) == Some(ValueSource::CommandLine);
    if is_typed("control") && !is_typed("server") {
        cli.elsewhere.server = None;
    }
    Ok(cli)
}

/// As a shell takes it.
fn shown(words: &[OsString]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let word = |word: &OsString| match word.to_string_lossy() {
        text if !text.is_empty() && text.chars().all(plain) => text.into_owned(),
        text => format!("'{}'", text.replace('\'', "'\\''")),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let (control, elsewhere) = (cli.control, cli.elsewhere);
    let client = || elsewhere.client(|| control.clone().unwrap_or_else(|| DEFAULT_CONTROL.into()));
    match cli.command {
        Command::Boot(args) => boot::main(*args, control),
        Command::Api(args) => api::main(*args, control),
        Command::Quick(args) => quick::main(*args, control),
        Command::Serve(args) => serve::main(args, control),
        Command::Host(command) => host::main(*command, &client()?),
        Command::Profile(command) => profile::main(command, &client()?),
        Command::Group(command) => group::main(command, &client()?),
        Command::Lease(command) => lease::main(command, &client()?),
        Command::Machine(command) => machine::main(command, &client()?),
        Command::Boots(args) => boots::main(&args, &client()?),
        Command::Observe(command) => observe::main(command, &client()?),
        Command::Assets(command) => assets::main(command, &client()?),
        Command::Render(args) => render::main(&args, &client()?),
        Command::Events(args) => events::main(&args, &client()?),
        Command::Status(args) => status::main(&args, &client()?),
        Command::Config(command) => {
            config::main(command, |file| elsewhere.client(|| control.unwrap_or_else(file)))
        }
        Command::Tls(command) => tls::main(command),
        Command::Token(command) => token::main(command, &client()?),
        Command::Audit(args) => audit::main(&args, &client()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_over_the_environment() {
        // The environment's part is of the tests with a server; by flags alone the later ones stay apart.
        let parsed =
            |words: &[&str]| parse([&["netboot"], words].concat().into_iter().map(OsString::from)).ok();
        let server = |words: &[&str]| parsed(words).and_then(|cli| cli.elsewhere.server);
        assert_eq!(server(&["status", "--server", "https://a"]).as_deref(), Some("https://a"));
        assert_eq!(
            server(&["--server", "https://a", "--control", "b", "status"]).as_deref(),
            Some("https://a")
        );
        assert_eq!(server(&["status", "--control", "b"]), None);
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
