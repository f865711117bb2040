//! Which clients stall, and how much they are sent in a second from then on. Pure: the time is an argument.
//!
//! Firmware and loaders with few receive buffers lose what comes in bursts: their answers come to a standstill and break off, and the next
//! try fares no better. Who is known for that is sent less at a time (`SO_MAX_PACING_RATE`), on each connection that it begins later.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// After so many answers that stalled, each less than [`MEMORY`] behind the one before.
const STALLS: u32 = 2;
/// What is remembered of a client that stalls no more.
const MEMORY: Duration = Duration::from_secs(30 * 60);
/// Bytes per second to begin with: 100 Mbit/s, which each NIC that boots has room for. Half of it for each stall more.
const PACE: u64 = 12_500_000;
/// So often it is halved at most: to some 12 Mbit/s.
const HALVED: u32 = 3;
/// So many clients are remembered; the one whose last stall is longest ago makes room for another.
const MOST: usize = 1024;
/// An address that has more connections at the same time is no single machine's, and one that stalls behind it slows nobody else.
const ONE_MACHINE: usize = 8;
/// A standstill. A socket that gets on, however slow its line is, takes more sooner: a third of what it holds, which is what is under way.
const STANDSTILL: Duration = Duration::from_secs(3);

/// Whether an answer has stalled that its client broke off after its socket had taken nothing for this long. Who gives up a download that
/// gets on has not, whether its line is slow or not.
pub(super) fn has_stalled(still: Duration) -> bool {
    still >= STANDSTILL
}

/// Clients that have stalled. Each is an address: the few who may share one are slowed together, each connection apart.
#[derive(Debug, Default)]
pub(super) struct Stalls(HashMap<IpAddr, Client>);

#[derive(Debug, Clone, Copy)]
struct Client {
    stalls: u32,
    last: Instant,
}

impl Client {
    /// `None`: it is as good as unknown.
    fn pace(&self, now: Instant) -> Option<u64> {
        let is_known = self.stalls >= STALLS && now.saturating_duration_since(self.last) < MEMORY;
        is_known.then(|| PACE >> (self.stalls - STALLS).min(HALVED))
    }
}

impl Stalls {
    /// An answer to this client, which has so many connections now, has stalled; what it is sent in a second from now on, if that is another
    /// pace than before.
    pub(super) fn add(&mut self, client: IpAddr, connections: usize, now: Instant) -> Option<u64> {
        if connections > ONE_MACHINE {
            return None;
        }
        self.0.retain(|_, known| now.saturating_duration_since(known.last) < MEMORY);
        if self.0.len() >= MOST && !self.0.contains_key(&client) {
            let oldest = self.0.iter().min_by_key(|(_, known)| known.last).map(|(client, _)| *client);
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        let known = self.0.entry(client).or_insert(Client { stalls: 0, last: now });
        let before = known.pace(now);
        *known = Client { stalls: known.stalls.saturating_add(1), last: now };
        known.pace(now).filter(|pace| before != Some(*pace))
    }

    /// Whether nobody is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes per second that this client is sent at most, if it is known to stall.
    pub(super) fn pace(&self, client: IpAddr, now: Instant) -> Option<u64> {
        self.0.get(&client)?.pace(now)
    }

    /// All that are known to stall, with their paces.
    pub(super) fn paces(&self, now: Instant) -> Vec<(IpAddr, u64)> {
        let paces = self.0.iter().filter_map(|(client, known)| Some((*client, known.pace(now)?)));
        let mut paces: Vec<_> = paces.collect();
        paces.sort_unstable();
        paces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    #[test]
    fn who_stalls_twice_is_sent_less_and_half_of_it_for_each_time_more() {
        let (mut stalls, now) = (Stalls::default(), Instant::now());
        assert_eq!((stalls.add(CLIENT, 1, now), stalls.pace(CLIENT, now)), (None, None), "once is chance");
        for pace in [12_500_000, 6_250_000, 3_125_000, 1_562_500] {
            assert_eq!((stalls.add(CLIENT, 1, now), stalls.pace(CLIENT, now)), (Some(pace), Some(pace)));
        }
        assert_eq!(stalls.add(CLIENT, 1, now), None, "no slower than that");
        assert_eq!(stalls.paces(now), [(CLIENT, 1_562_500)]);
        assert_eq!(stalls.pace([10, 0, 0, 8].into(), now), None, "nobody else");
    }

    #[test]
    fn who_stalls_no_more_is_forgotten() {
        let (mut stalls, start) = (Stalls::default(), Instant::now());
        stalls.add(CLIENT, 1, start);
        // Twice, but not within that time.
        assert_eq!(stalls.add(CLIENT, 1, start + MEMORY), None);
        let again = start + MEMORY + Duration::from_secs(60);
        assert_eq!(stalls.add(CLIENT, 1, again), Some(PACE));
        assert_eq!(stalls.pace(CLIENT, again + MEMORY - Duration::from_secs(1)), Some(PACE));
        assert_eq!((stalls.pace(CLIENT, again + MEMORY), stalls.paces(again + MEMORY)), (None, vec![]));
    }

    #[test]
    fn an_address_of_many_machines_is_slowed_by_none_of_them() {
        let (mut stalls, now) = (Stalls::default(), Instant::now());
        for _ in 0..9 {
            assert_eq!(stalls.add(CLIENT, ONE_MACHINE + 1, now), None);
        }
        assert_eq!((stalls.pace(CLIENT, now), stalls.add(CLIENT, ONE_MACHINE, now)), (None, None));
        assert_eq!(stalls.add(CLIENT, ONE_MACHINE, now), Some(PACE));
    }

    #[test]
    fn of_clients_that_stall_so_many_are_remembered() {
        let (mut stalls, start) = (Stalls::default(), Instant::now());
        for round in 0..2 {
            for n in 0..2 * MOST as u32 {
                // Each twice at once, a millisecond behind the one before.
                let (client, now) = (IpAddr::from(n.to_be_bytes()), start + Duration::from_millis(n.into()));
                stalls.add(client, 1, now);
                assert_eq!(stalls.add(client, 1, now), Some(PACE), "{round}");
                assert!(stalls.0.len() <= MOST);
            }
            let end = start + Duration::from_secs(3);
            assert_eq!(stalls.pace([0, 0, 0, 0].into(), end), None, "the oldest has made room");
            assert_eq!(stalls.paces(end).len(), MOST);
            stalls.0.clear();
        }
    }
}
