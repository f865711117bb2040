//! What the kernel's lanes could not be told. They are told everything again, later and later, until they have it: nobody has to see
//! to it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Error;

/// The first and the longest pause before everything is told again.
pub(super) const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Whether the lanes are behind.
#[derive(Debug, Default)]
pub(super) struct Behind {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Why, if they are.
    why: Option<String>,
    is_over: bool,
}

impl Behind {
    /// Something was not told.
    pub(super) fn note(&self, error: &Error) {
        self.set(|state| state.why = Some(chain(error)));
    }

    /// Everything was told.
    pub(super) fn clear(&self) {
        self.set(|state| {
            if state.why.take().is_some() {
                tracing::info!("DHCP: the kernel's tables have all of it again");
            }
        });
    }

    /// Ends [`Behind::follow`].
    pub(super) fn end(&self) {
        self.set(|state| state.is_over = true);
    }

    pub(super) fn why(&self) -> Option<String> {
        self.state().why.clone()
    }

    /// Has `tell` called while they are behind, the first of these pauses after they were found to be, then after twice the last
    /// pause, up to the second of them. Until it is over.
    pub(super) fn follow(&self, [first, longest]: [Duration; 2], mut tell: impl FnMut()) {
        let (mut pause, mut state) = (first, self.state());
        while !state.is_over {
            if state.why.is_none() {
                pause = first;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let is_pausing = |state: &mut State| state.why.is_some() && !state.is_over;
            let waited = self.changed.wait_timeout_while(state, pause, is_pausing);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if is_pausing(&mut state) {
                drop(state);
                tell();
                pause = longest.min(2 * pause);
                state = self.state();
            }
        }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With all that it came of, in one line.
fn chain(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    fn error() -> Error {
        Error::Socket { interface: "eth0".into(), source: io::Error::other("the cause") }
    }

    #[test]
    fn what_could_not_be_told_is_told_again_until_it_is_and_then_no_more() {
        let (behind, told) = (Behind::default(), AtomicU32::new(0));
        let (tried, tries) = channel();
        let no_pause = [Duration::ZERO; 2];
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| {
                behind.follow(no_pause, || {
                    // Every third time all of it can be told.
                    let now = 1 + told.fetch_add(1, Ordering::Relaxed);
                    if now % 3 == 0 {
                        behind.clear();
                    }
                    let _ = tried.send(now);
                });
            });
            let mut seen = Vec::new();
            for _ in 0..2 {
                behind.note(&error());
                seen.extend((0..3).map_while(|_| tries.recv_timeout(Duration::from_secs(20)).ok()));
            }
            let why = behind.why();
            behind.end();
            (seen, why)
        });
        assert_eq!(seen, ((1..=6).collect(), None));
        assert_eq!(told.into_inner(), 6, "nothing is told that nobody lacks");
    }

    #[test]
    fn who_is_behind_says_why_and_a_long_pause_ends_with_the_server() {
        let behind = Behind::default();
        behind.note(&error());
        let why = behind.why().unwrap_or_default();
        assert!(why.contains("eth0") && why.ends_with(": the cause"), "{why}");
        std::thread::scope(|scope| {
            scope.spawn(|| behind.follow([Duration::from_secs(86_400); 2], || panic!("it is too early")));
            behind.end();
        });
    }
}
