//! Butane's configurations become Ignition's by the program `butane`, where that is installed. Anybody may ask for one: so few run at
//! once, none for long, and none of the server's environment is theirs.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::template::OUTPUT;

/// How long one may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(5);
/// So many run at once.
const AT_ONCE: usize = 4;
/// So many answers are kept: a rack is often given the same.
const KEPT: usize = 16;

/// Why there is no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("can't be translated now: too many are; ask again")]
    Busy,
    #[error("{0}")]
    Wrong(String),
}

type Hash = [u8; 32];

/// What was translated last, by the text's hash.
static KNOWN: Mutex<VecDeque<(Hash, String)>> = Mutex::new(VecDeque::new());
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Ignition's JSON. `tells`: whoever asks may see what `butane` says, which quotes the text.
///
/// # Errors
/// The program is not installed, refuses the text, or has no time for it.
pub(super) fn ignition(butane: &str, tells: bool) -> Result<String, Fault> {
    let hash: Hash = Sha256::digest(butane.as_bytes()).into();
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().iter().find(|(other, _)| *other == hash).map(|(_, json)| json.clone());
    if let Some(json) = found {
        return Ok(json);
    }
    let _place = Place::take(&RUNNING)?;
    let Said { status, out, err } = run(Command::new("butane"), butane, WITHIN).map_err(Fault::Wrong)?;
    let json = json(status, out, &err, tells).map_err(Fault::Wrong)?;
    let mut known = known();
    known.truncate(KEPT - 1);
    known.push_front((hash, json.clone()));
    Ok(json)
}

/// One of [`AT_ONCE`].
struct Place(&'static AtomicUsize);

impl Place {
    fn take(running: &'static AtomicUsize) -> Result<Self, Fault> {
        let one_more = |running| (running < AT_ONCE).then_some(running + 1);
        let taken = running.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.map(|_| Self(running)).map_err(|_| Fault::Busy)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a program said.
struct Said {
    status: ExitStatus,
    out: Vec<u8>,
    err: Vec<u8>,
}

/// Runs a program to its end, with `PATH` alone of our environment.
fn run(mut program: Command, input: &str, within: Duration) -> Result<Said, String> {
    program.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let started = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err("is Butane, and the program `butane` is not installed here: install it, or give Ignition's JSON under a \
                        name that ends with .ign"
                .to_owned());
        }
        Err(error) => return Err(format!("butane can't be run: {error}")),
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // Who refuses the beginning does not read the end; it says so itself.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        let out = scope.spawn(move || read(stdout));
        let err = scope.spawn(move || read(stderr));
        let status = ended(&mut child, Instant::now() + within)?;
        let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        Ok(Said { status, out, err })
    })
}

/// As much as a template may make, and one byte more: who writes more is written to no longer.
fn read(from: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.map(|from| from.take(OUTPUT as u64 + 1).read_to_end(&mut bytes));
    bytes
}

fn ended(child: &mut Child, deadline: Instant) -> Result<ExitStatus, String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill().and_then(|()| child.wait());
                return Err("takes too long: butane was stopped".to_owned());
            }
            Err(error) => return Err(format!("butane: {error}")),
        }
    }
}

fn json(status: ExitStatus, out: Vec<u8>, err: &[u8], tells: bool) -> Result<String, String> {
    if out.len() > OUTPUT {
        return Err(format!("becomes more than {OUTPUT} bytes"));
    }
    if status.success() {
        return String::from_utf8(out).map_err(|_| "becomes no text".to_owned());
    }
    let err = String::from_utf8_lossy(err);
    if tells {
        return Err(format!("is refused by butane: {}", err.trim()));
    }
    Err(format!("is refused by butane ({}): `netboot render` says why", places(&err)))
}

/// Where it is wrong, and nothing of what stands there.
fn places(said: &str) -> String {
    let mut words = said.split(|c: char| !c.is_ascii_alphanumeric());
    let mut lines = Vec::new();
    while let Some(word) = words.next() {
        let number = if word == "line" { words.next().unwrap_or_default() } else { "" };
        if number.len() < 8 && number.parse::<u32>().is_ok() {
            lines.push(format!("line {number}"));
        }
    }
    lines.dedup();
    lines.truncate(8);
    if lines.is_empty() { "nobody knows where".to_owned() } else { lines.join(", ") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// More than a pipe holds both ways, before anything is read; nothing of our environment; and an end.
    #[test]
    fn a_program_has_its_time_its_room_and_no_environment() {
        let much = "x".repeat(300_000);
        let script = "head -c 200000 /dev/zero >&2; cat; echo ${HOME:-none} ${CARGO_MANIFEST_DIR:-none}";
        let Said { status, out, err } = run(shell(script), &much, WITHIN).unwrap();
        assert!(status.success() && err.len() == 200_000, "{status} {}", err.len());
        assert_eq!(String::from_utf8(out).unwrap(), format!("{much}none none\n"));
        let endless = run(shell("exec cat /dev/zero"), "", WITHIN).unwrap();
        assert!(!endless.status.success() && endless.out.len() == OUTPUT + 1, "{}", endless.out.len());
        let late = run(shell("exec sleep 600"), "", Duration::from_millis(50)).err().unwrap();
        assert!(late.contains("takes too long"), "{late}");
    }

    #[test]
    fn so_many_run_at_once() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        let places: Vec<_> = (0..AT_ONCE).map(|_| Place::take(&RUNNING).unwrap()).collect();
        assert_eq!(Place::take(&RUNNING).err(), Some(Fault::Busy));
        drop(places);
        assert!(Place::take(&RUNNING).is_ok());
    }

    #[test]
    fn what_is_refused_is_told_by_its_place_and_to_operators_whole() {
        let said = |tells| {
            let Said { status, out, err } =
                run(shell("echo 'error at $.a, line 3 col 5: bad \"hunter2\"' >&2; exit 1"), "", WITHIN)
                    .unwrap();
            json(status, out, &err, tells).unwrap_err()
        };
        assert_eq!(said(false), "is refused by butane (line 3): `netboot render` says why");
        assert!(said(true).contains("hunter2"));
        assert_eq!(places("nothing"), "nobody knows where");
    }
}
