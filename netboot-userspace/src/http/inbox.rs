//! Connections that come back to a worker from where they were handed over.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::uring::Waker;

use super::Place;

/// A connection that comes back.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) stream: TcpStream,
    pub(super) read: Vec<u8>,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
}

/// Where they wait for their worker.
pub(super) struct Inbox {
    waiting: Mutex<Option<Vec<Returned>>>,
    waker: Waker,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::new(Some(Vec::new())), waker })
    }

    pub(super) fn take(&self) -> Vec<Returned> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Has its worker look into it.
    #[cfg(test)]
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Those that come later are closed: nobody serves them any more.
    pub(super) fn close(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn put(&self, returned: Returned) {
        if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            waiting.push(returned);
        }
        self.waker.wake();
    }
}

/// The way back of a connection that was handed over, and its place among those of the server and of its peer: to be kept for as long
/// as it is served elsewhere.
#[derive(Debug)]
pub struct WayBack {
    pub(super) inbox: Arc<Inbox>,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
}

impl WayBack {
    /// Gives the connection back to its worker, after the request that was handed over was answered whole. `read` is what was read of it
    /// beyond that request.
    pub fn give_back(self, stream: TcpStream, read: Vec<u8>) {
        let Self { inbox, peer, place } = self;
        inbox.put(Returned { stream, read, peer, place });
    }
}
