//! The simulated machines: client `i` has the MAC and the address of number `i`.

use std::net::Ipv4Addr;

use netboot_common::Mac;

use crate::frames::Way;
pub(crate) use crate::layout::mac;

/// A block of clients, and where they are.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Network {
    /// The server's address.
    #[arg(long, default_value = "10.64.0.1")]
    pub(crate) server: Ipv4Addr,
    /// The server's MAC, for what a relay agent sends.
    #[arg(long, value_parser = clap::value_parser!(Mac), default_value = "02:00:00:00:00:01")]
    server_mac: Mac,
    /// The reservation of client 0; the others follow.
    #[arg(long, default_value = "10.65.0.0")]
    pub(crate) first: Ipv4Addr,
    /// Ask as a relay agent with this address.
    #[arg(long)]
    pub(crate) relay: Option<Ipv4Addr>,
}

impl Network {
    /// How to ask, from an interface with this MAC.
    pub(crate) fn way(&self, own: Mac) -> Way {
        Way {
            server: self.server,
            server_mac: self.server_mac.0,
            relay: self.relay.map(|address| (address, own.0)),
        }
    }

    /// The reservation of a client.
    pub(crate) fn address(&self, client: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first).wrapping_add(client))
    }
}
