//! Whether a ring still works.

use std::io;

/// How often in a row the kernel had nothing for us.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Of waits.
    refusals: u32,
    /// Of operations that have the ring, or the kernel's want of memory, to blame, not their sockets.
    failures: u32,
}

impl Health {
    /// So often, a millisecond each, memory may be short before the ring counts as failed.
    pub(super) const PATIENCE: u32 = 256;
    /// So many operations may fail of it.
    pub(super) const MOST_FAILURES: u32 = 64;

    /// A wait came to its end.
    pub(super) fn working(&mut self) -> io::Result<()> {
        self.refusals = 0;
        if self.failures < Self::MOST_FAILURES {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ENOMEM))
        }
    }

    pub(super) fn may_recover(&mut self) -> bool {
        self.refusals += 1;
        self.refusals < Self::PATIENCE
    }

    /// What an operation came to.
    pub(super) fn completed(&mut self, result: i32) {
        match -result {
            libc::ENOMEM | libc::ENXIO | libc::EOPNOTSUPP => self.failures += 1,
            ..=0 => self.failures = 0,
            _ => {}
        }
    }
}
