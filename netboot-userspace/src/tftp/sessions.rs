//! The transfers of one worker, and which of them makes room for another.
//!
//! **Invariant:** a transfer whose client has answered is never given up for another one. Those that nobody has answered for a
//! while are of little worth: a client that is there answers within a round trip, a forged address never does. So a flood of forged
//! requests pushes out its own transfers, the oldest first, and clients that are there find room. A crowd of them does not push
//! out each other: whoever finds no room asks again.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The answer of a client that is there may take so long, to a server that has much to do.
const UNANSWERED: Duration = Duration::from_secs(1);

/// How many transfers there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) total: usize,
    /// Of one client address.
    pub(super) per_client: usize,
}

/// Whether there is room for a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Free,
    /// There is when this transfer is given up.
    InsteadOf(u64),
    /// This client has all that one may have, and uses them.
    ClientFull,
    /// All transfers are in use.
    Full,
}

/// What knows whose it is.
pub(super) trait OfClient {
    fn client(&self) -> SocketAddr;
}

/// Sessions by token; a token is never used for two of them, and a later one is larger.
#[derive(Debug)]
pub(super) struct Sessions<S> {
    /// In boxes: a table that grows moves, and leaves room for as many again.
    by_token: HashMap<u64, Box<S>>,
    by_client: HashMap<SocketAddr, u64>,
    /// The oldest first.
    by_address: HashMap<IpAddr, Vec<u64>>,
    /// Those whose client has not answered, and since when they are.
    unanswered: BTreeMap<u64, Duration>,
    last: u64,
    bounds: Bounds,
}

impl<S: OfClient> Sessions<S> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            by_token: HashMap::new(),
            by_client: HashMap::new(),
            by_address: HashMap::new(),
            unanswered: BTreeMap::new(),
            last: 0,
            bounds,
        }
    }

    /// What a request from `client` would find.
    pub(super) fn room(&self, client: IpAddr, now: Duration) -> Room {
        let own = self.by_address.get(&client).filter(|own| own.len() >= self.bounds.per_client);
        if let Some(own) = own {
            let oldest = own.iter().find(|token| self.unanswered.contains_key(token));
            let oldest = oldest.filter(|token| self.is_forlorn(token, now));
            return oldest.map_or(Room::ClientFull, |&token| Room::InsteadOf(token));
        }
        if self.by_token.len() < self.bounds.total {
            return Room::Free;
        }
        self.least(now).map_or(Room::Full, Room::InsteadOf)
    }

    /// The transfer that least deserves its place.
    fn least(&self, now: Duration) -> Option<u64> {
        let (token, _) = self.unanswered.first_key_value()?;
        self.is_forlorn(token, now).then_some(*token)
    }

    /// Whether its client would have answered by now.
    fn is_forlorn(&self, token: &u64, now: Duration) -> bool {
        self.unanswered.get(token).is_some_and(|since| now.saturating_sub(*since) >= UNANSWERED)
    }

    pub(super) fn reserve(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn fill(&mut self, token: u64, session: S, now: Duration) {
        let client = session.client();
        self.by_client.insert(client, token);
        self.by_address.entry(client.ip()).or_default().push(token);
        self.unanswered.insert(token, now);
        self.by_token.insert(token, Box::new(session));
    }

    /// The client has answered: from now on it keeps its place.
    pub(super) fn answered(&mut self, token: u64) {
        self.unanswered.remove(&token);
    }

    /// The transfer of this client.
    pub(super) fn of_client(&self, client: SocketAddr) -> Option<(u64, &S)> {
        let token = *self.by_client.get(&client)?;
        self.by_token.get(&token).map(|session| (token, &**session))
    }

    pub(super) fn get_mut(&mut self, token: u64) -> Option<&mut S> {
        self.by_token.get_mut(&token).map(Box::as_mut)
    }

    pub(super) fn remove(&mut self, token: u64) -> Option<S> {
        let session = *self.by_token.remove(&token)?;
        let client = session.client();
        self.by_client.remove(&client);
        self.unanswered.remove(&token);
        if let Some(own) = self.by_address.get_mut(&client.ip()) {
            own.retain(|other| *other != token);
            if own.is_empty() {
                self.by_address.remove(&client.ip());
            }
        }
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const BOUNDS: Bounds = Bounds { total: 6, per_client: 2 };

    fn client(host: u8, port: u16) -> SocketAddr {
        (Ipv4Addr::new(10, 0, 0, host), port).into()
    }

    impl OfClient for SocketAddr {
        fn client(&self) -> SocketAddr {
            *self
        }
    }

    /// Admits a request as the worker does: the token that it got, and what it pushed out.
    fn admit(
        sessions: &mut Sessions<SocketAddr>,
        from: SocketAddr,
        now: Duration,
    ) -> Result<(u64, Option<u64>), Room> {
        let pushed_out = match sessions.room(from.ip(), now) {
            Room::Free => None,
            Room::InsteadOf(token) => {
                sessions.remove(token);
                Some(token)
            }
            refused => return Err(refused),
        };
        let token = sessions.reserve();
        sessions.fill(token, from, now);
        Ok((token, pushed_out))
    }

    /// Those that are there answer within a second; each of these requests comes a second after the one before.
    fn admit_late(sessions: &mut Sessions<SocketAddr>, from: SocketAddr) -> Result<(u64, Option<u64>), Room> {
        let now = UNANSWERED * (sessions.last as u32 + 1);
        admit(sessions, from, now)
    }

    #[test]
    fn a_crowd_finds_no_room_rather_than_push_out_those_who_were_there_a_moment_ago() {
        let mut sessions = Sessions::new(BOUNDS);
        let millis = Duration::from_millis;
        for host in 1..=6 {
            assert_eq!(admit(&mut sessions, client(host, 1), millis(host.into())), Ok((host.into(), None)));
        }
        assert_eq!(admit(&mut sessions, client(7, 1), millis(1000)), Err(Room::Full));
        assert_eq!(sessions.least(millis(1000)), None);
        sessions.answered(1);
        assert_eq!(admit(&mut sessions, client(7, 1), millis(1001)), Err(Room::Full), "the oldest is there");
        assert_eq!(sessions.least(millis(1002)), Some(2));
        assert_eq!(admit(&mut sessions, client(7, 1), millis(1002)), Ok((7, Some(2))));
        assert_eq!(admit(&mut sessions, client(8, 1), millis(1002)), Err(Room::Full));
        assert_eq!(admit(&mut sessions, client(7, 2), millis(1003)), Ok((8, Some(3))));
        assert_eq!(admit(&mut sessions, client(7, 3), millis(1900)), Err(Room::ClientFull));
    }

    #[test]
    fn the_oldest_that_nobody_answered_makes_room_and_none_that_was_answered() {
        let mut sessions = Sessions::new(BOUNDS);
        for host in 1..=6 {
            assert_eq!(admit_late(&mut sessions, client(host, 1)), Ok((host.into(), None)));
        }
        sessions.answered(1);
        sessions.answered(3);
        for (host, pushed_out) in [(7, 2), (8, 4), (9, 5), (10, 6), (11, 7)] {
            assert_eq!(admit_late(&mut sessions, client(host, 1)).map(|(_, out)| out), Ok(Some(pushed_out)));
        }
        (8..=11).for_each(|token| sessions.answered(token));
        assert_eq!(admit_late(&mut sessions, client(12, 1)), Err(Room::Full));
        assert!(sessions.remove(3).is_some());
        assert_eq!(admit_late(&mut sessions, client(12, 1)), Ok((12, None)));
    }

    #[test]
    fn one_client_pushes_out_its_own_transfers_and_nobody_elses() {
        let mut sessions = Sessions::new(BOUNDS);
        assert_eq!(admit_late(&mut sessions, client(1, 1)), Ok((1, None)));
        for port in 1..=10 {
            let pushed_out = (port > 2).then(|| u64::from(port) - 1);
            assert_eq!(admit_late(&mut sessions, client(2, port)), Ok((u64::from(port) + 1, pushed_out)));
        }
        sessions.answered(10);
        sessions.answered(11);
        assert_eq!(
            admit_late(&mut sessions, client(2, 99)),
            Err(Room::ClientFull),
            "though there is room for others"
        );
        assert_eq!(admit_late(&mut sessions, client(3, 1)), Ok((12, None)));
        assert_eq!(sessions.of_client(client(1, 1)), Some((1, &client(1, 1))));
    }

    #[test]
    fn what_is_over_leaves_nothing_behind() {
        let mut sessions = Sessions::new(BOUNDS);
        for round in 0..100 {
            let (token, _) = admit_late(&mut sessions, client(1, round)).expect("there is room");
            sessions.answered(token);
            assert!(sessions.remove(token).is_some());
        }
        assert!(
            sessions.by_client.is_empty() && sessions.by_address.is_empty() && sessions.unanswered.is_empty()
        );
    }
}
