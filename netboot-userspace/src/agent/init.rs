//! pid 1: what a kernel needs before anything else can run.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

use super::cmdline::{Cmdline, consoles};
use super::console::Console;
use super::run::{self, Failed};
use super::server::{LONGEST_CALL, Server};
use crate::image::protocol::{Report, Status, Step};

/// The modules to load, a path per line, in dependency order. Put there by `cargo xtask initramfs`.
const MODULES: &str = "/netboot/modules.load";
/// Seconds after which a kernel that panicked reboots; 0, its default, is never (`Documentation/admin-guide/sysctl/kernel.rst`).
const PANIC: &str = "/proc/sys/kernel/panic";
const PANIC_SECONDS: &str = "30";
/// Time to read the console.
const AFTER_PANIC: Duration = Duration::from_secs(10);
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// For the last lines to get out.
const LAST_LINES: Duration = Duration::from_secs(3);
/// Reboots without asking any driver (`Documentation/admin-guide/sysrq.rst`).
const SYSRQ: &str = "/proc/sysrq-trigger";
/// A driver that waits for its hardware, as the kernel shuts it down, may wait for ever.
const SHUT_DOWN: Duration = Duration::from_secs(60);
/// A sync waits for ever for a disk that no longer answers.
const SYNC: Duration = Duration::from_secs(30);

/// (what, where, type)
const MOUNTS: [(&str, &str, &str); 5] = [
    ("devtmpfs", "/dev", "devtmpfs"),
    ("proc", "/proc", "proc"),
    ("sysfs", "/sys", "sysfs"),
    ("tmpfs", "/run", "tmpfs"),
    ("tmpfs", "/tmp", "tmpfs"),
];

/// The life of pid 1.
pub fn main() -> ! {
    let faults = mount_all();
    let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let console = Arc::new(Console::kernel(&consoles(&cmdline)));
    let session = Arc::new(OnceLock::new());
    reboot_on_panic(console.clone(), session.clone());
    console.say(concat!("netboot-agent ", env!("CARGO_PKG_VERSION")));
    faults.iter().for_each(|fault| console.say(fault));
    if let Err(error) = reboot_after_kernel_panic(Path::new(PANIC)) {
        console.say(&format!("{PANIC}: {error}"));
    }
    load_modules(Path::new(MODULES), &console);
    match Cmdline::parse(&cmdline) {
        Ok(cmdline) => run::run(&cmdline, &console, &session),
        Err(error) => {
            console.raw(&run::failure_line(&Failed { step: Step::Start, reason: error.to_string() }));
            std::thread::sleep(AFTER_FAILURE);
        }
    }
    restart(&console)
}

fn mount_all() -> Vec<String> {
    let mut faults = Vec::new();
    for (what, at, kind) in MOUNTS {
        let mounted = fs::create_dir_all(at)
            .and_then(|()| Ok(mount(what, at, kind, MountFlags::NOSUID | MountFlags::NOEXEC, None)?));
        match mounted {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::BUSY) => {
                faults.push(format!("mounting {at}: {error}"));
            }
            _ => {}
        }
    }
    faults
}

/// A machine whose kernel stopped comes back by itself, as one whose agent stopped does. What the command line says (`panic=`)
/// counts.
fn reboot_after_kernel_panic(seconds: &Path) -> io::Result<()> {
    match fs::read_to_string(seconds)?.trim() {
        "0" => fs::write(seconds, PANIC_SECONDS),
        _ => Ok(()),
    }
}

/// A module that doesn't load is said and left out: the machine may well do without it.
fn load_modules(list: &Path, console: &Console) {
    let Ok(list) = fs::read_to_string(list) else {
        return console.say(&format!("no {}: built-in drivers only", list.display()));
    };
    for path in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Err(error) = load(path) {
            console.say(&format!("module {path}: {error}"));
        }
    }
}

fn load(path: &str) -> io::Result<()> {
    match finit_module(File::open(path)?, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A kernel whose pid 1 exits panics; a pid 1 that panics reboots instead, whichever thread it was.
fn reboot_on_panic(console: Arc<Console>, session: Arc<OnceLock<Server>>) {
    std::panic::set_hook(Box::new(move |panic| {
        let reason = format!("panic: {panic}").replace('\n', " ");
        console.raw(&format!("NETBOOT-AGENT: failed: {reason}"));
        if let Some(server) = session.get().cloned() {
            within(LONGEST_CALL, move || drop(server.report(&last_report(reason))));
        }
        std::thread::sleep(AFTER_PANIC);
        restart(&console)
    }));
}

/// For the server, a machine that was installed stays so: the step is the last one.
fn last_report(message: String) -> Report {
    let (step, status) = (Step::Reboot, Status::Failed);
    Report { step, status, bytes: 0, total: None, bytes_per_second: 0, eta_seconds: None, message }
}

/// Does it on another thread, and goes on when it is done or the time is over.
fn within(time: Duration, task: impl FnOnce() + Send + 'static) {
    let (done, waiting) = channel::<()>();
    let spawned = std::thread::Builder::new().spawn(move || {
        task();
        drop(done);
    });
    if spawned.is_ok() {
        let _ = waiting.recv_timeout(time);
    }
}

fn restart(console: &Console) -> ! {
    within(SYNC, rustix::fs::sync);
    console.flush(LAST_LINES);
    // All that matters has been read back from the disk, and reported.
    std::thread::spawn(|| reboot_at_once(Path::new(SYSRQ), SHUT_DOWN));
    loop {
        if let Err(error) = reboot(RebootCommand::Restart) {
            console.say(&format!("reboot: {error}"));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn reboot_at_once(sysrq: &Path, after: Duration) {
    std::thread::sleep(after);
    // Without it there is nothing left to try.
    let _ = fs::write(sysrq, "b");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_refused_by_name() {
        let missing = load("/no/such/module.ko").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.ko");
        fs::write(&text, "not an ELF file").unwrap();
        assert!(load(text.to_str().unwrap()).is_err());
    }

    #[test]
    fn a_kernel_that_panics_reboots_unless_the_command_line_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("panic");
        for (before, after) in [("0\n", PANIC_SECONDS), ("5\n", "5\n"), ("-1\n", "-1\n")] {
            fs::write(&file, before).unwrap();
            reboot_after_kernel_panic(&file).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), after);
        }
    }

    #[test]
    fn a_reboot_that_hangs_is_made_without_the_drivers() {
        let sysrq = tempfile::NamedTempFile::new().unwrap();
        reboot_at_once(sysrq.path(), Duration::ZERO);
        assert_eq!(fs::read(sysrq.path()).unwrap(), b"b");
    }

    #[test]
    fn what_hangs_is_not_waited_for() {
        let started = std::time::Instant::now();
        within(Duration::from_millis(50), || std::thread::sleep(Duration::from_secs(5)));
        assert!(started.elapsed() < Duration::from_secs(3));
        within(Duration::from_secs(60), || ());
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}
