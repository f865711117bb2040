//! System calls behind safe functions. Knows no protocol.

pub mod net;
pub mod open;
#[cfg(feature = "server")]
pub mod sendfile;
