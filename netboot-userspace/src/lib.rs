//! Netboot's userspace: effects, around pure machines.

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod fastpath;
pub mod image;
#[cfg(feature = "server")]
pub mod inventory;
#[cfg(feature = "server")]
pub mod store;
