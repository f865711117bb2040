//! Threads with a reactor each, started and stopped together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::reactor::{Choice, Reactor, Running, Settings, Waker};

/// Tells a worker that it shall end; set before its waker is used.
pub type Stop = Arc<AtomicBool>;

/// Running workers.
#[derive(Debug)]
pub struct Workers {
    stop: Stop,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<()>>,
    running: Running,
}

impl Workers {
    /// Starts a thread for each of `works`. When one engine can't be made, none runs.
    pub fn start<W>(name: &str, choice: Choice, settings: Settings, works: Vec<W>) -> io::Result<Self>
    where
        W: FnOnce(Reactor, Stop) + Send + 'static,
    {
        let mut this =
            Self { stop: Stop::default(), wakers: Vec::new(), threads: Vec::new(), running: Running::Uring };
        for work in works {
            let (report, reported) = mpsc::sync_channel(1);
            let stop = this.stop.clone();
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                // A ring belongs to the thread that made it.
                match Reactor::new(choice, settings) {
                    Ok((reactor, running)) => {
                        let _ = report.send(Ok((reactor.waker(), running)));
                        work(reactor, stop);
                    }
                    Err(error) => {
                        let _ = report.send(Err(error));
                    }
                }
            })?;
            this.threads.push(thread);
            let (waker, running) =
                reported.recv().unwrap_or_else(|_| Err(io::Error::other("a worker ended at once")))?;
            this.wakers.push(waker);
            if running != Running::Uring {
                this.running = running;
            }
        }
        Ok(this)
    }

    /// Which engine they use.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Ends all workers and waits for them.
    pub fn shutdown(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
        for thread in self.threads.drain(..) {
            // A worker that panicked has already said so on stderr.
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// One worker for each core.
pub fn default_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
