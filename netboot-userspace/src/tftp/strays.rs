//! The ports of transfers that the kernel serves: sockets of ours hold them, so that nobody else gets them, and hear what the
//! kernel does not take: datagrams of transfers that it does not know, or that have lost their file.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use netboot_common::wire::tftp::{ErrorCode, Malformed, Packet, emit_error};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::sys::datagram::{self, Destination, Outgoing};
use crate::sys::net;

/// Above the ports that systems give out by themselves.
const FIRST: u16 = 0xf000;

/// The sockets, and the thread that reads them.
#[derive(Debug)]
pub struct Strays {
    first: u16,
    wake: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Strays {
    /// Holds `count` ports of an address, a power of two, from a multiple of it on: those from `wish` on, where they are to be had.
    ///
    /// # Errors
    /// No such ports are free, or there are not so many descriptors.
    pub fn start(address: IpAddr, count: u16, wish: Option<u16>) -> io::Result<Self> {
        let others = (FIRST..=u16::MAX - (count - 1)).step_by(usize::from(count));
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for first in wish.into_iter().filter(|wish| *wish >= 1024).chain(others) {
            match net::udp_range((address, first).into(), count) {
                Ok(sockets) => return Self::answer(first, sockets),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The first of the ports.
    pub fn first(&self) -> u16 {
        self.first
    }

    /// Gives the ports back.
    pub fn stop(self) {
        // An eventfd takes a one unless it is full, and then its reader is awake.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        let _ = self.thread.join();
    }

    fn answer(first: u16, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let woken = wake.clone();
        let thread = std::thread::Builder::new().name("tftp-strays".to_owned()).spawn(move || {
            loop {
                let all = sockets.iter().chain([&*woken]).map(AsFd::as_fd);
                let mut waiting: Vec<PollFd<'_>> =
                    all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
                let polled = poll(&mut waiting, None);
                let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
                if polled.is_err_and(|error| error != rustix::io::Errno::INTR) || ready.last() == Some(&true)
                {
                    return;
                }
                let ready = sockets.iter().zip(ready).filter(|(_, ready)| *ready);
                ready.for_each(|(socket, _)| drain(socket));
            }
        })?;
        Ok(Self { first, wake, thread })
    }
}

/// Datagrams of one socket between two looks at the others.
const ROUND: usize = 64;

fn drain(socket: &OwnedFd) {
    let mut buffer = [0; 64];
    for _ in 0..ROUND {
        let Ok((length, from, to)) = datagram::receive(socket, &mut buffer) else { return };
        let (Some(from), Destination::Own(own), Some((code, text))) = (from, to, refusal(&buffer[..length]))
        else {
            continue;
        };
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
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    #[test]
    fn strays_get_an_error_from_the_port_that_they_asked_and_errors_get_nothing() {
        let strays = Strays::start(Ipv4Addr::UNSPECIFIED.into(), 8, None).unwrap();
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
}
