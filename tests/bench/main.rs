//! What `cargo xtask bench dhcp` runs: the parts that need our own code. Each prints one JSON value.
//!
//! `kernel` measures the programs under `BPF_PROG_TEST_RUN`; `bare` attaches the bare program to an interface; `load` is the
//! generator of exchanges, `first` waits for the first right answer, `change` measures how long a change of the inventory takes
//! to be answered; `store` fills a state folder with hosts.
//!
//! None of it is shipped, and none of it makes a network: xtask puts it into namespaces.

mod change;
mod clients;
mod frames;
mod kernel;
#[path = "programs/src/layout.rs"]
#[allow(dead_code, reason = "the programs use the rest")]
mod layout;
mod load;
mod peers;
mod replies;
mod samples;
mod store;
mod wire;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use serde_json::Value;

/// The measuring half of `cargo xtask bench dhcp`.
#[derive(Debug, Parser)]
#[command(name = "dhcp")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Given by `cargo bench`.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Nanoseconds per packet of our XDP program, beside a bare one and the least.
    Kernel(kernel::Options),
    /// Attach the bare program, until killed.
    Bare(peers::Options),
    /// Let everything pass on an interface, until killed: the near end of a veth.
    Pass(peers::PassOptions),
    /// Make exchanges, as many as a server takes or at a rate.
    Load(load::Options),
    /// Ask until the first right answer.
    First(change::FirstOptions),
    /// Add hosts and change addresses by the control socket, and ask until the change is answered.
    Change(change::Options),
    /// Put hosts into a state folder.
    Store(store::Options),
}

fn main() -> anyhow::Result<()> {
    let answer = match Arguments::parse().command {
        Command::Kernel(options) => kernel::main(&options)?,
        Command::Bare(options) => peers::bare(&options)?,
        Command::Pass(options) => peers::pass(&options)?,
        Command::Load(options) => load::main(&options)?,
        Command::First(options) => change::first(&options)?,
        Command::Change(options) => change::main(&options)?,
        Command::Store(options) => store::main(&options)?,
    };
    print(&answer)
}

fn print(answer: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(answer).context("the answer as JSON")?);
    Ok(())
}
