//! Netboot's userspace: effects, around pure machines.

#[cfg(feature = "server")]
pub mod config;
pub mod image;
#[cfg(feature = "server")]
pub mod inventory;
#[cfg(feature = "server")]
pub mod store;
