//! Datagrams that leave.
//!
//! **Invariant:** few wait at a time, and for the kernel only: with MSG_DONTWAIT it is done with each at once, whatever becomes of it. So
//! their memory is bounded, and a wait can be for something else than them.

use std::io;

use super::message::Message;
use super::{IGNORED, Op, Ring};
use crate::sys::Socket;
use crate::sys::datagram::Outgoing;

/// Datagrams, or windows of them, that wait at a time: each has memory of its own.
pub(super) const MOST_SENDING: usize = 16;

impl Ring {
    pub(in crate::uring) fn send_to(
        &mut self,
        socket: &Socket,
        outgoing: &Outgoing,
        token: Option<u64>,
        fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut message = self.messages.pop().unwrap_or_else(Message::new);
        message.bytes.clear();
        if let Err(error) = fill(&mut message.bytes) {
            self.messages.push(message);
            return Err(error);
        }
        message.aim(outgoing);
        let (token, is_told) = (token.unwrap_or_default(), token.is_some());
        self.start(token, Op::SendTo { socket: socket.clone(), message, is_told });
        self.sending += 1;
        if self.sending >= MOST_SENDING {
            self.reap();
        }
        Ok(())
    }

    /// Has the kernel send what waits, so that the memory of what was sent is free for what comes next: it is done with it at once.
    /// Whatever else has come is for later.
    fn reap(&mut self) {
        self.flush_backlog();
        let _ = self.ring.submit();
        loop {
            let next = self.ring.completion().next();
            let Some(entry) = next else { return };
            let slot = self.slots.slot(entry.user_data() as u32);
            let is_sent = slot.is_some_and(|slot| matches!(slot.op, Op::SendTo { .. }));
            if entry.user_data() == IGNORED || !is_sent {
                self.later.push_back(entry);
            } else if let Some(event) = self.complete(&entry) {
                self.sent.push_back(event);
            }
        }
    }
}
