//! The HTTP data plane against real clients over loopback, on both engines.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used)]

mod clauses;
mod clients;
mod differential;
mod digests;
mod disk;
mod files;
mod hand_over;
mod limits;
mod load;
mod pace;
mod refused;
mod site;
mod tls;
mod wrk;
