//! What every lane shares.
//!
//! **Invariant:** nothing in this crate allocates, reads a clock, or does I/O. The same code runs inside the kernel
//! (`netboot-ebpf`), in the site server, in the agent and in the tests, so all of them speak with one voice.
#![no_std]

pub mod class;
pub mod datagram;
pub mod event;
pub mod limit;
pub mod maps;
pub mod packet;
pub mod reply;
pub mod request;
pub mod stats;
pub mod tftp;
pub mod wire;

pub use wire::ethernet::Mac;
