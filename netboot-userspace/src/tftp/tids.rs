//! Our TIDs: a few ports of each worker, which all its transfers share (RFC 1350 section 4).
//!
//! **Invariant:** two transfers of one client that follow each other have other ports, where there is more than one, also when
//! requests between them were refused: what comes late for the first is told from what comes for the second. Which port it is
//! is drawn from half of them at least ([`super::guesses`]); of two, it is the other. A client is told from others by its address and
//! port, so a transfer takes no descriptor, and an ICMP error of one client, on a socket that is connected to nobody, is nobody's.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::past::{Answered, How, Past};
use super::{Error, Ports};
use crate::sys::datagram::Outgoing;
use crate::sys::net;
use crate::uring::Socket;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Tids {
    sockets: Vec<Socket>,
    is_v6: bool,
    /// Where answers came from, and to what.
    pub(super) past: Past,
    /// How often one was drawn; its keyed hash is the next one.
    drawn: u64,
    hasher: RandomState,
}

/// Sockets for each worker, none for those whose only port is that of the requests.
pub(super) fn bind(ports: &Ports, address: IpAddr, workers: usize) -> Result<Vec<Vec<OwnedFd>>, Error> {
    let numbers: Vec<u16> = match ports {
        Ports::Listen => Vec::new(),
        Ports::Any(count) => vec![0; usize::from(*count).max(2 * workers)],
        Ports::Range(range) => range.clone().collect(),
    };
    let mut sockets: Vec<Vec<OwnedFd>> = (0..workers).map(|_| Vec::new()).collect();
    for (worker, port) in (0..workers).cycle().zip(numbers) {
        let address = SocketAddr::new(address, port);
        let socket = net::udp_port(address).map_err(|source| Error::Listen { address, source })?;
        sockets[worker].push(socket);
    }
    Ok(sockets)
}

impl Tids {
    /// Those of these sockets; without any, that of the requests.
    pub(super) fn new(sockets: Vec<OwnedFd>, requests: &Socket) -> io::Result<Self> {
        let is_v6 = net::local_address(requests)?.is_ipv6();
        let mut sockets: Vec<Socket> = sockets.into_iter().map(Arc::new).collect();
        if sockets.is_empty() {
            sockets.push(requests.clone());
        }
        Ok(Self { sockets, is_v6, past: Past::default(), drawn: 0, hasher: RandomState::new() })
    }

    /// Where a client's next transfer comes from, or a refusal: not from where its last transfer did, nor, as far as half of our ports are
    /// left to draw from, its other answers before. `busy` is where it has a transfer now.
    pub(super) fn draw(&mut self, client: SocketAddr, busy: Option<u16>) -> u16 {
        let count = self.sockets.len() as u16;
        let mut avoided = Vec::new();
        for tid in
            busy.into_iter().chain(self.had(client).take(1)).chain(self.answers(client).map(|one| one.tid))
        {
            if avoided.len() < usize::from(count / 2) && !avoided.contains(&tid) {
                avoided.push(tid);
            }
        }
        self.drawn += 1;
        let first = (self.hasher.hash_one(self.drawn) % u64::from(count)) as u16;
        let mut from_there_on = (0..count).map(|n| (first + n) % count);
        from_there_on.find(|tid| !avoided.contains(tid)).unwrap_or(first)
    }

    /// Whether what comes here, where the client has no transfer, may be late for one of its last: so many as are avoided, or two, for one
    /// that asks for a file's size first has two for each file. All ports of a worker that has no more than three may be such.
    pub(super) fn may_be_late(&self, client: SocketAddr, tid: u16) -> bool {
        self.had(client).take((self.count() / 2).max(2)).any(|had| had == tid)
    }

    /// Where a client's last answers came from: transfers before refusals, the latest first.
    fn had(&self, client: SocketAddr) -> impl Iterator<Item = u16> {
        let transfers = self.answers(client).filter(|answered| answered.how != How::Refused);
        let refusals = self.answers(client).filter(|answered| answered.how == How::Refused);
        transfers.chain(refusals).map(|answered| answered.tid)
    }

    /// A client's last answers, the latest first.
    fn answers(&self, client: SocketAddr) -> impl Iterator<Item = &Answered> {
        self.past.of(client).filter(|answered| answered.tid != Answered::NOWHERE)
    }

    pub(super) fn socket(&self, tid: u16) -> &Socket {
        &self.sockets[usize::from(tid) % self.sockets.len()]
    }

    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// How a datagram leaves from the address that was asked. An IPv6 socket calls a client of IPv4 by a mapped address.
    pub(super) fn outgoing(&self, own: SocketAddr, to: SocketAddr) -> Outgoing {
        let to = match to {
            SocketAddr::V4(to) if self.is_v6 => {
                SocketAddrV6::new(to.ip().to_ipv6_mapped(), to.port(), 0, 0).into()
            }
            to => to,
        };
        Outgoing { from: Some(own), ..Outgoing::to(to) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};
    use std::net::Ipv4Addr;

    fn tids(count: u16) -> Tids {
        let mut sockets = bind(&Ports::Any(count), Ipv4Addr::LOCALHOST.into(), 1).unwrap();
        let requests = Arc::new(net::udp_port((Ipv4Addr::LOCALHOST, 0).into()).unwrap());
        Tids::new(sockets.remove(0), &requests).unwrap()
    }

    fn client(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn answer(tids: &mut Tids, client: SocketAddr, how: How) -> u16 {
        let tid = tids.draw(client, None);
        tids.past.add(client, Answered { asked: 0, tid, how });
        tid
    }

    #[test]
    fn rfc1350_1_a_client_never_has_the_same_port_twice_in_a_row_and_clients_have_all_of_them() {
        for count in [2, 4, 64] {
            let mut tids = tids(count);
            let mut seen = HashSet::new();
            // In turns, and with refusals between.
            let mut last = HashMap::new();
            for (round, port) in (0..9).flat_map(|round| (1000..1100).map(move |port| (round, port))) {
                let how = [How::Over, How::Refused, How::GivenUp][(round + usize::from(port)) % 3];
                let tid = answer(&mut tids, client(port), how);
                let before = last.get(&port).copied();
                assert!(
                    Some(tid) != before && usize::from(tid) < tids.count(),
                    "{count}: {tid} after {before:?}"
                );
                if how != How::Refused {
                    last.insert(port, tid);
                }
                seen.insert(tid);
            }
            assert_eq!(seen.len(), usize::from(count));
            let ports: HashSet<_> =
                (0..count).map(|tid| net::local_address(tids.socket(tid)).unwrap()).collect();
            assert_eq!(ports.len(), usize::from(count));
        }
    }

    #[test]
    fn rfc1350_2_nobody_knows_the_next_port() {
        let mut tids = tids(64);
        let drawn: Vec<u16> = (1000..3000).map(|port| tids.draw(client(port), None)).collect();
        let steps: HashSet<u16> = drawn.windows(2).map(|two| (two[1] + 64 - two[0]) % 64).collect();
        assert!(steps.len() > 32, "{steps:?}");
        let drawn: Vec<u16> = (0..200).map(|_| answer(&mut tids, client(1), How::Over)).collect();
        let steps: HashSet<u16> = drawn.windows(2).map(|two| (two[1] + 64 - two[0]) % 64).collect();
        assert!(steps.len() > 16, "of one client: {steps:?}");
    }

    #[test]
    fn the_next_port_is_drawn_also_where_they_are_few() {
        for count in [2, 4, 8] {
            let mut tids = tids(count);
            let drawn: Vec<u16> = (0..4000).map(|_| answer(&mut tids, client(1), How::Over)).collect();
            let known = usize::from(count / 2).min(2);
            let mut next = HashMap::<_, HashSet<u16>>::new();
            for last in drawn.windows(known + 1) {
                next.entry(&last[..known]).or_default().insert(last[known]);
            }
            assert!(next.values().all(|next| next.len() >= usize::from(count / 2)), "{count}: {next:?}");
            assert!(drawn.windows(2).all(|two| two[0] != two[1]), "{count}");
        }
    }

    #[test]
    fn of_few_ports_some_are_no_earlier_transfer_s() {
        for count in [4, 8] {
            let mut tids = tids(count);
            let drawn: Vec<u16> = (0..20).map(|_| answer(&mut tids, client(1), How::Over)).collect();
            let late = |tids: &Tids| (0..count).filter(|tid| tids.may_be_late(client(1), *tid)).count();
            assert_eq!(late(&tids), usize::from(count / 2));
            assert!(drawn[18..].iter().all(|tid| tids.may_be_late(client(1), *tid)));
        }
        let mut tids = tids(2);
        let last = answer(&mut tids, client(1), How::Over);
        assert!(tids.may_be_late(client(1), last) && !tids.may_be_late(client(1), 1 - last));
    }

    #[test]
    fn a_refusal_comes_from_no_transfer_of_its_client() {
        let mut tids = tids(2);
        for _ in 0..20 {
            assert_eq!(tids.draw(client(1), Some(0)), 1);
            assert_eq!(tids.draw(client(1), Some(1)), 0);
        }
    }

    #[test]
    fn each_worker_has_its_share_of_the_ports_and_a_port_in_use_is_named() {
        let any = |workers| bind(&Ports::Any(7), Ipv4Addr::LOCALHOST.into(), workers).unwrap();
        assert_eq!(any(3).iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(any(9).iter().map(Vec::len).collect::<Vec<_>>(), [2; 9], "at least two");
        let taken = net::local_address(&any(1)[0][0]).unwrap().port();
        let held = net::udp_port((Ipv4Addr::LOCALHOST, taken).into()).unwrap();
        let error = bind(&Ports::Range(taken..=taken), Ipv4Addr::LOCALHOST.into(), 1).unwrap_err();
        assert_eq!(error.to_string(), format!("TFTP: 127.0.0.1:{taken}: port in use"));
        drop(held);
    }
}
