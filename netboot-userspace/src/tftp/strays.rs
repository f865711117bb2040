//! The ports of transfers that the kernel serves: sockets of ours hold them, so that nobody else gets them, hear what the kernel does not
//! take (datagrams of transfers that it does not know, or that have lost their file), and send what it has no timer for ([`Tids`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netboot_common::limit::Budget;
use netboot_common::wire::tftp::{ErrorCode, Malformed, Packet, emit_error};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::sys::datagram::{self, Destination, Outgoing};
use crate::sys::net;

use super::sources::{Sources, allowed, canonical};

/// Above the ports that systems give out by themselves.
const FIRST: u16 = 0xf000;

/// ERRORs in a second, and at once, to all together. Clients whose ERROR does not come take their time-out; a service that answers
/// whatever it gets (chargen, RFC 864), and whose port somebody has put on a datagram, would be answered for ever.
const ERRORS: Budget = Budget::new(100, 100);

/// The sockets, and the thread that reads them.
#[derive(Debug)]
pub struct Strays {
    sockets: Tids,
    wake: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Strays {
    /// Holds `count` ports of an address, a power of two, from a multiple of it on: those from `wish` on, where they are to be had.
    /// Answers nobody but `sources`.
    ///
    /// # Errors
    /// No such ports are free, or there are not so many descriptors.
    pub fn start(address: IpAddr, count: u16, wish: Option<u16>, sources: Sources) -> io::Result<Self> {
        let others = (FIRST..=u16::MAX - (count - 1)).step_by(usize::from(count));
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for first in wish.into_iter().filter(|wish| *wish >= 1024).chain(others) {
            match net::udp_range((address, first).into(), count) {
                Ok(sockets) => return Self::answer(first, sockets, Gate::new(sources)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The first of the ports.
    pub fn first(&self) -> u16 {
        self.sockets.first
    }

    /// What sends from them.
    pub fn tids(&self) -> Tids {
        self.sockets.clone()
    }

    /// Gives the ports back.
    pub fn stop(self) {
        // An eventfd takes a one unless it is full, and then its reader is awake.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        let _ = self.thread.join();
    }

    fn answer(first: u16, sockets: Vec<OwnedFd>, mut gate: Gate) -> io::Result<Self> {
        let begin = Instant::now();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let woken = wake.clone();
        let sockets = Tids { first, sockets: sockets.into() };
        let heard = sockets.sockets.clone();
        let thread = std::thread::Builder::new().name("tftp-strays".to_owned()).spawn(move || {
            listen(&heard, &woken, poll, |socket| drain(socket, &mut gate, begin.elapsed()));
        })?;
        Ok(Self { sockets, wake, thread })
    }
}

/// The sockets of the ports.
#[derive(Clone, Debug)]
pub struct Tids {
    first: u16,
    sockets: Arc<[OwnedFd]>,
}

impl Tids {
    /// Sends from one of the ports, and from an address of ours; whether it was sent. What can't be is lost.
    pub fn send(&self, own: Ipv4Addr, tid: u16, client: SocketAddrV4, packet: &[u8]) -> bool {
        let socket = tid.checked_sub(self.first).and_then(|n| self.sockets.get(usize::from(n)));
        let outgoing = Outgoing { from: Some((own, 0).into()), ..Outgoing::to(client.into()) };
        socket.is_some_and(|socket| datagram::send(socket, packet, &outgoing).is_ok())
    }
}

/// Of sockets that can't be waited for.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Has `hear` read the sockets that have something, until `wake` is readable. Where `poll`, which is poll(2), fails, all of them are looked
/// at, once in a while, until it does not.
fn listen(
    sockets: &[OwnedFd],
    wake: &OwnedFd,
    mut poll: impl FnMut(&mut [PollFd<'_>], Option<&Timespec>) -> Result<usize, Errno>,
    mut hear: impl FnMut(&OwnedFd),
) {
    let mut is_failing = false;
    loop {
        let all = [wake].into_iter().chain(sockets).map(AsFd::as_fd);
        let mut waiting: Vec<PollFd<'_>> =
            all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let failed = poll(&mut waiting, None).err().filter(|error| *error != Errno::INTR);
        if let Some(error) = failed {
            if !is_failing {
                tracing::warn!(
                    "TFTP: waiting for datagrams of unknown transfers: {error}: looking once a second"
                );
            }
            if rustix::event::poll(&mut waiting[..1], Some(&LOOK)).is_err() {
                std::thread::sleep(Duration::from_secs(1));
            }
        } else if is_failing {
            tracing::info!("TFTP: datagrams of unknown transfers are waited for again");
        }
        is_failing = failed.is_some();
        let mut ready = waiting.iter().map(|fd| !fd.revents().is_empty());
        if ready.next() == Some(true) {
            return;
        }
        let ready = sockets.iter().zip(ready).filter(|(_, is_ready)| *is_ready || is_failing);
        ready.for_each(|(socket, _)| hear(socket));
    }
}

/// Who is answered, and how often.
#[derive(Debug)]
pub(super) struct Gate {
    sources: Sources,
    /// As [`Budget::admit`] has it.
    even: u64,
}

impl Gate {
    pub(super) const fn new(sources: Sources) -> Self {
        Self { sources, even: 0 }
    }

    pub(super) fn admits(&mut self, client: SocketAddr, now: Duration) -> bool {
        if !allowed(&self.sources.load(), client.ip()) {
            return false;
        }
        let even = ERRORS.admit(self.even, now.as_nanos() as u64);
        self.even = even.unwrap_or(self.even);
        even.is_some()
    }
}

/// Datagrams of one socket between two looks at the others.
const ROUND: usize = 64;

fn drain(socket: &OwnedFd, gate: &mut Gate, now: Duration) {
    let mut buffer = [0; 64];
    for _ in 0..ROUND {
        let Ok((length, from, to)) = datagram::receive(socket, &mut buffer) else { return };
        let (Some(from), Destination::Own(own, _), Some((code, text))) =
            (from, to, refusal(&buffer[..length]))
        else {
            continue;
        };
        if !gate.admits(canonical(from), now) {
            continue;
        }
        let mut packet = [0; 64];
        let length = emit_error(code, text, &mut packet);
        // From the address that was asked. What can't be sent is lost.
        let outgoing = Outgoing { from: Some(own), ..Outgoing::to(from) };
        let _ = datagram::send(socket, &packet[..length], &outgoing);
    }
}

/// What a stray datagram deserves; an ERROR is never answered (RFC 1350 section 7).
fn refusal(datagram: &[u8]) -> Option<(ErrorCode, &'static str)> {
    match Packet::parse(datagram) {
        Ok(Packet::Error(..)) | Err(Malformed::Short) => None,
        Ok(Packet::Ack(_)) => Some((ErrorCode::UnknownTransfer, "unknown transfer ID")),
        Ok(Packet::Read(_) | Packet::Write(..) | Packet::Data(..) | Packet::NotForServers)
        | Err(Malformed::Opcode(_) | Malformed::Unterminated) => {
            Some((ErrorCode::IllegalOperation, "illegal operation"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tftp::Served;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    #[test]
    fn strays_get_an_error_from_the_port_that_they_asked_and_errors_get_nothing() {
        let strays = Strays::start(Ipv4Addr::UNSPECIFIED.into(), 8, None, everybody()).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let port = strays.first() + 5;
        // Another address of ours than the one that routes would choose.
        client.connect((Ipv4Addr::new(127, 0, 0, 9), port)).unwrap();
        let ask = |datagram: &[u8]| {
            client.send(datagram).unwrap();
            let mut answer = [0; 64];
            let length = client.recv(&mut answer).unwrap();
            answer[..length].to_vec()
        };
        client.send(b"\0\x05\0\x05sorry\0").unwrap();
        assert_eq!(ask(b"\0\x04\0\x07"), b"\0\x05\0\x05unknown transfer ID\0");
        assert_eq!(ask(b"\0\x03\0\x01data"), b"\0\x05\0\x04illegal operation\0");
        strays.stop();
    }

    fn everybody() -> Sources {
        Sources::new(arc_swap::ArcSwap::from_pointee(Served::Everybody))
    }

    /// A client of its own address, whose server is the port of strays.
    fn client(last: u8, port: u16) -> UdpSocket {
        let client = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        client
    }

    const ACK: &[u8] = b"\0\x04\0\x07";
    const DATA: &[u8] = b"\0\x03\0\x01data";

    #[test]
    fn strays_of_networks_that_are_not_served_get_nothing_also_once_others_are() {
        let network = |last| Served::These(vec![(IpAddr::from([127, 0, 0, last]), 32)]);
        let sources = Sources::new(arc_swap::ArcSwap::from_pointee(network(2)));
        let strays = Strays::start(Ipv4Addr::UNSPECIFIED.into(), 8, None, sources.clone()).unwrap();
        let (stranger, own) = (client(3, strays.first()), client(2, strays.first()));
        let received = |client: &UdpSocket| {
            let mut answer = [0; 64];
            client.recv(&mut answer).unwrap();
            answer[..4].to_vec()
        };
        stranger.send(ACK).unwrap();
        // Behind the stranger's, in the same queue.
        own.send(ACK).unwrap();
        assert_eq!(received(&own), b"\0\x05\0\x05");
        sources.store(Arc::new(network(3)));
        stranger.send(DATA).unwrap();
        assert_eq!(received(&stranger), b"\0\x05\0\x04", "not that for the ACK");
        strays.stop();
    }

    #[test]
    fn strays_are_answered_also_where_they_can_not_be_waited_for() {
        let sockets = net::udp_range((Ipv4Addr::LOCALHOST, 0xec01).into(), 1).unwrap();
        let (client, wake) = (client(2, 0xec01), eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let mut gate = Gate::new(everybody());
        std::thread::scope(|scope| {
            let (mut failures, wake) = (0, &wake);
            let fails = move |fds: &mut [PollFd<'_>], most: Option<&Timespec>| {
                failures += 1;
                if failures <= 2 { Err(Errno::NOMEM) } else { poll(fds, most) }
            };
            let hear = move |socket: &OwnedFd| drain(socket, &mut gate, Duration::from_secs(9));
            let thread = scope.spawn(move || listen(&sockets, wake, fails, hear));
            for _ in 0..3 {
                let mut answer = [0; 64];
                client.send(ACK).unwrap();
                client.recv(&mut answer).unwrap();
                assert_eq!(answer[..4], *b"\0\x05\0\x05");
            }
            rustix::io::write(wake, &1_u64.to_ne_bytes()).unwrap();
            thread.join().unwrap();
        });
    }

    #[test]
    fn strays_get_so_many_errors_and_no_more() {
        let sockets = net::udp_range((Ipv4Addr::LOCALHOST, 0xec00).into(), 1).unwrap();
        let client = client(2, 0xec00);
        client.set_nonblocking(true).unwrap();
        let mut gate = Gate::new(everybody());
        let mut answered = |asked: usize, now| {
            (0..asked).for_each(|_| {
                // Loopback has it in the queue when `send` returns.
                assert_eq!(client.send(ACK).unwrap(), ACK.len());
                drain(&sockets[0], &mut gate, now);
            });
            std::iter::from_fn(|| client.recv(&mut [0; 64]).ok()).count()
        };
        let second = Duration::from_secs;
        assert_eq!(answered(150, second(5)), 100, "the burst");
        assert_eq!(answered(150, second(5)), 0);
        assert_eq!(answered(50, second(5) + Duration::from_millis(100)), 10, "then the rate");
        assert_eq!(answered(150, second(9)), 100);
    }
}
