//! The ring runtime: what a worker asks the kernel to do, and what came of it. Knows no protocol.

pub mod buffers;
pub mod epoll;
pub mod reactor;
pub mod ring;
pub mod timers;
pub mod workers;

pub use reactor::{Choice, Event, Kind, Lease, OpId, Payload, Reactor, Running, Settings, Socket, Waker};
