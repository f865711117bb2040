//! TFTP from inside the kernel: what the tcx program does with a datagram, pure, for the kernel and for its tests.
//!
//! [`answer::answer`] reads a frame, looks into the [tables](answer::Tables), and says what is to be sent and what is to be remembered.
//! Without timers: most clients ask again for what was lost, and get it again. To those that never do userspace sends it again.
//!
//! **Invariant:** a DATA leaves the program only for a datagram that the client sent: at most one window for each new ACK, and one for a
//! repeated ACK that comes so late that it can't be an echo (RFC 1123 section 4.2.3.1; [`session`]).
//! **Invariant:** before a client has acknowledged anything, it gets one packet for each request, within a budget, and up to three
//! repetitions of it ([`times::FIRST_REPETITIONS`]).
//! **Invariant:** a transfer has the bytes of one version of a file, or none any more ([`maps::FileRef`]).

pub mod answer;
pub mod datagram;
pub mod event;
pub mod maps;
pub mod reply;
pub mod request;
pub mod session;
pub mod stats;
pub mod times;
