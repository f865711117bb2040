//! The installing agent: pid 1 of an initramfs, and a few commands for doing the same by hand.
//!
//! [`init`] makes a machine out of a kernel, [`net`] gives it an address, [`run`] asks the server what to do and
//! does it: [`plan`] (pure) chooses the disk, `image::install` writes it, [`report`] tells console and server.
//! **Invariant:** pid 1 never returns and never exits: its last act is a reboot.

pub mod cli;
pub mod cmdline;
pub mod console;
mod delivery;
pub mod dhcp;
pub mod hardware;
pub mod init;
pub mod net;
pub mod plan;
pub mod report;
pub mod run;
pub mod server;
pub mod settle;
