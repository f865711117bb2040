//! Lines for whoever watches the machine.
//!
//! **Invariant:** nobody waits for a console. A serial line may be stopped (XOFF), or have nobody behind it that takes
//! its bytes: lines go to a thread of their own, and what does not fit is left out and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Lines that wait to be written.
const WAITING: usize = 256;
/// A line of 200 bytes takes 0.2 s at 9600 bit/s; a console that takes nothing for longer is stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where lines go: the kernel's console and those that the command line names, or stderr when run by hand.
#[derive(Debug)]
pub struct Console(Kind);

#[derive(Debug)]
enum Kind {
    Stderr,
    Kernel { lines: SyncSender<Message>, left_out: Arc<AtomicU64> },
}

#[derive(Debug)]
enum Message {
    Line(String),
    /// Say so when all before is written.
    Flush(Sender<()>),
}

impl Console {
    /// `/dev/console` and `devices` (names under `/dev`). What can't be opened is left out.
    pub fn kernel(devices: &[String]) -> Self {
        let names = std::iter::once("console").chain(devices.iter().map(String::as_str));
        Self::over(names.filter_map(|name| open(name).ok()).collect())
    }

    pub fn stderr() -> Self {
        Self(Kind::Stderr)
    }

    /// `outputs` don't block.
    fn over(outputs: Vec<File>) -> Self {
        let (lines, waiting) = sync_channel(WAITING);
        let left_out = Arc::new(AtomicU64::new(0));
        let counter = left_out.clone();
        let outputs = outputs.into_iter().map(|file| Output { file, stopped: false, left_out: 0 }).collect();
        std::thread::spawn(move || write_lines(outputs, &waiting, &counter));
        Self(Kind::Kernel { lines, left_out })
    }

    /// One line of the agent's own.
    pub fn say(&self, line: &str) {
        self.raw(&format!("[netboot] {line}"));
    }

    /// One line, exactly. Never fails and never waits: nobody may be watching.
    pub fn raw(&self, line: &str) {
        match &self.0 {
            Kind::Stderr => {
                let _ = writeln!(io::stderr(), "{line}");
            }
            Kind::Kernel { lines, left_out } => {
                if lines.try_send(Message::Line(line.to_owned())).is_err() {
                    left_out.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Waits until all lines so far are out, for at most `patience`.
    pub fn flush(&self, patience: Duration) {
        let Kind::Kernel { lines, .. } = &self.0 else { return };
        let deadline = Instant::now() + patience;
        let (told, flushed) = channel();
        let mut message = Message::Flush(told);
        while let Err(TrySendError::Full(back)) = lines.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
            message = back;
        }
        let _ = flushed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Until the console is gone.
fn write_lines(mut outputs: Vec<Output>, waiting: &Receiver<Message>, left_out: &AtomicU64) {
    for message in waiting {
        match message {
            Message::Line(line) => {
                let missing = left_out.swap(0, Ordering::Relaxed);
                outputs.iter_mut().for_each(|output| output.line(&line, missing));
            }
            Message::Flush(told) => {
                let _ = told.send(());
            }
        }
    }
}

/// One console.
#[derive(Debug)]
struct Output {
    file: File,
    /// It did not take its last line in time: it isn't waited for until it takes one again.
    stopped: bool,
    left_out: u64,
}

impl Output {
    fn line(&mut self, line: &str, missing: u64) {
        self.left_out += missing;
        if self.left_out > 0 && self.put(&format!("[netboot] {} lines left out\n", self.left_out)) {
            self.left_out = 0;
        }
        if !self.put(&format!("{line}\n")) {
            self.left_out += 1;
        }
    }

    /// False: not all of it was taken.
    fn put(&mut self, text: &str) -> bool {
        let mut rest = text.as_bytes();
        let patience = if self.stopped { Duration::ZERO } else { PATIENCE };
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.has_room(patience) => {}
                Err(_) => break,
            }
        }
        self.stopped = !rest.is_empty();
        rest.is_empty()
    }

    /// Waits until it takes bytes.
    fn has_room(&self, patience: Duration) -> bool {
        let mut output = [PollFd::new(&self.file, PollFlags::OUT)];
        let patience = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut output, Some(&patience)).is_ok_and(|ready| ready > 0)
    }
}

fn open(name: &str) -> io::Result<File> {
    let flags = OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(format!("/dev/{name}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    /// A console's two ends.
    fn pipe() -> (File, File) {
        let (reader, writer) = io::pipe().unwrap();
        let writer = File::from(OwnedFd::from(writer));
        rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        (File::from(OwnedFd::from(reader)), writer)
    }

    #[test]
    fn a_stopped_console_holds_nothing_up_and_says_what_it_missed() {
        let (mut stopped, output) = pipe();
        let (mut other, second) = pipe();
        let console = Console::over(vec![output, second]);
        let line = "x".repeat(1000);
        let started = Instant::now();
        // Far more than a pipe holds, and than wait for their turn.
        (0..2000).for_each(|_| console.say(&line));
        assert!(started.elapsed() < PATIENCE, "it waited");
        std::thread::spawn(move || io::copy(&mut other, &mut io::sink()));
        console.flush(Duration::from_secs(20));
        let mut taken = vec![0; 1 << 20];
        let before = stopped.read(&mut taken).unwrap();
        console.say("again");
        console.flush(Duration::from_secs(20));
        drop(console);
        let mut after = String::new();
        stopped.read_to_string(&mut after).unwrap();
        assert!(
            before > 0 && after.contains(" lines left out\n") && after.ends_with("again\n"),
            "{after:.200}"
        );
    }

    #[test]
    fn a_flush_of_a_console_that_takes_nothing_ends() {
        let (_stopped, output) = pipe();
        let console = Console::over(vec![output]);
        (0..2000).for_each(|_| console.say(&"x".repeat(1000)));
        let started = Instant::now();
        console.flush(Duration::from_millis(100));
        assert!(started.elapsed() < PATIENCE);
    }
}
