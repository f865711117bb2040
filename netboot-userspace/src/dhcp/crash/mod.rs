//! Crashes in the middle of a run: 2,000 clients of 1,500 addresses lease, renew, give back and decline, through the machine, the
//! book and the real store, while the process is killed, or the power of its disk goes.
//!
//! What left for a client before a crash must be on the disk after it, and no address may ever be two clients' at once, also not
//! in the runs that go on from what a crash left.
#![allow(clippy::unwrap_used)]

mod judge;
mod kill;
mod load;
mod power;
