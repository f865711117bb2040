//! Netboot's userspace: effects, around pure machines.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod dhcp;
#[cfg(feature = "server")]
pub mod dhcp6;
#[cfg(feature = "server")]
pub mod fastpath;
#[cfg(feature = "server")]
pub mod http;
pub mod image;
#[cfg(feature = "server")]
pub mod inventory;
#[cfg(feature = "server")]
pub mod store;
pub mod sys;
#[cfg(feature = "server")]
pub mod tftp;
pub mod uring;
