//! Threads that wait for descriptors until they are told to end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};

/// A running thread, which ends when [`Stoppable::stop`] makes the descriptor readable that it was given.
#[derive(Debug)]
pub struct Stoppable {
    wake: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Stoppable {
    /// `body` waits for its descriptor among others, and returns when it is readable.
    ///
    /// # Errors
    /// There are no more descriptors, or threads.
    pub fn start(name: &str, body: impl FnOnce(&OwnedFd) + Send + 'static) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let woken = wake.clone();
        let thread = Builder::new().name(name.to_owned()).spawn(move || body(&woken))?;
        Ok(Self { wake, thread })
    }

    /// Tells it, and waits until it has ended.
    pub fn stop(self) {
        // An eventfd takes a one unless it is full, and then its reader is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn it_waits_until_it_is_told_to_end() {
        let (ended, end) = std::sync::mpsc::channel();
        let running = Stoppable::start("waiting", move |wake| {
            let mut waiting = [PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
            let woken = poll(&mut waiting, None);
            ended.send(woken).unwrap();
        });
        running.unwrap().stop();
        assert_eq!(end.try_recv(), Ok(Ok(1)));
    }
}
