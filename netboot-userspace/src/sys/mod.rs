//! System calls that no safe crate offers. Knows no protocol. With `uring`, the only room of this crate that holds `unsafe`.

pub mod block;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(test)]
pub(crate) mod counted;
#[cfg(feature = "server")]
pub mod datagram;
#[cfg(feature = "server")]
pub mod descriptors;
#[cfg(feature = "server")]
mod filter;
#[cfg(feature = "server")]
pub mod interface;
#[cfg(feature = "server")]
pub mod ktls;
#[cfg(feature = "server")]
pub mod links;
#[cfg(feature = "server")]
pub mod net;
pub mod netif;
#[cfg(feature = "server")]
pub mod offload;
#[cfg(feature = "server")]
pub mod open;
#[cfg(feature = "server")]
pub mod packet;
#[cfg(feature = "server")]
pub mod panic;
#[cfg(feature = "server")]
pub mod place;
#[cfg(all(test, feature = "server"))]
pub(crate) mod seccomp;
#[cfg(feature = "server")]
pub mod sendfile;
#[cfg(feature = "server")]
pub mod shared;
#[cfg(feature = "server")]
pub mod stoppable;

/// A socket as the engines hold it: shared, closed when the last operation and the last owner let go.
#[cfg(feature = "server")]
pub type Socket = std::sync::Arc<std::os::fd::OwnedFd>;
