//! What `cargo xtask bench http` runs: the parts that need our own code. Each prints one JSON value, or serves until killed.
//!
//! None of it is shipped, and none of it makes a network: xtask puts it into namespaces.

mod answer;
mod bare;
mod caller;
mod histogram;
mod load;
mod score;

use clap::{Parser, Subcommand};

/// The measuring half of `cargo xtask bench http`.
#[derive(Debug, Parser)]
#[command(name = "http")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Given by `cargo bench`.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be many clients of one file.
    Load(load::Options),
    /// Wait until a server accepts connections.
    Wait(load::Wait),
    /// Be the least of a server: the limit of what clients, wire and sendfile can carry.
    Bare(bare::Options),
}

fn main() -> anyhow::Result<()> {
    let answer = match Arguments::parse().command {
        Command::Load(options) => load::main(&options)?,
        Command::Wait(options) => load::wait(&options)?,
        Command::Bare(options) => bare::main(&options)?,
    };
    println!("{answer}");
    Ok(())
}
