//! Our TIDs: a few ports of each worker, which all its transfers share (RFC 1350 section 4).
//!
//! **Invariant:** two transfers of one client that follow each other have other ports, where there is more than one: what comes late
//! for the first is told from what comes for the second. A client is told from others by its address and port, so a transfer takes no
//! descriptor, and an ICMP error of one client, on a socket that is connected to nobody, is nobody's.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Error, Ports};
use crate::sys::datagram::Outgoing;
use crate::sys::net;
use crate::uring::Socket;

/// Of so many clients at least is remembered which TID they had last.
const REMEMBERED: usize = 4096;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Tids {
    sockets: Vec<Socket>,
    is_v6: bool,
    last: Box<[Last]>,
    hasher: RandomState,
}

/// What is remembered of the clients with one hash.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Where the next one's transfer comes after.
    tid: u16,
    /// Whose transfer has ended well, by another hash, and its TID.
    ended: Option<(u32, u16)>,
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
        let (hasher, count) = (RandomState::new(), sockets.len() as u64);
        let last = |at| Last { tid: (hasher.hash_one(at) % count) as u16, ended: None };
        let last = (0..REMEMBERED).map(last).collect();
        Ok(Self { sockets, is_v6, last, hasher })
    }

    /// Where a client's next transfer comes from.
    pub(super) fn next(&mut self, client: SocketAddr) -> u16 {
        let (place, _) = self.place(client);
        let tid = (self.last[place].tid + 1) % self.sockets.len() as u16;
        self.last[place].tid = tid;
        tid
    }

    /// A client's transfer has ended well, or for another one: what comes late for it deserves no answer.
    pub(super) fn ended(&mut self, client: SocketAddr, tid: u16) {
        let (place, mark) = self.place(client);
        self.last[place].ended = Some((mark, tid));
    }

    /// Whether this was the client's last TID.
    pub(super) fn has_ended(&self, client: SocketAddr, tid: u16) -> bool {
        let (place, mark) = self.place(client);
        self.last[place].ended == Some((mark, tid))
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

    fn place(&self, client: SocketAddr) -> (usize, u32) {
        let hash = self.hasher.hash_one(client);
        (hash as usize % REMEMBERED, (hash >> 32) as u32)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    fn tids(count: u16) -> Tids {
        let mut sockets = bind(&Ports::Any(count), Ipv4Addr::LOCALHOST.into(), 1).unwrap();
        let requests = Arc::new(net::udp_port((Ipv4Addr::LOCALHOST, 0).into()).unwrap());
        Tids::new(sockets.remove(0), &requests).unwrap()
    }

    #[test]
    fn rfc1350_1_a_client_never_has_the_same_port_twice_in_a_row_and_clients_have_all_of_them() {
        let mut tids = tids(4);
        let clients = (1000..1100).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let mut seen = HashSet::new();
        for client in clients {
            let mut before = None;
            for _ in 0..5 {
                let tid = tids.next(client);
                assert!(Some(tid) != before && usize::from(tid) < tids.count());
                before = Some(tid);
            }
            seen.insert(before);
        }
        assert_eq!(seen.len(), 4);
        let ports: HashSet<_> = (0..4).map(|tid| net::local_address(tids.socket(tid)).unwrap()).collect();
        assert_eq!(ports.len(), 4);
    }

    #[test]
    fn what_has_ended_is_one_clients_at_one_port() {
        let mut tids = tids(2);
        let [client, other] = [1000, 1001].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        tids.ended(client, 1);
        assert!(tids.has_ended(client, 1) && !tids.has_ended(client, 0) && !tids.has_ended(other, 1));
        tids.ended(client, 0);
        assert!(tids.has_ended(client, 0) && !tids.has_ended(client, 1), "the last one");
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
