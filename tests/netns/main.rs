//! The real binary, in network namespaces that each test makes and removes: the operator's commands, real DHCP clients,
//! malformed frames, and servers that die.
//!
//! Needs root, as the labs are network namespaces.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on ends")]

#[cfg(feature = "agent")]
mod agent;
mod cli;
mod clients;
mod daemons;
mod dhcp6;
mod import;
mod lab;
mod malformed;
mod refusals;
mod restart;
mod site;
