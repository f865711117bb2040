//! The TFTP server against real clients over loopback, on both engines.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used)]

mod abuse;
mod changed;
mod clauses;
mod clients;
mod forged;
mod late;
mod names;
mod options;
mod paced;
mod site;
mod strays;
mod uploads;
