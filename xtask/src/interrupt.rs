//! Ctrl-C, SIGTERM and a terminal that goes away become an error at the next wait, so that every guard's `Drop` still
//! removes what it made. What we wait for at that time ends with all its children.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The process groups to end, by their leaders.
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Starts listening, on a thread of its own.
pub(crate) fn listen() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let signals =
                [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
            let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else { return };
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => (), _ = hangup.recv() => () }
            INTERRUPTED.store(true, Ordering::Relaxed);
            groups().iter().for_each(|leader| end(*leader));
            // The second one means it: the next run clears what this one leaves.
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
            std::process::exit(130);
        });
    });
}

/// A child in a process group of its own, which is ended as a whole when the user asks to stop.
#[derive(Debug)]
pub(crate) struct Group(pub(crate) Child);

impl Group {
    /// Starts it. Ctrl-C on our terminal reaches only us: we pass it on.
    pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let mut groups = groups();
        groups.push(child.id());
        if INTERRUPTED.load(Ordering::Relaxed) {
            end(child.id());
        }
        Ok(Self(child))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        groups().retain(|leader| *leader != self.0.id());
    }
}

fn groups() -> MutexGuard<'static, Vec<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(leader: u32) {
    // One that has ended already is no fault.
    _ = crate::shell::sh("kill", &["-TERM", "--", &format!("-{leader}")]);
}

/// An error once the user has asked to stop.
pub(crate) fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// A step of a wait loop.
pub(crate) fn nap(duration: Duration) -> Result<()> {
    check()?;
    std::thread::sleep(duration);
    check()
}
