//! `cargo xtask bench`: how fast we are, beside the best of our peers and beside the limit, in one run on one machine.
//!
//! Absolute figures say more about the machine than about us; the ratios are what is promised. Peers come from Debian, with the
//! settings under which they are fastest; everybody is measured in turns, and what counts is the median.

mod cgroup;
mod dhcp;
mod facts;
mod http;
mod lab;
mod peers;
mod program;
mod programs;
mod report;
mod site;
mod table;
mod target;
mod tftp;

use anyhow::Result;
use clap::Subcommand;

/// The command line of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench dhcp                            all of it, some ten minutes; also in target/bench/dhcp.json
  cargo xtask bench dhcp --only kernel --rounds 31  nanoseconds per packet alone, more exactly
  cargo xtask bench dhcp --quick                    whether it runs at all: its figures mean little
  cargo xtask bench tftp                            all of it, an hour; also in target/bench/tftp.json
  cargo xtask bench tftp --only crowd               five thousand clients
  cargo xtask bench tftp --clients 100,1000 --window 1,16 --server uring,dnsmasq
  cargo xtask bench http                            all of it, half an hour; also in target/bench/http.json
  cargo xtask bench http --only small --rounds 9    4 KiB and 64 KiB files, more exactly
  cargo xtask bench http --only crowd,idle          ten thousand connections, and what each takes
  cargo xtask bench http --file 64MiB --connections 1,100 --mode range --server netboot,nginx

Nothing else should run meanwhile.")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The kernel's programs, whole exchanges beside dnsmasq and Kea, leases, and a million hosts.
    Dhcp(dhcp::Options),
    /// Files to up to thousands of clients at once, beside dnsmasq, atftpd and tftpd-hpa.
    Tftp(tftp::Options),
    /// Files of 4 KiB to 1 GiB to up to ten thousand connections, beside nginx and a bare sendfile loop.
    Http(http::Options),
}

/// Measures.
pub(crate) fn main(options: &Options) -> Result<()> {
    match &options.what {
        What::Dhcp(options) => dhcp::main(options),
        What::Tftp(options) => tftp::main(options),
        What::Http(options) => http::main(options),
    }
}
