//! System calls that no safe crate offers. Knows no protocol. With `uring`, the only room of this crate that holds `unsafe`.

pub mod block;
#[cfg(feature = "server")]
pub mod interface;
#[cfg(feature = "server")]
pub mod net;
pub mod netif;
#[cfg(feature = "server")]
pub mod open;
#[cfg(feature = "server")]
pub mod packet;
#[cfg(feature = "server")]
pub mod sendfile;
