//! System calls behind safe functions. Knows no protocol.

#[cfg(feature = "server")]
pub mod interface;
pub mod net;
pub mod open;
#[cfg(feature = "server")]
pub mod packet;
#[cfg(feature = "server")]
pub mod sendfile;
