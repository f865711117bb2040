//! Netboot's userspace: effects, around pure machines.

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
pub mod image;
#[cfg(feature = "server")]
pub mod inventory;
#[cfg(feature = "server")]
pub mod store;
