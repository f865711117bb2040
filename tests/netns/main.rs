//! The real binary, in network namespaces that each test makes and removes: the operator's commands, real DHCP clients,
//! malformed frames, and servers that die.
//!
//! Needs root, as the labs are network namespaces.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on ends")]

#[cfg(feature = "agent")]
mod agent;
mod api;
mod boots;
#[path = "../bpffs.rs"]
mod bpffs;
mod checksums;
mod cli;
mod clients;
mod crash;
mod daemons;
mod descriptors;
mod dhcp6;
mod full;
mod groups;
mod http;
mod https;
mod import;
mod lab;
mod links;
mod livebootp;
mod malformed;
mod matchbox;
mod observe;
mod pins;
mod pixiecore;
mod published;
mod refusals;
mod reload;
mod restart;
mod site;
mod slow_disk;
mod slow_files;
mod tftp;
mod tftp_ends;
mod tftp_kernel;
mod tftp_left;
mod upstreams;
mod vlan;
