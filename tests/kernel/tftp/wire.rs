//! What leaves by the loopback device: a test run gives back the last frame of a window, the others are sent.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket};

/// `PACKET_OUTGOING` of linux/if_packet.h: each frame comes twice, when it is sent and when it is received.
const OUTGOING: u8 = 4;

/// The only device of a network that is the calling thread's own, and goes with it.
#[derive(Debug)]
pub(crate) struct Wire(OwnedFd);

impl Wire {
    pub(crate) fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.expect("iproute2 is installed").success());
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
        Self(socket.expect("root may open a packet socket"))
    }

    /// The frames that were sent since the last time.
    pub(crate) fn sent(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut frame = [0; 2048];
        loop {
            match recvfrom::<LinkAddr>(self.0.as_raw_fd(), &mut frame) {
                Ok((length, Some(from))) if from.pkttype() == OUTGOING => {
                    frames.push(frame[..length].to_vec());
                }
                Ok(_) => {}
                Err(Errno::EAGAIN) => return frames,
                Err(error) => panic!("receiving from the loopback device: {error}"),
            }
        }
    }
}
