//! Netboot's userspace: effects, around pure machines.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "server")]
pub mod config;
pub mod image;
#[cfg(feature = "server")]
pub mod inventory;
pub mod sys;
pub mod uring;
