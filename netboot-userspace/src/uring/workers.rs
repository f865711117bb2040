//! Threads with a reactor each, started and stopped together.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use super::reactor::{Choice, Reactor, Running, Settings, State, Waker};

/// Tells a worker that it shall end; set before its waker is used.
pub type Stop = Arc<AtomicBool>;

/// Running workers.
#[derive(Debug)]
pub struct Workers {
    stop: Stop,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<()>>,
    states: Vec<Arc<State>>,
    #[cfg(test)]
    breakers: Vec<super::ring::Breaker>,
}

impl Workers {
    /// Starts a thread for each of `works`, and waits until each has said that it serves. When one engine can't be made, none runs. A
    /// work that ends before it is told to, by an error or a panic, has closed its sockets, and shows as [`Running::Ended`].
    pub fn start<W>(name: &str, choice: Choice, settings: Settings, works: Vec<W>) -> io::Result<Self>
    where
        W: FnOnce(Reactor, Begun, &Stop) -> io::Result<()> + Send + 'static,
    {
        let mut this = Self {
            stop: Stop::default(),
            wakers: Vec::new(),
            threads: Vec::new(),
            states: Vec::new(),
            #[cfg(test)]
            breakers: Vec::new(),
        };
        for work in works {
            let (report, reported) = mpsc::sync_channel(1);
            let stop = this.stop.clone();
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                // A ring belongs to the thread that made it.
                match Reactor::new(choice, settings) {
                    Ok(reactor) => {
                        let mut watch = Watch(reactor.running(), Some("it panicked".to_owned()));
                        let begun = Begun { report, seen: Seen::of(&reactor) };
                        watch.1 = work(reactor, begun, &stop).err().map(|error| error.to_string());
                    }
                    Err(error) => {
                        let _ = report.send(Err(error));
                    }
                }
            })?;
            this.threads.push(thread);
            let ended = || Err(io::Error::other("a worker ended at once"));
            let seen = reported.recv().unwrap_or_else(|_| ended())?;
            this.wakers.push(seen.waker);
            this.states.push(seen.state);
            #[cfg(test)]
            this.breakers.extend(seen.breaker);
        }
        Ok(this)
    }

    /// Which engine they use now: the least of them, and how many do.
    pub fn running(&self) -> Running {
        let all: Vec<Running> = self.states.iter().map(|state| state.get()).collect();
        let rank = |running: &Running| match running {
            Running::Uring => 0,
            Running::Epoll { .. } => 1,
            Running::Ended { .. } => 2,
        };
        let worst = all.iter().max_by_key(|running| rank(running)).cloned().unwrap_or(Running::Uring);
        let (count, of) = (all.iter().filter(|running| rank(running) == rank(&worst)).count(), all.len());
        let counted = |reason| if count < of { format!("{count} of {of} workers: {reason}") } else { reason };
        match worst {
            Running::Uring => Running::Uring,
            Running::Epoll { reason } => Running::Epoll { reason: counted(reason) },
            Running::Ended { reason } => Running::Ended { reason: counted(reason) },
        }
    }

    /// Makes the rings of these workers fail, as a kernel that has given them up would.
    #[cfg(test)]
    pub(crate) fn break_rings(&mut self) {
        self.breakers.drain(..).for_each(super::ring::Breaker::use_up);
        self.wakers.iter().for_each(Waker::wake);
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

/// To be told when a worker has made ready what others may reach it by.
#[derive(Debug)]
pub struct Begun {
    report: SyncSender<io::Result<Seen>>,
    seen: Seen,
}

impl Begun {
    /// Whoever starts the workers goes on.
    pub fn say(self) {
        let _ = self.report.send(Ok(self.seen));
    }
}

/// What others see of a worker's reactor.
#[derive(Debug)]
struct Seen {
    waker: Waker,
    state: Arc<State>,
    #[cfg(test)]
    breaker: Option<super::ring::Breaker>,
}

impl Seen {
    fn of(reactor: &Reactor) -> Self {
        Self {
            waker: reactor.waker(),
            state: reactor.running(),
            #[cfg(test)]
            breaker: reactor.breaker(),
        }
    }
}

/// Says of a worker that it has ended, and why; nothing of one that was told to.
struct Watch(Arc<State>, Option<String>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(reason) = self.1.take() {
            let worker = std::thread::current();
            tracing::error!("worker {} has ended: {reason}", worker.name().unwrap_or_default());
            self.0.set(Running::Ended { reason });
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    const SMALL: Settings = Settings { entries: 8, buffers: 1, buffer_size: 64 };

    /// Waits until a worker's engine is another one.
    fn await_other_than(workers: &Workers, running: &Running) -> Running {
        for _ in 0..1000 {
            let now = workers.running();
            if now != *running {
                return now;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it is still {running}");
    }

    #[test]
    fn a_work_that_ends_by_itself_is_seen_and_its_socket_closed() {
        for (panics, reason) in [(false, "of no use"), (true, "it panicked")] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let work = move |mut reactor: Reactor, begun: Begun, _: &Stop| {
                begun.say();
                reactor.receive(&Arc::new(theirs.into()), 1);
                // A ring that fails holds on to nothing of the worker.
                reactor.breaker().into_iter().for_each(super::super::ring::Breaker::use_up);
                assert!(!panics);
                Err(io::Error::other("of no use"))
            };
            let workers = Workers::start("test", Choice::Uring, SMALL, vec![work]).unwrap();
            let running = await_other_than(&workers, &Running::Uring);
            assert_eq!(running, Running::Ended { reason: reason.to_owned() });
            assert_eq!(io::Read::read(&mut &ours, &mut [0]).unwrap(), 0, "its peer hears of it");
        }
    }

    #[test]
    fn who_starts_workers_goes_on_when_each_of_them_serves() {
        let ready = Arc::new(AtomicUsize::new(0));
        let counted = ready.clone();
        let work = move |_: Reactor, begun: Begun, _: &Stop| {
            std::thread::sleep(Duration::from_millis(20));
            counted.fetch_add(1, Ordering::Relaxed);
            begun.say();
            Ok(())
        };
        let _workers = Workers::start("test", Choice::Auto, SMALL, vec![work; 3]).unwrap();
        assert_eq!(ready.load(Ordering::Relaxed), 3);
        let ends = |_: Reactor, _: Begun, _: &Stop| Err(io::Error::other("of no use"));
        Workers::start("test", Choice::Auto, SMALL, vec![ends]).unwrap_err();
    }

    #[test]
    fn the_least_engine_is_shown_and_how_many_workers_have_it() {
        let serve = |mut reactor: Reactor, begun: Begun, stop: &Stop| {
            begun.say();
            while !stop.load(Ordering::Acquire) {
                reactor.wait(None)?;
                while reactor.next_event().is_some() {}
            }
            Ok(())
        };
        let mut workers = Workers::start("test", Choice::Uring, SMALL, vec![serve; 3]).unwrap();
        assert_eq!(workers.running(), Running::Uring);
        workers.breakers.truncate(1);
        workers.break_rings();
        let running = await_other_than(&workers, &Running::Uring).to_string();
        assert!(running.starts_with("epoll (1 of 3 workers: io_uring failed: "), "{running}");
        workers.shutdown();
        assert!(workers.running().to_string().starts_with("epoll"), "who was told to end is no failure");
    }
}
