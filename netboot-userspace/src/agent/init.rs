//! pid 1: what a kernel needs before anything else can run.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

use super::cmdline::{Cmdline, consoles};
use super::console::Console;
use super::run::{self, Failed};
use crate::image::protocol::Step;

/// The modules to load, a path per line, in dependency order. Put there by `cargo xtask initramfs`.
const MODULES: &str = "/netboot/modules.load";
/// Time to read the console.
const AFTER_PANIC: Duration = Duration::from_secs(10);
const AFTER_FAILURE: Duration = Duration::from_secs(30);

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
    reboot_on_panic(console.clone());
    console.say(concat!("netboot-agent ", env!("CARGO_PKG_VERSION")));
    faults.iter().for_each(|fault| console.say(fault));
    load_modules(Path::new(MODULES), &console);
    match Cmdline::parse(&cmdline) {
        Ok(cmdline) => run::run(&cmdline, &console),
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
fn reboot_on_panic(console: Arc<Console>) {
    std::panic::set_hook(Box::new(move |panic| {
        console.raw(&format!("NETBOOT-AGENT: failed: panic: {panic}").replace('\n', " "));
        rustix::fs::sync();
        std::thread::sleep(AFTER_PANIC);
        restart(&console)
    }));
}

fn restart(console: &Console) -> ! {
    rustix::fs::sync();
    loop {
        if let Err(error) = reboot(RebootCommand::Restart) {
            console.say(&format!("reboot: {error}"));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
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
}
