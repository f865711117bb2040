//! Netboot's TFTP server alone, on the engine that is asked for: `netboot serve` takes epoll only where io_uring is refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use netboot_userspace::tftp::{Config, Server};
use netboot_userspace::uring::Choice;
use serde_json::Value;

/// The command line of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value = "10.64.0.1:69")]
    listen: SocketAddr,
    /// The folder.
    #[arg(long)]
    root: PathBuf,
}

/// Says that it serves, and does so until killed.
pub(crate) fn epoll(options: &Options) -> anyhow::Result<Value> {
    let config =
        Config { roots: vec![options.root.clone()], engine: Choice::Epoll, ..Config::new(options.listen) };
    let server = Server::start(config, Arc::new(|_| ()))?;
    println!("serving on {}", server.engine());
    loop {
        std::thread::park();
    }
}
