//! How long both lanes wait, and how often they send something again. Once, for a client must not see by which lane it is served.

/// Clients wait longer than this before they repeat: iPXE 250 ms, others a second or more. Microseconds.
pub const PATIENCE_LEAST: u32 = 100_000;
/// Longer than this the kernel takes no repeated ACK for an echo. Microseconds.
pub const PATIENCE_MOST: u32 = 4_000_000;
/// No answer takes less than this. Microseconds.
pub const ROUND_TRIP_LEAST: u32 = 50;
/// A client that was heard, or was sent something, this short ago is in the middle of its transfer: a request for the same, or for what it
/// had before, is a late copy. It waited in a queue for no longer than clients take to repeat one. Microseconds.
pub const FRESH: u32 = 1_000_000;

/// How long an answer may take before one came. Microseconds.
pub const WAIT: u32 = 1_000_000;
/// No wait is longer, and no `timeout` (RFC 2349) is granted that is: firmware gives up before. Seconds.
pub const WAIT_MOST: u8 = 16;
/// So often at most a wait is twice as long as the one before it.
pub const DOUBLED_MOST: u8 = 6;
/// So often something is sent again before the client has answered anything.
pub const FIRST_REPETITIONS: u8 = 3;
/// What was sent again so often later, and for [`VAIN`], does not get through.
pub const REPETITIONS: u8 = 5;
/// See [`REPETITIONS`]. Firmware waits up to 15 seconds. Microseconds.
pub const VAIN: u32 = 15_000_000;
