//! Bytes to meaning and back, a file per protocol.

pub mod ethernet;
pub mod tftp;
