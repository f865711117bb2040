//! The ring runtime: what is asked of the kernel, and what came of it. Knows no protocol.
//!
//! [`disk`] writes images; the others serve sockets, on a ring or, where that is forbidden, on epoll.

pub mod aligned;
#[cfg(feature = "server")]
mod buffer_ring;
#[cfg(feature = "server")]
pub mod buffers;
pub mod disk;
#[cfg(feature = "server")]
pub mod epoll;
#[cfg(feature = "server")]
pub mod reactor;
#[cfg(feature = "server")]
pub mod ring;
#[cfg(feature = "server")]
pub mod timers;
#[cfg(feature = "server")]
pub mod workers;

#[cfg(feature = "server")]
pub use crate::sys::Socket;
#[cfg(feature = "server")]
pub use reactor::{Choice, Datagram, Event, Kind, Lease, OpId, Payload, Reactor, Running, Settings, Waker};
