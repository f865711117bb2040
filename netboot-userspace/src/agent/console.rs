//! Lines for whoever watches the machine.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use rustix::fs::OFlags;

/// Where lines go: the kernel's console and those that the command line names, or stderr when run by hand.
#[derive(Debug)]
pub struct Console {
    outputs: Mutex<Vec<File>>,
    to_stderr: bool,
}

impl Console {
    /// `/dev/console` and `devices` (names under `/dev`). What can't be opened is left out.
    pub fn kernel(devices: &[String]) -> Self {
        let names = std::iter::once("console").chain(devices.iter().map(String::as_str));
        let outputs = names.filter_map(|name| open(name).ok()).collect();
        Self { outputs: Mutex::new(outputs), to_stderr: false }
    }

    pub fn stderr() -> Self {
        Self { outputs: Mutex::default(), to_stderr: true }
    }

    /// One line of the agent's own.
    pub fn say(&self, line: &str) {
        self.raw(&format!("[netboot] {line}"));
    }

    /// One line, exactly. Never fails: nobody may be watching.
    pub fn raw(&self, line: &str) {
        if self.to_stderr {
            eprintln!("{line}");
        }
        // A poisoned lock still holds good files.
        let mut outputs = self.outputs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for output in outputs.iter_mut() {
            let _ = output.write_all(format!("{line}\n").as_bytes());
        }
    }
}

fn open(name: &str) -> std::io::Result<File> {
    let flags = OFlags::NOCTTY | OFlags::CLOEXEC;
    OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(format!("/dev/{name}"))
}
