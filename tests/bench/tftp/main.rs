//! What `cargo xtask bench tftp` runs: the parts that need our own code. Each prints one JSON value, or serves until killed.
//!
//! None of it is shipped, and none of it makes a network: xtask puts it into namespaces.

mod bare;
mod clients;
mod fetch;
mod frames;
mod link;
mod machine;
#[path = "../samples.rs"]
#[allow(dead_code, reason = "the other bench uses the rest")]
mod samples;
mod serve;
mod tally;
mod transfers;
#[path = "../wire.rs"]
mod wire;

use clap::{Parser, Subcommand};

/// The measuring half of `cargo xtask bench tftp`.
#[derive(Debug, Parser)]
#[command(name = "tftp")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Given by `cargo bench`.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be many clients.
    Fetch(fetch::Options),
    /// Be the least of a server: the limit of what clients and wire can carry.
    Bare(bare::Options),
    /// Be our server's TFTP, on epoll.
    Epoll(serve::Options),
}

fn main() -> anyhow::Result<()> {
    let answer = match Arguments::parse().command {
        Command::Fetch(options) => fetch::main(&options)?,
        Command::Bare(options) => bare::main(&options)?,
        Command::Epoll(options) => serve::epoll(&options)?,
    };
    println!("{answer}");
    Ok(())
}
