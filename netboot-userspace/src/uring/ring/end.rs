//! The end of a ring: everything that the kernel can reach is taken back first, or stays for ever.

use std::io;
use std::mem::ManuallyDrop;
#[cfg(test)]
use std::os::fd::AsRawFd as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::Duration;

use io_uring::cqueue;
use io_uring::types::CancelBuilder;
use rustix::net::Shutdown;

use super::{IGNORED, Op, Ring, Slot, cancellation};
use crate::uring::buffer_ring::BUFFER_GROUP;
use crate::uring::buffers::Buffers;
use crate::uring::epoll::{self, Orphan, Then};
use crate::uring::reactor::Kind;

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = self.ring.submit();
        let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
        self.forget_backlog();
        for _ in 0..100 {
            while self.bury() {}
            if self.slots.live() == 0 {
                return self.unpublish();
            }
            let _ = self.wait(Some(Duration::from_millis(20)));
        }
        // The kernel still holds something: what it may read or write must stay. Sockets may go, it has its own hold on them,
        // and of ours a client, or a port, would hang for ever. A leak of memory, once, harms nobody.
        for slot in std::mem::take(&mut self.slots).into_iter().flatten() {
            match slot.op {
                Op::Send { payload, parts, .. } => std::mem::forget((payload, parts)),
                Op::SendTo { message, .. } => std::mem::forget(message),
                _ => {}
            }
        }
        std::mem::forget(std::mem::replace(&mut self.buffers, Buffers::new(1, 64)));
        let header = Box::new(*self.receive_header);
        std::mem::forget(std::mem::replace(&mut self.receive_header, header));
    }
}

impl Ring {
    /// What becomes of the operations when the ring is given up, for `failure`. Its sockets go on; what the kernel may still
    /// read or write stays with the ring, which knows how to end (see `drop`).
    pub(in crate::uring) fn dismantle(mut self, failure: &io::Error) -> Vec<Option<Orphan>> {
        (0..self.slots.end())
            .map(|index| self.slots.slot(index).and_then(|slot| slot.orphan(failure)))
            .collect()
    }

    /// The kernel never saw these: nothing will come of them.
    fn forget_backlog(&mut self) {
        self.sent.clear();
        for entry in std::mem::take(&mut self.backlog) {
            if entry.get_user_data() != IGNORED {
                self.slots.remove(entry.get_user_data() as u32);
            }
        }
    }

    /// Takes a completion that nobody will hear of, if there is one.
    fn bury(&mut self) -> bool {
        let Some(entry) = self.next_entry() else { return false };
        if entry.user_data() == IGNORED {
            return true;
        }
        let index = entry.user_data() as u32;
        match self.slots.slot(index).map(|slot| &slot.op) {
            Some(Op::Accept(_)) if entry.result() >= 0 => {
                // SAFETY: as in `complete`: a new descriptor that nobody else has seen.
                drop(unsafe { OwnedFd::from_raw_fd(entry.result()) });
            }
            // A stream that goes on elsewhere would miss these bytes.
            Some(Op::Receive(stream)) if entry.result() > 0 => {
                let _ = rustix::net::shutdown(stream, Shutdown::Both);
            }
            _ => {}
        }
        if !cqueue::more(entry.flags()) {
            self.slots.remove(index);
        }
        true
    }

    /// Frees the ring of buffers, or, should the kernel not let go of it, leaks it.
    fn unpublish(&mut self) {
        if self.ring.submitter().unregister_buf_ring(BUFFER_GROUP).is_ok() {
            // SAFETY: called once, at the end of `drop`; nothing touches `published` after it.
            unsafe { ManuallyDrop::drop(&mut self.published) };
        }
    }

    #[cfg(test)]
    pub(in crate::uring) fn breaker(&self) -> Breaker {
        Breaker(self.ring.as_raw_fd())
    }
}

impl Slot {
    fn orphan(&self, failure: &io::Error) -> Option<Orphan> {
        let lost = || match failure.raw_os_error() {
            Some(number) if !self.cancelled => io::Error::from_raw_os_error(number),
            _ => cancellation(),
        };
        let then = match &self.op {
            Op::Wake(_) => return None,
            Op::Send { .. } | Op::SendTo { .. } => Then::End(Kind::Sent(Err(lost()))),
            Op::Accept(_) if self.cancelled => Then::End(Kind::Accepted(Err(lost()))),
            Op::Receive(_) if self.cancelled => Then::End(Kind::Received(Err(lost()))),
            Op::Datagrams(_) if self.cancelled => Then::End(Kind::Datagram(Err(lost()))),
            Op::Writable(_) if self.cancelled => Then::End(Kind::Writable(Err(lost()))),
            Op::Accept(listener) => Then::GoOn(epoll::Op::Accept(listener.clone())),
            Op::Receive(stream) => Then::GoOn(epoll::Op::Receive(stream.clone())),
            Op::Datagrams(socket) => Then::GoOn(epoll::Op::Datagrams(socket.clone())),
            Op::Writable(stream) => Then::GoOn(epoll::Op::Writable(stream.clone())),
        };
        Some(Orphan { token: self.token, then })
    }
}

/// Makes every system call on a ring fail from now on, as a kernel that has given it up would.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Breaker(std::os::fd::RawFd);

#[cfg(test)]
impl Breaker {
    pub(crate) fn use_up(self) {
        let null = std::fs::File::open("/dev/null").unwrap_or_else(|error| panic!("{error}"));
        // SAFETY: both numbers are open descriptors of ours; the ring's memory stays mapped, so nothing it points to goes.
        let duplicate = unsafe { libc::dup2(null.as_raw_fd(), self.0) };
        assert!(duplicate >= 0);
    }
}
