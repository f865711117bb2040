//! A packet socket that takes and gives frames by the dozen.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use netboot_userspace::sys::interface::{Interface, interfaces};
use netboot_userspace::sys::packet::{self, Only, PacketSocket};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg, sockopt};

/// Frames in one system call.
pub(crate) const BATCH: usize = 64;

/// Frames that wait to be sent. Emptied, it keeps their memory.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: Vec<Vec<u8>>,
    used: usize,
}

impl Outbox {
    /// One more frame, to be written.
    pub(crate) fn add(&mut self) -> &mut Vec<u8> {
        if self.used == self.frames.len() {
            self.frames.push(Vec::new());
        }
        self.used += 1;
        &mut self.frames[self.used - 1]
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    pub(crate) fn frames(&self) -> &[Vec<u8>] {
        &self.frames[..self.used]
    }
}

/// How many bytes to have room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Of a frame: no less than any has.
    pub(crate) frame: usize,
    /// Of what waits to be received, in the kernel's reckoning.
    pub(crate) waiting: usize,
}

/// One end of a wire, and room for what comes by it.
pub(crate) struct Wire {
    socket: PacketSocket,
    pub(crate) interface: Interface,
    headers: MultiHeaders<()>,
    frames: Vec<Box<[u8]>>,
}

impl Wire {
    /// Frames to these ports.
    pub(crate) fn open(name: &str, ports: [u16; 2], room: Room) -> anyhow::Result<Self> {
        let interface =
            interfaces()?.remove(name).ok_or_else(|| anyhow::anyhow!("there is no interface {name}"))?;
        let socket = PacketSocket::open(interface.index, packet::IPV4, Only::Udp(ports))?;
        let headers = MultiHeaders::preallocate(BATCH, None);
        // Whatever the limit of the system: root may say so.
        sockopt::set_socket_recv_buffer_size_force(&socket, room.waiting)?;
        Ok(Self { socket, interface, headers, frames: vec![vec![0; room.frame].into(); BATCH] })
    }

    /// Sends all of them.
    pub(crate) fn send(&self, frames: &[Vec<u8>]) -> io::Result<()> {
        for batch in frames.chunks(BATCH) {
            let slices: Vec<[IoSlice<'_>; 1]> = batch.iter().map(|frame| [IoSlice::new(frame)]).collect();
            let mut controls: Vec<_> = batch.iter().map(|_| SendAncillaryBuffer::default()).collect();
            let messages = slices.iter().zip(&mut controls);
            let mut messages: Vec<_> =
                messages.map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
            let mut sent = 0;
            while sent < messages.len() {
                match sendmmsg(self.socket.as_fd(), &mut messages[sent..], SendFlags::empty()) {
                    Ok(some) => sent += some,
                    // The device's queue is full: what was handed over goes out meanwhile.
                    Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => std::thread::yield_now(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Hands each frame that is there to `take`; how many there were, [`BATCH`] at most.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.frames.iter_mut().map(|frame| [IoSliceMut::new(frame)]).collect();
        let fd = self.socket.as_fd().as_raw_fd();
        match recvmmsg(fd, &mut self.headers, &mut slices, MsgFlags::MSG_DONTWAIT, None) {
            Ok(received) => {
                let mut count = 0;
                for message in received {
                    message.iovs().for_each(&mut take);
                    count += 1;
                }
                Ok(count)
            }
            Err(nix::errno::Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until a frame is there, no longer than `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<()> {
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut ready = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
