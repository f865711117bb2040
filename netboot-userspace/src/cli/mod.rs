//! `netboot`'s command line: a file per subcommand. The only code that reads arguments, wires rooms together, and exits.

mod assets;
mod boot;
mod boots;
mod client;
mod config;
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
mod profile;
mod render;
mod rendering;
mod rooms;
pub mod serve;
mod status;
mod tls;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use client::Client;

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
  netboot serve                                               the site of /etc/netboot/netboot.yaml
  netboot host add node1 --mac 52:54:00:12:34:56 --ip 10.10.0.21 --profile debian
  netboot events --follow                                     what happens, as it happens

Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    /// The daemon's control socket [default: /run/netboot/control.sock; of `serve` and `config reload`, the configuration's]
    #[arg(long, global = true, env = "NETBOOT_CONTROL", value_name = "PATH")]
    control: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Boot(boot::Args),
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
}

/// Does what the arguments say; the process's exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    crate::sys::panic::abort_on_panic();
    let cli = match Cli::try_parse_from(arguments) {
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

fn run(cli: Cli) -> anyhow::Result<()> {
    let control = cli.control;
    let client = || Client::new(control.clone().unwrap_or_else(|| DEFAULT_CONTROL.into()));
    match cli.command {
        Command::Boot(args) => boot::main(args, control),
        Command::Serve(args) => serve::main(args, control),
        Command::Host(command) => host::main(*command, &client()),
        Command::Profile(command) => profile::main(command, &client()),
        Command::Group(command) => group::main(command, &client()),
        Command::Lease(command) => lease::main(command, &client()),
        Command::Machine(command) => machine::main(command, &client()),
        Command::Boots(args) => boots::main(&args, &client()),
        Command::Observe(command) => observe::main(command, &client()),
        Command::Assets(command) => assets::main(command, &client()),
        Command::Render(args) => render::main(&args, &client()),
        Command::Events(args) => events::main(&args, &client()),
        Command::Status(args) => status::main(&args, &client()),
        Command::Config(command) => config::main(command, control),
        Command::Tls(command) => tls::main(command),
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
