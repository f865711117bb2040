//! How many descriptors this process may have, and who may take how many of them.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a limit of descriptors is divided into, so that no flood of clients takes those of the store, the control socket and the
/// kernel's maps. A connection is a socket: the file that is sent has one descriptor for all who are sent it. A transfer is none, for it
/// shares its port and its file's content with others, unless it writes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Descriptors in all.
    pub limit: u64,
    /// HTTP connections, those handed over among them.
    pub connections: usize,
    /// Files that HTTP sends, or keeps open for those who ask next.
    pub bodies: usize,
    /// Of TFTP: ports, files that are read as they go, and files that clients write.
    pub files: usize,
}

impl Budget {
    /// Raises the limit as far as it goes without privilege, and divides it.
    ///
    /// # Errors
    /// The system refuses, though it said that it would not.
    pub fn raise() -> io::Result<Self> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current != maximum {
            setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
        }
        Ok(Self::of(maximum.unwrap_or(u64::MAX)))
    }

    /// Divides: a quarter, from 128 to 1024, for everything else; of the rest three fifths are for HTTP's
    /// connections, one for its files, and one for TFTP.
    fn of(limit: u64) -> Self {
        let rest = limit.saturating_sub((limit / 4).clamp(128, 1024));
        let fifths = |count: u64| usize::try_from(rest / 5 * count).unwrap_or(usize::MAX).max(1);
        Self { limit, connections: fifths(3), bodies: fifths(1), files: fifths(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_divided_with_a_reserve() {
        for (limit, connections, each) in [
            (64, 1, 1),
            (128, 1, 1),
            (256, 75, 25),
            (1024, 459, 153),
            (20_000, 11_385, 3795),
            (524_288, 313_956, 104_652),
        ] {
            assert_eq!(Budget::of(limit), Budget { limit, connections, bodies: each, files: each });
        }
        for limit in (256..100_000).chain([1 << 40, u64::MAX]) {
            let Budget { connections, bodies, files, .. } = Budget::of(limit);
            let clients = (connections + bodies + files) as u64;
            assert!(limit - clients >= 128, "{limit}: {clients}");
        }
    }
}
