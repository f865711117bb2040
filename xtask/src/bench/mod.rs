//! `cargo xtask bench`: how fast we are, beside the best of our peers and beside the limit, in one run on one machine.
//!
//! Absolute figures say more about the machine than about us; the ratios are what is promised. Peers come from Debian, with the
//! settings under which they are fastest; everybody is measured in turns, and what counts is the median.

mod dhcp;
mod facts;
mod lab;
mod table;
mod target;

use anyhow::Result;
use clap::Subcommand;

/// The command line of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench dhcp                            all of it, some ten minutes; also in target/bench/dhcp.json
  cargo xtask bench dhcp --only kernel --rounds 31  nanoseconds per packet alone, more exactly
  cargo xtask bench dhcp --quick                    whether it runs at all: its figures mean little

Nothing else should run meanwhile.")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The kernel's programs, whole exchanges beside dnsmasq and Kea, leases, and a million hosts.
    Dhcp(dhcp::Options),
}

/// Measures.
pub(crate) fn main(options: &Options) -> Result<()> {
    match &options.what {
        What::Dhcp(options) => dhcp::main(options),
    }
}
