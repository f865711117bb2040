//! Transfers that end without a word. The program has no timers: it tells of those whose clients end them, and forgets, in a full
//! map, those that were heard longest ago. Of these nothing is left but that the sums do not agree: of the transfers that were begun, some
//! have ended, some fell silent, some are there, and the others are lost. Pure: what is remembered, and the time, are arguments.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use netboot_common::tftp::maps::SessionKey;
use netboot_common::tftp::session::Session;
use serde::Serialize;

/// A transfer whose client was silent for so long is over. It has no claim to its version of a file.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// A transfer whose client fell silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    pub client: SocketAddrV4,
    /// As it was heard last.
    pub session: Session,
}

/// Of transfers, as of the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub under_way: u64,
    /// Whose clients fell silent, since the server started.
    pub silent: u64,
    /// That the kernel has forgotten for others while they were under way, since the server started, and at least as many: their clients
    /// are sent an ERROR, and ask anew.
    pub evicted: u64,
    /// DATA and OACKs that userspace has sent again, to clients that don't ask for them again.
    pub again: u64,
}

/// What the program has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) begun: u64,
    pub(super) ended: u64,
}

/// What the last look found.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Transfers of which nobody knows what became, as of the first look: at most so many.
    missing: Option<i64>,
    pub(super) counts: Counts,
}

impl Sweep {
    /// Those of `sessions` that are over at `now` (`CLOCK_BOOTTIME`, nanoseconds), and are to be forgotten. `counted`: before they were
    /// listed, and after it.
    pub(super) fn look(
        &mut self,
        sessions: &HashMap<SessionKey, Session>,
        counted: [Counted; 2],
        now: u64,
    ) -> Vec<SessionKey> {
        let silent = now.saturating_sub(SILENCE.as_nanos() as u64);
        self.compare(sessions.values().filter(|session| !session.ended()).count() as u64, counted);
        let (over, there): (Vec<_>, Vec<_>) =
            sessions.iter().partition(|(_, session)| session.time() < silent);
        self.counts.under_way = there.iter().filter(|(_, session)| !session.ended()).count() as u64;
        over.into_iter().map(|(key, _)| *key).collect()
    }

    /// Transfers begin and end while they are listed: what is certainly missing counts, beyond what was perhaps missing at first.
    fn compare(&mut self, there: u64, [before, after]: [Counted; 2]) {
        let missing = |begun: u64, ended: u64| {
            begun.wrapping_sub(ended).wrapping_sub(there).wrapping_sub(self.counts.silent) as i64
        };
        let first = *self.missing.get_or_insert(missing(after.begun, before.ended));
        let since = missing(before.begun, after.ended).saturating_sub(first);
        self.counts.evicted = self.counts.evicted.max(u64::try_from(since).unwrap_or(0));
    }

    /// One that was over is forgotten; what is to be told of it.
    pub(super) fn forgot(&mut self, key: &SessionKey, session: Session) -> Option<Silent> {
        // Of one that has ended the program has told.
        if session.ended() {
            return None;
        }
        self.counts.silent += 1;
        Some(Silent { client: client(key), session })
    }
}

pub(super) fn client(key: &SessionKey) -> SocketAddrV4 {
    let (address, port) = key.client();
    SocketAddrV4::new(address.into(), port)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use netboot_common::datagram::Datagram;
    use netboot_common::tftp::maps::FileRef;
    use netboot_common::tftp::reply::{Granted, Terms};
    use netboot_common::tftp::session::Agreed;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const BEGIN: u64 = 1_000 * SECOND;

    fn key(port: u16) -> SessionKey {
        let datagram = Datagram { source: [10, 0, 0, 9], source_port: port, ..Datagram::NONE };
        SessionKey::new(3, &datagram)
    }

    fn session(acked: u16, at: u64) -> Session {
        let mut session = Session::NONE;
        let file = FileRef::new(1, 1);
        let (mac, own, port, terms) = ([2; 6], [10, 0, 0, 1], 0xf000, Terms::of(Granted::default()));
        let agreed = Agreed { file, mac, own, port, blocks: 3, terms };
        session.begin(agreed, at);
        for block in 1..=acked {
            session.ack(block, at);
        }
        session
    }

    /// While nothing happens.
    const fn counted(begun: u64, ended: u64) -> [Counted; 2] {
        [Counted { begun, ended }; 2]
    }

    fn told(sweep: &mut Sweep, sessions: &mut HashMap<SessionKey, Session>, now: u64) -> Vec<Silent> {
        let over = sweep.look(sessions, counted(3, 1), now);
        over.iter().filter_map(|key| sweep.forgot(key, sessions.remove(key).unwrap())).collect()
    }

    #[test]
    fn who_is_silent_for_a_minute_is_told_of_once() {
        let mut sweep = Sweep::default();
        let mut sessions: HashMap<_, _> =
            [(key(1), session(1, BEGIN)), (key(2), session(3, BEGIN)), (key(3), session(2, BEGIN + SECOND))]
                .into();
        assert_eq!(told(&mut sweep, &mut sessions, BEGIN + 60 * SECOND), []);
        assert_eq!(sweep.counts, Counts { under_way: 2, ..Counts::default() });
        let silent = told(&mut sweep, &mut sessions, BEGIN + 60 * SECOND + 1);
        assert_eq!(
            silent,
            [Silent { client: "10.0.0.9:1".parse().unwrap(), session: session(1, BEGIN) }],
            "and not of one that has ended"
        );
        assert_eq!(sessions.len(), 1, "both are forgotten");
        assert_eq!(told(&mut sweep, &mut sessions, BEGIN + 61 * SECOND), []);
        assert_eq!(sweep.counts, Counts { under_way: 1, silent: 1, ..Counts::default() });
    }

    #[test]
    fn what_the_kernel_forgets_under_way_is_counted_and_nothing_else_is() {
        let mut sweep = Sweep::default();
        let mut sessions: HashMap<_, _> =
            [(key(1), session(1, BEGIN)), (key(2), session(3, BEGIN)), (key(3), session(0, BEGIN))].into();
        // Five were lost before.
        sweep.look(&sessions, counted(8, 1), BEGIN);
        sessions.clear();
        // Another transfer of the same client: of the one before the program has told.
        sessions.insert(key(3), session(0, BEGIN + SECOND));
        sweep.look(&sessions, counted(9, 2), BEGIN + 2 * SECOND);
        assert_eq!(sweep.counts, Counts { under_way: 1, evicted: 1, ..Counts::default() });
        sweep.look(&sessions, counted(9, 2), BEGIN + 3 * SECOND);
        assert_eq!(sweep.counts.evicted, 1);
        // Begun and lost between two looks.
        sweep.look(&sessions, counted(29, 2), BEGIN + 4 * SECOND);
        assert_eq!(sweep.counts, Counts { under_way: 1, evicted: 21, ..Counts::default() });
    }

    #[test]
    fn what_begins_or_ends_while_transfers_are_listed_is_none_that_was_lost() {
        let mut sweep = Sweep::default();
        let sessions: HashMap<_, _> = [(key(1), session(1, BEGIN))].into();
        let while_listed =
            |begun: [u64; 2], ended: [u64; 2]| [0, 1].map(|i| Counted { begun: begun[i], ended: ended[i] });
        // Of ten that ended while they were listed, and of ten that began, nobody knows whether they were there.
        sweep.look(&sessions, while_listed([100, 110], [80, 90]), BEGIN);
        for (begun, ended) in [([200, 260], [190, 250]), ([300, 301], [260, 299]), ([400, 400], [371, 371])] {
            sweep.look(&sessions, while_listed(begun, ended), BEGIN);
            assert_eq!(sweep.counts.evicted, 0);
        }
    }
}
